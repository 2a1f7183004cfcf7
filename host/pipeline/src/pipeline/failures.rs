//! Kept failures: the events and timers on which rules faulted, and the events held behind them. An
//! operator can retry both.
//!
//! With `on_fault = "hold"`, a customer's later events wait in order behind a failure of that
//! campaign. **No entry of a queue is decided before the entries ahead of it (G5)**. The bytes kept
//! for one campaign are bounded; further failures are counted and not kept. Nothing here reads rows
//! that another shard may be writing: retries run only while nothing else is in flight
//! (`requests.rs`).

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::overlay::Overlay;
use super::retries::{Conclusion, Retry};
use crate::records::{
    BodyRow, FailureDelta, FailureKey, FailureRow, FailureTotal, Key, Partition, Progress, Work,
    encode, visit_failures,
};
use hailer_base::metrics;
use hailer_event::{Customer, CustomerKey, EVENT_BYTES_MAX, Event, EventId};
use hailer_store::{Changes, StoreError, Table, VALUE_BYTES_MAX};

/// The most entries in one queue: the failures and held events of one customer and one campaign.
pub(super) const QUEUE_MAX: u32 = 1000;

/// The failures kept for each campaign, as of the last commit, and the next failure's number. The
/// shards and the committer share them.
#[derive(Debug)]
pub(super) struct FailureTotals {
    next: AtomicU64,
    totals: Mutex<Totals>,
    /// The limit for the failures of one campaign, in bytes.
    bytes_max: u64,
    /// The limit for the events that one campaign missed while it was stopped, in bytes.
    missed_bytes_max: u64,
}

/// Totals by campaign.
#[derive(Debug, Default)]
struct Totals {
    failures: BTreeMap<Arc<str>, FailureTotal>,
    missed: BTreeMap<Arc<str>, FailureTotal>,
}

// A row of the store has room for the body of the largest event.
const _: () = assert!(EVENT_BYTES_MAX + BodyRow::AROUND_BYTES <= VALUE_BYTES_MAX);

/// The failures that a batch adds, changes and settles.
#[derive(Debug)]
pub(super) struct FailureRows {
    totals: Arc<FailureTotals>,
    /// The bodies that groups have changed, each with the number of the last group that changed it.
    /// An entry stays until that group is committed. `None` is a deleted body.
    bodies: HashMap<(Partition, EventId), (Option<BodyRow>, u64)>,
    changes: Changes,
    deltas: Vec<FailureDelta>,
}

impl FailureTotals {
    pub(super) fn new(progress: &Progress, bytes_max: u64, missed_bytes_max: u64) -> FailureTotals {
        let next = AtomicU64::new(progress.failure_next);
        let totals = FailureTotals { next, totals: Mutex::default(), bytes_max, missed_bytes_max };
        totals.committed(progress);
        totals
    }

    /// Counts the changes that a commit is about to make.
    pub(super) fn count(&self, progress: &mut Progress, deltas: Vec<FailureDelta>) {
        // All numbers below this one may be in use.
        progress.failure_next = self.next.load(Ordering::Relaxed);
        deltas.into_iter().for_each(|delta| progress.count(delta));
    }

    /// Publishes the totals of a commit to the shards and the metrics.
    pub(super) fn committed(&self, progress: &Progress) {
        for (name, totals) in
            [(metrics::FAILURES, &progress.failures), (metrics::MISSED, &progress.missed)]
        {
            for (campaign, total) in totals {
                ::metrics::gauge!(name, "campaign" => campaign.to_string()).set(total.count as f64);
            }
        }
        let mut totals = self.lock();
        totals.failures.clone_from(&progress.failures);
        totals.missed.clone_from(&progress.missed);
    }

    /// Whether any failures or missed events were kept as of the last commit.
    pub(super) fn are_any(&self) -> bool {
        let totals = self.lock();
        totals.failures.values().chain(totals.missed.values()).any(|total| total.count > 0)
    }

    /// A key for one more failure of a campaign; `None` if the campaign has reached its limit of
    /// kept bytes.
    pub(super) fn place(
        &self,
        partition: Partition,
        customer: Option<CustomerKey>,
        campaign: &Arc<str>,
        is_missed: bool,
    ) -> Option<FailureKey> {
        let number = || self.next.fetch_add(1, Ordering::Relaxed);
        let has_room = self.has_room(campaign, is_missed);
        has_room.then(|| FailureKey {
            partition,
            customer,
            campaign: Arc::clone(campaign),
            number: number(),
        })
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
        }
    }

    /// Whether any failures or missed events were kept as of the last commit.
    pub(super) fn are_any(&self) -> bool {
        self.totals.are_any()
    }

    /// Keeps the failures of one event or timer. All of them share one copy of the event's body,
    /// also with failures of an earlier copy of the event.
    pub(super) fn keep(
        &mut self,
        overlay: &Overlay,
        failures: Vec<(FailureKey, FailureRow)>,
        event: Option<&Event>,
    ) -> Result<(), StoreError> {
        for (key, mut row) in failures {
            row.bytes = encode(&row).len() as u64;
            if let (Some(id), Some(event)) = (row.body_of(), event) {
                row.bytes += event.raw().len() as u64;
                let mut body = self
                    .body(overlay, key.partition, id)?
                    .unwrap_or_else(|| BodyRow { needed_by: 0, body: event.raw().clone() });
                body.needed_by += 1;
                self.set_body(overlay, key.partition, id, Some(body));
            }
            self.change(&key, 1, row.bytes as i64, row.status.is_missed());
            self.put(&key, &row);
        }
        Ok(())
    }

    /// The latest version of a body; `None` if there is none.
    fn body(
        &self,
        overlay: &Overlay,
        partition: Partition,
        event: EventId,
    ) -> Result<Option<BodyRow>, StoreError> {
        match self.bodies.get(&(partition, event)) {
            Some((body, _)) => Ok(body.clone()),
            None => BodyRow::get(overlay.snapshot(), partition, event),
        }
    }

    fn set_body(
        &mut self,
        overlay: &Overlay,
        partition: Partition,
        event: EventId,
        body: Option<BodyRow>,
    ) {
        let place = Key::body(partition, event);
        match &body {
            Some(body) => self.changes.put(Table::Bodies, place, encode(body)),
            None => self.changes.delete(Table::Bodies, place),
        }
        self.bodies.insert((partition, event), (body, overlay.group()));
    }

    /// Changes a failure's row after its retry.
    ///
    /// # Errors
    /// When the body of its event cannot be read.
    pub(super) fn conclude(&mut self, overlay: &Overlay, retry: &Retry) -> Result<(), StoreError> {
        let Retry { key, row, conclusion, .. } = retry;
        match conclusion {
            Conclusion::Stays => {}
            Conclusion::Settled => self.settle(overlay, key, row)?,
            Conclusion::FailedAgain { was_missed } => {
                if *was_missed {
                    // The row counts as a failure from now on, no longer as a missed event.
                    self.change(key, -1, -(row.bytes as i64), true);
                    self.change(key, 1, row.bytes as i64, false);
                }
                self.put(key, row);
            }
        }
        Ok(())
    }

    /// Deletes a settled failure, and its event's body if no other failure needs the body.
    fn settle(
        &mut self,
        overlay: &Overlay,
        key: &FailureKey,
        row: &FailureRow,
    ) -> Result<(), StoreError> {
        if let Some(id) = row.body_of() {
            let body = self.body(overlay, key.partition, id)?;
            let body =
                body.map(|body| BodyRow { needed_by: body.needed_by.saturating_sub(1), ..body });
            self.set_body(overlay, key.partition, id, body.filter(|body| body.needed_by > 0));
        }
        self.changes.delete(Table::Failures, key.encode());
        self.change(key, -1, -(row.bytes as i64), row.status.is_missed());
        Ok(())
    }

    /// Moves the failures of a merged customer to the customer who stays. Their communications go
    /// to `recipient`, the customer that the merge names.
    pub(super) fn unite(
        &mut self,
        overlay: &Overlay,
        from: CustomerKey,
        to: CustomerKey,
        recipient: &Customer,
    ) -> Result<(), StoreError> {
        let (old, new) = (Partition::of_customer(from), Partition::of_customer(to));
        let mut theirs = Vec::new();
        let (first, last) = Key::failures_of(old, from);
        visit_failures(overlay.snapshot(), (&first, &last), &mut |key, row| {
            theirs.push((key, row));
            Ok(ControlFlow::Continue(()))
        })?;
        for (key, mut row) in theirs {
            let moved = FailureKey { partition: new, customer: Some(to), ..key.clone() };
            match &mut row.work {
                Work::Event { recipient: sent_to, id, .. } => {
                    *sent_to = Some(recipient.clone());
                    let body = Key::body(old, *id);
                    // The first failure that needs the body moves it for all the others.
                    if old != new
                        && !self.changes.has(Table::Bodies, &body)
                        && let Some(moving) = BodyRow::get(overlay.snapshot(), old, *id)?
                    {
                        let there = BodyRow::get(overlay.snapshot(), new, *id)?
                            .map_or(0, |body| body.needed_by);
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

    /// Returns the changes to commit. Bodies that earlier groups have changed stay known until
    /// those groups are committed.
    pub(super) fn flush(&mut self) -> (Changes, Vec<FailureDelta>) {
        (std::mem::take(&mut self.changes), std::mem::take(&mut self.deltas))
    }

    /// Begins the next batch: drops the bodies that the batch's snapshot contains.
    pub(super) fn forget(&mut self, overlay: &Overlay) {
        self.bodies.retain(|_, (_, group)| *group > overlay.committed());
    }

    fn put(&mut self, key: &FailureKey, row: &FailureRow) {
        self.changes.put(Table::Failures, key.encode(), encode(row));
    }

    fn change(&mut self, key: &FailureKey, count: i64, bytes: i64, is_missed: bool) {
        self.deltas.push(FailureDelta {
            campaign: Arc::clone(&key.campaign),
            count,
            bytes,
            is_missed,
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::pipeline::dedup::DedupFilters;
    use crate::pipeline::overlay::LastCommitted;
    use crate::records::FailureStatus;
    use hailer_store::{MemoryStore, Store};

    /// A failure of `campaign` on the event.
    fn failure(rows: &FailureRows, event: &Event, campaign: &str) -> (FailureKey, FailureRow) {
        let id = event.dedup_key(Some("m-1"), None).event_id(0);
        let customer = event.customer_key();
        let partition = Partition::of_customer(customer.unwrap());
        let work = Work::Event { id, code: event.code().into(), recipient: None };
        let row =
            FailureRow { work, now: 0, status: FailureStatus::Held, is_queued: false, bytes: 0 };
        (rows.totals.place(partition, customer, &campaign.into(), false).unwrap(), row)
    }

    #[test]
    fn a_body_stays_for_as_long_as_any_failure_of_its_event_needs_it() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
        let last_committed = LastCommitted::default();
        let mut overlay = Overlay::new(
            Arc::clone(&store),
            Arc::new(DedupFilters::new(1)),
            last_committed.clone(),
        );
        let commit = |(number, changes): (u64, Changes)| {
            store.commit(changes).unwrap();
            last_committed.set(number);
        };
        let mut rows =
            FailureRows::new(Arc::new(FailureTotals::new(&Progress::default(), 1 << 20, 1 << 20)));
        let body = r#"{"eventCode":"A","customerInfo":{"customerId":1}}"#;
        let event = Event::read(Bytes::from_static(body.as_bytes())).unwrap();
        let mut kept = Vec::new();
        // A copy of the event may arrive after the deduplication window, and fail again.
        for campaigns in [&["one", "two"][..], &["one"]] {
            overlay.begin().unwrap();
            rows.forget(&overlay);
            let failures: Vec<_> =
                campaigns.iter().map(|campaign| failure(&rows, &event, campaign)).collect();
            kept.extend(failures.iter().cloned());
            rows.keep(&overlay, failures, Some(&event)).unwrap();
            commit((overlay.group(), rows.flush().0));
        }
        let bodies = || {
            store
                .sizes()
                .unwrap()
                .tables
                .iter()
                .find(|size| size.table == Table::Bodies)
                .unwrap()
                .rows
        };
        let mut decided = Vec::new();
        for (number, (key, row)) in kept.iter().enumerate() {
            overlay.begin().unwrap();
            rows.forget(&overlay);
            rows.settle(&overlay, key, row).unwrap();
            decided.push((overlay.group(), rows.flush().0));
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
