//! The failures as they stand in the store, read in the order of their keys, which puts each queue (one customer, one campaign) together and in
//! the order in which it is to be decided.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::budget::Held;
use super::retries::{Answer, RetryWork, ToRetry};
use super::{Tried, TryResult};
use crate::event::{CustomerKey, Event, EventId};
use crate::records::{
    BodyRow, CustomerRow, FailureDelta, FailureKey, FailureRow, Key, Partition, TimerKey, Work, encode, visit_failures,
};
use crate::store::{Changes, Snapshot, StoreError, Table};

/// What one round takes.
const FAILURES_MAX: usize = 256;
const BYTES_MAX: usize = 8 << 20;

/// Which failures are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    Numbers(Vec<u64>),
    Campaign(String),
    All,
    /// What campaigns missed while they were stopped: of one campaign, or of all.
    Missed(Option<String>),
    /// Everything that waits and has no failure in front of it any more.
    Ready,
}

/// A queue: the customer and the campaign.
type QueueName = (Option<CustomerKey>, Arc<str>);

/// Where to look for the failures that are meant.
#[derive(Debug)]
pub(super) struct Chosen {
    which: Which,
    numbers: HashSet<u64>,
    /// Queues in which a number stands: whoever tries one has all tried that are in front of it.
    queues: HashSet<QueueName>,
    /// The keys from the first to before the second, in order.
    ranges: Vec<(Vec<u8>, Vec<u8>)>,
}

/// How far a walk through the failures has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cursor {
    /// The key of the last failure that was looked at.
    after: Vec<u8>,
    /// The customer's later ones wait for it.
    is_queued: bool,
    /// It did not come through, so its queue goes no further.
    is_blocked: bool,
}

/// Failures to try again together.
pub(super) struct Round {
    pub(super) queues: Vec<Queue>,
    /// Those that can't be.
    pub(super) untried: Vec<Tried>,
    /// How many wait behind one that did not come through in the round before.
    pub(super) passed_over: u64,
    /// Where to go on; `None` at the end.
    pub(super) cursor: Option<Cursor>,
}

/// Failures of one queue, in order.
pub(super) struct Queue {
    partition: Partition,
    customer: Option<CustomerKey>,
    pub(super) failures: Vec<ToRetry>,
}

/// What dropping some failures comes to.
pub(super) struct Dropped {
    pub(super) changes: Changes,
    pub(super) deltas: Vec<FailureDelta>,
    pub(super) count: u64,
    pub(super) next: Option<Cursor>,
}

impl Cursor {
    /// What became of a failure of the last round. Its last queue stands still if one of it did not come through.
    pub(super) fn note(&mut self, tried: &Tried) {
        let last = FailureKey::decode(&self.after).map(|key| key.number);
        let came_through = matches!(tried.result, TryResult::Decided | TryResult::Void);
        // Whatever stands behind one that failed is told not to have been called, the last of the queue among them.
        if self.is_queued && last == Some(tried.number) && !came_through {
            self.is_blocked = true;
        }
    }
}

impl Queue {
    pub(super) fn into_work(self, tried: mpsc::UnboundedSender<Tried>, barrier: Arc<Held>) -> RetryWork {
        let Queue { partition, customer, failures } = self;
        RetryWork { partition, customer, failures, answer: Answer { tried, _barrier: barrier } }
    }
}

impl Chosen {
    /// Looks for what is meant. It may move meanwhile, with a merge: then it is not found where it was, and looked for by the next page.
    pub(super) fn of(snapshot: &dyn Snapshot, which: Which) -> Result<Chosen, StoreError> {
        let mut chosen = Chosen { which, numbers: HashSet::new(), queues: HashSet::new(), ranges: Vec::new() };
        let Which::Numbers(numbers) = &chosen.which else {
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

    /// Whether a failure is to be tried again.
    fn has(&self, key: &FailureKey, row: &FailureRow) -> bool {
        match &self.which {
            Which::All | Which::Ready => !row.status.is_missed(),
            Which::Campaign(campaign) => *campaign == *key.campaign && !row.status.is_missed(),
            Which::Missed(campaign) => is_missed_by(campaign.as_deref(), key, row),
            Which::Numbers(_) if row.is_queued => self.queues.contains(&queue_of(key)),
            Which::Numbers(_) => self.numbers.contains(&key.number),
        }
    }

    /// Whether it is to be dropped: of a queue just what was named.
    fn names(&self, key: &FailureKey, row: &FailureRow) -> bool {
        match &self.which {
            Which::All => !row.status.is_missed(),
            Which::Campaign(campaign) => *campaign == *key.campaign && !row.status.is_missed(),
            Which::Missed(campaign) => is_missed_by(campaign.as_deref(), key, row),
            Which::Numbers(_) => self.numbers.contains(&key.number),
            Which::Ready => false,
        }
    }

    /// Shows what may be meant, behind a key.
    fn visit(
        &self,
        snapshot: &dyn Snapshot,
        after: &[u8],
        visit: &mut dyn FnMut(FailureKey, FailureRow) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        // The least key behind it.
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

/// The next failures to try again.
pub(super) fn round(snapshot: &dyn Snapshot, chosen: &Chosen, cursor: Cursor) -> Result<Round, StoreError> {
    let mut round = Round { queues: Vec::new(), untried: Vec::new(), passed_over: 0, cursor: None };
    let (mut count, mut bytes) = (0, 0);
    let before = FailureKey::decode(&cursor.after).filter(|_| cursor.is_queued).map(|key| queue_of(&key));
    let mut blocked = before.clone().filter(|_| cursor.is_blocked);
    // Of the last row of a queue that was looked at.
    let mut last = before;
    let is_ready_only = chosen.which == Which::Ready;
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
                let is_last = |last: &&mut Queue| (last.partition, last.customer) == (key.partition, key.customer);
                let is_same = |last: &&mut Queue| last.failures.last().is_some_and(|last| queue_of(&last.key) == queue);
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

/// The event of a failure; none of a timer or a merge. Or why there is none.
fn event_of(
    snapshot: &dyn Snapshot,
    key: &FailureKey,
    row: &FailureRow,
) -> Result<Result<Option<Box<Event>>, &'static str>, StoreError> {
    let Some(id) = row.body_of() else { return Ok(Ok(None)) };
    let Some(body) = BodyRow::get(snapshot, key.partition, id)? else {
        return Ok(Err("the event is not kept any more; drop it"));
    };
    let event = Event::read(body.body).map(|event| Some(Box::new(event)));
    Ok(event.map_err(|_| "the event can't be read any more; drop it"))
}

/// What it takes to drop the next failures that are meant; of a queue these alone.
pub(super) fn drop(snapshot: &dyn Snapshot, chosen: &Chosen, cursor: &Cursor) -> Result<Dropped, StoreError> {
    let mut dropped = Dropped { changes: Changes::default(), deltas: Vec::new(), count: 0, next: None };
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
            let without = body.map(|body| BodyRow { needed_by: body.needed_by.saturating_sub(1), ..body });
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
        dropped.deltas.push(FailureDelta { campaign, count: -1, bytes: -(row.bytes as i64), is_missed });
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

/// A customer's row without a failure. A timer that waited in the queue goes with it.
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
        let is_it = pending.is_some_and(|pending| (pending.set_by, pending.due) == (timer.set_by, timer.due));
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
