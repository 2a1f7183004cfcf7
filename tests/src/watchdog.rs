//! A watchdog for tests that hang. Each wait has a limit of its own, with a better message; the
//! watchdog covers a wait without one. It prints the test's name and the running processes, and
//! aborts the test process.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// Longer than the longest part of the fault suite and of the benchmarks.
const LIMIT: Duration = Duration::from_secs(30 * 60);
const LOOK_AGAIN: Duration = Duration::from_secs(5);

static WATCHED: Mutex<(u64, BTreeMap<u64, Watched>)> = Mutex::new((0, BTreeMap::new()));

#[derive(Debug)]
struct Watched {
    test: String,
    since: Instant,
}

/// The watchdog watches a test as long as this value lives.
#[derive(Debug)]
pub(crate) struct Watch {
    number: u64,
}

impl Watch {
    /// Watches the test that runs on this thread.
    pub(crate) fn new() -> Watch {
        static WATCHDOG: Once = Once::new();
        WATCHDOG.call_once(|| drop(std::thread::spawn(look)));
        let test = std::thread::current().name().unwrap_or("a thread without a name").to_owned();
        let (next, watched) = &mut *WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        watched.insert(*next, Watched { test, since: Instant::now() });
        Watch { number: *next }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.number);
    }
}

fn look() {
    loop {
        std::thread::sleep(LOOK_AGAIN);
        let overdue = {
            let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
            watched
                .1
                .values()
                .find(|watched| watched.since.elapsed() > LIMIT)
                .map(|watched| watched.test.clone())
        };
        if let Some(test) = overdue {
            end(&test);
        }
    }
}

/// Writes directly to standard error, because the output of a test that never ends is never shown.
fn end(test: &str) -> ! {
    let processes =
        Command::new("ps").args(["-eo", "pid,ppid,stat,etime,wchan:24,args", "--forest"]).output();
    let processes = processes.map(|output| output.stdout).unwrap_or_default();
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "{test} has not ended after {} s; what runs:", LIMIT.as_secs());
    let _ = stderr.write_all(&processes);
    std::process::abort();
}
