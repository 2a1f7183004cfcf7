//! The counts of a run, for the summary at its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::timeline::NotBelieved;

/// The counts of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Events that could be read.
    pub events: u64,
    /// The part of `events` that was read only by the lenient second attempt.
    pub repaired: u64,
    pub dead_letters: u64,
    /// Communications that the sink has confirmed.
    pub confirmed: u64,
    /// Copies of events that had been decided before; they led to nothing.
    pub repeats: u64,
    /// Timers that have fired.
    pub timers: u64,
    /// Events that no campaign takes.
    pub unclaimed: u64,
    /// Fields that count as absent because their value has another type or is out of range.
    pub field_mismatches: u64,
    /// Times that did not advance the clock; only with event time.
    pub times_not_believed: NotBelieved,
    pub campaigns: BTreeMap<Arc<str>, CampaignTally>,
}

/// The counts of one campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CampaignTally {
    /// Calls of a handler that returned an outcome.
    pub decided: u64,
    /// Events for which no handler was called, because a required field was absent or a field could
    /// not be used.
    pub skipped: u64,
    /// Events that a handler's condition did not match.
    pub missed: u64,
    /// Events that came while the campaign was stopped, by reason: paused or suspended.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub missed_while: BTreeMap<&'static str, u64>,
    /// Calls that ended in a fault.
    pub faults: u64,
    /// Events and timers that were held behind a failure.
    pub held: u64,
    /// Communications, by channel.
    pub published: BTreeMap<&'static str, u64>,
    /// Communications that were suppressed, by reason.
    pub suppressed: BTreeMap<&'static str, u64>,
    /// How often a communication was deferred.
    #[serde(skip_serializing_if = "is_zero")]
    pub deferred: u64,
}

impl Tally {
    /// Adds the counts of another tally.
    pub fn add(&mut self, other: Tally) {
        self.events += other.events;
        self.repaired += other.repaired;
        self.dead_letters += other.dead_letters;
        self.confirmed += other.confirmed;
        self.repeats += other.repeats;
        self.timers += other.timers;
        self.unclaimed += other.unclaimed;
        self.field_mismatches += other.field_mismatches;
        // Only the entrance counts these.
        if other.times_not_believed.count > 0 {
            self.times_not_believed = other.times_not_believed;
        }
        for (name, theirs) in other.campaigns {
            let ours = self.campaigns.entry(name).or_default();
            ours.decided += theirs.decided;
            ours.skipped += theirs.skipped;
            ours.missed += theirs.missed;
            ours.faults += theirs.faults;
            ours.held += theirs.held;
            ours.deferred += theirs.deferred;
            for (reason, count) in theirs.missed_while {
                *ours.missed_while.entry(reason).or_default() += count;
            }
            for (channel, count) in theirs.published {
                *ours.published.entry(channel).or_default() += count;
            }
            for (reason, count) in theirs.suppressed {
                *ours.suppressed.entry(reason).or_default() += count;
            }
        }
    }

    /// Communications of all campaigns.
    #[must_use]
    pub fn communications(&self) -> u64 {
        self.campaigns.values().flat_map(|campaign| campaign.published.values()).sum()
    }
}

/// Whether a count is left out of the summary.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
