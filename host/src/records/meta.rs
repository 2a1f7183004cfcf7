//! What the store knows about the engine itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::failure::{FailureDelta, FailureTotal};
use super::seen::SeenPeriod;
use super::trail::Period;
use crate::clock::{ClockMark, Millis};

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
    /// What is known of the machine's clock.
    #[serde(default)]
    pub clock: ClockRecord,
    /// What campaigns with `per_hour_max` have sent in their hour.
    #[serde(default)]
    pub hours: BTreeMap<Arc<str>, HourCount>,
    /// What the circuit breaker has counted of campaigns that faulted lately.
    #[serde(default)]
    pub faults: BTreeMap<Arc<str>, FaultCount>,
    /// What the trials of canaries have counted, by canary.
    #[serde(default)]
    pub trials: BTreeMap<Arc<str>, TrialCount>,
    /// What each campaign missed while it was stopped, as far as it is kept.
    #[serde(default)]
    pub missed: BTreeMap<Arc<str>, FailureTotal>,
}

/// What a campaign's calls came to lately. There is none for a campaign without a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    /// Of the campaign.
    pub version: Arc<str>,
    /// The rule set in which the counting began.
    pub rule_set: u64,
    pub in_a_row: u32,
    /// Of those that are judged together.
    pub calls: u32,
    pub faults: u32,
}

/// A canary beside its campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialCount {
    /// The versions of the campaign and of the canary.
    pub versions: (Arc<str>, Arc<str>),
    pub percent: u32,
    /// Events, and what was sent for them.
    pub campaign: (u64, u64),
    pub canary: (u64, u64),
}

/// What a campaign has sent in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourCount {
    /// Hours since 1970-01-01 UTC.
    pub number: Millis,
    /// How often the campaign was resumed in this hour after it had sent too much.
    pub round: u32,
    pub sent: u32,
    /// It was about to send more.
    pub is_full: bool,
}

/// What is known of the machine's clock, to compare it with at the next start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockRecord {
    /// The last reading that was not in doubt; `None` in a store that no engine has run with on the machine's clock.
    pub mark: Option<ClockMark>,
    /// The last time that an operator set the kept time back.
    pub set_back: Option<SetBack>,
    /// The events tell the time (`clock.source = "events"`), so the machine's clock says nothing about `now`.
    pub is_of_events: bool,
}

/// The kept time was ahead of the machine's clock, and was set back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBack {
    /// The last commit before.
    pub commit: u64,
    /// The time to which it was set.
    pub now: Millis,
}

impl ClockRecord {
    /// The age of what a commit holds counts from here: a commit from before the kept time was set back is not younger than that.
    #[must_use]
    pub fn dated(&self, commit: u64, now: Millis) -> Millis {
        match self.set_back {
            Some(set_back) if commit <= set_back.commit => now.min(set_back.now),
            _ => now,
        }
    }
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

    /// The kept time is set back: no session was alive later.
    pub fn set_back(&mut self, now: Millis) {
        // What has settled stays settled.
        for (_, last) in self.alive.iter_mut().filter(|(_, last)| *last != Millis::MAX) {
            *last = now.min(*last);
        }
    }

    /// The session has ended, and every acknowledgement of it has reached the broker. False if it is not known.
    pub fn settle(&mut self, session: u64) -> bool {
        let known = self.alive.iter_mut().rev().find(|(known, _)| *known == session);
        known.map(|(_, last)| *last = Millis::MAX).is_some()
    }

    /// Every session before this one has ended, and what it left unacknowledged has come again. False if that was known.
    pub fn settle_before(&mut self, session: u64) -> bool {
        let earlier = self.alive.iter_mut().filter(|(known, last)| *known < session && *last != Millis::MAX);
        earlier.map(|(_, last)| *last = Millis::MAX).count() > 0
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
    /// Counts a change of what is kept for a campaign.
    pub(crate) fn count(&mut self, delta: FailureDelta) {
        let FailureDelta { campaign, count, bytes, is_missed } = delta;
        let totals = if is_missed { &mut self.missed } else { &mut self.failures };
        totals.entry(campaign).or_default().add(count, bytes);
    }

    pub const KEY: &'static [u8] = b"progress";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{decode, encode};
    use crate::store::Table;

    #[test]
    fn what_a_version_without_periods_has_written_has_none_to_go_on_with() {
        let now = encode(&Progress { commit: 7, ..Progress::default() });
        // What was missed, the trials, the faults and the hours are empty maps, the clock an array of nothing, nothing and false. Before it: nothing. And before that: an array of two small numbers.
        for (bytes, members, trail) in [
            (1, 1, Period::default()),
            (4, 4, Period::default()),
            (8, 5, Period::default()),
            (9, 6, Period::default()),
            (12, 7, Period::of_before()),
        ] {
            let mut rest = &now[..];
            let all = rmp::decode::read_array_len(&mut rest).unwrap();
            let mut before = Vec::new();
            rmp::encode::write_array_len(&mut before, all - members).unwrap();
            before.extend_from_slice(&rest[..rest.len() - bytes]);
            let read: Progress = decode(Table::Meta, &before).unwrap();
            assert_eq!(read, Progress { commit: 7, trail, ..Progress::default() });
        }
    }
}
