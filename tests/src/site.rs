//! The directory of one engine: its rules, its data and its output, below one temporary directory.
//! A test can start an engine there again after it has ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::built;
use crate::engine::Engine;
use crate::process::{BUILD_MAX, output_within};
use crate::wait::LONG_ENOUGH;
use crate::watchdog::Watch;

/// Flags of an engine that reads and writes standard streams, and reads the rules directory only on
/// request.
pub const RELOADS_ON_REQUEST: [&str; 8] = [
    "--source",
    "-",
    "--sink",
    "-",
    "--set",
    "reload.debounce_ms=60000",
    "--set",
    "reload.poll_ms=3600000",
];

/// The directory of one engine. Dropping the value removes it.
#[derive(Debug)]
pub struct Site {
    root: TempDir,
    /// Another build than that of the tests; `None` for that of the tests.
    program: Option<PathBuf>,
    /// The environment variables of every process that is started here.
    environment: Mutex<Vec<(String, String)>>,
    _watch: Watch,
}

/// The output and the exit code of a command.
#[derive(Debug)]
pub struct Outcome {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Site {
    /// A site without campaigns.
    ///
    /// # Panics
    /// Like all functions below, if the file system or the binary fails.
    #[must_use]
    pub fn empty() -> Site {
        // The name is short, because the path of a Unix socket is limited.
        let root =
            tempfile::Builder::new().prefix("hailer-").tempdir().expect("a temporary directory");
        fs::create_dir_all(root.path().join("rules.d/modules")).expect("a directory for rules");
        Site { root, program: None, environment: Mutex::default(), _watch: Watch::new() }
    }

    /// Uses another build of hailer.
    #[must_use]
    pub fn of(self, program: &Path) -> Site {
        Site { program: Some(program.to_owned()), ..self }
    }

    /// A site with one campaign, `basket`, which sends a communication for every purchase.
    #[must_use]
    pub fn with_basket() -> Site {
        let site = Site::empty();
        site.put("modules/big-basket.wasm", built::example_module("big-basket"));
        site.put("basket.toml", campaign("big-basket", "[params]\nthreshold = \"0\""));
        site
    }

    /// A site with all example campaigns.
    #[must_use]
    pub fn with_examples() -> Site {
        let site = Site::empty();
        for folder in ["", "modules"] {
            let from = built::example_rules().join(folder);
            for entry in fs::read_dir(&from).expect("the example rules") {
                let entry = entry.expect("an example");
                if entry.path().is_file() {
                    fs::copy(entry.path(), site.rules().join(folder).join(entry.file_name()))
                        .expect("a copy");
                }
            }
        }
        site
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    #[must_use]
    pub fn rules(&self) -> PathBuf {
        self.path("rules.d")
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Puts a file into the rules directory atomically.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let temporary = self.path("being-written");
        fs::write(&temporary, bytes).expect("a file");
        fs::rename(temporary, self.rules().join(name)).expect("a file in the rules directory");
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.rules().join(name))
            .expect("a file to remove from the rules directory");
    }

    /// Writes a file below the site's directory, and returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    /// Writes a configuration file as if it had been there for an hour: a process waits a second
    /// for one that has just been written.
    pub fn write_config(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(name, bytes);
        let written = SystemTime::now() - Duration::from_secs(3600);
        let file = fs::File::options().append(true).open(&path).expect("the file");
        file.set_modified(written).expect("a time");
        path
    }

    /// Sets the `HAILER_…` variables for every process that is started here from now on.
    pub fn environment(&self, variables: &[(&str, &str)]) {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        *self.environment.lock().unwrap_or_else(PoisonError::into_inner) = variables;
    }

    /// Starts the engine with these arguments of `hailer run`, and waits until it is ready.
    pub async fn start_ready(&self, arguments: &[impl AsRef<str>]) -> Engine {
        let engine = self.start(arguments);
        engine.ready().await;
        engine
    }

    /// Starts an engine with an HTTP port of its own, and returns at once.
    #[must_use]
    pub fn start(&self, arguments: &[impl AsRef<str>]) -> Engine {
        let (stdout, stderr) = (self.path("stdout"), self.path("stderr"));
        let mut command = self.run_command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(File::create(&stdout).expect("a file for standard output"));
        command.stderr(File::create(&stderr).expect("a file for standard error"));
        Engine::spawn(&mut command, &self.data(), stdout, stderr)
    }

    /// Runs an engine with an empty standard input until it ends. An engine that does not end in
    /// time is killed, and the test panics.
    #[must_use]
    pub fn run(&self, arguments: &[impl AsRef<str>]) -> Outcome {
        let mut command = self.run_command(arguments);
        Outcome::from(output_within(&mut command, LONG_ENOUGH))
    }

    /// Runs a `hailer` command with the data directory of this site.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Outcome {
        self.command_at(self.data(), arguments)
    }

    /// Runs a `hailer` command with another data directory.
    #[must_use]
    pub fn command_at(&self, data: impl AsRef<Path>, arguments: &[&str]) -> Outcome {
        let mut command = self.hailer();
        command.args(arguments).arg("--data").arg(data.as_ref());
        Outcome::of(&mut command)
    }

    /// Runs a `hailer` command without a data directory.
    #[must_use]
    pub fn command_without_data(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.hailer().args(arguments))
    }

    /// Runs a bash script that finds the engine's binary as `hailer`.
    #[must_use]
    pub fn shell(&self, script: &str) -> Outcome {
        let mut command = self.program(Path::new("bash"));
        let binaries = built::hailer().parent().expect("a directory of binaries");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(binaries.to_owned()).chain(std::env::split_paths(&path));
        command
            .args(["-c", script])
            .env("TMPDIR", self.root.path())
            .env("HAILER_LIMITS__CALL_DEADLINE_MS", "2000");
        Outcome::of(command.env("PATH", std::env::join_paths(path).expect("a search path")))
    }

    fn run_command(&self, arguments: &[impl AsRef<str>]) -> Command {
        let mut command = self.hailer();
        command.args(["run", "--listen", "127.0.0.1:0"]).arg("--rules").arg(self.rules());
        // An environment variable, because the engine refuses the flag with a store in memory.
        command.env("HAILER_STORE__CREATE", "true");
        command.arg("--data").arg(self.data());
        command.args(arguments.iter().map(AsRef::as_ref));
        // All tests run at once, so the machine cannot measure how long a call takes.
        if !arguments
            .iter()
            .any(|argument| argument.as_ref().starts_with("limits.call_deadline_ms"))
        {
            command.args(["--set", "limits.call_deadline_ms=2000"]);
        }
        command
    }

    fn hailer(&self) -> Command {
        self.program(self.program.as_deref().unwrap_or_else(|| built::hailer()))
    }

    fn program(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        // This directory has neither the checkout's configuration nor the caller's.
        command.current_dir(self.root.path()).stdin(Stdio::null());
        // Rules that tests write share a target directory, so cargo compiles their dependencies
        // once. Therefore each test's rule needs a name of its own: the directory holds one module
        // of each name.
        command.env("CARGO_TARGET_DIR", built::target().join("e2e-new"));
        built::without_settings(&mut command);
        let environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Outcome {
    fn of(command: &mut Command) -> Outcome {
        // Some commands build a rule.
        Outcome::from(output_within(command, BUILD_MAX))
    }

    fn from(output: Output) -> Outcome {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Outcome {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Standard output, parsed as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// # Panics
    /// If the command did not end with this code.
    #[must_use]
    pub fn expect(self, code: i32) -> Outcome {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// The text of a campaign file for a module in `modules/`.
#[must_use]
pub fn campaign(module: &str, rest: &str) -> String {
    format!("module = \"modules/{module}.wasm\"\nmode = \"live\"\n{rest}\n")
}

/// The lines of a file, each parsed as JSON; empty if there is no file.
///
/// # Panics
/// If a line is not JSON.
#[must_use]
pub fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
