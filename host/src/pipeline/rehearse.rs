//! A shard that decides for whoever asks, in memory and at once: what `rehearsal` is built upon. The path of an event is the engine's own, from
//! the identity on; only its ends differ: what is decided is handed back in place of being committed, and the rows stay here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::arrivals::{Arrivals, Clock};
use super::breaker::BreakerSettings;
use super::case::{Case, Reason};
use super::failures::FailureTotals;
use super::identify::{Arrival, Identity, identify};
use super::merge::{meant, merge_of};
use super::quota::Quotas;
use super::redirects::Redirects;
use super::shard::{Shard, Shared, Stop, seen_in};
use super::suspects::Suspects;
use super::trials::Registry;
use super::view::View;
use super::{Rules, Settings};
use crate::clock::Millis;
use crate::communication::Communication;
use crate::engine::{CallCost, Decided, GuestLine, LogLine, RuleSet, Sandbox};
use crate::event::{Customer, CustomerKey, DedupKey, Event, EventId};
use crate::records::{Cause, CustomerRow, Outcome, Partition, Progress, Sessions, TimerKey};
use crate::reload::ReloadHandle;
use crate::store::StoreError;

/// A rehearsal has one session that never breaks: without an id, two equal messages are two events.
const SESSION: u64 = 1;
/// A campaign that faults goes on, so that every fault is seen: nothing depends on how long a call took, or on how many faulted before.
const NO_BREAKER: BreakerSettings =
    BreakerSettings { faults_in_a_row_max: 0, faults_percent_max: 100, call_mean_us_max: 0 };

/// A shard of its own.
pub(crate) struct Decider {
    shard: Shard,
    rules: Arc<RuleSet>,
    sessions: Sessions,
    /// Campaigns whose rule gave two answers to one call.
    impure: Vec<Arc<str>>,
    /// No event comes twice.
    are_told_apart: bool,
}

/// An event that has been read, on its way to be decided.
#[derive(Debug)]
pub struct Arrived {
    pub(crate) event: Box<Event>,
    key: DedupKey,
    pub(crate) now: Millis,
    /// By which whoever brings it knows it again.
    pub(crate) number: u64,
}

/// One case that is to be decided, and when it has its turn among those of its moment.
#[derive(Debug)]
pub(crate) struct Task {
    case: Case,
    number: Option<u64>,
    turn: Turn,
}

/// What comes first of what has one `now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turn {
    /// A timer that the clock meets on its way to that moment.
    Timer,
    Event,
    /// A timer that was set for a moment that had come already, in the so-manieth round of such.
    LateTimer(u32),
}

/// What guests said and took for one case; campaigns by their place in the rule set.
#[derive(Debug, Default)]
pub(super) struct Heard {
    lines: Vec<(usize, LogLine)>,
    costs: Vec<CallCost>,
    impure: Vec<usize>,
}

/// What was decided of one event, or of one timer: what an engine would have committed.
#[derive(Clone, Debug)]
pub struct Decision {
    pub cause: Cause,
    /// The event's id, or that of the timer's firing.
    pub event_id: EventId,
    /// The event's number, as whoever brought it gave it; `None` for a timer.
    pub number: Option<u64>,
    pub customer: Option<CustomerKey>,
    /// To whom communications go.
    pub recipient: Option<Customer>,
    pub now: Millis,
    /// Of each campaign that took it.
    pub outcomes: Vec<Outcome>,
    /// What would go out, byte for byte; each is among the outcomes by its id.
    pub communications: Vec<Communication>,
    /// What rules logged, by campaign.
    pub lines: Vec<(Arc<str>, LogLine)>,
    /// What the calls cost, by campaign; empty in a sandbox that does not count.
    pub costs: Vec<(Arc<str>, CallCost)>,
    pub(crate) turn: Turn,
}

impl Arrived {
    /// An event that is decided as of `now`. `message_id` and `position` are what a source would know it by.
    #[must_use]
    pub fn new(event: Event, message_id: Option<&str>, position: Option<&str>, now: Millis, number: u64) -> Arrived {
        let key = event.dedup_key(message_id, position);
        Arrived { event: Box::new(event), key, now, number }
    }

    /// Who goes and who stays, if it is a merge.
    #[must_use]
    pub fn merge(&self) -> Option<(CustomerKey, CustomerKey)> {
        merge_of(&self.event)
    }

    /// Equal for two that may be one event.
    pub(crate) fn key(&self) -> DedupKey {
        self.key
    }

    /// Whom its body names; who that is by now, redirects say.
    #[must_use]
    pub fn customer(&self) -> Option<CustomerKey> {
        self.event.customer_key()
    }
}

impl Task {
    pub(crate) fn timer(timer: TimerKey, now: Millis, turn: Turn) -> Task {
        let (customer, partition) = (timer.customer, Partition::of_customer(timer.customer));
        let reason = Reason::Timer { timer, fired: None, step: None };
        // Its id is known when it is known whether it is pending.
        Task { case: Case::new(reason, EventId::NONE, now, Some(customer), partition), number: None, turn }
    }

    pub(crate) fn customer(&self) -> Option<CustomerKey> {
        self.case.customer
    }

    pub(crate) fn now(&self) -> Millis {
        self.case.now
    }
}

impl Decider {
    pub(crate) fn new(
        rules: &Arc<RuleSet>,
        sandbox: &Arc<Sandbox>,
        environment: &Arc<str>,
        recheck_one_in: u32,
        redirects: Redirects,
    ) -> Result<Decider, StoreError> {
        let settings = Settings {
            shards: 1,
            event_bytes_max: usize::MAX,
            batch_max: 1,
            in_flight_max: 1,
            in_flight_bytes_max: 1,
            settles_after: Duration::ZERO,
            environment: Arc::clone(environment),
            recheck_one_in,
            breaker: NO_BREAKER,
        };
        let progress = Progress::default();
        let shared = Shared {
            redirects,
            arrivals: Arc::new(Arrivals::new(&progress, Clock::Events, Duration::ZERO)),
            suspects: Arc::new(Suspects::none()),
            failures: Arc::new(FailureTotals::new(&progress, u64::MAX, u64::MAX)),
            quotas: Quotas::default(),
            faults: BTreeMap::new(),
            trials: Registry::default(),
        };
        // Nobody hears of what a shard would have its owner do: no campaign is suspended.
        let (owner, _) = ReloadHandle::new();
        let current = Arc::new(arc_swap::ArcSwap::new(Arc::clone(rules)));
        let of_rules = Rules { sandbox: Arc::clone(sandbox), current, owner };
        let mut shard = Shard::new(0, &settings, of_rules, View::of_rehearsal()?, shared, None);
        shard.guests.adopt(rules);
        shard.counts.adopt(rules);
        shard.senders.adopt(rules);
        shard.rule_set = rules.number;
        Ok(Decider {
            shard,
            rules: Arc::clone(rules),
            sessions: Sessions::default(),
            impure: Vec::new(),
            are_told_apart: false,
        })
    }

    /// Each event has an id or a place of its own, and comes once: nothing is remembered of it.
    pub(crate) fn of_events_told_apart(self, are_told_apart: bool) -> Decider {
        Decider { are_told_apart, ..self }
    }

    /// Whether cases of one customer have to be decided one after the other.
    pub(crate) fn remembers(&self) -> bool {
        self.rules.remembers()
    }

    /// Campaigns whose rule has given two answers to one call.
    pub(crate) fn impure(&self) -> &[Arc<str>] {
        &self.impure
    }

    /// Gives an event its id, and finds whom it is about; `None` if it has been decided before.
    pub(crate) fn open(&mut self, arrived: Arrived) -> Result<Option<Task>, StoreError> {
        let Arrived { event, key, now, number } = arrived;
        let (customer, became) = meant(&event, &self.shard.redirects)?;
        let seen_in = seen_in(&event, key);
        let is_remembered = !(self.are_told_apart && key.has_id());
        let known = if is_remembered { self.shard.view.seen(seen_in, key)? } else { None };
        let arrival =
            Arrival { key, redelivered: false, session: SESSION, now, connected_ms: now, settles_after_ms: 0 };
        let (identity, mut seen) = identify(arrival, known, &self.sessions);
        // Only a copy of another session could ask for these.
        seen.open.clear();
        if is_remembered {
            self.shard.view.saw(seen_in, key, seen);
        }
        let Identity::Fresh(id) = identity else { return Ok(None) };
        let partition = Partition::of_event(customer, key);
        let case = Case::new(Reason::Event { event, seen: None }, id, now, customer, partition);
        let case = Case { became, ..case };
        Ok(Some(Task { case, number: Some(number), turn: Turn::Event }))
    }

    /// Decides tasks together, of which no two are of one customer unless nothing is remembered; a merge comes alone.
    pub(crate) fn decide(&mut self, wave: Vec<Task>, decisions: &mut Vec<Decision>) -> Result<(), StoreError> {
        self.shard.failures.forget(&self.shard.view);
        let (mut cases, known): (Vec<Case>, Vec<_>) =
            wave.into_iter().map(|Task { case, number, turn }| (case, (number, turn))).unzip();
        if let [alone] = &mut cases[..] {
            self.shard.unite(&self.rules, alone)?;
        }
        let mut done = Vec::with_capacity(cases.len());
        match self.shard.decide_wave(&self.rules, cases, &mut done) {
            Ok(()) => {}
            Err(Stop::Store(error)) => return Err(error),
            Err(Stop::Closed) => unreachable!("nothing of a rehearsal is sent"),
        }
        for (case, (number, turn)) in done.into_iter().zip(known) {
            if !case.is_void() {
                decisions.push(self.decision(case, number, turn));
            }
        }
        Ok(())
    }

    fn decision(&mut self, mut case: Case, number: Option<u64>, turn: Turn) -> Decision {
        let Heard { lines, costs, impure } = case.heard.take().map(|heard| *heard).unwrap_or_default();
        let name = |at: usize| Arc::clone(&self.rules.campaigns()[at].spec.name);
        for campaign in impure.into_iter().map(name) {
            if !self.impure.contains(&campaign) {
                self.impure.push(campaign);
            }
        }
        Decision {
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

    /// Makes sure that a customer's row is here.
    pub(crate) fn load(&mut self, customer: CustomerKey) -> Result<(), StoreError> {
        self.shard.rows.load(&self.shard.view, customer)
    }

    pub(crate) fn row(&self, customer: CustomerKey) -> Option<&CustomerRow> {
        self.shard.rows.row(customer)
    }

    pub(crate) fn take_row(&mut self, customer: CustomerKey) -> Option<CustomerRow> {
        self.shard.rows.take(customer)
    }

    pub(crate) fn put_row(&mut self, customer: CustomerKey, row: CustomerRow) {
        self.shard.rows.put(customer, row);
    }

    /// Ends a turn: what an engine would have committed is forgotten, and what is too old to matter.
    pub(crate) fn settle(&mut self, customers: impl IntoIterator<Item = CustomerKey>, now: Millis) {
        self.shard.rows.settle(customers);
        // The failures are in the customers' rows, as far as they matter to what comes.
        let _ = self.shard.failures.flush();
        self.shard.view.advance(now);
    }
}

/// Lets cases keep what was said and spent for them; nothing of it goes to the log.
pub(super) fn hear(decided: &mut Decided, first: usize, cases: &mut [Case]) {
    for GuestLine { event, campaign, line } in decided.lines.drain(..) {
        heard_of(&mut cases[event - first]).lines.push((campaign, line));
    }
    for cost in decided.costs.drain(..) {
        heard_of(&mut cases[cost.event - first]).costs.push(cost);
    }
    if let ([first, ..], false) = (cases, decided.impure.is_empty()) {
        heard_of(first).impure.append(&mut decided.impure);
    }
}

fn heard_of(case: &mut Case) -> &mut Heard {
    case.heard.get_or_insert_default()
}
