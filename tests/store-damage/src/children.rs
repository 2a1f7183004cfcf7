//! The processes that write and read stores: each attempt has its own, so that a crash, a hang or a
//! leak stays with it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::reader::OUT_OF_MEMORY;
use crate::rows::Workload;

/// The time after which an open, a read or a write counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// The result of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// The store has all acknowledged commits.
    Intact,
    /// Opening or reading failed with an error.
    Refused,
    /// The store opened, and without an error it reads less than was acknowledged, or other rows.
    Short,
    Hung,
    /// A panic or a signal.
    Crashed,
    /// An allocation of more memory than the reader may have.
    Memory,
}

impl Verdict {
    pub(crate) const ALL: [Verdict; 6] = [
        Verdict::Intact,
        Verdict::Refused,
        Verdict::Short,
        Verdict::Hung,
        Verdict::Crashed,
        Verdict::Memory,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Verdict::Intact => "intact",
            Verdict::Refused => "refused",
            Verdict::Short => "SHORT",
            Verdict::Hung => "hung",
            Verdict::Crashed => "crashed",
            Verdict::Memory => "huge allocation",
        }
    }
}

/// A verdict with its reason.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) text: String,
}

impl Outcome {
    pub(crate) fn of(verdict: Verdict, text: impl Into<String>) -> Outcome {
        Outcome { verdict, text: text.into() }
    }

    /// An outcome for a failure of the harness itself, which says nothing about a store.
    pub(crate) fn broken(error: &io::Error) -> Outcome {
        Outcome::of(Verdict::Crashed, format!("the harness failed: {error}"))
    }

    /// The number of the last commit of an intact store; `None` for any other verdict.
    pub(crate) fn last(&self) -> Option<u64> {
        self.text.parse().ok().filter(|_| self.verdict == Verdict::Intact)
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(
        std::env::current_exe().unwrap_or_else(|_| PathBuf::from("hailer-store-damage")),
    );
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("RUST_BACKTRACE", "0");
    command
}

/// Opens a store in a process of its own, and compares it with the acknowledged commits.
pub(crate) fn read(
    name: &str,
    directory: &Path,
    workload: Workload,
    acknowledged: u64,
    tried: u64,
) -> Outcome {
    let numbers = [workload.seed, workload.filler_bytes as u64, acknowledged, tried]
        .map(|number| number.to_string());
    let directory = directory.to_string_lossy();
    let mut arguments = vec!["read", name, &directory];
    arguments.extend(numbers.iter().map(String::as_str));
    let mut child = match command(&arguments).spawn() {
        Ok(child) => child,
        Err(error) => {
            return Outcome::of(Verdict::Crashed, format!("the reader cannot be started: {error}"));
        }
    };
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Outcome::of(
                    Verdict::Hung,
                    format!("no end after {} s", PATIENCE.as_secs()),
                );
            }
            _ => std::thread::sleep(Duration::from_millis(3)),
        }
    };
    let (mut out, mut err) = (String::new(), Vec::new());
    let _ = child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut out));
    let _ = child.stderr.take().map(|mut stderr| stderr.read_to_end(&mut err));
    let err = String::from_utf8_lossy(&err).trim().replace('\n', " ");
    let line = out.lines().last().unwrap_or_default();
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        _ if err.contains(OUT_OF_MEMORY) => Outcome::of(Verdict::Memory, err),
        // If another thread panicked, the text has its message beside the verdict.
        "intact" => Outcome::of(Verdict::Intact, rest),
        "refused" => Outcome::of(Verdict::Refused, format!("{rest} {err}")),
        "SHORT" => Outcome::of(Verdict::Short, rest),
        _ => {
            let how = status.signal().map_or_else(
                || format!("exit {:?}", status.code()),
                |signal| format!("signal {signal}"),
            );
            Outcome::of(Verdict::Crashed, format!("{how}: {err}"))
        }
    }
}

/// A process that commits.
pub(crate) struct Writer {
    child: Child,
    lines: Receiver<String>,
    /// The number of the last acknowledged commit.
    pub(crate) acknowledged: u64,
    /// The number of the last commit that was begun.
    pub(crate) tried: u64,
    /// The errors of commits that failed.
    pub(crate) errors: Vec<String>,
}

/// The task of a writer: its commits, and how it ends.
#[derive(Clone, Debug)]
pub(crate) struct Writing {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The commit after which it waits for [`Writer::go_on`]; 0 for none.
    pub(crate) pause: u64,
    /// Whether the writer closes the store at the end. Otherwise it waits to be killed.
    pub(crate) closes: bool,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Writer {
    pub(crate) fn start(
        name: &str,
        directory: &Path,
        workload: Workload,
        writing: &Writing,
    ) -> io::Result<Writer> {
        let Writing { from, to, pause, closes, environment } = writing;
        let numbers =
            [workload.seed, workload.filler_bytes as u64, *from, *to, *pause, u64::from(*closes)];
        let numbers = numbers.map(|number| number.to_string());
        let directory = directory.to_string_lossy();
        let mut arguments = vec!["write", name, &directory];
        arguments.extend(numbers.iter().map(String::as_str));
        let mut command = command(&arguments);
        command.stderr(Stdio::null()).envs(environment.iter().map(|(key, value)| (*key, value)));
        let mut child = command.spawn()?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Writer { child, lines, acknowledged: from - 1, tried: from - 1, errors: Vec::new() })
    }

    /// Reads the output of the writer until a commit is acknowledged or the writer has ended.
    /// Returns whether it still runs; `None` if it hangs.
    pub(crate) fn wait_for(&mut self, number: u64) -> Option<bool> {
        while self.acknowledged < number {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.note(&line),
                Err(RecvTimeoutError::Disconnected) => return Some(false),
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
        Some(true)
    }

    fn note(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let (word, number) = (words.next(), words.next().and_then(|number| number.parse().ok()));
        match (word, number) {
            (Some("try"), Some(number)) => self.tried = number,
            (Some("ack"), Some(number)) => self.acknowledged = number,
            (Some("failed"), _) => self.errors.push(words.next().unwrap_or_default().to_owned()),
            _ => {}
        }
    }

    /// Runs `act` while all threads of the writer are stopped.
    pub(crate) fn while_stopped(&self, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP)?;
        let acted = act();
        kill_process(pid, Signal::CONT)?;
        acted
    }

    /// Lets a paused writer go on.
    pub(crate) fn go_on(&mut self) {
        if let Some(stdin) = &mut self.child.stdin {
            let _ = stdin.write_all(b"\n");
        }
    }

    /// Kills the process with `kill -9`, and reads everything that it had printed.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.note(&line);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
