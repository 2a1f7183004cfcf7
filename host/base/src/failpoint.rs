//! Places at which the engine can be told to end as `kill -9` ends it, so that tests can choose the moment. They are in the very
//! binary that ships, and off unless the environment says otherwise; then passing one costs a relaxed load.
//!
//! `HAILER_FAILPOINTS=during-commit=3,before-ack=10` ends the process the third time that it is in the middle of a commit, or the
//! tenth time that it is about to acknowledge, whichever comes first. `clock-ms=-86400000` sets the engine's clock a day back.
//! What it names and nobody knows refuses the start.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use crate::clock::{self, Millis};

/// The variable that arms failpoints. It is no setting: no file can leave one behind.
pub const VARIABLE: &str = "HAILER_FAILPOINTS";
const CLOCK: &str = "clock-ms";

/// A place to end at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Failpoint {
    /// A batch is taken, and nothing of it is decided.
    BeforeEvaluation,
    /// A batch is decided, and not on its way to be committed.
    AfterEvaluation,
    /// A merge is decided, and not committed.
    DuringMerge,
    /// Groups are taken, and nothing of them is written.
    BeforeCommit,
    /// Three times a commit: before its record is handed to the disk, before the sync, and behind it.
    DuringCommit,
    /// A commit is durable, and nobody has been told.
    AfterCommit,
    /// Before and after memory with many commits is written to tables, and before tables are merged.
    DuringApply,
    /// Communications are taken from the outbox, and not sent.
    BeforePublish,
    /// The broker has confirmed some of a batch, and the engine has not taken note.
    BeforeConfirm,
    /// All of a batch is confirmed, and still in the outbox.
    BeforeRemoval,
    /// Events are settled, and the broker has not been told.
    BeforeAck,
    /// What was accepted of the rules' directory is written down, and does not run yet.
    DuringReload,
    /// Before `hailer store compact` merges all tables, and after it, when the log is not overwritten yet.
    DuringCompaction,
}

static ARE_ARMED: AtomicBool = AtomicBool::new(false);
/// How often each may still be passed, the last time included; 0 is for ever.
static LEFT: [AtomicU64; Failpoint::ALL.len()] = [const { AtomicU64::new(0) }; Failpoint::ALL.len()];

/// What the variable says can't be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FailpointError {
    #[error("{VARIABLE} names `{name}`, which is no failpoint; there are {}, and {CLOCK}", names())]
    Unknown { name: String },
    #[error(
        "{VARIABLE} has `{part}`; write NAME=TIMES with a number from 1 on, or {CLOCK}=MILLISECONDS; unset it to have none"
    )]
    Malformed { part: String },
}

impl Failpoint {
    /// In the order in which an event comes by.
    pub const ALL: [Failpoint; 13] = [
        Failpoint::BeforeEvaluation,
        Failpoint::AfterEvaluation,
        Failpoint::DuringMerge,
        Failpoint::BeforeCommit,
        Failpoint::DuringCommit,
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
            Failpoint::BeforeCommit => "before-commit",
            Failpoint::DuringCommit => "during-commit",
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

    /// Ends the process here if this is the time that it was armed for.
    #[inline]
    pub fn pass(self) {
        if ARE_ARMED.load(Ordering::Relaxed) {
            self.pass_armed();
        }
    }

    #[cold]
    fn pass_armed(self) {
        let left = &LEFT[self as usize];
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1) {
            // No destructor runs, and nothing is flushed.
            let _ = kill_process(getpid(), Signal::KILL);
            std::process::abort();
        }
    }
}

/// Arms what the environment names, and returns its text, to be said loudly; `None` if there is nothing.
///
/// # Errors
/// When it names what there is not.
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
    fn every_failpoint_stands_in_its_place() {
        for (place, point) in Failpoint::ALL.into_iter().enumerate() {
            assert_eq!(point as usize, place, "{}", point.name());
        }
    }

    #[test]
    fn points_are_told_by_name_and_number() {
        let armed = read("during-commit=3, before-ack=10,clock-ms=-86400000").unwrap();
        assert_eq!(armed.points, [(Failpoint::DuringCommit, 3), (Failpoint::BeforeAck, 10)]);
        assert_eq!(armed.clock_ms, -86_400_000);
        assert_eq!(read(" ").unwrap(), Armed::default());
    }

    #[test]
    fn what_nobody_knows_is_refused_with_what_there_is() {
        let refused = read("before-lunch=1").unwrap_err().to_string();
        assert!(
            refused.contains("`before-lunch`") && refused.contains("before-evaluation, after-evaluation"),
            "{refused}"
        );
        for malformed in ["before-ack", "before-ack=", "before-ack=0", "before-ack=-1", "clock-ms=soon"] {
            assert!(matches!(read(malformed), Err(FailpointError::Malformed { .. })), "{malformed}");
        }
    }
}
