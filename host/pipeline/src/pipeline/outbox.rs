//! The outbox: the publisher sends committed communications to the sink in the order of the
//! commits. Their rows are deleted from the store once they are confirmed.
//!
//! The publisher is independent: trouble at the sink stops neither deciding, nor committing, nor
//! acknowledging. Waiting communications are in the store. Memory has their keys, and also their
//! contents up to a bound, so a long outage takes disk space and not memory. If too many wait,
//! intake pauses. After a crash, the publisher starts with the rows in the store. **A confirmed
//! communication is published again only if the engine died before the commit that removes it.
//! Every copy has the same id and the same bytes (G3).**

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use std::vec;

use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc};

use super::commit::Removal;
use super::intake::IntakeState;
use crate::records::{Key, OutboxRow, Partition, decode};
use hailer_base::failpoint::Failpoint;
use hailer_base::metrics;
use hailer_broker::communication::Communication;
use hailer_broker::sinks::{OUTSTANDING_MAX, PendingConfirm, Sink, SinkError};
use hailer_store::{Snapshot, Store, StoreError, Table};

/// The most communications that are published together; those of the last commit may exceed it.
const PUBLISH_MAX: usize = 1024;

/// The most bytes that are published together; a single communication may exceed it.
const PUBLISH_BYTES_MAX: usize = 4 << 20;

/// The most bytes of waiting communications in memory. The others are read from the store when they
/// are published.
const CACHED_BYTES_MAX: usize = 8 << 20;

/// The communications of one commit that wait to be published.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) commit: u64,
    /// A bit set of the partitions that have a row.
    pub(super) partitions: u64,
    pub(super) communications: usize,
    /// When they were committed or, after a start, found in the store.
    pub(super) since: Instant,
    pub(super) cached: Option<CachedRows>,
}

/// The contents of rows, cached in memory so that the store need not be read.
#[derive(Debug)]
pub(super) struct CachedRows {
    /// The communications, in the order in which they were decided.
    pub(super) items: OutboxRow,
    /// The keys of the rows.
    pub(super) keys: Vec<Vec<u8>>,
}

impl CachedRows {
    fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.body.len() + ITEM_BYTES).sum()
    }
}

/// The approximate size of an item without its body, in bytes.
const ITEM_BYTES: usize = 256;

/// The number of communications in the outbox, and the bytes that are cached of them.
#[derive(Debug, Default)]
pub(super) struct OutboxLevel {
    communications: AtomicUsize,
    cached_bytes: AtomicUsize,
    has_changed: Notify,
}

impl OutboxLevel {
    pub(super) fn communications(&self) -> usize {
        self.communications.load(Ordering::Acquire)
    }

    /// Waits until fewer than `bound` communications wait.
    pub(super) async fn is_below(&self, bound: usize) {
        loop {
            let changed = self.has_changed.notified();
            if self.communications() < bound {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn add(&self, communications: usize) {
        let now = self.communications.fetch_add(communications, Ordering::AcqRel) + communications;
        ::metrics::gauge!(metrics::OUTBOX).set(now as f64);
    }

    pub(super) fn remove(&self, communications: usize) {
        let now = self.communications.fetch_sub(communications, Ordering::AcqRel) - communications;
        ::metrics::gauge!(metrics::OUTBOX).set(now as f64);
        self.has_changed.notify_waiters();
    }
}

/// The committer's side of the outbox.
pub(super) struct OutboxSender {
    /// The channel has no bound of its own. A message takes a few words, the bound of the outbox
    /// limits the number of commits, and [`CACHED_BYTES_MAX`] limits the contents.
    waiting: Option<mpsc::UnboundedSender<Waiting>>,
    level: Arc<OutboxLevel>,
}

/// The publisher's side of the outbox.
pub(super) struct OutboxReceiver {
    store: Arc<dyn Store>,
    waiting: mpsc::UnboundedReceiver<Waiting>,
    removals: mpsc::Sender<Removal>,
    intake: Arc<IntakeState>,
    level: Arc<OutboxLevel>,
}

/// Why publishing ended early.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens both sides of the outbox, with the communications that an earlier run left in the store.
pub(super) fn open(
    store: &Arc<dyn Store>,
    removals: mpsc::Sender<Removal>,
    intake: Arc<IntakeState>,
) -> Result<(OutboxSender, OutboxReceiver, Arc<OutboxLevel>), StoreError> {
    let (sender, waiting) = mpsc::unbounded_channel();
    let level = Arc::<OutboxLevel>::default();
    let mut outbox = OutboxSender { waiting: Some(sender), level: Arc::clone(&level) };
    let left = waiting_in_store(&**store)?;
    let communications: usize = left.iter().map(|waiting| waiting.communications).sum();
    if communications > 0 {
        tracing::info!(
            communications,
            "the outbox holds communications of an earlier run; the engine publishes them now"
        );
    }
    left.into_iter().for_each(|waiting| outbox.add(waiting));
    let receiver = OutboxReceiver {
        store: Arc::clone(store),
        waiting,
        removals,
        intake,
        level: Arc::clone(&level),
    };
    Ok((outbox, receiver, level))
}

/// The communications in the store's outbox, by commit.
fn waiting_in_store(store: &dyn Store) -> Result<Vec<Waiting>, StoreError> {
    let snapshot = store.snapshot()?;
    let mut found = BTreeMap::<u64, Waiting>::new();
    let since = Instant::now();
    for partition in Partition::all() {
        let (from, to) = Key::whole(partition);
        let mut without_commit = false;
        for_each_row(&*snapshot, &from, &to, &mut |key, row| match Key::commit_of(key) {
            Some(commit) => {
                let empty =
                    || Waiting { commit, partitions: 0, communications: 0, since, cached: None };
                let waiting = found.entry(commit).or_insert_with(empty);
                waiting.partitions |= 1 << partition.number();
                waiting.communications += row.len();
            }
            None => without_commit = true,
        })?;
        if without_commit {
            return Err(StoreError::unreadable(Table::Outbox, "a key without a commit"));
        }
    }
    Ok(found.into_values().collect())
}

impl OutboxSender {
    /// Adds committed communications.
    pub(super) fn add(&mut self, mut waiting: Waiting) {
        self.level.add(waiting.communications);
        if let Some(bytes) = waiting.cached.as_ref().map(CachedRows::bytes) {
            if self.level.cached_bytes.load(Ordering::Relaxed) + bytes > CACHED_BYTES_MAX {
                waiting.cached = None;
            } else {
                self.level.cached_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        // The publisher ends early only with an error, and that error ends the pipeline.
        let _ = self.waiting.as_ref().map(|sender| sender.send(waiting));
    }

    /// Counts communications whose rows were deleted by a commit.
    pub(super) fn removed(&self, communications: usize) {
        if communications > 0 {
            self.level.remove(communications);
        }
    }

    /// Closes the channel: no more communications will come.
    pub(super) fn close(&mut self) {
        self.waiting = None;
    }
}

impl OutboxReceiver {
    /// Publishes until the channel is closed and everything is confirmed.
    pub(super) async fn publish(mut self, mut sink: impl Sink) -> Result<(), PublishError> {
        let mut unconfirmed = Unconfirmed::default();
        let published = self.publish_all(&mut sink, &mut unconfirmed).await;
        if published.is_err() {
            // Batches that the sink has confirmed are still removed from the outbox.
            while let Some(Ok(removal)) = unconfirmed.confirmed().now_or_never() {
                self.remove_confirmed(removal).await;
            }
        }
        published
    }

    async fn publish_all(
        &mut self,
        sink: &mut impl Sink,
        unconfirmed: &mut Unconfirmed,
    ) -> Result<(), PublishError> {
        let mut is_open = true;
        while is_open || !unconfirmed.is_empty() {
            tokio::select! {
                biased;
                removal = unconfirmed.confirmed(), if !unconfirmed.is_empty() => {
                    self.remove_confirmed(removal?).await;
                }
                first = self.waiting.recv(), if is_open && unconfirmed.has_room() => match first {
                    Some(first) => self.send(first, sink, unconfirmed).await?,
                    None => is_open = false,
                },
            }
        }
        Ok(())
    }

    /// Sends waiting communications to the sink.
    async fn send(
        &mut self,
        first: Waiting,
        sink: &mut impl Sink,
        unconfirmed: &mut Unconfirmed,
    ) -> Result<(), PublishError> {
        let mut communications = first.communications;
        let mut rows = vec![first];
        while communications < PUBLISH_MAX
            && let Ok(next) = self.waiting.try_recv()
        {
            communications += next.communications;
            rows.push(next);
        }
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            while !unconfirmed.has_room() {
                let removal = unconfirmed.confirmed().await?;
                self.remove_confirmed(removal).await;
            }
            let batch;
            (batch, rows) = self.read(rows).await?;
            Failpoint::BeforePublish.pass();
            let mut left = batch.communications.as_slice();
            let mut confirms = VecDeque::new();
            while !left.is_empty() {
                let (some, rest) = left.split_at(fit_count(left));
                confirms.push_back(self.publish_batch(some, sink, unconfirmed).await?);
                left = rest;
            }
            unconfirmed.add(confirms, batch.bytes, batch.removal);
        }
        Ok(())
    }

    /// Waits until the sink takes a batch. Meanwhile it removes confirmed batches from the outbox.
    async fn publish_batch(
        &mut self,
        batch: &[Communication],
        sink: &mut impl Sink,
        unconfirmed: &mut Unconfirmed,
    ) -> Result<PendingConfirm, PublishError> {
        let mut taken = pin!(sink.publish(batch));
        loop {
            tokio::select! {
                biased;
                confirmed = &mut taken => return Ok(confirmed?),
                removal = unconfirmed.confirmed(), if !unconfirmed.is_empty() => {
                    self.remove_confirmed(removal?).await;
                }
            }
        }
    }

    /// Requests the removal of a confirmed batch from the outbox.
    async fn remove_confirmed(&self, removal: Removal) {
        self.intake.count(|tally| tally.confirmed += removal.communications as u64);
        let seconds = ::metrics::histogram!(metrics::OUTBOX_SECONDS);
        removal.since.iter().for_each(|committed| seconds.record(committed.elapsed()));
        Failpoint::BeforeRemoval.pass();
        // The committer is gone only if the pipeline ends early, and then another part reports the
        // error.
        let _ = self.removals.send(removal).await;
    }

    /// Reads the next batch. It reads the store only if some rows are not in memory.
    async fn read(
        &self,
        mut rows: vec::IntoIter<Waiting>,
    ) -> Result<(Batch, vec::IntoIter<Waiting>), StoreError> {
        if rows.as_slice().iter().all(|waiting| waiting.cached.is_some()) {
            return read(None, &mut rows, &self.level).map(|batch| (batch, rows));
        }
        let (store, level) = (Arc::clone(&self.store), Arc::clone(&self.level));
        let read = tokio::task::spawn_blocking(move || {
            let snapshot = store.snapshot()?;
            read(Some(&*snapshot), &mut rows, &level).map(|batch| (batch, rows))
        });
        read.await.map_err(|_| StoreError::Interrupted)?
    }
}

/// Communications that are published together, and the removal of their rows.
struct Batch {
    communications: Vec<Communication>,
    bytes: usize,
    removal: Removal,
}

/// The batches that the sink has taken, in that order. A confirmed batch is removed from the outbox
/// at once. It still counts here until every batch before it is confirmed, so that an unconfirmed
/// batch stops further sending at the bound.
#[derive(Default)]
struct Unconfirmed {
    batches: VecDeque<Sent>,
    communications: usize,
    bytes: usize,
}

struct Sent {
    confirms: VecDeque<PendingConfirm>,
    communications: usize,
    bytes: usize,
    /// `None` once the batch is confirmed.
    removal: Option<Removal>,
}

impl Unconfirmed {
    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    fn has_room(&self) -> bool {
        self.communications < OUTSTANDING_MAX && self.bytes < PUBLISH_BYTES_MAX
    }

    fn add(&mut self, confirms: VecDeque<PendingConfirm>, bytes: usize, removal: Removal) {
        self.communications += removal.communications;
        self.bytes += bytes;
        let communications = removal.communications;
        self.batches.push_back(Sent { confirms, communications, bytes, removal: Some(removal) });
    }

    /// Waits until one more batch is confirmed. The future may be dropped and the function called
    /// again.
    async fn confirmed(&mut self) -> Result<Removal, SinkError> {
        let removal = poll_fn(|context| {
            let mut removals = self.batches.iter_mut().map(|sent| sent.poll(context));
            removals.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        let removal = removal.await?;
        while let Some(Sent { communications, bytes, .. }) =
            self.batches.pop_front_if(|sent| sent.removal.is_none())
        {
            self.communications -= communications;
            self.bytes -= bytes;
        }
        Ok(removal)
    }
}

impl Sent {
    /// Returns the removal, once, when the whole batch is confirmed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Removal, SinkError>> {
        while let Some(confirmed) = self.confirms.front_mut() {
            ready!(confirmed.poll(context))?;
            self.confirms.pop_front();
        }
        self.removal.take().map_or(Poll::Pending, |removal| Poll::Ready(Ok(removal)))
    }
}

/// Takes whole commits until the batch is large enough. The communications of a commit keep the
/// order in which they were decided.
fn read(
    snapshot: Option<&dyn Snapshot>,
    rows: &mut vec::IntoIter<Waiting>,
    level: &OutboxLevel,
) -> Result<Batch, StoreError> {
    let mut batch = Batch { communications: Vec::new(), bytes: 0, removal: Removal::default() };
    for mut waiting in rows {
        let CachedRows { items, keys } = match (waiting.cached.take(), snapshot) {
            (Some(cached), _) => {
                level.cached_bytes.fetch_sub(cached.bytes(), Ordering::Relaxed);
                cached
            }
            (None, Some(snapshot)) => read_rows(snapshot, &waiting)?,
            (None, None) => unreachable!("rows that are not cached are read from a snapshot"),
        };
        batch.bytes += items.iter().map(|item| item.body.len()).sum::<usize>();
        batch.removal.keys.extend(keys);
        batch.removal.communications += items.len();
        batch.removal.since.push(waiting.since);
        batch.communications.extend(items.into_iter().map(Communication::from));
        if batch.bytes > PUBLISH_BYTES_MAX {
            break;
        }
    }
    Ok(batch)
}

/// Reads the rows of a commit from the store.
fn read_rows(snapshot: &dyn Snapshot, waiting: &Waiting) -> Result<CachedRows, StoreError> {
    let mut cached =
        CachedRows { items: OutboxRow::with_capacity(waiting.communications), keys: Vec::new() };
    for partition in
        Partition::all().filter(|partition| waiting.partitions & 1 << partition.number() != 0)
    {
        let (from, to) = Key::parts_of_commit(partition, waiting.commit);
        for_each_row(snapshot, &from, &to, &mut |key, mut row| {
            cached.items.append(&mut row);
            cached.keys.push(key.to_vec());
        })?;
    }
    // The rows were committed, and they are removed only when this part asks for it.
    if cached.items.len() != waiting.communications {
        return Err(StoreError::unreadable(Table::Outbox, "committed rows are missing"));
    }
    cached.items.sort_unstable_by_key(|item| item.place);
    Ok(cached)
}

/// The number of these communications that are published together: at least one.
fn fit_count(communications: &[Communication]) -> usize {
    let mut bytes = 0;
    let fits = |communication: &&Communication| {
        bytes += communication.body.len();
        bytes <= PUBLISH_BYTES_MAX
    };
    communications.iter().take_while(fits).count().max(1)
}

/// Visits the outbox's rows between two keys.
fn for_each_row(
    snapshot: &dyn Snapshot,
    from: &[u8],
    to: &[u8],
    visit: &mut dyn FnMut(&[u8], OutboxRow),
) -> Result<(), StoreError> {
    let mut broken = None;
    snapshot.range(Table::Outbox, from, to, &mut |key, row| match decode::<OutboxRow>(
        Table::Outbox,
        row,
    ) {
        Ok(row) => {
            visit(key, row);
            ControlFlow::Continue(())
        }
        Err(error) => {
            broken = Some(error);
            ControlFlow::Break(())
        }
    })?;
    broken.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_confirmed_batch_counts_until_those_before_it_are_confirmed() {
        let mut unconfirmed = Unconfirmed::default();
        let [confirm_first, confirm_second] = [1, 2].map(|number| {
            let (confirm, confirmed) = oneshot::channel();
            let removal = Removal {
                keys: vec![vec![number]],
                communications: OUTSTANDING_MAX / 2,
                since: Vec::new(),
            };
            unconfirmed.add([PendingConfirm::from_receiver(confirmed)].into(), 10, removal);
            confirm
        });
        assert!(!unconfirmed.has_room());
        confirm_second.send(()).unwrap();
        assert_eq!(unconfirmed.confirmed().now_or_never().expect("at once").unwrap().keys, [[2]]);
        assert!(!unconfirmed.has_room(), "an unconfirmed batch keeps its room");
        assert!(unconfirmed.confirmed().now_or_never().is_none(), "each batch is removed once");
        confirm_first.send(()).unwrap();
        assert_eq!(unconfirmed.confirmed().await.unwrap().keys, [[1]]);
        assert!(unconfirmed.is_empty() && unconfirmed.has_room());
    }

    #[tokio::test]
    async fn an_abandoned_confirm_is_an_error() {
        let mut unconfirmed = Unconfirmed::default();
        let (confirm, confirmed) = oneshot::channel();
        unconfirmed.add(
            [PendingConfirm::done(), PendingConfirm::from_receiver(confirmed)].into(),
            0,
            Removal::default(),
        );
        drop(confirm);
        assert!(unconfirmed.confirmed().await.is_err());
    }
}
