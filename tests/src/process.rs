//! Runs programs to their end, and kills those that do not end in time.

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than cargo needs to build everything that the tests need, from scratch.
pub const BUILD_MAX: Duration = Duration::from_secs(20 * 60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Runs a program with an empty standard input, and returns its output.
///
/// # Panics
/// If the program cannot be started, or does not end in time.
#[must_use]
pub fn output_within(command: &mut Command, limit: Duration) -> Output {
    let process =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let process = process.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let id = Pid::from_child(&process);
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(process.wait_with_output()));
    let output = end.recv_timeout(limit).unwrap_or_else(|_| {
        let _ = kill_process(id, Signal::KILL);
        panic!("{command:?} does not end");
    });
    output.expect("its output")
}

/// Sends SIGTERM to a process, and SIGKILL if it does not end in time; returns whether it ended in
/// time.
#[must_use]
pub fn end_within(process: &mut Child, limit: Duration) -> bool {
    let _ = kill_process(Pid::from_child(process), Signal::TERM);
    let since = Instant::now();
    while process.try_wait().is_ok_and(|ended| ended.is_none()) {
        if since.elapsed() > limit {
            let _ = process.kill();
            let _ = process.wait();
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    true
}
