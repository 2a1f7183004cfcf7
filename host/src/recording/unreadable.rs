//! Unreadable parts of a recording: each is reported with its place and what to do, and counted, so
//! that none is skipped silently.

use std::fmt;

use serde::Serialize;

/// Maximum of problems that are kept for display.
const SHOWN_MAX: usize = 20;

/// An unreadable line, message or file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{place}: {reason}; {next_step}")]
pub struct UnreadableEntry {
    /// File and line, such as `events.jsonl:17`.
    pub place: String,
    /// The reason; never contains a value of the event.
    pub reason: String,
    pub next_step: String,
}

/// All unreadable parts so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadableEntries {
    pub count: u64,
    /// The first of them.
    pub shown: Vec<UnreadableEntry>,
    #[serde(skip)]
    is_strict: bool,
}

impl UnreadableEntries {
    /// Creates an empty list. If `is_strict`, the first problem ends the reading.
    #[must_use]
    pub fn new(is_strict: bool) -> UnreadableEntries {
        UnreadableEntries { is_strict, ..UnreadableEntries::default() }
    }

    /// Adds a problem.
    ///
    /// # Errors
    /// Returns the problem as an error if the reading is strict.
    pub fn add(&mut self, broken: UnreadableEntry) -> Result<(), UnreadableEntry> {
        if self.is_strict {
            return Err(broken);
        }
        self.count += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(broken);
        }
        Ok(())
    }
}

impl fmt::Display for UnreadableEntries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for broken in &self.shown {
            writeln!(formatter, "not read: {broken}")?;
        }
        match self.count - self.shown.len() as u64 {
            0 => Ok(()),
            more => writeln!(formatter, "not read: {more} more"),
        }
    }
}
