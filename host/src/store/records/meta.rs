//! What the store knows about the engine itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::failure::FailureTotal;
use super::seen::SeenPeriod;
use super::trail::Period;
use crate::clock::Millis;

/// How far the engine has come. Written with every commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of the last commit.
    pub commit: u64,
    /// The latest `now` of any event; the next is never earlier.
    pub now: Millis,
    /// For how long a source has been connected, over all runs, in milliseconds.
    pub connected_ms: Millis,
    /// How often the store has been opened for a run.
    pub runs: u64,
    /// What the journal's rows amount to, with those that have been swept: see [`Swept`].
    pub journal_bytes: u64,
    pub sessions: Sessions,
    /// The number of the next failure.
    #[serde(default)]
    pub failure_next: u64,
    /// What the failures of each campaign amount to.
    #[serde(default)]
    pub failures: BTreeMap<Arc<str>, FailureTotal>,
    /// To which period of the trail this commit has added.
    #[serde(default = "Period::of_before")]
    pub trail: Period,
    /// To which period of what was seen this commit has added; `None` if none has begun.
    #[serde(default)]
    pub seen: Option<SeenPeriod>,
}

/// When the last sessions of the source were last known to be alive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The oldest first.
    alive: Vec<(u64, Millis)>,
}

impl Sessions {
    /// More than can matter at once: an occurrence stays open for seconds.
    const KEPT_MAX: usize = 32;

    /// The session was alive at `now`.
    pub fn alive(&mut self, session: u64, now: Millis) {
        match self.alive.iter_mut().rev().find(|(known, _)| *known == session) {
            Some((_, last)) => *last = now.max(*last),
            None => {
                if self.alive.len() == Self::KEPT_MAX {
                    self.alive.remove(0);
                }
                self.alive.push((session, now));
            }
        }
    }

    /// When the session was last known to be alive; `None` if it is forgotten, which it is long after its end.
    #[must_use]
    pub fn last_alive(&self, session: u64) -> Option<Millis> {
        self.alive.iter().rev().find(|(known, _)| *known == session).map(|(_, last)| *last)
    }
}

/// What has been removed because it was too old or too much. Written with what removes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// Rows of the journal.
    pub journal_bytes: u64,
}

impl Swept {
    pub const KEY: &'static [u8] = b"swept";
}

impl Progress {
    pub const KEY: &'static [u8] = b"progress";
}

#[cfg(test)]
mod tests {
    use super::super::{decode, encode};
    use super::*;
    use crate::store::Table;

    #[test]
    fn what_a_version_without_periods_has_written_has_none_to_go_on_with() {
        let now = encode(&Progress { commit: 7, ..Progress::default() });
        // One member fewer: nothing. And one more: an array of two small numbers.
        for (bytes, members, trail) in [(1, 1, Period::default()), (4, 2, Period::of_before())] {
            let mut before = now[..now.len() - bytes].to_vec();
            before[0] -= members;
            let read: Progress = decode(Table::Meta, &before).unwrap();
            assert_eq!(read, Progress { commit: 7, trail, ..Progress::default() });
        }
    }
}
