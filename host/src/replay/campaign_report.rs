//! Counts decisions by campaign. Threads count parts, which are added up in their order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::HashSet;
use hailer_abi::wire::Channel;
use serde::Serialize;

use super::InputEvent;
use crate::clock::Millis;
use crate::dry_run::Decision;
use crate::engine::{Mode, RuleSet};
use crate::event::CustomerKey;
use crate::policies::{Channels, Reason};
use crate::records::{Decided, Outcome, Proposed, Released, Verdict};

/// Maximum of different notes that are counted for a campaign; a rule that writes an amount into
/// each note exceeds it.
const NOTES_MAX: usize = 10_000;
const NOTES_SHOWN: usize = 3;

/// The counts of one campaign.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CampaignReport {
    pub campaign: String,
    pub version: String,
    pub mode: Mode,
    /// Events and timers that the campaign takes.
    pub seen: u64,
    /// Calls of the rule, among these.
    pub called: u64,
    /// Calls that asked for a communication, or set or cancelled a timer.
    pub acted: u64,
    /// Events without a call, because a required field is missing or a field cannot be used.
    pub skipped: u64,
    /// Events without a call, because they are held behind an earlier failure of the customer.
    pub held: u64,
    /// Events without a call, because the campaign is not rolled out to the customer.
    pub outside_rollout: u64,
    pub failures: u64,
    /// The error of the first failure.
    pub first_failure: Option<String>,
    /// Communications that would be published, by channel.
    pub publishes: BTreeMap<String, u64>,
    /// Number of customers who would receive a communication.
    pub customers: u64,
    /// Suppressed communications, by reason.
    pub suppressed: BTreeMap<String, u64>,
    /// Communications that quiet hours deferred, by what became of them.
    pub deferred: DeferralCounts,
    /// Communications whose verdict depended on a consent that is not known; `None` if the policies
    /// do not judge consent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_consent: Option<UnknownConsent>,
    pub top_notes: Vec<NoteCount>,
    /// When an engine would have suspended the campaign for exceeding `per_hour_max`; `None` if
    /// never.
    pub suspended_at: Option<jiff::Timestamp>,
    /// The rule gave two answers to one call, so this report is unreliable.
    pub is_impure: bool,
    pub cost: Option<Cost>,
}

/// Counts of deferred communications. Those in none of the last four wait at the end, or were
/// deferred in the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeferralCounts {
    /// Communications that were deferred when the rule proposed them.
    pub deferred: u64,
    /// Those of them that would be published at a release.
    pub released: u64,
    /// Those of them that were too old at their release.
    pub stale: u64,
    /// Those of them that an event cancelled.
    pub cancelled: u64,
    /// Those of them that were suppressed for another reason at their release.
    pub suppressed: u64,
}

/// Counts of proposed communications, when they were proposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnknownConsent {
    /// All communications that the rule proposed.
    pub proposed: u64,
    /// Those of them that were sent or deferred although the consent is not known.
    pub allowed: u64,
    /// Those of them that were refused because the consent is not known.
    pub refused: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NoteCount {
    pub note: String,
    pub count: u64,
}

/// The cost of the calls, if it was counted; the same on every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    pub calls: u64,
    pub fuel: u64,
    /// The maximum of one call.
    pub fuel_most: u64,
    pub memory_bytes_most: u64,
}

/// The counts of all campaigns of a rule set.
#[derive(Debug)]
pub(super) struct CampaignCounts {
    rules: Arc<RuleSet>,
    /// By the places of the campaigns; `None` for one that counted nothing yet.
    campaigns: Vec<Option<Box<Count>>>,
}

#[derive(Debug)]
struct Count {
    report: CampaignReport,
    customers: HashSet<CustomerKey>,
    notes: HashMap<Box<str>, u64>,
}

impl CampaignCounts {
    /// Counts of these campaigns, all 0.
    pub(super) fn new(rules: &Arc<RuleSet>) -> CampaignCounts {
        let mut campaigns = Vec::new();
        campaigns.resize_with(rules.campaigns().len(), || None);
        CampaignCounts { rules: Arc::clone(rules), campaigns }
    }

    pub(super) fn add(&mut self, decision: &Decision) {
        // In the order of the outcomes.
        let mut unknown_consents = decision.unknown_consents.iter().peekable();
        for outcome in &decision.outcomes {
            let unknown = unknown_consents.next_if(|(campaign, _)| *campaign == outcome.campaign);
            let unknown = unknown.map(|(_, channels)| *channels).unwrap_or_default();
            if let Some(count) = self.of(&outcome.campaign) {
                count.add(outcome, decision.customer, unknown);
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

    /// Adds the counts of the part that follows.
    pub(super) fn absorb(&mut self, next: CampaignCounts) {
        for (count, next) in self.campaigns.iter_mut().zip(next.campaigns) {
            match (count, next) {
                (Some(count), Some(next)) => count.absorb(*next),
                (_, None) => {}
                (count, next) => *count = next,
            }
        }
    }

    pub(super) fn is_full(&mut self, campaign: &str, at: Millis) {
        if let Some(count) = self.of(campaign) {
            count.report.suspended_at = Some(InputEvent::timestamp(at));
        }
    }

    pub(super) fn into_report(self, impure: &[Arc<str>]) -> Vec<CampaignReport> {
        let rules = self.rules;
        let counts = (0..).zip(self.campaigns);
        let counts = counts.map(|(place, count)| match count {
            Some(count) => *count,
            None => Count::new(&rules, place),
        });
        let mut reports: Vec<_> = counts.map(Count::into_report).collect();
        for report in &mut reports {
            report.is_impure = impure.iter().any(|campaign| **campaign == *report.campaign);
        }
        reports
    }

    fn of(&mut self, campaign: &str) -> Option<&mut Count> {
        let place = self.rules.place(campaign)?;
        let count =
            self.campaigns[place].get_or_insert_with(|| Count::new(&self.rules, place).into());
        Some(count)
    }
}

impl DeferralCounts {
    /// The count of those that were suppressed for a reason.
    fn ended(&mut self, reason: &str) -> &mut u64 {
        if reason == Reason::Stale.name() {
            &mut self.stale
        } else if reason == Reason::Cancelled.name() {
            &mut self.cancelled
        } else {
            &mut self.suppressed
        }
    }

    fn add(&mut self, next: DeferralCounts) {
        let DeferralCounts { deferred, released, stale, cancelled, suppressed } = next;
        self.deferred += deferred;
        self.released += released;
        self.stale += stale;
        self.cancelled += cancelled;
        self.suppressed += suppressed;
    }
}

impl UnknownConsent {
    /// Adds the counts of a part, or of another campaign.
    pub fn add(&mut self, next: UnknownConsent) {
        let UnknownConsent { proposed, allowed, refused } = next;
        self.proposed += proposed;
        self.allowed += allowed;
        self.refused += refused;
    }
}

impl Count {
    fn new(rules: &RuleSet, place: usize) -> Count {
        let spec = &rules.campaigns()[place].spec;
        let judges_consent = rules.policies().is_some_and(|policies| policies.consent.is_some());
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
            deferred: DeferralCounts::default(),
            unknown_consent: judges_consent.then(UnknownConsent::default),
            top_notes: Vec::new(),
            suspended_at: None,
            is_impure: false,
            cost: None,
        };
        Count { report, customers: HashSet::default(), notes: HashMap::new() }
    }

    /// Counts an outcome. `unknown` are the channels on which the customer's consent is not known.
    fn add(&mut self, outcome: &Outcome, customer: Option<CustomerKey>, unknown: Channels) {
        let report = &mut self.report;
        report.seen += u64::from(!outcome.decided.is_release());
        match &outcome.decided {
            Decided::Skipped { .. } => report.skipped += 1,
            Decided::Held => report.held += 1,
            // A replay never pauses or suspends a campaign.
            Decided::Missed { .. } => {}
            Decided::OutsideRollout => report.outside_rollout += 1,
            Decided::Failed { error } => {
                report.called += 1;
                report.failures += 1;
                report.first_failure.get_or_insert_with(|| error.to_string());
            }
            Decided::Answered { communications, notes, scheduled, cancelled, .. } => {
                report.called += 1;
                let acts =
                    !(communications.is_empty() && scheduled.is_empty() && cancelled.is_empty());
                report.acted += u64::from(acts);
                for one in communications {
                    if let Some(count) = &mut report.unknown_consent {
                        count.add(of_unknown_consent(one, unknown));
                    }
                    match &one.verdict {
                        Verdict::Passed => {
                            one_more(&mut report.publishes, channel_name(one.channel));
                            self.customers.extend(customer);
                        }
                        Verdict::Deferred { .. } => report.deferred.deferred += 1,
                        Verdict::Suppressed(reason) => one_more(&mut report.suppressed, reason),
                    }
                }
                for note in notes {
                    self.note(note, 1);
                }
            }
            Decided::Released { communications } => {
                for Released { communication: one, .. } in communications {
                    match &one.verdict {
                        Verdict::Passed => {
                            one_more(&mut report.publishes, channel_name(one.channel));
                            self.customers.extend(customer);
                            report.deferred.released += 1;
                        }
                        // It was counted when it was deferred first.
                        Verdict::Deferred { .. } => {}
                        Verdict::Suppressed(reason) => {
                            one_more(&mut report.suppressed, reason);
                            *report.deferred.ended(reason) += 1;
                        }
                    }
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
        own.deferred.add(report.deferred);
        if let (Some(own), Some(next)) = (&mut own.unknown_consent, report.unknown_consent) {
            own.add(next);
        }
        if let Some(cost) = report.cost {
            let own = own.cost.get_or_insert_default();
            own.calls += cost.calls;
            own.fuel += cost.fuel;
            own.fuel_most = own.fuel_most.max(cost.fuel_most);
            own.memory_bytes_most = own.memory_bytes_most.max(cost.memory_bytes_most);
        }
        self.customers.extend(customers);
        // The choice of counted notes must not depend on the order of a hash map.
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
        notes.sort_unstable_by(|(note, count), (other_note, other)| {
            other.cmp(count).then_with(|| note.cmp(other_note))
        });
        let shown = notes.into_iter().take(NOTES_SHOWN);
        let top_notes = shown.map(|(note, count)| NoteCount { note: note.into(), count }).collect();
        CampaignReport { customers: self.customers.len() as u64, top_notes, ..self.report }
    }
}

/// The counts of one proposed communication. `unknown` are the channels on which the customer's
/// consent is not known.
fn of_unknown_consent(proposed: &Proposed, unknown: Channels) -> UnknownConsent {
    let is_unknown =
        Channel::from_wire(proposed.channel.into()).is_some_and(|one| unknown.contains(one));
    let (allowed, refused) = match &proposed.verdict {
        Verdict::Suppressed(reason) => (false, **reason == *Reason::ConsentUnknown.name()),
        Verdict::Passed | Verdict::Deferred { .. } => (is_unknown, false),
    };
    UnknownConsent { proposed: 1, allowed: allowed.into(), refused: refused.into() }
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
