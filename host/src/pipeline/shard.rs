//! One shard: a thread that decides the events of its customers, batch by batch, under one rule set a batch (G8). It
//! owns its guests; nothing here waits for a lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::arrivals::Arrivals;
use super::budget::Budget;
use super::case::{Case, Reason, Repeated};
use super::commit::JournalPiece;
use super::counts::Counts;
use super::group::Group;
use super::identify::{Arrival, Identity, identify};
use super::judge::outcome;
use super::memory::Memory;
use super::redirects::Redirects;
use super::rows::Rows;
use super::{Accepted, Rules, Settings, Tally, What};
use crate::clock::Millis;
use crate::communication::Communication;
use crate::engine::{Batch, Campaign, Decided, Guests, NotCalled, RuleSet, Subscription};
use crate::event::{CustomerKey, DedupKey, EventId, Projection};
use crate::failpoint::Failpoint;
use crate::metrics;
use crate::store::StoreError;
use crate::store::records::{self, JournalEntry, Partition, SeenRow, Sessions, TimerKey, encode};

/// Events without a customer all look the same to a rule's `bucket`.
const SEED_OF_NOBODY: u64 = 0;
/// The most input that waits for its calls, in bytes: one large event read whole by many campaigns is decided before
/// the next is read.
const INPUT_BYTES_MAX: usize = 8 << 20;
/// The most that the calls of several events may answer together; events that lead to more are decided in smaller parts.
const OUTPUT_BYTES_MAX: usize = 8 << 20;
/// What a communication takes beside its body, in bytes, about.
const COMMUNICATION_BYTES: usize = 256;

pub(super) struct Shard {
    number: usize,
    pub(super) rules: Rules,
    pub(super) guests: Guests,
    pub(super) memory: Memory,
    pub(super) rows: Rows,
    pub(super) redirects: Redirects,
    arrivals: Arc<Arrivals>,
    exit: Exit,
    batch_max: usize,
    pub(super) environment: Arc<str>,
    settles_after_ms: Millis,
    pub(super) batch: Batch,
    projection: Projection,
    pub(super) decided: Decided,
    pub(super) counts: Counts,
}

/// Where groups go when they are decided.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) groups: mpsc::Sender<Group>,
    /// Of communications that wait to be committed, over all shards.
    pub(super) budget: Budget,
    pub(super) runtime: Handle,
}

/// Why a shard ends before its events do.
enum Stop {
    /// Nobody takes groups any more.
    Closed,
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Store(error)
    }
}

impl Exit {
    /// Waits until there is room for the group's communications.
    fn send(&self, mut group: Group) -> Result<(), Stop> {
        let bytes = group.outbox.iter().map(|(_, communication)| bytes_of(communication)).sum();
        if bytes > 0 {
            group.held_out = self.budget.take_blocking(bytes, &self.runtime);
        }
        self.groups.blocking_send(group).map_err(|_| Stop::Closed)
    }
}

impl Shard {
    pub(super) fn new(
        number: usize,
        settings: &Settings,
        rules: Rules,
        memory: Memory,
        redirects: Redirects,
        arrivals: Arc<Arrivals>,
        exit: Exit,
    ) -> Shard {
        Shard {
            number,
            guests: Guests::new(Arc::clone(&rules.sandbox), settings.recheck_one_in),
            rules,
            memory,
            rows: Rows::default(),
            redirects,
            arrivals,
            exit,
            batch_max: settings.batch_max,
            environment: Arc::clone(&settings.environment),
            settles_after_ms: settings.settles_after.as_millis() as Millis,
            batch: Batch::default(),
            projection: Projection::new(),
            decided: Decided::default(),
            counts: Counts::new(),
        }
    }

    /// Decides until there are no more events. A batch is whatever waits, so an idle shard adds no delay and a busy one
    /// shares the cost.
    ///
    /// # Errors
    /// When the store can't be read.
    pub(super) fn run(mut self, mut events: mpsc::Receiver<Accepted>) -> Result<Tally, StoreError> {
        let mut accepted = Vec::with_capacity(self.batch_max);
        while events.blocking_recv_many(&mut accepted, self.batch_max) > 0 {
            match self.decide(&mut accepted) {
                Ok(()) => {}
                Err(Stop::Closed) => break,
                Err(Stop::Store(error)) => return Err(error),
            }
        }
        Ok(self.counts.finish())
    }

    /// The whole batch under one rule set, wave after wave.
    fn decide(&mut self, accepted: &mut Vec<Accepted>) -> Result<(), Stop> {
        Failpoint::BeforeEvaluation.pass();
        let rules = self.rules.current.load_full();
        self.guests.adopt(&rules);
        self.counts.adopt(&rules);
        self.memory.begin()?;
        let (mut cases, repeated) = self.open_cases(accepted)?;
        if let [merge] = &mut cases[..] {
            // A merge comes alone.
            self.unite(&rules, merge)?;
        }
        let mut done = Vec::with_capacity(cases.len());
        for wave in waves(cases, rules.remembers()) {
            self.decide_wave(&rules, wave, &mut done)?;
        }
        Failpoint::AfterEvaluation.pass();
        self.close(done, repeated, rules.number)
    }

    /// Decides one wave, in parts if its calls need much input or answer at length. A rule is pure, so calls of a part that was too large are
    /// simply made again.
    fn decide_wave(&mut self, rules: &RuleSet, mut cases: Vec<Case>, done: &mut Vec<Case>) -> Result<(), Stop> {
        while !cases.is_empty() {
            self.batch.open(rules);
            let mut gathered = 0;
            while gathered < cases.len() && self.batch.input_bytes() <= INPUT_BYTES_MAX {
                self.gather(rules, gathered, &mut cases[gathered])?;
                gathered += 1;
            }
            let (mut first, mut part) = (0, gathered);
            while first < gathered {
                let began = Instant::now();
                let events = first..gathered.min(first + part);
                if !self.guests.decide_some(&self.batch, events.clone(), OUTPUT_BYTES_MAX, &mut self.decided) {
                    part = events.len() / 2;
                    continue;
                }
                self.judge(rules, first, &mut cases);
                self.report_misbehaviour(rules, first, &cases);
                ::metrics::histogram!(metrics::DECIDE_SECONDS).record(began.elapsed());
                first = events.end;
                done.extend(cases.drain(..events.len()));
                if done.iter().flat_map(|case| &case.communications).map(bytes_of).sum::<usize>() > OUTPUT_BYTES_MAX {
                    self.close(std::mem::take(done), Vec::new(), rules.number)?;
                    self.memory.begin()?;
                }
            }
        }
        Ok(())
    }

    /// Sorts out what has been decided before, and gives every other event its id.
    fn open_cases(&mut self, accepted: &mut Vec<Accepted>) -> Result<(Vec<Case>, Vec<Repeated>), StoreError> {
        let connected_ms = self.arrivals.connected_ms();
        let mut sessions: Option<Sessions> = None;
        // What this batch itself adds, before it is decided.
        let mut added: HashMap<DedupKey, SeenRow> = HashMap::new();
        let (mut cases, mut repeated) = (Vec::with_capacity(accepted.len()), Vec::new());
        for Accepted { what, now, receipt, held } in accepted.drain(..) {
            let (outcomes, communications) = (Vec::new(), Vec::new());
            let (event, customer, key, redelivered, session) = match what {
                What::Event { event, customer, key, redelivered, session } => {
                    (event, customer, key, redelivered, session)
                }
                What::Timer(timer) => {
                    let customer = Some(timer.customer);
                    let partition = Partition::of_customer(timer.customer);
                    // Its id is known when it is known whether it is pending.
                    let (reason, id) = (Reason::Timer { timer, fired: None }, EventId::NONE);
                    cases.push(Case { reason, id, now, customer, partition, outcomes, communications, receipt, held });
                    continue;
                }
            };
            let partition = Partition::of_event(customer, key);
            let known = match added.get(&key) {
                Some(row) => Some(row.clone()),
                None => self.memory.seen(partition, key)?,
            };
            let sessions = sessions.get_or_insert_with(|| self.arrivals.now_and_sessions().1);
            let settles_after_ms = self.settles_after_ms;
            let arrival = Arrival { key, redelivered, session, now, connected_ms, settles_after_ms };
            let (identity, seen) = identify(arrival, known, sessions);
            added.insert(key, seen.clone());
            match identity {
                Identity::Fresh(id) => {
                    let reason = Reason::Event { event, key, seen };
                    cases.push(Case { reason, id, now, customer, partition, outcomes, communications, receipt, held });
                }
                Identity::Repeat { is_certain } => {
                    self.counts.repeat(is_certain);
                    repeated.push(Repeated { key, partition, seen, receipt, held });
                }
            }
        }
        Ok((cases, repeated))
    }

    /// Sends on everything that was decided, to be committed as a whole.
    fn close(&mut self, done: Vec<Case>, repeated: Vec<Repeated>, rule_set: u64) -> Result<(), Stop> {
        let mut group = Group::of_shard(self.number);
        for case in done {
            if !case.is_void() {
                let (event_id, customer, cause, now) = (case.id, case.customer, case.cause(), case.now);
                let entry = JournalEntry { event_id, customer, cause, now, rule_set, outcomes: case.outcomes };
                group.journal.push(JournalPiece { partition: case.partition, customer, bytes: encode(&entry) });
            }
            let partition = case.partition;
            group.outbox.extend(case.communications.into_iter().map(|communication| (partition, communication)));
            match case.reason {
                Reason::Event { key, seen, .. } => {
                    self.memory.saw(partition, key, seen);
                    group.has_open_occurrences |= !key.has_id();
                }
                Reason::Timer { timer, .. } => group.timers.push(timer),
            }
            group.receipts.extend(case.receipt);
            group.held_in.absorb(case.held);
        }
        for Repeated { key, partition, seen, receipt, held } in repeated {
            self.memory.saw(partition, key, seen);
            group.receipts.extend(receipt);
            group.held_in.absorb(held);
        }
        let timers = self.rows.flush(&mut self.memory);
        (group.number, group.changes) = self.memory.end();
        group.changes.append(timers);
        if group.is_empty() { Ok(()) } else { self.exit.send(group) }
    }

    /// Adds the calls that a case leads to.
    fn gather(&mut self, rules: &RuleSet, number: usize, case: &mut Case) -> Result<(), StoreError> {
        let is_timer = matches!(case.reason, Reason::Timer { .. });
        if let Some(customer) = case.customer.filter(|_| is_timer || rules.remembers()) {
            self.rows.load(&self.memory, customer)?;
        }
        match &case.reason {
            Reason::Event { .. } => self.gather_event(rules, number, case),
            Reason::Timer { timer, .. } => {
                let timer = timer.clone();
                self.gather_timer(rules, number, case, &timer);
            }
        }
        Ok(())
    }

    /// Reads what the loaded rules want of an event, and adds a call for each campaign that takes it.
    fn gather_event(&mut self, rules: &RuleSet, number: usize, case: &mut Case) {
        let Reason::Event { event, .. } = &case.reason else { return };
        let now = case.now;
        let reading = rules.reading(event.code());
        let taking = |subscription: &Subscription| self.takes(&rules.campaigns()[subscription.campaign], now);
        if !reading.subscriptions.iter().any(taking) {
            self.counts.unclaimed();
            return;
        }
        reading.plan.project(event, &mut self.projection);
        self.counts.event(self.projection.mismatches());
        for subscription in &reading.subscriptions {
            let campaign = &rules.campaigns()[subscription.campaign];
            if !self.takes(campaign, now) {
                continue;
            }
            let spec = &campaign.spec;
            let state = case.customer.and_then(|customer| self.rows.state(customer, spec, now));
            let seed = case.customer.map_or(SEED_OF_NOBODY, CustomerKey::seed);
            match self.batch.add(subscription, number, now, seed, state, &self.projection) {
                Ok(()) => {}
                Err(NotCalled::Absent(absent)) => {
                    let field = &spec.manifest.handlers[subscription.handler as usize].fields[absent].name;
                    tracing::debug!(campaign = &*spec.name, event = %case.id, field, "not called: a required field is absent");
                    self.counts.of(subscription.campaign).skipped();
                    case.outcomes.push(outcome(spec, records::Decided::Skipped { field: field.as_str().into() }));
                }
                Err(NotCalled::Fault(fault)) => {
                    let failed = self.fault(campaign, subscription.campaign, case, &fault);
                    case.outcomes.push(outcome(spec, failed));
                }
            }
        }
    }

    /// Adds the call of a timer, if it is still pending: what stood among the timers that are due was a hint. One that nobody can take now is
    /// put off until its campaign is back, and its version has it.
    fn gather_timer(&mut self, rules: &RuleSet, number: usize, case: &mut Case, timer: &TimerKey) {
        let found = rules.campaigns().iter().position(|campaign| *campaign.spec.name == *timer.campaign);
        let taken = found.filter(|index| self.takes(&rules.campaigns()[*index], case.now));
        let Some(subscription) = taken.and_then(|index| rules.timer(index, &timer.timer)) else {
            self.rows.park(timer, case.now);
            return;
        };
        let Some(fired) = self.rows.fire(timer) else { return };
        let campaign = &rules.campaigns()[subscription.campaign];
        case.id = EventId::of_timer(fired.set_by, &timer.campaign, &timer.timer, fired.due);
        case.reason = Reason::Timer { timer: timer.clone(), fired: Some(fired) };
        self.counts.timer();
        let state = self.rows.state(timer.customer, &campaign.spec, case.now);
        let added = self.batch.add_timer(&subscription, number, case.now, timer.customer.seed(), state);
        if let Err(fault) = added {
            let failed = self.fault(campaign, subscription.campaign, case, &fault);
            case.outcomes.push(outcome(&campaign.spec, failed));
        }
    }

    /// Whether a campaign takes anything at `now`.
    fn takes(&self, Campaign { spec, generation, .. }: &Campaign, now: Millis) -> bool {
        spec.is_active(now) && !self.rules.owner.is_stopped(&spec.name, *generation)
    }
}

/// Sorts cases so that a wave holds at most one of each customer, in the order in which they came: a rule then sees what it made of the one
/// before. Without memory there is nothing to see, and one wave takes them all.
fn waves(cases: Vec<Case>, have_memory: bool) -> Vec<Vec<Case>> {
    if !have_memory {
        return vec![cases];
    }
    let mut waves: Vec<Vec<Case>> = Vec::new();
    let mut next_of: HashMap<CustomerKey, usize> = HashMap::new();
    for case in cases {
        let wave = match case.customer {
            Some(customer) => {
                let next = next_of.entry(customer).or_default();
                *next += 1;
                *next - 1
            }
            None => 0,
        };
        if waves.len() == wave {
            waves.push(Vec::new());
        }
        waves[wave].push(case);
    }
    waves
}

fn bytes_of(communication: &Communication) -> usize {
    communication.body.len() + COMMUNICATION_BYTES
}
