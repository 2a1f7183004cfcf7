//! Starts and ends a RabbitMQ node.
//!
//! Three things could outlive a node: its Erlang machine, which is a child of a script; epmd, which
//! becomes a daemon unless one runs already; and everything, if the test process is killed.
//! Therefore the node runs in a process group of its own, and epmd is started first, as a child. A
//! shell reads a pipe that only the test process holds open, and kills what is left when the pipe
//! ends.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::tls::Authority;
use crate::process::output_within;
use crate::watchdog::Watch;

const READY_WITHIN: Duration = Duration::from_secs(90);
const STARTS_MAX: usize = 3;
/// The most bytes of a node's log that a failed test prints.
const LOG_SHOWN_BYTES_MAX: usize = 4096;
const LIBRARY: &str = "/usr/lib/rabbitmq/lib";
/// Idle schedulers sleep at once. By default they spin for a while, and a start takes 1.5 times the
/// CPU time.
const ERLANG_ARGUMENTS: &str = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none \
                                +sbwtdcpu none +sbwtdio none";

/// The options of a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The node also listens with TLS, and refuses clients without a certificate of its own
    /// authority.
    pub tls: bool,
}

/// A running node. Dropping the value ends it.
#[derive(Debug)]
pub struct Broker {
    directory: TempDir,
    name: String,
    ports: Ports,
    authority: Option<Authority>,
    epmd: Child,
    process: Mutex<Option<Child>>,
    reaper: Reaper,
    _watch: Watch,
}

#[derive(Debug)]
struct Ports {
    amqp: u16,
    tls: u16,
    distribution: u16,
    epmd: u16,
}

impl Broker {
    /// Starts a node and waits until it accepts connections.
    ///
    /// # Panics
    /// If the node does not start in time.
    #[must_use]
    pub fn start() -> Broker {
        Broker::start_with(Options::default())
    }

    /// # Panics
    /// If the node does not start in time.
    #[must_use]
    pub fn start_with(options: Options) -> Broker {
        let directory = tempfile::Builder::new()
            .prefix("hailer-broker-")
            .tempdir()
            .expect("a temporary directory");
        let [amqp, tls, distribution, epmd] = free_ports();
        let ports = Ports { amqp, tls, distribution, epmd };
        let name = format!("hailer-{}-{amqp}", std::process::id());
        let authority = options.tls.then(|| Authority::new(&directory.path().join("tls")));
        let reaper = Reaper::new(directory.path());
        let mut epmd = Command::new("epmd");
        epmd.args(["-port", &epmd_port(&ports), "-address", "127.0.0.1"]).process_group(0);
        let epmd = epmd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let epmd = epmd.expect("epmd, from the package `erlang-base`");
        reaper.expect(&[&epmd]);
        let broker = Broker {
            directory,
            name,
            ports,
            authority,
            epmd,
            process: Mutex::new(None),
            reaper,
            _watch: Watch::new(),
        };
        broker.prepare();
        broker.boot();
        broker
    }

    /// The address for clients, with heartbeats of 2 s.
    #[must_use]
    pub fn address(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}?heartbeat=2", self.ports.amqp)
    }

    /// The port of [`Broker::address`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// The address with heartbeats of 30 s, for clients that a busy machine may delay: they must
    /// not take that for a broken connection.
    #[must_use]
    pub fn patient_address(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}?heartbeat=30", self.ports.amqp)
    }

    /// The address for clients with TLS.
    #[must_use]
    pub fn tls_address(&self) -> String {
        format!("amqps://guest:guest@localhost:{}?heartbeat=2", self.ports.tls)
    }

    /// The authority that signed the node's certificate.
    ///
    /// # Panics
    /// If the node was started without TLS.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("a node that was started with TLS")
    }

    /// Kills the node, as a power cut would. Durable data stays.
    pub fn kill(&self) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut process) = process {
            // The group contains the Erlang machine and its helpers, too.
            signal_group(&process, Signal::KILL);
            let _ = process.wait();
        }
    }

    /// Starts the node again after [`Broker::kill`], with the same database and ports.
    ///
    /// # Panics
    /// If the node does not start in time, or forgets what is durable at each of several starts.
    pub fn restart(&self) {
        // Before version 3.11, a busy node can lose sight of a durable queue while it starts
        // (rabbitmq-server pull request 4563). The next start finds the queue.
        let is_complete = |_| {
            self.kill();
            self.boot();
            self.forgotten() == "{[],[],[]}"
        };
        assert!((0..STARTS_MAX).any(is_complete), "forgotten: {}", self.forgotten());
    }

    /// The durable queues, exchanges and bindings of which the running node knows nothing.
    fn forgotten(&self) -> String {
        let without = |all: &str, known: &str| {
            format!("mnesia:dirty_all_keys({all}) -- mnesia:dirty_all_keys({known})")
        };
        let queues = without("rabbit_durable_queue", "rabbit_queue");
        let exchanges = without("rabbit_durable_exchange", "rabbit_exchange");
        let bindings = without("rabbit_durable_route", "rabbit_route");
        self.ctl(&["eval", &format!("{{{queues}, {exchanges}, {bindings}}}.")]).trim().to_owned()
    }

    /// Stops every process of the node with SIGSTOP: its connections stay open and get no answer.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends [`Broker::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Runs `rabbitmqctl` against the node, and returns its output.
    ///
    /// # Panics
    /// If it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(server_directory().join("sbin/rabbitmqctl"));
        self.environment(&mut command);
        command.args(["-q", "-n", &self.node()]).args(arguments);
        let output = output_within(&mut command, READY_WITHIN);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    fn node(&self) -> String {
        format!("{}@localhost", self.name)
    }

    fn prepare(&self) {
        let root = self.directory.path();
        for directory in ["home", "mnesia", "log", "generated"] {
            fs::create_dir_all(root.join(directory)).expect("a directory");
        }
        let mut config = String::from(
            "loopback_users = none\ndisk_free_limit.absolute = 1MB\nlog.file.level = warning\n",
        );
        if let Some(authority) = &self.authority {
            config += &authority.server_config(self.ports.tls);
        }
        fs::write(root.join("rabbitmq.conf"), config).expect("a configuration");
        fs::write(root.join("plugins"), "[].\n").expect("a list of plugins");
        fs::write(root.join("env.conf"), "").expect("an environment");
    }

    fn boot(&self) {
        let log = File::create(self.directory.path().join("console")).expect("a log");
        let mut command = Command::new(server_directory().join("sbin/rabbitmq-server"));
        self.environment(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0);
        let process = command.spawn().expect("rabbitmq-server, from the package of that name");
        self.reaper.expect(&[&self.epmd, &process]);
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        let since = Instant::now();
        while !greets(self.ports.amqp) {
            assert!(since.elapsed() < READY_WITHIN, "the node does not start:\n{}", self.console());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn console(&self) -> String {
        fs::read_to_string(self.directory.path().join("console")).unwrap_or_default()
    }

    fn end_of_log(&self) -> String {
        let log = self.directory.path().join("log").join(format!("{}.log", self.node()));
        let text = fs::read_to_string(log).unwrap_or_default();
        text[text.ceil_char_boundary(text.len().saturating_sub(LOG_SHOWN_BYTES_MAX))..].to_owned()
    }

    fn environment(&self, command: &mut Command) {
        let root = self.directory.path();
        let path = |name: &str| root.join(name);
        command
            .env("HOME", path("home"))
            .env("RABBITMQ_NODENAME", self.node())
            .env("RABBITMQ_CONF_ENV_FILE", path("env.conf"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", path("generated"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.ports.amqp.to_string())
            .env("RABBITMQ_DIST_PORT", self.ports.distribution.to_string())
            .env("ERL_EPMD_PORT", epmd_port(&self.ports))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG_ARGUMENTS);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &*self.process.lock().unwrap_or_else(PoisonError::into_inner) {
            signal_group(process, signal);
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the node's log ends with:\n{}", self.end_of_log());
        }
        self.kill();
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
        self.reaper.expect(&[]);
    }
}

/// Kills what is left of a node after this process has ended, however it ended.
#[derive(Debug)]
struct Reaper {
    shell: Child,
}

impl Reaper {
    const SCRIPT: &str = r#"while read -r line; do left=$line; done
[ -n "$left" ] && kill -s KILL -- $left
rm -rf -- "$0""#;

    fn new(directory: &Path) -> Reaper {
        let mut shell = Command::new("sh");
        // In a process group of its own, so that Ctrl-C does not reach it.
        shell.args(["-c", Reaper::SCRIPT]).arg(directory).stdin(Stdio::piped()).process_group(0);
        Reaper {
            shell: shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell"),
        }
    }

    /// Sets the processes that the shell kills at the end.
    fn expect(&self, processes: &[&Child]) {
        let groups: Vec<String> =
            processes.iter().map(|process| format!("-{}", process.id())).collect();
        let mut pipe = self.shell.stdin.as_ref().expect("the shell's standard input");
        writeln!(pipe, "{}", groups.join(" ")).expect("a shell that reads");
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

fn epmd_port(ports: &Ports) -> String {
    ports.epmd.to_string()
}

fn signal_group(process: &Child, signal: Signal) {
    let _ = kill_process_group(Pid::from_child(process), signal);
}

/// Sends the protocol header, and checks the first byte of the answer.
fn greets(port: u16) -> bool {
    let greet = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"AMQP\0\0\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first[0])
    };
    greet().is_ok_and(|first| first == 1)
}

/// Free ports. All are held at the same time, so that they differ.
fn free_ports() -> [u16; 4] {
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

/// The directory of RabbitMQ's own scripts; the scripts on the path change the user.
fn server_directory() -> PathBuf {
    let installed = fs::read_dir(LIBRARY).expect("RabbitMQ, from the package `rabbitmq-server`");
    let is_server = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"rabbitmq_server-"))
    };
    let mut servers: Vec<_> =
        installed.flatten().map(|entry| entry.path()).filter(|path| is_server(path)).collect();
    servers.sort();
    servers.pop().expect("RabbitMQ, from the package `rabbitmq-server`")
}
