//! The counts of one shard, for the final summary and for `/metrics`. Metric handles are looked up
//! once for each rule set, not for each call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hailer_abi::wire::Channel;
use metrics::Counter;

use super::breaker::{Breaker, BreakerSettings, FaultChange};
use super::log_allowance::LogAllowance;
use super::tally::{CampaignTally, Tally};
use crate::records::FaultCount;
use hailer_base::metrics as names;
use hailer_engine::{Campaign, GuestFault, RuleSet};
use hailer_policies::Reason;

/// The counts of one shard.
pub(super) struct Counts {
    rules: Arc<RuleSet>,
    breaker: BreakerSettings,
    /// The committed fault counts of before the start; the first rule set continues from them.
    committed: BTreeMap<Arc<str>, FaultCount>,
    campaigns: Vec<CampaignCounts>,
    /// The campaigns whose breaker counted a call since the last [`Counts::take_faults`].
    called: Vec<usize>,
    tally: Tally,
    decided: Counter,
    unsubscribed: Counter,
    repeats: Counter,
    timers: Counter,
    rechecked: Counter,
    given_back: Counter,
    log_bytes_cut: Counter,
}

/// The counts of one campaign under one rule set.
pub(super) struct CampaignCounts {
    name: Arc<str>,
    tally: CampaignTally,
    decided: Counter,
    skipped: Counter,
    guard_misses: Option<Counter>,
    published: [Option<Counter>; Channel::ALL.len()],
    version: Arc<str>,
    breaker: Breaker,
    /// The rule set under which the breaker began to count.
    began: u64,
    not_kept: u64,
    missed_not_kept: u64,
    log: LogAllowance,
}

/// The results that a campaign's breaker has counted on one shard, to be committed.
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
    /// Counts a deferred communication that is never sent. Its campaign may not be loaded.
    pub(super) fn undeferred(&mut self, campaign: &str, channel: Channel, why: Reason) {
        count_undeferred(&mut self.tally, campaign, channel, why);
    }

    pub(super) fn new(
        breaker: BreakerSettings,
        committed: BTreeMap<Arc<str>, FaultCount>,
    ) -> Counts {
        let events =
            |outcome: &'static str| ::metrics::counter!(names::EVENTS_TOTAL, "outcome" => outcome);
        Counts {
            rules: Arc::new(RuleSet::empty()),
            breaker,
            committed,
            campaigns: Vec::new(),
            called: Vec::new(),
            tally: Tally::default(),
            decided: events("decided"),
            unsubscribed: events("unsubscribed"),
            repeats: events("repeat"),
            timers: ::metrics::counter!(names::TIMERS_FIRED_TOTAL),
            rechecked: ::metrics::counter!(names::RECHECKED_TOTAL),
            given_back: ::metrics::counter!(names::INSTANCES_GIVEN_BACK_TOTAL),
            log_bytes_cut: ::metrics::counter!(names::LOG_BYTES_CUT_TOTAL),
        }
    }

    /// The rule set whose campaigns are counted.
    pub(super) fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Switches to the campaigns of this rule set.
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

    /// Counts an answer. The breaker ignores answers to retries (`is_judged` is false).
    pub(super) fn answered(&mut self, campaign: usize, is_judged: bool) {
        let counts = &mut self.campaigns[campaign];
        counts.tally.decided += 1;
        counts.decided.increment(1);
        if is_judged {
            if !counts.breaker.has_change() {
                self.called.push(campaign);
            }
            counts.breaker.answered();
        }
    }

    /// Counts a fault. Returns the number of faults under this rule set, and the reason to suspend
    /// the campaign, if there is one.
    pub(super) fn faulted(
        &mut self,
        campaign: usize,
        fault: &GuestFault,
        is_judged: bool,
    ) -> (u64, Option<String>) {
        let counts = &mut self.campaigns[campaign];
        counts.tally.faults += 1;
        calls(&counts.name, fault.kind()).increment(1);
        if is_judged && !counts.breaker.has_change() {
            self.called.push(campaign);
        }
        let reason = if is_judged { counts.breaker.faulted(fault) } else { None };
        (counts.tally.faults, reason)
    }

    /// Counts an event that campaigns take. `mismatches` is the number of its fields with an
    /// undocumented type.
    pub(super) fn event(&mut self, mismatches: u32) {
        self.decided.increment(1);
        self.tally.field_mismatches += u64::from(mismatches);
    }

    /// Counts values of a field that were present and unusable. Rare, so the counter is looked up
    /// each time.
    pub(super) fn unusable(&self, field: &str, mismatches: u32) {
        let counter =
            ::metrics::counter!(names::FIELD_MISMATCHES_TOTAL, "field" => field.to_owned());
        counter.increment(mismatches.into());
    }

    /// Counts an event that was decided before. Without an id this may be wrong, so it is counted
    /// as ambiguous, too.
    pub(super) fn repeat(&mut self, is_certain: bool) {
        self.tally.repeats += 1;
        self.repeats.increment(1);
        if !is_certain {
            ::metrics::counter!(names::EVENTS_AMBIGUOUS_TOTAL).increment(1);
        }
    }

    /// Counts a timer that has fired.
    pub(super) fn timer(&mut self) {
        self.tally.timers += 1;
        self.timers.increment(1);
    }

    /// Counts an event that no campaign takes.
    pub(super) fn unclaimed(&mut self) {
        self.tally.unclaimed += 1;
        self.unsubscribed.increment(1);
    }

    /// Counts calls that ran again as a check.
    pub(super) fn rechecked(&mut self, calls: u64) {
        self.rechecked.increment(calls);
    }

    pub(super) fn given_back(&mut self, instances: u64) {
        self.given_back.increment(instances);
    }

    /// Counts bytes that rules logged beyond the limit of a call.
    pub(super) fn log_bytes_cut(&mut self, bytes: u64) {
        self.log_bytes_cut.increment(bytes);
    }

    /// The changes of the breakers' counts since the last call of this function.
    pub(super) fn take_faults(&mut self) -> Vec<CampaignFaults> {
        let changed = |place| {
            let campaign: &mut CampaignCounts = &mut self.campaigns[place];
            let change = campaign.breaker.take_change()?;
            let names = (Arc::clone(&campaign.name), Arc::clone(&campaign.version));
            Some(CampaignFaults { names, began: campaign.began, change })
        };
        self.called.drain(..).filter_map(changed).collect()
    }

    /// Ends counting and returns the totals.
    pub(super) fn finish(mut self) -> Tally {
        self.put_away();
        self.tally
    }

    fn put_away(&mut self) {
        self.called.clear();
        let mut counted = Tally::default();
        for campaign in
            self.campaigns.drain(..).filter(|campaign| campaign.tally != CampaignTally::default())
        {
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
            guard_misses: None,
            published: Default::default(),
            tally: CampaignTally::default(),
            breaker: committed.map_or_else(
                || Breaker::new(breaker),
                |count| Breaker::from_committed(breaker, count),
            ),
            began: committed.map_or(rule_set, |count| count.rule_set),
            version: Arc::clone(version),
            not_kept: 0,
            missed_not_kept: 0,
            log: LogAllowance::default(),
            name: Arc::clone(name),
        }
    }

    /// Counts events that a handler's condition did not match.
    pub(super) fn missed(&mut self, events: u64) {
        self.tally.missed += events;
        let counter = self.guard_misses.get_or_insert_with(
            || ::metrics::counter!(names::GUARD_MISSES_TOTAL, "campaign" => self.name.to_string()),
        );
        counter.increment(events);
    }

    pub(super) fn skipped(&mut self) {
        self.tally.skipped += 1;
        self.skipped.increment(1);
    }

    /// Counts the time of calls. Returns the reason to suspend the campaign, if there is one.
    pub(super) fn took(&mut self, calls: u32, time: Duration) -> Option<String> {
        self.breaker.took(calls, time)
    }

    /// Counts an event that is held behind a failure.
    pub(super) fn held(&mut self) {
        self.tally.held += 1;
        calls(&self.name, "held").increment(1);
    }

    /// Counts an event that came while the campaign was stopped. Returns how many such events were
    /// not kept under this rule set.
    pub(super) fn missed_while(&mut self, reason: &'static str, is_lost: bool) -> u64 {
        let name = || self.name.to_string();
        ::metrics::counter!(names::MISSED_TOTAL, "campaign" => name(), "reason" => reason)
            .increment(1);
        *self.tally.missed_while.entry(reason).or_default() += 1;
        if is_lost {
            self.missed_not_kept += 1;
            ::metrics::counter!(names::MISSED_NOT_KEPT_TOTAL, "campaign" => name()).increment(1);
        }
        self.missed_not_kept
    }

    /// Counts a failure that is not kept. Returns the number of them under this rule set.
    pub(super) fn not_kept(&mut self) -> u64 {
        self.not_kept += 1;
        ::metrics::counter!(names::FAILURES_NOT_KEPT_TOTAL, "campaign" => self.name.to_string())
            .increment(1);
        self.not_kept
    }

    /// Takes a line of the rule's log, or drops and counts it beyond the allowance. `Some` if the
    /// line may be logged; the number is how many lines were dropped before it.
    pub(super) fn log_line(&mut self, now: Instant) -> Option<u64> {
        let taken = self.log.take(now);
        if taken.is_none() {
            let name = self.name.to_string();
            ::metrics::counter!(names::LOG_LINES_DROPPED_TOTAL, "campaign" => name).increment(1);
        }
        taken
    }

    pub(super) fn passed(&mut self, channel: Channel) {
        *self.tally.published.entry(channel.name()).or_default() += 1;
        let counter = &mut self.published[channel as usize];
        counter
            .get_or_insert_with(|| communications(&self.name, channel, "passed", None))
            .increment(1);
    }

    pub(super) fn suppressed(&mut self, channel: Channel, why: Reason, policy: Option<Box<str>>) {
        *self.tally.suppressed.entry(why.name()).or_default() += 1;
        communications(&self.name, channel, why.name(), policy).increment(1);
    }

    pub(super) fn deferred(&mut self, channel: Channel, policy: Box<str>) {
        self.tally.deferred += 1;
        communications(&self.name, channel, "deferred", Some(policy)).increment(1);
    }
}

fn calls(campaign: &str, outcome: &'static str) -> Counter {
    ::metrics::counter!(names::CALLS_TOTAL, "campaign" => campaign.to_owned(), "outcome" => outcome)
}

/// Counts a deferred communication that is never sent.
pub(super) fn count_undeferred(tally: &mut Tally, campaign: &str, channel: Channel, why: Reason) {
    let tally = tally.campaigns.entry(campaign.into()).or_default();
    *tally.suppressed.entry(why.name()).or_default() += 1;
    communications(campaign, channel, why.name(), None).increment(1);
}

fn communications(
    campaign: &str,
    channel: Channel,
    verdict: &'static str,
    policy: Option<Box<str>>,
) -> Counter {
    ::metrics::counter!(
        names::COMMUNICATIONS_TOTAL,
        "campaign" => campaign.to_owned(),
        "channel" => channel.name(),
        "verdict" => verdict,
        "policy" => policy.map_or_else(String::new, String::from)
    )
}
