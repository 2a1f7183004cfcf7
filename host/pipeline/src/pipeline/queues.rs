//! Reads the kept failures from the store in the order of their keys. A queue is the failures and
//! held events of one customer and campaign; its rows are adjacent and in the order in which they
//! must be decided.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::budget::Held;
use super::retries::{Answer, RetryWork, ToRetry};
use super::{Tried, TryResult};
use crate::records::{
    BodyRow, CustomerRow, FailureDelta, FailureKey, FailureRow, Key, Partition, TimerKey, Work,
    encode, visit_failures,
};
use hailer_event::{CustomerKey, Event, EventId};
use hailer_store::{Changes, Snapshot, StoreError, Table};

/// The most failures, and the most bytes, of one round.
const FAILURES_MAX: usize = 256;
const BYTES_MAX: usize = 8 << 20;

/// Selects failures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureSelection {
    Numbers(Vec<u64>),
    Campaign(String),
    All,
    /// The events that campaigns missed while they were stopped: of one campaign, or of all if
    /// `None`.
    Missed(Option<String>),
    /// Held events and timers that have no failure ahead of them any more.
    Ready,
}

/// The customer and the campaign of a queue.
type QueueName = (Option<CustomerKey>, Arc<str>);

/// The failures that a request selects, and where they are stored.
#[derive(Debug)]
pub(super) struct Chosen {
    selection: FailureSelection,
    numbers: HashSet<u64>,
    /// The queues that contain a selected number. A retry of one failure includes everything ahead
    /// of it in the queue.
    queues: HashSet<QueueName>,
    /// Key ranges in order: each has its first key, and the key at which it ends.
    ranges: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A position in the walk through the failures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cursor {
    /// The key of the last failure that was read.
    after: Vec<u8>,
    /// Whether the customer's later events wait behind that failure.
    is_queued: bool,
    /// Whether that failure was not decided, so that the rest of its queue must wait.
    is_blocked: bool,
}

/// Failures that are retried together.
pub(super) struct Round {
    pub(super) queues: Vec<Queue>,
    /// Failures that cannot be retried.
    pub(super) untried: Vec<Tried>,
    /// The number of events that wait behind a failure which the round before did not decide.
    pub(super) passed_over: u64,
    /// The position of the next round; `None` at the end.
    pub(super) cursor: Option<Cursor>,
}

/// Failures of one queue, in order.
pub(super) struct Queue {
    partition: Partition,
    customer: Option<CustomerKey>,
    pub(super) failures: Vec<ToRetry>,
}

/// The changes that drop some failures.
pub(super) struct Dropped {
    pub(super) changes: Changes,
    pub(super) deltas: Vec<FailureDelta>,
    pub(super) count: u64,
    pub(super) next: Option<Cursor>,
}

impl Cursor {
    /// Records the result of a failure of the last round. If the round's last failure was not
    /// decided, its queue is blocked.
    pub(super) fn note(&mut self, tried: &Tried) {
        let last = FailureKey::decode(&self.after).map(|key| key.number);
        let came_through = matches!(tried.result, TryResult::Decided | TryResult::Void);
        // Everything behind a failed one is reported as not called, including the last of its
        // queue.
        if self.is_queued && last == Some(tried.number) && !came_through {
            self.is_blocked = true;
        }
    }
}

impl Queue {
    pub(super) fn into_work(
        self,
        tried: mpsc::UnboundedSender<Tried>,
        barrier: Arc<Held>,
    ) -> RetryWork {
        let Queue { partition, customer, failures } = self;
        RetryWork { partition, customer, failures, answer: Answer { tried, _barrier: barrier } }
    }
}

impl Chosen {
    /// Finds the selected failures. A merge may move a failure meanwhile; it is then missed here,
    /// and the next page looks for it again.
    pub(super) fn of(
        snapshot: &dyn Snapshot,
        selection: FailureSelection,
    ) -> Result<Chosen, StoreError> {
        let mut chosen = Chosen {
            selection,
            numbers: HashSet::new(),
            queues: HashSet::new(),
            ranges: Vec::new(),
        };
        let FailureSelection::Numbers(numbers) = &chosen.selection else {
            chosen.ranges.push((Vec::new(), vec![Partition::COUNT]));
            return Ok(chosen);
        };
        chosen.numbers = numbers.iter().copied().collect();
        let mut ranges = BTreeSet::new();
        visit_failures(snapshot, (&[], &[Partition::COUNT]), &mut |key, row| {
            if chosen.numbers.contains(&key.number) {
                ranges.insert(Key::failures_in(key.partition, key.customer, &key.campaign));
                if row.is_queued {
                    chosen.queues.insert(queue_of(&key));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        chosen.ranges.extend(ranges);
        Ok(chosen)
    }

    /// Whether a failure is to be retried.
    fn has(&self, key: &FailureKey, row: &FailureRow) -> bool {
        match &self.selection {
            FailureSelection::All | FailureSelection::Ready => !row.status.is_missed(),
            FailureSelection::Campaign(campaign) => {
                *campaign == *key.campaign && !row.status.is_missed()
            }
            FailureSelection::Missed(campaign) => is_missed_by(campaign.as_deref(), key, row),
            FailureSelection::Numbers(_) if row.is_queued => self.queues.contains(&queue_of(key)),
            FailureSelection::Numbers(_) => self.numbers.contains(&key.number),
        }
    }

    /// Whether a failure is to be dropped. In a queue, only the named failures are.
    fn names(&self, key: &FailureKey, row: &FailureRow) -> bool {
        match &self.selection {
            FailureSelection::All => !row.status.is_missed(),
            FailureSelection::Campaign(campaign) => {
                *campaign == *key.campaign && !row.status.is_missed()
            }
            FailureSelection::Missed(campaign) => is_missed_by(campaign.as_deref(), key, row),
            FailureSelection::Numbers(_) => self.numbers.contains(&key.number),
            FailureSelection::Ready => false,
        }
    }

    /// Visits the failures in the key ranges, after a key.
    fn visit(
        &self,
        snapshot: &dyn Snapshot,
        after: &[u8],
        visit: &mut dyn FnMut(FailureKey, FailureRow) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        // The least key that is greater than `after`.
        let behind = if after.is_empty() { Vec::new() } else { [after, &[0]].concat() };
        let mut is_over = false;
        for (from, to) in &self.ranges {
            let from = from.max(&behind);
            if is_over || from >= to {
                continue;
            }
            visit_failures(snapshot, (from, to), &mut |key, row| {
                let flow = visit(key, row)?;
                is_over = flow.is_break();
                Ok(flow)
            })?;
        }
        Ok(())
    }
}

/// The next failures to retry.
pub(super) fn round(
    snapshot: &dyn Snapshot,
    chosen: &Chosen,
    cursor: Cursor,
) -> Result<Round, StoreError> {
    let mut round = Round { queues: Vec::new(), untried: Vec::new(), passed_over: 0, cursor: None };
    let (mut count, mut bytes) = (0, 0);
    let before =
        FailureKey::decode(&cursor.after).filter(|_| cursor.is_queued).map(|key| queue_of(&key));
    let mut blocked = before.clone().filter(|_| cursor.is_blocked);
    // The queue of the last queued row that was read.
    let mut last = before;
    let is_ready_only = chosen.selection == FailureSelection::Ready;
    chosen.visit(snapshot, &cursor.after, &mut |key, row| {
        if !chosen.has(&key, &row) || is_ready_only && !row.is_queued {
            return Ok(ControlFlow::Continue(()));
        }
        let queue = queue_of(&key);
        if row.is_queued {
            let is_head = last.as_ref() != Some(&queue);
            last = Some(queue.clone());
            if is_head && is_ready_only && !row.status.is_held() {
                blocked = Some(queue.clone());
            }
            if blocked.as_ref() == Some(&queue) {
                round.passed_over += u64::from(!is_ready_only);
                return Ok(ControlFlow::Continue(()));
            }
        }
        count += 1;
        bytes += row.bytes as usize;
        let end = Cursor { after: key.encode(), is_queued: row.is_queued, is_blocked: false };
        match event_of(snapshot, &key, &row)? {
            Ok(event) => {
                let is_last = |last: &&mut Queue| {
                    (last.partition, last.customer) == (key.partition, key.customer)
                };
                let is_same = |last: &&mut Queue| {
                    last.failures.last().is_some_and(|last| queue_of(&last.key) == queue)
                };
                match round.queues.last_mut().filter(is_last).filter(is_same) {
                    Some(queue) => queue.failures.push(ToRetry { key, row, event }),
                    None => {
                        let (partition, customer) = (key.partition, key.customer);
                        let failures = vec![ToRetry { key, row, event }];
                        round.queues.push(Queue { partition, customer, failures });
                    }
                }
            }
            Err(reason) => {
                let (number, campaign) = (key.number, key.campaign.to_string());
                let result = TryResult::NotCalled { reason: reason.to_owned() };
                round.untried.push(Tried { number, campaign, result });
                if row.is_queued {
                    blocked = Some(queue);
                }
            }
        }
        if count == FAILURES_MAX || bytes >= BYTES_MAX {
            round.cursor = Some(end);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(round)
}

/// The event of a failure; `None` for a timer or a merge. The inner error is the reason that the
/// event is missing.
fn event_of(
    snapshot: &dyn Snapshot,
    key: &FailureKey,
    row: &FailureRow,
) -> Result<Result<Option<Box<Event>>, &'static str>, StoreError> {
    let Some(id) = row.body_of() else { return Ok(Ok(None)) };
    let Some(body) = BodyRow::get(snapshot, key.partition, id)? else {
        return Ok(Err("the event is not in the store any more; drop this failure"));
    };
    let event = Event::read(body.body).map(|event| Some(Box::new(event)));
    Ok(event.map_err(|_| "the event cannot be read any more; drop this failure"))
}

/// The changes that drop the next selected failures. In a queue, the others stay.
pub(super) fn drop(
    snapshot: &dyn Snapshot,
    chosen: &Chosen,
    cursor: &Cursor,
) -> Result<Dropped, StoreError> {
    let mut dropped =
        Dropped { changes: Changes::default(), deltas: Vec::new(), count: 0, next: None };
    let mut customers: HashMap<CustomerKey, CustomerRow> = HashMap::new();
    let mut bodies: HashMap<(Partition, EventId), BodyRow> = HashMap::new();
    chosen.visit(snapshot, &cursor.after, &mut |key, row| {
        if !chosen.names(&key, &row) {
            return Ok(ControlFlow::Continue(()));
        }
        if let Some(id) = row.body_of() {
            let body = match bodies.remove(&(key.partition, id)) {
                Some(known) => Some(known),
                None => BodyRow::get(snapshot, key.partition, id)?,
            };
            let without =
                body.map(|body| BodyRow { needed_by: body.needed_by.saturating_sub(1), ..body });
            bodies.extend(without.map(|body| ((key.partition, id), body)));
        }
        if let Some(customer) = key.customer {
            let kept = match customers.remove(&customer) {
                Some(known) => known,
                None => CustomerRow::get(snapshot, customer)?,
            };
            customers.insert(customer, release(kept, customer, &key, &row, &mut dropped.changes));
        }
        dropped.changes.delete(Table::Failures, key.encode());
        let campaign = Arc::clone(&key.campaign);
        let is_missed = row.status.is_missed();
        dropped.deltas.push(FailureDelta {
            campaign,
            count: -1,
            bytes: -(row.bytes as i64),
            is_missed,
        });
        dropped.count += 1;
        if dropped.count == FAILURES_MAX as u64 {
            dropped.next = Some(Cursor { after: key.encode(), ..Cursor::default() });
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for ((partition, id), body) in bodies {
        match body.needed_by {
            0 => dropped.changes.delete(Table::Bodies, Key::body(partition, id)),
            _ => dropped.changes.put(Table::Bodies, Key::body(partition, id), encode(&body)),
        }
    }
    for (customer, row) in customers {
        match row.is_empty() {
            true => dropped.changes.delete(Table::Customers, Key::customer(customer)),
            false => dropped.changes.put(Table::Customers, Key::customer(customer), encode(&row)),
        }
    }
    Ok(dropped)
}

/// Removes a failure from a customer's row. If it was a held timer, the pending timer is removed
/// too.
fn release(
    mut kept: CustomerRow,
    customer: CustomerKey,
    key: &FailureKey,
    row: &FailureRow,
    changes: &mut Changes,
) -> CustomerRow {
    kept.change(&key.campaign, |campaign| {
        campaign.held = campaign.held.saturating_sub(u32::from(row.is_queued));
        let Work::Timer(timer) = &row.work else { return };
        let pending = campaign.timer(&timer.name);
        let is_it = pending
            .is_some_and(|pending| (pending.set_by, pending.due) == (timer.set_by, timer.due));
        if row.status.is_held()
            && is_it
            && let Some(pending) = campaign.take_timer(&timer.name)
        {
            changes.delete(Table::Timers, TimerKey::of(customer, &key.campaign, &pending).encode());
        }
    });
    kept
}

fn is_missed_by(campaign: Option<&str>, key: &FailureKey, row: &FailureRow) -> bool {
    row.status.is_missed() && campaign.is_none_or(|campaign| *campaign == *key.campaign)
}

fn queue_of(key: &FailureKey) -> QueueName {
    (key.customer, Arc::clone(&key.campaign))
}
