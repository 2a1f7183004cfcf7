//! The rows about the engine itself: its progress, its clock, its sessions and its counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dedup::DedupPeriod;
use super::failure::{FailureDelta, FailureTotal};
use super::trail::TrailPeriod;
use hailer_base::clock::{ClockMark, Millis};

/// The engine's progress: the last commit, the clocks and the counters. Every commit writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of the last commit.
    pub commit: u64,
    /// The latest `now` of any event, in ms since 1970. No later event gets an earlier one.
    pub now: Millis,
    /// The time for which a source has been connected, over all runs, in milliseconds.
    pub connected_ms: Millis,
    /// The number of runs that have opened the store.
    pub runs: u64,
    /// The bytes of all journal rows ever written, including deleted ones: see [`ExpiredTotals`].
    pub journal_bytes: u64,
    pub sessions: Sessions,
    /// The number of the next failure.
    pub failure_next: u64,
    /// The number and the size of each campaign's failures.
    pub failures: BTreeMap<Arc<str>, FailureTotal>,
    /// The period of the trail to which this commit has added.
    pub trail: TrailPeriod,
    /// The dedup period to which this commit has added; `None` if none has begun.
    pub dedup: Option<DedupPeriod>,
    /// The record of the machine's clock.
    pub clock: ClockRecord,
    /// The number of communications that each campaign with `per_hour_max` has sent in its hour.
    pub hours: BTreeMap<Arc<str>, HourCount>,
    /// The circuit breaker's counts for campaigns that faulted recently.
    pub faults: BTreeMap<Arc<str>, FaultCount>,
    /// The counts of canary trials, by canary.
    pub trials: BTreeMap<Arc<str>, TrialCount>,
    /// The number and the size of each campaign's missed events that are kept.
    pub missed: BTreeMap<Arc<str>, FailureTotal>,
    /// The number of deferred messages.
    pub deferred: u64,
}

/// Recent results of a campaign's calls. A campaign without a fault has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    /// The campaign's version.
    pub version: Arc<str>,
    /// The rule set in which the counting began.
    pub rule_set: u64,
    pub in_a_row: u32,
    /// The calls and faults in the current window of the breaker.
    pub calls: u32,
    pub faults: u32,
}

/// The counts of a canary and its campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialCount {
    /// The versions of the campaign and of the canary.
    pub versions: (Arc<str>, Arc<str>),
    pub percent: u32,
    /// Events, and the communications sent for them: (events, sent).
    pub campaign: (u64, u64),
    pub canary: (u64, u64),
}

/// The number of communications that a campaign has sent in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourCount {
    /// Hours since 1970-01-01 UTC.
    pub number: Millis,
    /// The number of times the campaign was resumed in this hour after its hour was full.
    pub round: u32,
    pub sent: u32,
    /// Whether the campaign tried to send more than its limit.
    pub is_full: bool,
}

/// The last reading of the machine's clock, for comparison at the next start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockRecord {
    /// The last trusted reading; `None` if no engine has run on the machine's clock with this
    /// store.
    pub mark: Option<ClockMark>,
    /// The last time that an operator set the clock of the store back; `None` if that never
    /// happened.
    pub set_back: Option<SetBack>,
    /// Whether event time drives the clock (`clock.source = "events"`). The machine's clock then
    /// says nothing about `now`.
    pub is_of_events: bool,
}

/// The store's `now` was ahead of the machine's clock, and an operator set it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBack {
    /// The last commit before the change.
    pub commit: u64,
    /// The time to which the clock was set, in ms since 1970.
    pub now: Millis,
}

impl ClockRecord {
    /// The time from which a commit's age is counted. A commit from before the clock was set back
    /// counts as no later than the time to which it was set.
    #[must_use]
    pub fn dated(&self, commit: u64, now: Millis) -> Millis {
        match self.set_back {
            Some(set_back) if commit <= set_back.commit => now.min(set_back.now),
            _ => now,
        }
    }
}

/// When each recent session of the source was last known to be alive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Oldest first.
    alive: Vec<(u64, Millis)>,
}

impl Sessions {
    /// More sessions than matter at once: an occurrence stays open for seconds only.
    const KEPT_MAX: usize = 32;

    /// Records that the session was alive at `now`.
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

    /// The store's clock is set back to `now`, so no session can have been alive later.
    pub fn set_back(&mut self, now: Millis) {
        // A settled session stays settled.
        for (_, last) in self.alive.iter_mut().filter(|(_, last)| *last != Millis::MAX) {
            *last = now.min(*last);
        }
    }

    /// Records that the session has ended and all its acknowledgements have reached the broker.
    /// Returns false if the session is not known.
    pub fn settle(&mut self, session: u64) -> bool {
        let known = self.alive.iter_mut().rev().find(|(known, _)| *known == session);
        known.map(|(_, last)| *last = Millis::MAX).is_some()
    }

    /// Records that every earlier session has ended, and that what it left unacknowledged has been
    /// delivered again. Returns false if that changes nothing.
    pub fn settle_before(&mut self, session: u64) -> bool {
        let earlier =
            self.alive.iter_mut().filter(|(known, last)| *known < session && *last != Millis::MAX);
        earlier.map(|(_, last)| *last = Millis::MAX).count() > 0
    }

    /// When the session was last known to be alive; `None` if it is forgotten, which happens long
    /// after its end.
    #[must_use]
    pub fn last_alive(&self, session: u64) -> Option<Millis> {
        self.alive.iter().rev().find(|(known, _)| *known == session).map(|(_, last)| *last)
    }
}

/// Totals of what retention has deleted. They are written with the commit that deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredTotals {
    /// The bytes of deleted journal rows.
    pub journal_bytes: u64,
}

impl ExpiredTotals {
    pub const KEY: &'static [u8] = b"swept";
}

impl Progress {
    /// Applies a change to the totals of one campaign.
    pub fn count(&mut self, delta: FailureDelta) {
        let FailureDelta { campaign, count, bytes, is_missed } = delta;
        let totals = if is_missed { &mut self.missed } else { &mut self.failures };
        totals.entry(campaign).or_default().add(count, bytes);
    }

    pub const KEY: &'static [u8] = b"progress";
}
