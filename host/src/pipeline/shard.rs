//! One shard: a thread that decides the events of its customers, batch by batch, under one rule set a batch (G8). It
//! owns its guests, and what it has decided and the committer has not committed yet (`memory.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use foldhash::HashMap;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::arrivals::Arrivals;
use super::budget::Budget;
use super::case::{Case, Reason, Repeated};
use super::commit::JournalPiece;
use super::counts::Counts;
use super::failures::{FailureRows, FailureTotals};
use super::group::Group;
use super::identify::{Arrival, Identity, identify};
use super::quota::{Quotas, Taken};
use super::redirects::Redirects;
use super::rehearse::hear;
use super::rows::Rows;
use super::senders::Senders;
use super::suspects::{Acquittal, Suspects};
use super::trials::{Registry, Trials};
use super::view::View;
use super::{Accepted, Rules, Settings, Tally, What};
use crate::clock::Millis;
use crate::communication::Communication;
use crate::engine::{Batch, Decided, Guests, RuleSet};
use crate::event::{CustomerKey, DedupKey, Event, EventId, Projection};
use crate::failpoint::Failpoint;
use crate::metrics;
use crate::records::{FaultCount, JournalEntry, Partition, SeenRow, Sessions};
use crate::store::StoreError;

/// The most input that waits for its calls, in bytes: one large event read whole by many campaigns is decided before
/// the next is read.
const INPUT_BYTES_MAX: usize = 8 << 20;
/// The most that the calls of several events may answer together; events that lead to more are decided in smaller parts.
const OUTPUT_BYTES_MAX: usize = 8 << 20;
/// The most that the rows of customers take which are committed together, in bytes, unless they are one event's.
const ROWS_BYTES_MAX: usize = 8 << 20;

pub(super) struct Shard {
    number: usize,
    pub(super) rules: Rules,
    pub(super) guests: Guests,
    pub(super) view: View,
    pub(super) rows: Rows,
    pub(super) redirects: Redirects,
    pub(super) failures: FailureRows,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) suspects: Arc<Suspects>,
    /// Of what is being decided, for its group.
    acquittal: Option<Acquittal>,
    /// `None` in a rehearsal, where whoever asks is given what was decided.
    pub(super) exit: Option<Exit>,
    batch_max: usize,
    pub(super) environment: Arc<str>,
    pub(super) senders: Senders,
    settles_after_ms: Millis,
    pub(super) batch: Batch,
    pub(super) projection: Projection,
    pub(super) decided: Decided,
    pub(super) counts: Counts,
    pub(super) quotas: Quotas,
    /// What was taken of them by what is being decided.
    pub(super) taken: Vec<Taken>,
    pub(super) trials: Trials,
    /// The number of the rule set that decides now.
    pub(super) rule_set: u64,
}

/// What all shards and the entrance share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) redirects: Redirects,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) suspects: Arc<Suspects>,
    pub(super) failures: Arc<FailureTotals>,
    pub(super) quotas: Quotas,
    /// What was committed of campaigns that faulted.
    pub(super) faults: BTreeMap<Arc<str>, FaultCount>,
    pub(super) trials: Registry,
}

/// Where groups go when they are decided.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) groups: mpsc::Sender<Group>,
    /// Of communications and rows that wait to be committed, over all shards.
    pub(super) budget: Budget,
    pub(super) runtime: Handle,
}

/// Why a shard ends before its events do.
pub(super) enum Stop {
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
    /// Waits until there is room for the group's communications and rows.
    fn send(&self, mut group: Group) -> Result<(), Stop> {
        let outbox: usize = group.outbox.iter().map(|(_, communication)| bytes_of(communication)).sum();
        let bytes = outbox + group.changes.bytes();
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
        view: View,
        shared: Shared,
        exit: Option<Exit>,
    ) -> Shard {
        let Shared { redirects, arrivals, suspects, failures, quotas, faults, trials } = shared;
        Shard {
            number,
            guests: Guests::new(Arc::clone(&rules.sandbox), settings.recheck_one_in),
            rules,
            view,
            rows: Rows::default(),
            redirects,
            failures: FailureRows::new(failures),
            arrivals,
            suspects,
            acquittal: None,
            exit,
            batch_max: settings.batch_max,
            environment: Arc::clone(&settings.environment),
            senders: Senders::new(),
            settles_after_ms: settings.settles_after.as_millis() as Millis,
            batch: Batch::default(),
            projection: Projection::new(),
            decided: Decided::default(),
            counts: Counts::new(settings.breaker, faults),
            quotas,
            taken: Vec::new(),
            trials: Trials::new(trials),
            rule_set: 0,
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
            while !accepted.is_empty() {
                let rest = self.suspects.set_apart(&mut accepted);
                match self.decide(&mut accepted) {
                    Ok(()) => accepted.extend(rest),
                    Err(Stop::Closed) => return Ok(self.counts.finish()),
                    Err(Stop::Store(error)) => return Err(error),
                }
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
        self.senders.adopt(&rules);
        self.trials.begin(&rules, &self.rules.owner);
        self.rule_set = rules.number;
        self.view.memory().begin()?;
        self.failures.forget(&self.view);
        let suspects = Arc::clone(&self.suspects);
        let part = suspects.part(accepted);
        self.acquittal = part.acquittal(&suspects);
        let (mut cases, repeated) = self.open_cases(accepted)?;
        let mut done = Vec::with_capacity(cases.len());
        let in_flight = suspects.enter(self.number, &part);
        if let [merge] = &mut cases[..]
            && merge.retry.is_none()
        {
            // A merge comes alone.
            self.unite(&rules, merge)?;
        }
        for wave in waves(cases, rules.remembers()) {
            self.decide_wave(&rules, wave, &mut done)?;
        }
        Failpoint::AfterEvaluation.pass();
        self.counts.show_missed();
        drop(in_flight);
        self.close(done, repeated, rules.number)
    }

    /// Decides one wave, in parts if its calls need much input or answer at length. A rule is pure, so calls of a part that was too large are
    /// simply made again.
    pub(super) fn decide_wave(
        &mut self,
        rules: &RuleSet,
        mut cases: Vec<Case>,
        done: &mut Vec<Case>,
    ) -> Result<(), Stop> {
        while !cases.is_empty() {
            self.batch.open(rules);
            let mut gathered = 0;
            while gathered < cases.len()
                && self.batch.input_bytes() <= INPUT_BYTES_MAX
                && (gathered == 0 || self.exit.is_none() || self.rows.bytes() <= ROWS_BYTES_MAX)
            {
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
                self.judge(rules, first, &mut cases[..events.len()])?;
                if self.exit.is_none() {
                    hear(&mut self.decided, first, &mut cases);
                }
                self.report_misbehaviour(rules, first, &cases);
                ::metrics::histogram!(metrics::DECIDE_SECONDS).record(began.elapsed());
                first = events.end;
                done.extend(cases.drain(..events.len()));
                if self.exit.is_some()
                    && (self.rows.bytes() > ROWS_BYTES_MAX
                        || done.iter().map(Case::bytes_to_commit).sum::<usize>() > OUTPUT_BYTES_MAX)
                {
                    self.close(std::mem::take(done), Vec::new(), rules.number)?;
                    self.view.memory().begin()?;
                }
            }
        }
        Ok(())
    }

    /// Sorts out what has been decided before, and gives every other event its id.
    pub(super) fn open_cases(
        &mut self,
        accepted: &mut Vec<Accepted>,
    ) -> Result<(Vec<Case>, Vec<Repeated>), StoreError> {
        let connected_ms = self.arrivals.connected_ms();
        let mut sessions: Option<Sessions> = None;
        // What this batch itself adds, before it is decided.
        let mut added: HashMap<DedupKey, SeenRow> = HashMap::default();
        let (mut cases, mut repeated) = (Vec::with_capacity(accepted.len()), Vec::new());
        for Accepted { what, now, receipt, held, .. } in accepted.drain(..) {
            let (event, customer, became, key, redelivered, session) = match what {
                What::Event { event, customer, became, key, redelivered, session } => {
                    (event, customer, became, key, redelivered, session)
                }
                What::Timer(timer) => {
                    let customer = Some(timer.customer);
                    let partition = Partition::of_customer(timer.customer);
                    // Its id is known when it is known whether it is pending.
                    let (reason, id) = (Reason::Timer { timer, fired: None, step: None }, EventId::NONE);
                    cases.push(Case { receipt, held, ..Case::new(reason, id, now, customer, partition) });
                    continue;
                }
                What::Retry(work) => {
                    cases.extend(work.into_cases()?);
                    continue;
                }
            };
            let partition = Partition::of_event(customer, key);
            let seen_in = seen_in(&event, key);
            let known = match added.get(&key) {
                Some(row) => Some(row.clone()),
                None => self.view.seen(seen_in, key)?,
            };
            let sessions = sessions.get_or_insert_with(|| self.arrivals.now_and_sessions().1);
            let settles_after_ms = self.settles_after_ms;
            let arrival = Arrival { key, redelivered, session, now, connected_ms, settles_after_ms };
            let (identity, seen) = identify(arrival, known, sessions);
            match identity {
                Identity::Fresh(id) => {
                    added.insert(key, seen.clone());
                    let reason = Reason::Event { event, seen: Some((key, seen)) };
                    cases.push(Case { became, receipt, held, ..Case::new(reason, id, now, customer, partition) });
                }
                Identity::Repeat { is_certain } => {
                    added.insert(key, seen);
                    self.counts.repeat(is_certain);
                    repeated.push(Repeated { key, partition: seen_in, seen: None, receipt, held });
                }
            }
        }
        // Repeats are closed behind all events of their batch, so their row is the key's last. The row as it was at the repeat may be older than
        // that of an event behind it, and would take the count back.
        for repeat in &mut repeated {
            repeat.seen = added.remove(&repeat.key);
        }
        Ok((cases, repeated))
    }

    /// Sends on everything that was decided, to be committed as a whole. **A row of a dedup key claims no occurrence that is decided in a later
    /// part of the batch (G4)**: an event brings the row as it was at that event, and repeats come with the last part.
    fn close(&mut self, mut done: Vec<Case>, repeated: Vec<Repeated>, rule_set: u64) -> Result<(), Stop> {
        let mut group = Group::of_shard(self.number);
        // First, as nobody may know of what is decided here if the store can't be read.
        for case in &mut done {
            let event = match &case.reason {
                Reason::Event { event, .. } => Some(&**event),
                Reason::Timer { .. } | Reason::Merge { .. } => None,
            };
            self.failures.keep(&self.view, std::mem::take(&mut case.failures), event)?;
        }
        for case in done {
            if !case.is_void() {
                let (event_id, customer, cause) = (case.id, case.customer, case.cause());
                let (now, again) = match case.retry {
                    Some(_) => (self.arrivals.now(), Some(case.now)),
                    None => (case.now, None),
                };
                let named = case.named();
                let outcomes = case.outcomes;
                let entry = JournalEntry { event_id, customer, cause, now, rule_set, outcomes, again, named };
                entry.encode(&mut |bytes| {
                    group.journal.push(JournalPiece { partition: case.partition, customer, bytes });
                });
            }
            let partition = case.partition;
            group.outbox.extend(case.communications.into_iter().map(|communication| (partition, communication)));
            match case.reason {
                Reason::Event { event, seen: Some((key, seen)) } => {
                    self.view.saw(seen_in(&event, key), key, seen);
                    group.has_open_occurrences |= !key.has_id();
                }
                Reason::Timer { timer, .. } if case.retry.is_none() => group.timers.push(timer),
                Reason::Event { .. } | Reason::Timer { .. } | Reason::Merge { .. } => {}
            }
            group.concluded.extend(case.retry.map(|retry| retry.into_concluded()));
            group.receipts.extend(case.receipt);
            group.held_in.absorb(case.held);
        }
        for Repeated { key, partition, seen, receipt, held } in repeated {
            if let Some(seen) = seen {
                self.view.saw(partition, key, seen);
            }
            group.receipts.extend(receipt);
            group.held_in.absorb(held);
        }
        group.acquittal = self.acquittal.take();
        let timers = self.rows.flush(self.view.memory());
        (group.number, group.changes, group.seen) = self.view.memory().end();
        group.changes.append(timers);
        let (failures, deltas) = self.failures.flush();
        group.changes.append(failures);
        group.failures = deltas;
        group.hours = std::mem::take(&mut self.taken);
        group.faults = self.counts.take_faults();
        match &self.exit {
            Some(exit) if !group.is_empty() => exit.send(group),
            _ => Ok(()),
        }
    }
}

/// Where it is written down that an event was seen: by whom the event itself names. Whom they have become changes with a merge, and then a copy of what was decided before it
/// would not be known for one.
pub(super) fn seen_in(event: &Event, key: DedupKey) -> Partition {
    Partition::of_event(event.customer_key(), key)
}

/// Sorts cases so that a wave holds at most one of each customer, in the order in which they came: a rule then sees what it made of the one
/// before. Without memory there is nothing to see, and one wave takes them all.
fn waves(cases: Vec<Case>, have_memory: bool) -> Vec<Vec<Case>> {
    if !have_memory {
        return vec![cases];
    }
    let mut waves: Vec<Vec<Case>> = Vec::new();
    let mut next_of: HashMap<CustomerKey, usize> = HashMap::default();
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

/// What a communication takes beside its body, in bytes, about.
const COMMUNICATION_BYTES: usize = 256;

/// What a communication takes, about, in bytes.
pub(super) fn bytes_of(communication: &Communication) -> usize {
    communication.body.len() + COMMUNICATION_BYTES
}

#[cfg(test)]
mod tests;
