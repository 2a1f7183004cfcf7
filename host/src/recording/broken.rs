//! What of a recording can't be read: told with its place and what to do, and counted, so that nothing is passed over quietly.

use std::fmt;

use serde::Serialize;

/// So many are kept to be shown.
const SHOWN_MAX: usize = 20;

/// Something that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{place}: {reason}; {next_step}")]
pub struct Broken {
    /// `events.jsonl:17`.
    pub place: String,
    /// Never a value of the event.
    pub reason: String,
    pub next_step: String,
}

/// Everything that could not be read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Troubles {
    pub count: u64,
    /// The first of them.
    pub shown: Vec<Broken>,
    #[serde(skip)]
    is_strict: bool,
}

impl Troubles {
    /// Of a reading that ends with the first, if it is strict.
    #[must_use]
    pub fn new(is_strict: bool) -> Troubles {
        Troubles { is_strict, ..Troubles::default() }
    }

    /// Notes one.
    ///
    /// # Errors
    /// With it, if the reading is strict.
    pub fn add(&mut self, broken: Broken) -> Result<(), Broken> {
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

impl fmt::Display for Troubles {
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
