//! Failures while they are kept: what rules faulted on and what waits behind it, so that both can be tried again.
//!
//! With `on_fault = "hold"` a customer's later events wait behind a failure of that campaign, in order, and **nothing of a queue is decided
//! before what stands in front of it (G5)**. What is kept of one campaign is bounded in bytes; what comes then is counted and not kept.
//! Nothing here reads what another shard may be writing: trying again is done while nothing else is on its way (`requests.rs`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::view::View;
use crate::event::{Customer, CustomerKey, EVENT_BYTES_MAX, Event, EventId};
use crate::metrics;
use crate::records::{
    BodyRow, FailureDelta, FailureKey, FailureRow, FailureTotal, Key, Partition, Progress, Work, encode, visit_failures,
};
use crate::store::{Changes, StoreError, Table, VALUE_BYTES_MAX};

/// What is kept for each campaign, as of the last commit, and the numbers that the next failures get. Shared by the shards and the committer.
#[derive(Debug)]
pub(super) struct FailureTotals {
    next: AtomicU64,
    totals: Mutex<Totals>,
    /// Of the failures of one campaign.
    bytes_max: u64,
    /// Of what one campaign missed while it was stopped.
    missed_bytes_max: u64,
}

/// Totals by campaign.
#[derive(Debug, Default)]
struct Totals {
    failures: BTreeMap<Arc<str>, FailureTotal>,
    missed: BTreeMap<Arc<str>, FailureTotal>,
}

// The body of the largest event is a row.
const _: () = assert!(EVENT_BYTES_MAX + BodyRow::AROUND_BYTES <= VALUE_BYTES_MAX);

/// The failures that a batch adds, changes and settles.
#[derive(Debug)]
pub(super) struct FailureRows {
    totals: Arc<FailureTotals>,
    /// Those that were changed, each with the number of the last group that did, until it is committed. `None` was taken away.
    bodies: HashMap<(Partition, EventId), (Option<BodyRow>, u64)>,
    changes: Changes,
    deltas: Vec<FailureDelta>,
    /// Queues of which one has just failed again.
    blocked: HashSet<(Option<CustomerKey>, Arc<str>)>,
}

impl FailureTotals {
    pub(super) fn new(progress: &Progress, bytes_max: u64, missed_bytes_max: u64) -> FailureTotals {
        let next = AtomicU64::new(progress.failure_next);
        let totals = FailureTotals { next, totals: Mutex::default(), bytes_max, missed_bytes_max };
        totals.committed(progress);
        totals
    }

    /// Counts what a commit is about to change.
    pub(super) fn count(&self, progress: &mut Progress, deltas: Vec<FailureDelta>) {
        // Those below it may have been given away.
        progress.failure_next = self.next.load(Ordering::Relaxed);
        deltas.into_iter().for_each(|delta| progress.count(delta));
    }

    /// What was counted has been committed.
    pub(super) fn committed(&self, progress: &Progress) {
        for (name, totals) in [(metrics::FAILURES, &progress.failures), (metrics::MISSED, &progress.missed)] {
            for (campaign, total) in totals {
                ::metrics::gauge!(name, "campaign" => campaign.to_string()).set(total.count as f64);
            }
        }
        let mut totals = self.lock();
        totals.failures.clone_from(&progress.failures);
        totals.missed.clone_from(&progress.missed);
    }

    /// Whether any were kept as of the last commit.
    pub(super) fn are_any(&self) -> bool {
        let totals = self.lock();
        totals.failures.values().chain(totals.missed.values()).any(|total| total.count > 0)
    }

    fn has_room(&self, campaign: &str, is_missed: bool) -> bool {
        let totals = self.lock();
        let (totals, max) = match is_missed {
            true => (&totals.missed, self.missed_bytes_max),
            false => (&totals.failures, self.bytes_max),
        };
        totals.get(campaign).is_none_or(|total| total.bytes < max)
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FailureRows {
    pub(super) fn new(totals: Arc<FailureTotals>) -> FailureRows {
        FailureRows {
            totals,
            bodies: HashMap::new(),
            changes: Changes::default(),
            deltas: Vec::new(),
            blocked: HashSet::new(),
        }
    }

    /// Whether any were kept as of the last commit.
    pub(super) fn are_any(&self) -> bool {
        self.totals.are_any()
    }

    /// A place for one more failure of a campaign; `None` if as many are kept as may be.
    pub(super) fn place(
        &self,
        partition: Partition,
        customer: Option<CustomerKey>,
        campaign: &Arc<str>,
        is_missed: bool,
    ) -> Option<FailureKey> {
        let number = || self.totals.next.fetch_add(1, Ordering::Relaxed);
        let has_room = self.totals.has_room(campaign, is_missed);
        has_room.then(|| FailureKey { partition, customer, campaign: Arc::clone(campaign), number: number() })
    }

    /// Keeps the failures of one event or timer, and the event's body once for them all, also if a failure of an earlier copy has it kept.
    pub(super) fn keep(
        &mut self,
        view: &View,
        failures: Vec<(FailureKey, FailureRow)>,
        event: Option<&Event>,
    ) -> Result<(), StoreError> {
        for (key, mut row) in failures {
            row.bytes = encode(&row).len() as u64;
            if let (Some(id), Some(event)) = (row.body_of(), event) {
                row.bytes += event.raw().len() as u64;
                let mut body = self
                    .body(view, key.partition, id)?
                    .unwrap_or_else(|| BodyRow { needed_by: 0, body: event.raw().clone() });
                body.needed_by += 1;
                self.set_body(view, key.partition, id, Some(body));
            }
            self.change(&key, 1, row.bytes as i64, row.status.is_missed());
            self.put(&key, &row);
        }
        Ok(())
    }

    /// A body as it was left last; `None` if there is none.
    fn body(&self, view: &View, partition: Partition, event: EventId) -> Result<Option<BodyRow>, StoreError> {
        match self.bodies.get(&(partition, event)) {
            Some((body, _)) => Ok(body.clone()),
            None => BodyRow::get(view.snapshot(), partition, event),
        }
    }

    fn set_body(&mut self, view: &View, partition: Partition, event: EventId, body: Option<BodyRow>) {
        let place = Key::body(partition, event);
        match &body {
            Some(body) => self.changes.put(Table::Bodies, place, encode(body)),
            None => self.changes.delete(Table::Bodies, place),
        }
        self.bodies.insert((partition, event), (body, view.group()));
    }

    /// Takes away a failure that is settled, and the body with the last that needs it.
    pub(super) fn settle(&mut self, view: &View, key: &FailureKey, row: &FailureRow) -> Result<(), StoreError> {
        if let Some(id) = row.body_of() {
            let body = self.body(view, key.partition, id)?;
            let body = body.map(|body| BodyRow { needed_by: body.needed_by.saturating_sub(1), ..body });
            self.set_body(view, key.partition, id, body.filter(|body| body.needed_by > 0));
        }
        self.changes.delete(Table::Failures, key.encode());
        self.change(key, -1, -(row.bytes as i64), row.status.is_missed());
        Ok(())
    }

    /// What the campaign missed has been tried and has failed: it counts as a failure from now on.
    pub(super) fn is_failure_now(&mut self, key: &FailureKey, row: &FailureRow) {
        self.change(key, -1, -(row.bytes as i64), true);
        self.change(key, 1, row.bytes as i64, false);
    }

    /// It has failed again: what waits behind it goes on waiting.
    pub(super) fn failed_again(&mut self, key: &FailureKey, row: &FailureRow) {
        self.put(key, row);
        if row.is_queued {
            self.block(key);
        }
    }

    pub(super) fn block(&mut self, key: &FailureKey) {
        self.blocked.insert((key.customer, Arc::clone(&key.campaign)));
    }

    /// Whether one that stands in front of it has just failed again.
    pub(super) fn is_blocked(&self, key: &FailureKey) -> bool {
        self.blocked.contains(&(key.customer, Arc::clone(&key.campaign)))
    }

    /// Moves the failures of a customer who has become another, and has them sent to whom the merge names.
    pub(super) fn unite(
        &mut self,
        view: &View,
        from: CustomerKey,
        to: CustomerKey,
        recipient: &Customer,
    ) -> Result<(), StoreError> {
        let (old, new) = (Partition::of_customer(from), Partition::of_customer(to));
        let mut theirs = Vec::new();
        let (first, last) = Key::failures_of(old, from);
        visit_failures(view.snapshot(), (&first, &last), &mut |key, row| {
            theirs.push((key, row));
            Ok(ControlFlow::Continue(()))
        })?;
        for (key, mut row) in theirs {
            let moved = FailureKey { partition: new, customer: Some(to), ..key.clone() };
            match &mut row.work {
                Work::Event { recipient: sent_to, id, .. } => {
                    *sent_to = Some(recipient.clone());
                    let body = Key::body(old, *id);
                    // The first of several that need it moves it for all.
                    if old != new
                        && !self.changes.has(Table::Bodies, &body)
                        && let Some(moving) = BodyRow::get(view.snapshot(), old, *id)?
                    {
                        let there = BodyRow::get(view.snapshot(), new, *id)?.map_or(0, |body| body.needed_by);
                        let moved = BodyRow { needed_by: moving.needed_by + there, ..moving };
                        self.changes.put(Table::Bodies, Key::body(new, *id), encode(&moved));
                        self.changes.delete(Table::Bodies, body);
                    }
                }
                Work::Timer(timer) => timer.recipient = recipient.clone(),
                Work::Merge { timers, recipient: sent_to, .. } => {
                    *sent_to = Some(recipient.clone());
                    timers.iter_mut().for_each(|timer| timer.recipient = recipient.clone());
                }
            }
            self.changes.delete(Table::Failures, key.encode());
            self.put(&moved, &row);
        }
        Ok(())
    }

    /// Hands over what has changed, to be committed. What was handed over before in this batch is still known.
    pub(super) fn flush(&mut self) -> (Changes, Vec<FailureDelta>) {
        (std::mem::take(&mut self.changes), std::mem::take(&mut self.deltas))
    }

    /// Begins the next batch: forgets what its view has.
    pub(super) fn forget(&mut self, view: &View) {
        self.bodies.retain(|_, (_, group)| *group > view.committed());
        self.blocked.clear();
    }

    fn put(&mut self, key: &FailureKey, row: &FailureRow) {
        self.changes.put(Table::Failures, key.encode(), encode(row));
    }

    fn change(&mut self, key: &FailureKey, count: i64, bytes: i64, is_missed: bool) {
        self.deltas.push(FailureDelta { campaign: Arc::clone(&key.campaign), count, bytes, is_missed });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::pipeline::memory::{LastCommitted, Memory};
    use crate::pipeline::seen::SeenFilters;
    use crate::records::FailureStatus;
    use crate::store::{MemoryStore, Store};

    /// A failure of a campaign on one and the same event.
    fn failure(rows: &FailureRows, event: &Event, campaign: &str) -> (FailureKey, FailureRow) {
        let id = event.dedup_key(Some("m-1"), None).event_id(0);
        let customer = event.customer_key();
        let partition = Partition::of_customer(customer.unwrap());
        let work = Work::Event { id, code: event.code().into(), recipient: None };
        let row = FailureRow { work, now: 0, status: FailureStatus::Held, is_queued: false, bytes: 0 };
        (rows.place(partition, customer, &campaign.into(), false).unwrap(), row)
    }

    #[test]
    fn a_body_stays_for_as_long_as_any_failure_of_its_event_needs_it() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
        let last_committed = LastCommitted::default();
        let memory = Memory::new(Arc::clone(&store), Arc::new(SeenFilters::new(1)), last_committed.clone());
        let mut view = View::Store(memory);
        let commit = |(number, changes): (u64, Changes)| {
            store.commit(changes).unwrap();
            last_committed.set(number);
        };
        let mut rows = FailureRows::new(Arc::new(FailureTotals::new(&Progress::default(), 1 << 20, 1 << 20)));
        let body = r#"{"eventCode":"A","customerInfo":{"customerId":1}}"#;
        let event = Event::read(Bytes::from_static(body.as_bytes())).unwrap();
        let mut kept = Vec::new();
        // A copy of the event may come again after the time of deduplication, and fail again.
        for campaigns in [&["one", "two"][..], &["one"]] {
            view.memory().begin().unwrap();
            rows.forget(&view);
            let failures: Vec<_> = campaigns.iter().map(|campaign| failure(&rows, &event, campaign)).collect();
            kept.extend(failures.iter().cloned());
            rows.keep(&view, failures, Some(&event)).unwrap();
            commit((view.group(), rows.flush().0));
        }
        let bodies = || store.sizes().unwrap().tables.iter().find(|size| size.table == Table::Bodies).unwrap().rows;
        let mut decided = Vec::new();
        for (number, (key, row)) in kept.iter().enumerate() {
            view.memory().begin().unwrap();
            rows.forget(&view);
            rows.settle(&view, key, row).unwrap();
            decided.push((view.group(), rows.flush().0));
            // Two batches are decided before the first is committed.
            if number > 0 {
                assert_eq!(bodies(), 1, "before {number}");
                commit(decided.remove(0));
            }
        }
        assert_eq!(bodies(), 1);
        commit(decided.remove(0));
        assert_eq!(bodies(), 0);
    }
}
