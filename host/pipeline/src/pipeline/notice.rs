//! The notices of the decision core: plain data, in the order of its decisions. A running engine
//! counts and logs them, and suspends campaigns for them (`report.rs`); a dry run uses some of
//! them.

use std::sync::Arc;

use hailer_abi::wire::Channel;
use hailer_engine::{GuestFault, RuleSet};
use hailer_event::EventId;
use hailer_policies::Reason;

/// One notice. A campaign is given by its index in the rule set.
#[derive(Debug)]
pub(super) enum Notice {
    /// No campaign takes the event.
    Unclaimed,
    /// Campaigns take the event. `mismatches` is the number of values of its fields that were of
    /// another kind than documented.
    Taken { mismatches: u32 },
    /// Values of a field were present and could not be used; `mismatches` is their number.
    Unusable { field: Box<str>, mismatches: u32 },
    /// A timer has fired.
    TimerFired,
    /// The rule answered. `is_judged`: the answer counts for the circuit breaker.
    Answered { campaign: usize, is_judged: bool },
    /// The rule was not called, as a field is absent or can't be used.
    Skipped { campaign: usize },
    /// The rule faulted. `is_judged`: the fault counts for the circuit breaker.
    Faulted { campaign: usize, is_judged: bool, fault: Box<Fault> },
    /// The event, or the timer, waits behind a failure.
    Held { campaign: usize },
    /// A failure is not kept, as as many are kept as may be.
    FailureNotKept { campaign: usize, event: EventId },
    /// The campaign is paused or suspended. `is_lost`: the event should have been kept for it, and
    /// there is no room.
    MissedWhileStopped { campaign: usize, reason: &'static str, is_lost: bool },
    /// A communication passes the policies, and goes to the outbox.
    Passed { campaign: usize, channel: Channel },
    /// A policy suppressed a communication. `policy` is its name, if it has one.
    Suppressed { campaign: usize, channel: Channel, why: Reason, policy: Option<Box<str>> },
    /// A communication is deferred, or deferred again, for these quiet hours.
    Deferred { campaign: usize, channel: Channel, policy: Box<str> },
    /// A deferred communication is not sent. The campaign may not be loaded.
    Undeferred { campaign: Arc<str>, channel: Channel, why: Reason },
    /// A customer's consent is recorded.
    ConsentChanged { source: ConsentSource },
    /// What an event says about a customer's consent cannot be used, or not all of it.
    StatementUnusable { event: EventId, what: Box<str> },
    /// A customer's time zone is no zone, and counts as not known.
    ZoneUnusable,
    /// The campaign has sent as many communications in this hour as it may.
    HourFull { campaign: usize, max: u32 },
    /// A merge is refused: the two customers together are too large.
    MergeTooLarge { event: EventId },
    /// A state or a timer of a campaign that is not loaded is lost in a merge.
    StateLostInMerge { campaign: Arc<str>, event: EventId },
    /// A shadow begins without its campaign's state: the customer's row has no room for it.
    ShadowTooLarge { campaign: Arc<str> },
}

/// Where a recorded consent comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConsentSource {
    Event,
    Import,
}

/// A fault of a rule, and what it faulted on.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) event: EventId,
    /// The event's code, or the timer's name.
    pub(super) code: Box<str>,
    pub(super) fault: GuestFault,
    /// The fault as text.
    pub(super) error: Box<str>,
}

/// Events that did not match a handler's condition, by campaign. With many rules most events
/// match few of them, so misses are counted and are no notices.
///
/// The index of conditions names the handlers that an event may match, and the others are not
/// touched: an event that passes a whole reading is counted once. What it was among the candidates
/// of is subtracted when the counts are taken out.
#[derive(Debug, Default)]
pub(super) struct Misses {
    by_campaign: Vec<u64>,
    /// Campaigns with misses.
    campaigns: Vec<usize>,
    /// Events that passed each reading through its index.
    passed: Vec<u64>,
    all_passed: u64,
    /// For each campaign, the events among `passed` of which it was a candidate.
    candidates: Vec<u64>,
}

impl Misses {
    /// Counts for this rule set. A caller that changes the rule set drains the counts before.
    pub(super) fn adopt(&mut self, rules: &RuleSet) {
        let (campaigns, readings) = (rules.campaigns().len(), rules.readings().len());
        if self.by_campaign.len() != campaigns || self.passed.len() != readings {
            *self = Misses {
                by_campaign: vec![0; campaigns],
                candidates: vec![0; campaigns],
                passed: vec![0; readings],
                ..Misses::default()
            };
        }
    }

    #[inline]
    pub(super) fn count(&mut self, campaign: usize) {
        self.add(campaign, 1);
    }

    fn add(&mut self, campaign: usize, events: u64) {
        let misses = &mut self.by_campaign[campaign];
        if *misses == 0 && events > 0 {
            self.campaigns.push(campaign);
        }
        *misses += events;
    }

    /// Counts an event whose matches the index of the reading with this number found.
    #[inline]
    pub(super) fn passed(&mut self, reading: usize) {
        self.passed[reading] += 1;
        self.all_passed += 1;
    }

    /// Counts that a campaign was found for such an event.
    #[inline]
    pub(super) fn candidate(&mut self, campaign: usize) {
        self.candidates[campaign] += 1;
    }

    /// The events that passed an index and are not drained yet.
    pub(super) fn all_passed(&self) -> u64 {
        self.all_passed
    }

    /// Adds the misses of the events that passed an index, for the campaigns that run.
    pub(super) fn settle(&mut self, rules: &RuleSet, runs: impl Fn(usize) -> bool) {
        if std::mem::take(&mut self.all_passed) == 0 {
            return;
        }
        for reading in rules.readings() {
            let passed = std::mem::take(&mut self.passed[reading.number]);
            if passed == 0 {
                continue;
            }
            for subscription in reading.indexed() {
                let campaign = subscription.campaign;
                // A campaign takes events of several codes, and this reading has at most all of its
                // candidates.
                let found = self.candidates[campaign].min(passed);
                self.candidates[campaign] -= found;
                if runs(campaign) {
                    self.add(campaign, passed - found);
                }
            }
        }
    }

    /// Takes out every campaign with misses, and how many it has.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (usize, u64)> {
        let by_campaign = &mut self.by_campaign;
        self.campaigns
            .drain(..)
            .map(move |campaign| (campaign, std::mem::take(&mut by_campaign[campaign])))
    }
}
