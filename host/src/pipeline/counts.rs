//! What one shard counts, for the summary at the end and for `/metrics` meanwhile. Places and handles are looked up once a rule set, not once a
//! call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hailer_abi::wire::Channel;
use metrics::Counter;

use super::breaker::{Breaker, BreakerSettings, FaultChange};
use super::log_allowance::LogAllowance;
use super::tally::{CampaignTally, Tally};
use crate::engine::{Campaign, GuestFault, RuleSet};
use crate::metrics as names;
use crate::policies::Suppression;
use crate::records::FaultCount;

/// The counts of one shard.
pub(super) struct Counts {
    rules: Arc<RuleSet>,
    breaker: BreakerSettings,
    /// What was committed of campaigns that faulted, for the first rule set.
    committed: BTreeMap<Arc<str>, FaultCount>,
    campaigns: Vec<CampaignCounts>,
    tally: Tally,
    decided: Counter,
    unsubscribed: Counter,
    repeats: Counter,
    timers: Counter,
    rechecked: Counter,
    log_bytes_cut: Counter,
    /// Campaigns with misses that the metric does not show yet.
    missing: Vec<usize>,
}

/// The counts of one campaign under one rule set.
pub(super) struct CampaignCounts {
    name: Arc<str>,
    tally: CampaignTally,
    decided: Counter,
    skipped: Counter,
    /// Misses that the metric does not show yet.
    missed: u64,
    guard_misses: Option<Counter>,
    published: [Option<Counter>; Channel::ALL.len()],
    version: Arc<str>,
    breaker: Breaker,
    /// The rule set in which the breaker began to count.
    began: u64,
    not_kept: u64,
    missed_not_kept: u64,
    log: LogAllowance,
}

/// What a campaign's breaker has counted on one shard, to be committed.
#[derive(Clone, Debug)]
pub(super) struct CampaignFaults {
    /// The campaign's name and version.
    names: (Arc<str>, Arc<str>),
    began: u64,
    change: FaultChange,
}

impl CampaignFaults {
    pub(super) fn count(self, committed: &mut BTreeMap<Arc<str>, FaultCount>) {
        self.change.count(self.names, self.began, committed);
    }
}

impl Counts {
    pub(super) fn new(breaker: BreakerSettings, committed: BTreeMap<Arc<str>, FaultCount>) -> Counts {
        let events = |outcome: &'static str| ::metrics::counter!(names::EVENTS_TOTAL, "outcome" => outcome);
        Counts {
            rules: Arc::new(RuleSet::empty()),
            breaker,
            committed,
            campaigns: Vec::new(),
            tally: Tally::default(),
            decided: events("decided"),
            unsubscribed: events("unsubscribed"),
            repeats: events("repeat"),
            timers: ::metrics::counter!(names::TIMERS_FIRED_TOTAL),
            rechecked: ::metrics::counter!(names::RECHECKED_TOTAL),
            log_bytes_cut: ::metrics::counter!(names::LOG_BYTES_CUT_TOTAL),
            missing: Vec::new(),
        }
    }

    /// Counts for the campaigns of this rule set from now on.
    pub(super) fn adopt(&mut self, rules: &Arc<RuleSet>) {
        if Arc::ptr_eq(&self.rules, rules) {
            return;
        }
        self.put_away();
        let committed = std::mem::take(&mut self.committed);
        let counts = |campaign: &Arc<Campaign>| {
            let spec = &campaign.spec;
            let committed = committed.get(&spec.name).filter(|count| count.version == spec.version);
            CampaignCounts::new((&spec.name, &spec.version), self.breaker, committed, rules.number)
        };
        self.campaigns = rules.campaigns().iter().map(counts).collect();
        self.rules = Arc::clone(rules);
    }

    pub(super) fn of(&mut self, campaign: usize) -> &mut CampaignCounts {
        &mut self.campaigns[campaign]
    }

    /// An event that campaigns take, and how many of its fields were of another kind than documented.
    pub(super) fn event(&mut self, mismatches: u32) {
        self.decided.increment(1);
        self.tally.field_mismatches += u64::from(mismatches);
    }

    /// So many values of a field were there and could not be used. Rare, so the counter is looked up each time.
    pub(super) fn unusable(&self, field: &str, mismatches: u32) {
        let counter = ::metrics::counter!(names::FIELD_MISMATCHES_TOTAL, "field" => field.to_owned());
        counter.increment(mismatches.into());
    }

    /// An event that has been decided before; without an id that may be an error.
    pub(super) fn repeat(&mut self, is_certain: bool) {
        self.tally.repeats += 1;
        self.repeats.increment(1);
        if !is_certain {
            ::metrics::counter!(names::EVENTS_AMBIGUOUS_TOTAL).increment(1);
        }
    }

    /// A timer that has fired.
    pub(super) fn timer(&mut self) {
        self.tally.timers += 1;
        self.timers.increment(1);
    }

    /// An event that no campaign takes.
    pub(super) fn unclaimed(&mut self) {
        self.tally.unclaimed += 1;
        self.unsubscribed.increment(1);
    }

    /// An event that a handler's condition did not match. With many rules that is what most events are to most of them, so it is a number here, and
    /// the metric's once a batch.
    #[inline]
    pub(super) fn missed(&mut self, campaign: usize) {
        let counts = &mut self.campaigns[campaign];
        counts.missed += 1;
        if counts.missed == 1 {
            self.missing.push(campaign);
        }
    }

    /// Shows what was missed since the last time.
    pub(super) fn show_missed(&mut self) {
        for campaign in self.missing.drain(..) {
            self.campaigns[campaign].show_missed();
        }
    }

    /// Calls that were made again.
    pub(super) fn rechecked(&mut self, calls: u64) {
        self.rechecked.increment(calls);
    }

    /// Bytes that rules logged over what a call may.
    pub(super) fn log_bytes_cut(&mut self, bytes: u64) {
        self.log_bytes_cut.increment(bytes);
    }

    /// What the breakers have counted since this was asked last.
    pub(super) fn take_faults(&mut self) -> Vec<CampaignFaults> {
        let changed = |campaign: &mut CampaignCounts| {
            let change = campaign.breaker.take_change()?;
            let names = (Arc::clone(&campaign.name), Arc::clone(&campaign.version));
            Some(CampaignFaults { names, began: campaign.began, change })
        };
        self.campaigns.iter_mut().filter_map(changed).collect()
    }

    /// All of it.
    pub(super) fn finish(mut self) -> Tally {
        self.put_away();
        self.tally
    }

    fn put_away(&mut self) {
        self.show_missed();
        let mut counted = Tally::default();
        for campaign in self.campaigns.drain(..).filter(|campaign| campaign.tally != CampaignTally::default()) {
            counted.campaigns.insert(campaign.name, campaign.tally);
        }
        self.tally.add(counted);
    }
}

impl CampaignCounts {
    fn new(
        (name, version): (&Arc<str>, &Arc<str>),
        breaker: BreakerSettings,
        committed: Option<&FaultCount>,
        rule_set: u64,
    ) -> CampaignCounts {
        CampaignCounts {
            decided: calls(name, "ok"),
            skipped: calls(name, "skipped"),
            missed: 0,
            guard_misses: None,
            published: Default::default(),
            tally: CampaignTally::default(),
            breaker: committed.map_or_else(|| Breaker::new(breaker), |count| Breaker::going_on(breaker, count)),
            began: committed.map_or(rule_set, |count| count.rule_set),
            version: Arc::clone(version),
            not_kept: 0,
            missed_not_kept: 0,
            log: LogAllowance::default(),
            name: Arc::clone(name),
        }
    }

    /// Counts an answer, and judges the campaign by it unless it is one to a retry.
    pub(super) fn decided(&mut self, is_judged: bool) {
        self.tally.decided += 1;
        if is_judged {
            self.breaker.answered();
        }
        self.decided.increment(1);
    }

    fn show_missed(&mut self) {
        let missed = std::mem::take(&mut self.missed);
        self.tally.missed += missed;
        let counter = self
            .guard_misses
            .get_or_insert_with(|| ::metrics::counter!(names::GUARD_MISSES_TOTAL, "campaign" => self.name.to_string()));
        counter.increment(missed);
    }

    pub(super) fn skipped(&mut self) {
        self.tally.skipped += 1;
        self.skipped.increment(1);
    }

    /// Counts a fault; says how many there have been under this rule set, and why the campaign is to be suspended, if it is.
    pub(super) fn fault(&mut self, fault: &GuestFault, is_judged: bool) -> (u64, Option<String>) {
        self.tally.faults += 1;
        calls(&self.name, fault.kind()).increment(1);
        (self.tally.faults, if is_judged { self.breaker.faulted(fault) } else { None })
    }

    /// So many calls took so long. Returns why the campaign is to be suspended, if it is.
    pub(super) fn took(&mut self, calls: u32, time: Duration) -> Option<String> {
        self.breaker.took(calls, time)
    }

    /// Counts what waits behind a failure.
    pub(super) fn held(&mut self) {
        self.tally.held += 1;
        calls(&self.name, "held").increment(1);
    }

    /// Counts an event that came while the campaign was stopped; says how many were not kept under this rule set.
    pub(super) fn missed_while(&mut self, reason: &'static str, is_lost: bool) -> u64 {
        let name = || self.name.to_string();
        ::metrics::counter!(names::MISSED_TOTAL, "campaign" => name(), "reason" => reason).increment(1);
        *self.tally.missed_while.entry(reason).or_default() += 1;
        if is_lost {
            self.missed_not_kept += 1;
            ::metrics::counter!(names::MISSED_NOT_KEPT_TOTAL, "campaign" => name()).increment(1);
        }
        self.missed_not_kept
    }

    /// Counts a failure that is not kept; says how many there have been under this rule set.
    pub(super) fn not_kept(&mut self) -> u64 {
        self.not_kept += 1;
        ::metrics::counter!(names::FAILURES_NOT_KEPT_TOTAL, "campaign" => self.name.to_string()).increment(1);
        self.not_kept
    }

    /// Takes a line of the rule's log, which is dropped and counted if it is too much. `Some` if it may be logged, with the number of those
    /// that were dropped before it.
    pub(super) fn log_line(&mut self, now: Instant) -> Option<u64> {
        let taken = self.log.take(now);
        if taken.is_none() {
            ::metrics::counter!(names::LOG_LINES_DROPPED_TOTAL, "campaign" => self.name.to_string()).increment(1);
        }
        taken
    }

    pub(super) fn published(&mut self, channel: Channel) {
        *self.tally.published.entry(channel.name()).or_default() += 1;
        let counter = &mut self.published[channel as usize];
        counter.get_or_insert_with(|| communications(&self.name, channel, "passed")).increment(1);
    }

    pub(super) fn suppressed(&mut self, channel: Channel, why: Suppression) {
        *self.tally.suppressed.entry(why.name()).or_default() += 1;
        communications(&self.name, channel, why.name()).increment(1);
    }
}

fn calls(campaign: &str, outcome: &'static str) -> Counter {
    ::metrics::counter!(names::CALLS_TOTAL, "campaign" => campaign.to_owned(), "outcome" => outcome)
}

fn communications(campaign: &str, channel: Channel, verdict: &'static str) -> Counter {
    let campaign = campaign.to_owned();
    ::metrics::counter!(names::COMMUNICATIONS_TOTAL, "campaign" => campaign, "channel" => channel.name(), "verdict" => verdict)
}
