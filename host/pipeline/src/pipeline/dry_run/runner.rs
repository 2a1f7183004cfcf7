//! The runner of a dry run: it decides with the engine's own core (`decide.rs`) and returns the
//! decisions that an engine would commit. The rows of customers stay in memory.

use std::sync::Arc;

use foldhash::HashMap;

use crate::consents::Statement;
use crate::pipeline::case::{Case, Proposal, Reason};
use crate::pipeline::decide::{Decider, Limits};
use crate::pipeline::deferrals::Deferrals;
use crate::pipeline::failures::FailureTotals;
use crate::pipeline::identify::{DeliveryFacts, Identity, identify};
use crate::pipeline::judge::outcome;
use crate::pipeline::merge::{Merge, meant, merge_of};
use crate::pipeline::owner::NothingStops;
use crate::pipeline::poison::PoisonGuard;
use crate::pipeline::quota::Quotas;
use crate::pipeline::redirects::Redirects;
use crate::pipeline::release::reason_of;
use crate::pipeline::shard::seen_in;
use crate::pipeline::trials::Trials;
use crate::records::{
    Cause, CustomerRow, Decided, DedupEntry, Outcome, Partition, Progress, Proposed, Sessions,
    TimerKey, Verdict,
};
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;
use hailer_broker::communication::Communication;
use hailer_engine::{CallCost, GuestLine, LogLine, RuleSet, Sandbox};
use hailer_event::{Customer, CustomerKey, DedupKey, Event, EventId};
use hailer_policies::Channels;
use hailer_store::StoreError;

/// A dry run has one session that never breaks: without an id, two equal messages are two events.
const SESSION: u64 = 1;
/// A dry run recognises a copy of an event for at least this long, in ms: the default of
/// `store.deduplication_hours`.
const DEDUP_MS: Millis = 24 * 3_600_000;

/// The decision core, and everything that a dry run remembers besides the rows of customers.
pub(super) struct Runner {
    core: Decider,
    rules: Arc<RuleSet>,
    redirects: Redirects,
    sessions: Sessions,
    dedup: Dedup,
    /// Campaigns whose rule gave two answers to the same call.
    impure: Vec<Arc<str>>,
    /// The caller has removed repeats, so events with an id are not remembered.
    are_distinct: bool,
}

/// The dedup entries of the current span of [`DEDUP_MS`] and of the span before it. Memory is
/// therefore bounded by the events of two spans.
#[derive(Default)]
struct Dedup {
    current: HashMap<(Partition, DedupKey), DedupEntry>,
    before: HashMap<(Partition, DedupKey), DedupEntry>,
    /// The start of the current span, in milliseconds; `None` before the first call of `advance`.
    since: Option<Millis>,
}

/// An event that has been read and is about to be decided.
#[derive(Debug)]
pub struct Arrived {
    event: Box<Event>,
    key: DedupKey,
    pub now: Millis,
    /// A number of the caller's choice; the event's decision carries it.
    pub number: u64,
}

/// A message that a campaign proposes because the caller says so, and not its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenProposal {
    pub campaign: Arc<str>,
    pub channel: Channel,
    pub template: Box<str>,
}

/// A case to decide, and its turn among the cases of the same time.
#[derive(Debug)]
pub(super) struct Task {
    case: Case,
    number: Option<u64>,
    turn: Turn,
}

/// The order of cases with the same `now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// A timer that falls due as the clock advances to that time.
    Timer,
    Event,
    /// A timer that was set for a time already reached. The number counts the rounds of such timers
    /// at that time, from 1.
    LateTimer(u32),
}

/// The log lines and costs of the guests for one case, and the campaigns that gave two answers.
/// Campaigns are indices into the rule set.
#[derive(Debug, Default)]
struct GuestReport {
    lines: Vec<(usize, LogLine)>,
    costs: Vec<CallCost>,
    impure: Vec<usize>,
}

/// The decision about one event or one timer: the data that an engine would commit.
#[derive(Clone, Debug)]
pub struct Decision {
    pub cause: Cause,
    /// The id of the event, or of the timer's firing.
    pub event_id: EventId,
    /// The number that the caller gave the event; `None` for a timer.
    pub number: Option<u64>,
    pub customer: Option<CustomerKey>,
    /// The customer who receives the communications; `None` if there is no customer to send to.
    pub recipient: Option<Customer>,
    pub now: Millis,
    /// The outcome of each campaign that took the event or timer.
    pub outcomes: Vec<Outcome>,
    /// The communications that an engine would publish, byte for byte. The outcomes list each by
    /// its id.
    pub communications: Vec<Communication>,
    /// The lines that rules logged, each with its campaign.
    pub lines: Vec<(Arc<str>, LogLine)>,
    /// The costs of the calls, each with its campaign; empty in a sandbox that does not meter.
    pub costs: Vec<(Arc<str>, CallCost)>,
    /// For each campaign that answered, the channels on which the customer's consent is not known.
    pub unknown_consents: Vec<(Arc<str>, Channels)>,
    pub(super) turn: Turn,
}

impl Arrived {
    /// An event to decide at `now`. `message_id` and `position` are the ids that a source would
    /// give it.
    #[must_use]
    pub fn new(
        event: Event,
        message_id: Option<&str>,
        position: Option<&str>,
        now: Millis,
        number: u64,
    ) -> Arrived {
        let key = event.dedup_key(message_id, position);
        Arrived { event: Box::new(event), key, now, number }
    }

    /// The customer who goes and the customer who stays, if the event is a merge.
    #[must_use]
    pub fn merge(&self) -> Option<(CustomerKey, CustomerKey)> {
        merge_of(&self.event)
    }

    /// The deduplication key; two messages that may be the same event have the same key.
    pub fn key(&self) -> DedupKey {
        self.key
    }

    /// The customer that the body names, before redirects from merges.
    #[must_use]
    pub fn customer(&self) -> Option<CustomerKey> {
        self.event.customer_key()
    }
}

impl Task {
    pub(super) fn timer(timer: TimerKey, now: Millis, turn: Turn) -> Task {
        let (customer, partition) = (timer.customer, Partition::of_customer(timer.customer));
        let reason = reason_of(timer);
        // The case gets its id once the runner knows whether the timer is still pending.
        Task {
            case: Case::new(reason, EventId::NONE, now, Some(customer), partition),
            number: None,
            turn,
        }
    }

    pub(super) fn customer(&self) -> Option<CustomerKey> {
        self.case.customer
    }

    pub(super) fn now(&self) -> Millis {
        self.case.now
    }
}

impl Runner {
    pub(super) fn new(
        rules: &Arc<RuleSet>,
        sandbox: &Arc<Sandbox>,
        environment: &Arc<str>,
        recheck_one_in: u32,
        redirects: Redirects,
        are_distinct: bool,
    ) -> Runner {
        // No campaign is suspended, so that every fault shows. Decisions do not depend on the time
        // of a call or on the number of earlier faults.
        let limits = Limits {
            owner: Arc::new(NothingStops),
            poison: Arc::new(PoisonGuard::off()),
            failures: Arc::new(FailureTotals::new(&Progress::default(), u64::MAX, u64::MAX)),
            quotas: Quotas::default(),
            trials: Trials::default(),
            deferrals: Deferrals::new(0, u64::MAX),
        };
        let mut core = Decider::new(sandbox, recheck_one_in, environment, limits);
        core.begin(rules, 0);
        Runner {
            core,
            rules: Arc::clone(rules),
            redirects,
            sessions: Sessions::default(),
            dedup: Dedup::default(),
            impure: Vec::new(),
            are_distinct,
        }
    }

    /// The decision core, for tests that change its limits or rows.
    #[cfg(test)]
    pub(super) fn core(&mut self) -> &mut Decider {
        &mut self.core
    }

    /// Whether the cases of one customer have to be decided one after the other.
    pub(super) fn remembers(&self) -> bool {
        self.rules.remembers()
    }

    /// Campaigns whose rule gave two answers to the same call.
    pub(super) fn impure(&self) -> &[Arc<str>] {
        &self.impure
    }

    /// Gives an event its id and finds its customer; `None` if the event has been decided before.
    pub(super) fn open(&mut self, arrived: Arrived) -> Result<Option<Task>, StoreError> {
        let Arrived { event, key, now, number } = arrived;
        let (customer, became) = meant(&event, &self.redirects)?;
        let seen_in = seen_in(&event, key);
        let is_remembered = !(self.are_distinct && key.has_id());
        let known = if is_remembered { self.dedup.get(seen_in, key).cloned() } else { None };
        let delivery = DeliveryFacts {
            key,
            redelivered: false,
            session: SESSION,
            now,
            connected_ms: now,
            settles_after_ms: 0,
        };
        let (identity, mut seen) = identify(delivery, known, &self.sessions);
        // Only a copy from another session needs the open occurrences, and a dry run has one
        // session.
        seen.open.clear();
        if is_remembered {
            self.dedup.current.insert((seen_in, key), seen);
        }
        let Identity::Fresh(id) = identity else { return Ok(None) };
        let partition = Partition::of_event(customer, key);
        let case = Case::new(Reason::Event { event, seen: None }, id, now, customer, partition);
        let case = Case { became, ..case };
        Ok(Some(Task { case, number: Some(number), turn: Turn::Event }))
    }

    /// Adds the answers of campaigns that propose these messages. A campaign that the rule set
    /// lacks proposes nothing.
    pub(super) fn with_proposals(&self, mut task: Task, proposals: &[GivenProposal]) -> Task {
        if proposals.is_empty() {
            return task;
        }
        let case = &mut task.case;
        for (index, campaign) in self.rules.campaigns().iter().enumerate() {
            let spec = &campaign.spec;
            let own = || proposals.iter().filter(|given| given.campaign == spec.name);
            let communications: Vec<Proposed> = own().map(proposed).collect();
            if communications.is_empty() {
                continue;
            }
            let outcome_place = case.outcomes.len();
            case.proposals.extend((0..).zip(own()).map(|(place, given)| Proposal {
                campaign: index,
                outcome: outcome_place,
                place,
                channel: given.channel,
                data: "{}".into(),
            }));
            let decided = Decided::Answered {
                communications,
                notes: Vec::new(),
                state_changed: false,
                scheduled: Vec::new(),
                cancelled: Vec::new(),
            };
            case.outcomes.push(outcome(spec, decided));
        }
        task
    }

    /// Decides tasks together. If the rules keep state, each task has a different customer. A merge
    /// comes alone.
    pub(super) fn decide(
        &mut self,
        wave: Vec<Task>,
        decisions: &mut Vec<Decision>,
    ) -> Result<(), StoreError> {
        let (mut cases, known): (Vec<Case>, Vec<_>) =
            wave.into_iter().map(|Task { case, number, turn }| (case, (number, turn))).unzip();
        let mut reports: Vec<GuestReport> = cases.iter().map(|_| GuestReport::default()).collect();
        self.core.blocked.clear();
        if let [alone] = &mut cases[..]
            && let Some(merge) = Merge::of(alone, &self.redirects)?
        {
            merge.customers().into_iter().try_for_each(|customer| self.load(customer))?;
            if self.core.unite(&self.rules, alone, &merge) {
                self.redirects.add(merge.from, merge.to, &merge.recipient);
            }
            self.collect_reports(0, &mut reports);
        }
        for case in &mut cases {
            if let Some(customer) = case.customer.filter(|_| case.reads_row(&self.rules)) {
                self.load(customer)?;
            }
        }
        let mut decided = 0;
        while decided < cases.len() {
            let gathered = self.core.gather(&self.rules, &mut cases[decided..]);
            let end = decided + gathered;
            let (mut first, mut part) = (0, gathered);
            while decided < end {
                part = part.min(end - decided);
                let cases = &mut cases[decided..decided + part];
                part = self.core.decide(&self.rules, first, cases);
                self.collect_reports(first, &mut reports[decided..decided + part]);
                first += part;
                decided += part;
            }
        }
        // A dry run reports neither notices nor the messages counted against hourly limits.
        self.core.notices.clear();
        self.core.taken.clear();
        for ((case, report), (number, turn)) in cases.into_iter().zip(reports).zip(known) {
            if !case.is_void() {
                decisions.push(self.decision(case, report, number, turn));
            }
        }
        Ok(())
    }

    /// Gives each case its log lines and costs. `first` is the index of the first of these cases
    /// among the gathered ones.
    fn collect_reports(&mut self, first: usize, cases: &mut [GuestReport]) {
        let answers = &mut self.core.answers;
        for GuestLine { event, campaign, line } in answers.lines.drain(..) {
            cases[event - first].lines.push((campaign, line));
        }
        for cost in answers.costs.drain(..) {
            cases[cost.event - first].costs.push(cost);
        }
        if let [first, ..] = cases {
            first.impure.append(&mut answers.impure);
        }
    }

    fn decision(
        &mut self,
        case: Case,
        report: GuestReport,
        number: Option<u64>,
        turn: Turn,
    ) -> Decision {
        let GuestReport { lines, costs, impure } = report;
        let name = |at: usize| Arc::clone(&self.rules.campaigns()[at].spec.name);
        for campaign in impure.into_iter().map(name) {
            if !self.impure.contains(&campaign) {
                self.impure.push(campaign);
            }
        }
        let unknown_consents = self.unknown_consents(&case);
        Decision {
            unknown_consents,
            cause: case.cause(),
            event_id: case.id,
            number,
            customer: case.customer,
            recipient: case.recipient().cloned(),
            now: case.now,
            lines: lines.into_iter().map(|(at, line)| (name(at), line)).collect(),
            costs: costs.into_iter().map(|cost| (name(cost.campaign), cost)).collect(),
            outcomes: case.outcomes,
            communications: case.communications,
            turn,
        }
    }

    /// On which channels the customer's consent is not known to the campaigns that answered. An
    /// event's own statement is in the row before the event is judged, and nothing else changes a
    /// consent until then.
    fn unknown_consents(&self, case: &Case) -> Vec<(Arc<str>, Channels)> {
        let policies = self.rules.policies().filter(|policies| policies.consent.is_some());
        let Some(policies) = policies else { return Vec::new() };
        let row = case.customer.and_then(|customer| self.core.rows.policy(customer));
        let of_answer = |outcome: &Outcome| {
            let is_answer = matches!(outcome.decided, Decided::Answered { .. });
            let place = self.rules.place(&outcome.campaign).filter(|_| is_answer)?;
            let campaign = &self.rules.campaigns()[place];
            let unknown = policies.unknown_consents(row, campaign.spec.acts_for());
            Some((Arc::clone(&outcome.campaign), unknown))
        };
        case.outcomes.iter().filter_map(of_answer).collect()
    }

    pub(super) fn import(
        &mut self,
        statement: &Statement,
        replaces_zones: bool,
    ) -> Result<(), StoreError> {
        let customer = statement.customer;
        self.load(customer)?;
        if let Some(row) = self.core.rows.policy_mut(customer) {
            statement.apply(row, replaces_zones);
        }
        self.core.rows.settle([customer]);
        Ok(())
    }

    /// Adds an empty row for the customer if there is no row yet.
    pub(super) fn load(&mut self, customer: CustomerKey) -> Result<(), StoreError> {
        self.core.rows.load(customer, || Ok(CustomerRow::default()))
    }

    pub(super) fn row(&self, customer: CustomerKey) -> Option<&CustomerRow> {
        self.core.rows.row(customer)
    }

    pub(super) fn take_row(&mut self, customer: CustomerKey) -> Option<CustomerRow> {
        self.core.rows.take(customer)
    }

    pub(super) fn put_row(&mut self, customer: CustomerKey, row: CustomerRow) {
        self.core.rows.put(customer, row);
    }

    /// Ends a turn: drops the changes that an engine would commit, empty rows, and dedup entries
    /// that are too old.
    pub(super) fn settle(&mut self, customers: impl IntoIterator<Item = CustomerKey>, now: Millis) {
        self.core.rows.settle(customers);
        self.dedup.advance(now);
    }
}

/// A communication that is not judged yet.
fn proposed(given: &GivenProposal) -> Proposed {
    Proposed {
        id: "".into(),
        channel: given.channel as u8,
        template: given.template.clone(),
        verdict: Verdict::Passed,
        data_hash: 0,
        policy: None,
        detail: None,
    }
}

impl Dedup {
    fn get(&self, partition: Partition, key: DedupKey) -> Option<&DedupEntry> {
        self.current.get(&(partition, key)).or_else(|| self.before.get(&(partition, key)))
    }

    /// Advances the clock: the entries of a finished span are dropped when the next span has
    /// finished.
    fn advance(&mut self, now: Millis) {
        let age = now.saturating_sub(*self.since.get_or_insert(now));
        if age >= DEDUP_MS {
            let current = std::mem::take(&mut self.current);
            self.before = if age < 2 * DEDUP_MS { current } else { HashMap::default() };
            self.since = Some(now);
        }
    }
}
