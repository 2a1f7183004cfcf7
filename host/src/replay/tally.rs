//! What is counted of decisions, campaign by campaign. Parts of it are counted apart and put together in their order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use hailer_abi::wire::Channel;
use serde::Serialize;

use super::Arriving;
use crate::clock::Millis;
use crate::engine::{Mode, RuleSet};
use crate::event::CustomerKey;
use crate::records::{Decided, Outcome, Verdict};
use crate::rehearsal::Decision;

/// So many different notes of a campaign are told apart; a rule that writes an amount into each has no top notes.
const NOTES_MAX: usize = 10_000;
const NOTES_SHOWN: usize = 3;

/// What a campaign would have done.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CampaignReport {
    pub campaign: String,
    pub version: String,
    pub mode: Mode,
    /// Events and timers that it takes.
    pub seen: u64,
    /// Of these, its rule was called for.
    pub called: u64,
    /// Of these, its rule asked for a communication, or set or cancelled a timer.
    pub acted: u64,
    /// Not called, as a required field is absent, or a field can't be used.
    pub skipped: u64,
    /// Not called, as an earlier failure of the customer's is in the way.
    pub held: u64,
    /// Not called, as the campaign has not been rolled out to the customer.
    pub outside_rollout: u64,
    pub failures: u64,
    /// The first failure's error.
    pub first_failure: Option<String>,
    /// Communications that would go out, by channel.
    pub publishes: BTreeMap<String, u64>,
    /// To how many customers.
    pub customers: u64,
    /// Communications that would not, by reason.
    pub suppressed: BTreeMap<String, u64>,
    pub top_notes: Vec<NoteCount>,
    /// When an engine would have suspended it, as it sends more than `per_hour_max`.
    pub suspended_at: Option<jiff::Timestamp>,
    /// Its rule gave two answers to one call: nothing of this can be relied on.
    pub is_impure: bool,
    pub cost: Option<Cost>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NoteCount {
    pub note: String,
    pub count: u64,
}

/// What its calls cost, if that was counted: the same on every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    pub calls: u64,
    pub fuel: u64,
    /// Of one call.
    pub fuel_most: u64,
    pub memory_bytes_most: u64,
}

#[derive(Debug)]
pub(super) struct Tally {
    campaigns: Vec<Count>,
    places: Arc<HashMap<Arc<str>, usize>>,
}

#[derive(Debug)]
struct Count {
    report: CampaignReport,
    customers: HashSet<CustomerKey>,
    notes: HashMap<Box<str>, u64>,
}

impl Tally {
    /// Of these campaigns nothing has been decided yet.
    pub(super) fn new(rules: &RuleSet) -> Tally {
        let campaigns: Vec<Count> = rules.campaigns().iter().map(|campaign| Count::new(&campaign.spec)).collect();
        let names = rules.campaigns().iter().enumerate();
        let places = names.map(|(place, campaign)| (Arc::clone(&campaign.spec.name), place)).collect();
        Tally { campaigns, places: Arc::new(places) }
    }

    pub(super) fn add(&mut self, decision: &Decision) {
        for outcome in &decision.outcomes {
            if let Some(count) = self.of(&outcome.campaign) {
                count.add(outcome, decision.customer);
            }
        }
        for (campaign, spent) in &decision.costs {
            let Some(count) = self.of(campaign) else { continue };
            let cost = count.report.cost.get_or_insert_default();
            cost.calls += 1;
            cost.fuel += spent.fuel;
            cost.fuel_most = cost.fuel_most.max(spent.fuel);
            cost.memory_bytes_most = cost.memory_bytes_most.max(spent.memory_bytes as u64);
        }
    }

    /// With what was counted of what came next.
    pub(super) fn absorb(&mut self, next: Tally) {
        for (count, next) in self.campaigns.iter_mut().zip(next.campaigns) {
            count.absorb(next);
        }
    }

    pub(super) fn is_full(&mut self, campaign: &str, at: Millis) {
        if let Some(count) = self.of(campaign) {
            count.report.suspended_at = Some(Arriving::timestamp(at));
        }
    }

    pub(super) fn into_report(self, impure: &[Arc<str>]) -> Vec<CampaignReport> {
        let mut reports: Vec<_> = self.campaigns.into_iter().map(Count::into_report).collect();
        for report in &mut reports {
            report.is_impure = impure.iter().any(|campaign| **campaign == *report.campaign);
        }
        reports
    }

    fn of(&mut self, campaign: &str) -> Option<&mut Count> {
        self.campaigns.get_mut(*self.places.get(campaign)?)
    }
}

impl Count {
    fn new(spec: &crate::engine::CampaignSpec) -> Count {
        let report = CampaignReport {
            campaign: spec.name.to_string(),
            version: spec.version.to_string(),
            mode: spec.mode,
            seen: 0,
            called: 0,
            acted: 0,
            skipped: 0,
            held: 0,
            outside_rollout: 0,
            failures: 0,
            first_failure: None,
            publishes: BTreeMap::new(),
            customers: 0,
            suppressed: BTreeMap::new(),
            top_notes: Vec::new(),
            suspended_at: None,
            is_impure: false,
            cost: None,
        };
        Count { report, customers: HashSet::new(), notes: HashMap::new() }
    }

    fn add(&mut self, outcome: &Outcome, customer: Option<CustomerKey>) {
        let report = &mut self.report;
        report.seen += 1;
        match &outcome.decided {
            Decided::Skipped { .. } => report.skipped += 1,
            Decided::Held => report.held += 1,
            // A replay stops no campaign.
            Decided::Missed { .. } => {}
            Decided::OutsideRollout => report.outside_rollout += 1,
            Decided::Failed { error } => {
                report.called += 1;
                report.failures += 1;
                report.first_failure.get_or_insert_with(|| error.to_string());
            }
            Decided::Answered { communications, notes, scheduled, cancelled, .. } => {
                report.called += 1;
                let acts = !(communications.is_empty() && scheduled.is_empty() && cancelled.is_empty());
                report.acted += u64::from(acts);
                for one in communications {
                    match &one.verdict {
                        Verdict::Passed => {
                            one_more(&mut report.publishes, channel_name(one.channel));
                            self.customers.extend(customer);
                        }
                        Verdict::Suppressed(reason) => one_more(&mut report.suppressed, reason),
                    }
                }
                for note in notes {
                    self.note(note, 1);
                }
            }
        }
    }

    fn note(&mut self, note: &str, times: u64) {
        if let Some(count) = self.notes.get_mut(note) {
            *count += times;
        } else if self.notes.len() < NOTES_MAX {
            self.notes.insert(note.into(), times);
        }
    }

    fn absorb(&mut self, next: Count) {
        let Count { report, customers, notes } = next;
        let own = &mut self.report;
        own.seen += report.seen;
        own.called += report.called;
        own.acted += report.acted;
        own.skipped += report.skipped;
        own.held += report.held;
        own.outside_rollout += report.outside_rollout;
        own.failures += report.failures;
        own.first_failure = own.first_failure.take().or(report.first_failure);
        for (channel, count) in report.publishes {
            *own.publishes.entry(channel).or_default() += count;
        }
        for (reason, count) in report.suppressed {
            *own.suppressed.entry(reason).or_default() += count;
        }
        if let Some(cost) = report.cost {
            let own = own.cost.get_or_insert_default();
            own.calls += cost.calls;
            own.fuel += cost.fuel;
            own.fuel_most = own.fuel_most.max(cost.fuel_most);
            own.memory_bytes_most = own.memory_bytes_most.max(cost.memory_bytes_most);
        }
        self.customers.extend(customers);
        // Which are told apart when there are too many must not depend on how a map is ordered.
        let mut notes: Vec<_> = notes.into_iter().collect();
        if self.notes.len() + notes.len() > NOTES_MAX {
            notes.sort_unstable();
        }
        for (note, times) in notes {
            self.note(&note, times);
        }
    }

    fn into_report(self) -> CampaignReport {
        let mut notes: Vec<_> = self.notes.into_iter().collect();
        notes
            .sort_unstable_by(|(note, count), (other_note, other)| other.cmp(count).then_with(|| note.cmp(other_note)));
        let shown = notes.into_iter().take(NOTES_SHOWN);
        let top_notes = shown.map(|(note, count)| NoteCount { note: note.into(), count }).collect();
        CampaignReport { customers: self.customers.len() as u64, top_notes, ..self.report }
    }
}

fn one_more(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

pub(super) fn channel_name(number: u8) -> &'static str {
    Channel::from_wire(number.into()).map_or("unknown", Channel::name)
}
