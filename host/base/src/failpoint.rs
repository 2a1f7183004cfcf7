//! Failpoints: named points in the code at which a test can kill the engine, as `kill -9` does.
//! They are part of the released binary and off by default. Passing one then costs a relaxed load.
//!
//! `HAILER_FAILPOINTS=during-commit=3,before-ack=10` kills the process when it passes
//! `during-commit` for the third time or `before-ack` for the tenth time, whichever comes first.
//! `clock-ms=-86400000` sets the engine's clock back by a day. An unknown failpoint name makes the
//! engine refuse to start.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use crate::clock::{self, Millis};

/// The environment variable that arms failpoints. It is not a setting, so no configuration file can
/// leave a failpoint armed.
pub const VARIABLE: &str = "HAILER_FAILPOINTS";
const CLOCK: &str = "clock-ms";

/// A point at which a test can kill the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Failpoint {
    /// The shard has taken a batch and has not decided any event of it.
    BeforeEvaluation,
    /// The shard has decided a batch and has not sent it to the committer.
    AfterEvaluation,
    /// The shard has decided a merge of customers, and it is not committed.
    DuringMerge,
    /// The shard has judged deferred messages again, and that is not committed.
    DuringRelease,
    /// The committer has taken groups and has not written any of them.
    BeforeCommit,
    /// Passed three times in each commit: before the write of its record, before the sync, and
    /// after the sync.
    DuringCommit,
    /// Passed before and after each commit that contains a deferred message.
    DuringDeferral,
    /// A commit is durable, and its receipts are not settled yet.
    AfterCommit,
    /// Passed before and after each flush of the store, and before each merge of tables.
    DuringApply,
    /// Communications are read from the outbox and not sent.
    BeforePublish,
    /// The broker has confirmed some of a batch, and the engine has not recorded it.
    BeforeConfirm,
    /// A whole batch is confirmed, and its rows are still in the outbox.
    BeforeRemoval,
    /// Events are settled, and their acknowledgement is not sent to the broker.
    BeforeAck,
    /// The accepted campaigns of the rules directory are written to disk and do not run yet.
    DuringReload,
    /// Passed before `hailer store compact` merges all tables, after it, and while it overwrites
    /// the log.
    DuringCompaction,
}

static ARE_ARMED: AtomicBool = AtomicBool::new(false);
/// The number of passes left for each failpoint, including the one that kills the process. 0 means
/// that it never does.
static LEFT: [AtomicU64; Failpoint::ALL.len()] =
    [const { AtomicU64::new(0) }; Failpoint::ALL.len()];

/// The value of the variable is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FailpointError {
    #[error("{VARIABLE} has an unknown failpoint `{name}`; use one of {}, or {CLOCK}", names())]
    Unknown { name: String },
    #[error(
        "{VARIABLE} has an invalid part `{part}`; write NAME=TIMES with TIMES of at least 1, or \
         {CLOCK}=MILLISECONDS, or unset the variable"
    )]
    Malformed { part: String },
}

impl Failpoint {
    /// All failpoints, in the order in which an event passes them.
    pub const ALL: [Failpoint; 15] = [
        Failpoint::BeforeEvaluation,
        Failpoint::AfterEvaluation,
        Failpoint::DuringMerge,
        Failpoint::DuringRelease,
        Failpoint::BeforeCommit,
        Failpoint::DuringCommit,
        Failpoint::DuringDeferral,
        Failpoint::AfterCommit,
        Failpoint::DuringApply,
        Failpoint::BeforePublish,
        Failpoint::BeforeConfirm,
        Failpoint::BeforeRemoval,
        Failpoint::BeforeAck,
        Failpoint::DuringReload,
        Failpoint::DuringCompaction,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Failpoint::BeforeEvaluation => "before-evaluation",
            Failpoint::AfterEvaluation => "after-evaluation",
            Failpoint::DuringMerge => "during-merge",
            Failpoint::DuringRelease => "during-release",
            Failpoint::BeforeCommit => "before-commit",
            Failpoint::DuringCommit => "during-commit",
            Failpoint::DuringDeferral => "during-deferral",
            Failpoint::AfterCommit => "after-commit",
            Failpoint::DuringApply => "during-apply",
            Failpoint::BeforePublish => "before-publish",
            Failpoint::BeforeConfirm => "before-confirm",
            Failpoint::BeforeRemoval => "before-removal",
            Failpoint::BeforeAck => "before-ack",
            Failpoint::DuringReload => "during-reload",
            Failpoint::DuringCompaction => "during-compaction",
        }
    }

    /// Kills the process if this is the pass for which the failpoint is armed.
    #[inline]
    pub fn pass(self) {
        if ARE_ARMED.load(Ordering::Relaxed) {
            self.pass_armed();
        }
    }

    #[cold]
    fn pass_armed(self) {
        let left = &LEFT[self as usize];
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            == Ok(1)
        {
            // SIGKILL: no destructor runs, and no buffer is flushed.
            let _ = kill_process(getpid(), Signal::KILL);
            std::process::abort();
        }
    }
}

/// Arms the failpoints that the environment variable names. Returns the variable's text for a
/// warning in the log; `None` if nothing is armed.
///
/// # Errors
/// When the variable has an unknown name or an invalid number.
pub fn arm() -> Result<Option<String>, FailpointError> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let text = text.to_string_lossy().into_owned();
    let armed = read(&text)?;
    for (point, times) in &armed.points {
        LEFT[*point as usize].store(*times, Ordering::Relaxed);
    }
    ARE_ARMED.store(!armed.points.is_empty(), Ordering::Relaxed);
    clock::shift(armed.clock_ms);
    Ok((armed != Armed::default()).then_some(text))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Armed {
    points: Vec<(Failpoint, u64)>,
    clock_ms: Millis,
}

fn read(text: &str) -> Result<Armed, FailpointError> {
    let mut armed = Armed::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let malformed = || FailpointError::Malformed { part: part.to_owned() };
        let (name, number) = part.split_once('=').unwrap_or((part, ""));
        if name == CLOCK {
            armed.clock_ms = number.parse().map_err(|_| malformed())?;
            continue;
        }
        let point = Failpoint::ALL.into_iter().find(|point| point.name() == name);
        let point = point.ok_or_else(|| FailpointError::Unknown { name: name.to_owned() })?;
        let times = number.parse().ok().filter(|times| *times > 0).ok_or_else(malformed)?;
        armed.points.push((point, times));
    }
    Ok(armed)
}

fn names() -> String {
    Failpoint::ALL.map(Failpoint::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_failpoints_in_the_order_of_their_numbers() {
        for (place, point) in Failpoint::ALL.into_iter().enumerate() {
            assert_eq!(point as usize, place, "{}", point.name());
        }
    }

    #[test]
    fn reads_names_and_numbers() {
        let armed = read("during-commit=3, before-ack=10,clock-ms=-86400000").unwrap();
        assert_eq!(armed.points, [(Failpoint::DuringCommit, 3), (Failpoint::BeforeAck, 10)]);
        assert_eq!(armed.clock_ms, -86_400_000);
        assert_eq!(read(" ").unwrap(), Armed::default());
    }

    #[test]
    fn refuses_unknown_names_and_lists_the_known_ones() {
        let refused = read("before-lunch=1").unwrap_err().to_string();
        assert!(
            refused.contains("`before-lunch`")
                && refused.contains("before-evaluation, after-evaluation"),
            "{refused}"
        );
        for malformed in
            ["before-ack", "before-ack=", "before-ack=0", "before-ack=-1", "clock-ms=soon"]
        {
            assert!(
                matches!(read(malformed), Err(FailpointError::Malformed { .. })),
                "{malformed}"
            );
        }
    }
}
