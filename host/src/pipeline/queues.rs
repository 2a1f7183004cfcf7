//! The failures as they stand in the store, read in the order of their keys, which puts each queue (one customer, one campaign) together and in
//! the order in which it is to be decided.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::budget::Held;
use super::failures::Delta;
use super::requests::Which;
use super::retries::{Answer, Kept, RetryWork};
use super::{Tried, TryResult};
use crate::event::{CustomerKey, EventId};
use crate::store::records::{
    BodyRow, CustomerRow, FailureKey, FailureRow, Key, Partition, PendingTimer, TimerKey, Work, decode, encode,
    visit_failures,
};
use crate::store::{Changes, Snapshot, StoreError, Table};

/// What one round takes.
const FAILURES_MAX: usize = 256;
const BYTES_MAX: usize = 8 << 20;

/// A queue: the customer and the campaign.
type QueueName = (Option<CustomerKey>, Arc<str>);

/// Which failures to look at.
#[derive(Clone, Debug)]
pub(super) enum Select {
    Which(Which),
    /// These queues, if what stands at their head is not itself a failure.
    Behind(Arc<HashSet<QueueName>>),
}

/// How far a walk through the failures has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cursor {
    /// The key of the last failure that was looked at.
    after: Vec<u8>,
    /// Its queue goes no further.
    is_blocked: bool,
}

/// Failures to try again together.
pub(super) struct Round {
    pub(super) queues: Vec<Queue>,
    /// Where to go on; `None` at the end.
    pub(super) cursor: Option<Cursor>,
}

/// Failures of one queue, in order.
pub(super) struct Queue {
    partition: Partition,
    customer: Option<CustomerKey>,
    pub(super) failures: Vec<Kept>,
}

/// What dropping some failures comes to.
pub(super) struct Dropped {
    pub(super) changes: Changes,
    pub(super) deltas: Vec<Delta>,
    pub(super) count: u64,
    /// The queues that they stood in.
    pub(super) queues: HashSet<QueueName>,
    pub(super) next: Option<Cursor>,
}

impl Select {
    pub(super) fn of(which: Which) -> Select {
        Select::Which(which)
    }
}

impl Cursor {
    /// What became of a failure of the last round. Its last queue stands still if one of it did not come through.
    pub(super) fn note(&mut self, tried: &Tried) {
        let last = FailureKey::decode(&self.after).map(|key| key.number);
        let came_through = matches!(tried.result, TryResult::Decided | TryResult::Void);
        // Whatever stands behind one that failed is told not to have been called, the last of the queue among them.
        if last == Some(tried.number) && !came_through {
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

/// The next failures to try again.
pub(super) fn round(snapshot: &dyn Snapshot, select: &Select, cursor: Cursor) -> Result<Round, StoreError> {
    let chosen = Chosen::of(snapshot, select)?;
    let mut round = Round { queues: Vec::new(), cursor: None };
    let (mut count, mut bytes) = (0, 0);
    let mut blocked = cursor.is_blocked.then(|| FailureKey::decode(&cursor.after).map(|key| queue_of(&key))).flatten();
    let mut last: Option<QueueName> = None;
    walk(snapshot, &cursor.after, &mut |key, row| {
        let queue = queue_of(&key);
        if !chosen.has(&key, &row) || row.is_queued && blocked.as_ref() == Some(&queue) {
            return Ok(ControlFlow::Continue(()));
        }
        let is_head = last.as_ref() != Some(&queue);
        if is_head && chosen.only_behind && !row.status.is_held() {
            blocked = Some(queue);
            return Ok(ControlFlow::Continue(()));
        }
        let body = row.body_of().map(|id| BodyRow::get(snapshot, key.partition, id)).transpose()?.map(|row| row.body);
        count += 1;
        bytes += row.bytes as usize;
        let end = key.encode();
        if is_head {
            round.queues.push(Queue { partition: key.partition, customer: key.customer, failures: Vec::new() });
        }
        if let Some(queue) = round.queues.last_mut() {
            queue.failures.push(Kept { key, row, body });
        }
        last = Some(queue);
        if count == FAILURES_MAX || bytes >= BYTES_MAX {
            round.cursor = Some(Cursor { after: end, is_blocked: false });
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(round)
}

/// What it takes to drop the next failures that are meant; of a queue these alone.
pub(super) fn drop(snapshot: &dyn Snapshot, select: &Select, cursor: Cursor) -> Result<Dropped, StoreError> {
    let chosen = Chosen::exactly(select);
    let mut dropped =
        Dropped { changes: Changes::default(), deltas: Vec::new(), count: 0, queues: HashSet::new(), next: None };
    let mut customers: HashMap<CustomerKey, CustomerRow> = HashMap::new();
    let mut bodies: HashMap<(Partition, EventId), BodyRow> = HashMap::new();
    walk(snapshot, &cursor.after, &mut |key, row| {
        if !chosen.has(&key, &row) {
            return Ok(ControlFlow::Continue(()));
        }
        if let Some(id) = row.body_of() {
            let body = match bodies.remove(&(key.partition, id)) {
                Some(known) => known,
                None => BodyRow::get(snapshot, key.partition, id)?,
            };
            bodies.insert((key.partition, id), BodyRow { needed_by: body.needed_by.saturating_sub(1), ..body });
        }
        if let Some(customer) = key.customer {
            let kept = match customers.remove(&customer) {
                Some(known) => known,
                None => customer_row(snapshot, customer)?,
            };
            customers.insert(customer, release(kept, customer, &key, &row, &mut dropped.changes));
        }
        dropped.changes.delete(Table::Failures, key.encode());
        dropped.deltas.push(Delta { campaign: Arc::clone(&key.campaign), count: -1, bytes: -(row.bytes as i64) });
        dropped.count += 1;
        dropped.queues.insert(queue_of(&key));
        if dropped.count == FAILURES_MAX as u64 {
            dropped.next = Some(Cursor { after: key.encode(), is_blocked: false });
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
        let is_it = |pending: &&PendingTimer| (pending.set_by, pending.due) == (timer.set_by, timer.due);
        if row.status.is_held() && campaign.timer(&timer.name).filter(is_it).is_some() {
            let due = campaign.take_timer(&timer.name).map_or(timer.looked_at, |pending| pending.looked_at);
            let timer = TimerKey { due, customer, campaign: (&*key.campaign).into(), timer: timer.name.clone() };
            changes.delete(Table::Timers, timer.encode());
        }
    });
    kept
}

/// Which failures are meant, and with them, for a retry, everything that stands in their queues.
struct Chosen {
    all: bool,
    campaign: Option<String>,
    numbers: HashSet<u64>,
    queues: Arc<HashSet<QueueName>>,
    only_behind: bool,
}

impl Chosen {
    fn exactly(select: &Select) -> Chosen {
        let mut chosen =
            Chosen { all: false, campaign: None, numbers: HashSet::new(), queues: Arc::default(), only_behind: false };
        match select {
            Select::Which(Which::All) => chosen.all = true,
            Select::Which(Which::Campaign(campaign)) => chosen.campaign = Some(campaign.clone()),
            Select::Which(Which::Numbers(numbers)) => chosen.numbers = numbers.iter().copied().collect(),
            Select::Behind(queues) => {
                chosen.queues = Arc::clone(queues);
                chosen.only_behind = true;
            }
        }
        chosen
    }

    fn of(snapshot: &dyn Snapshot, select: &Select) -> Result<Chosen, StoreError> {
        let mut chosen = Chosen::exactly(select);
        if !chosen.numbers.is_empty() {
            let mut queues = HashSet::new();
            walk(snapshot, &[], &mut |key, row| {
                if row.is_queued && chosen.numbers.contains(&key.number) {
                    queues.insert(queue_of(&key));
                }
                Ok(ControlFlow::Continue(()))
            })?;
            chosen.queues = Arc::new(queues);
        }
        Ok(chosen)
    }

    fn has(&self, key: &FailureKey, row: &FailureRow) -> bool {
        self.all
            || self.campaign.as_deref() == Some(&*key.campaign)
            || self.numbers.contains(&key.number)
            || row.is_queued && self.queues.contains(&queue_of(key))
    }
}

fn queue_of(key: &FailureKey) -> QueueName {
    (key.customer, Arc::clone(&key.campaign))
}

/// Shows the failures behind a key.
fn walk(
    snapshot: &dyn Snapshot,
    after: &[u8],
    visit: &mut dyn FnMut(FailureKey, FailureRow) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    // The least key behind it.
    let from = if after.is_empty() { Vec::new() } else { [after, &[0]].concat() };
    visit_failures(snapshot, (&from, &[Partition::COUNT]), visit)
}

fn customer_row(snapshot: &dyn Snapshot, customer: CustomerKey) -> Result<CustomerRow, StoreError> {
    let row = snapshot.get(Table::Customers, &Key::customer(customer))?;
    row.map_or(Ok(CustomerRow::default()), |row| decode(Table::Customers, &row))
}
