//! From the outbox to the sink: what is committed is published, in the order of the commits, and leaves the outbox when it is confirmed.
//!
//! The publisher is on its own: trouble at the sink stops neither deciding nor committing nor acknowledging. What waits is in the store; in memory
//! is its place, and itself while that is little, so that a long outage costs disk; a bound on that pauses intake. After a crash the publisher begins with what
//! the store has: **a communication goes out again only if the engine died between its confirm and the commit that removes it, and
//! byte for byte the same (G3).**

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

use super::arrivals::Arrivals;
use super::commit::Removal;
use crate::communication::Communication;
use crate::failpoint::Failpoint;
use crate::metrics;
use crate::records::{Key, OutboxRow, Partition, decode};
use crate::sinks::{Confirmed, OUTSTANDING_MAX, Sink, SinkError};
use crate::store::{Snapshot, Store, StoreError, Table};

/// The most communications that are published together; one commit's may come on top.
const PUBLISH_MAX: usize = 1024;

/// The most bytes that are published together, unless it is one communication.
const PUBLISH_BYTES_MAX: usize = 4 << 20;

/// What waits is kept in memory up to so many bytes; the rest is read from the store when its turn comes.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Rows of one commit that wait to be published.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) commit: u64,
    /// The partitions that have a row, a bit each.
    pub(super) partitions: u64,
    pub(super) communications: usize,
    /// When they were committed, or were found at the start.
    pub(super) since: Instant,
    pub(super) kept: Option<Kept>,
}

/// Rows in memory, so that they needn't be read.
#[derive(Debug)]
pub(super) struct Kept {
    /// In the order in which they were decided.
    pub(super) items: OutboxRow,
    /// Of their rows.
    pub(super) keys: Vec<Vec<u8>>,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.body.len() + ITEM_BYTES).sum()
    }
}

/// What an item takes beside its body, in bytes, about.
const ITEM_BYTES: usize = 256;

/// How much waits in the outbox.
#[derive(Debug, Default)]
pub(super) struct Fill {
    communications: AtomicUsize,
    kept_bytes: AtomicUsize,
    has_changed: Notify,
}

impl Fill {
    pub(super) fn communications(&self) -> usize {
        self.communications.load(Ordering::Acquire)
    }

    /// Waits until there is room under a bound.
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

/// The committer's end of the outbox.
pub(super) struct OutboxSender {
    /// Without a bound of its own: a few words a commit, no more commits than the outbox's bound lets wait, and of their rows what [`KEPT_BYTES_MAX`] lets.
    waiting: Option<mpsc::UnboundedSender<Waiting>>,
    fill: Arc<Fill>,
}

/// The publisher's end.
pub(super) struct OutboxReceiver {
    store: Arc<dyn Store>,
    waiting: mpsc::UnboundedReceiver<Waiting>,
    removals: mpsc::Sender<Removal>,
    arrivals: Arc<Arrivals>,
    fill: Arc<Fill>,
}

/// Why publishing ended early.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The two ends, with what an earlier run left behind.
pub(super) fn open(
    store: &Arc<dyn Store>,
    removals: mpsc::Sender<Removal>,
    arrivals: Arc<Arrivals>,
) -> Result<(OutboxSender, OutboxReceiver, Arc<Fill>), StoreError> {
    let (sender, waiting) = mpsc::unbounded_channel();
    let fill = Arc::<Fill>::default();
    let mut outbox = OutboxSender { waiting: Some(sender), fill: Arc::clone(&fill) };
    let left = left_behind(&**store)?;
    let communications: usize = left.iter().map(|waiting| waiting.communications).sum();
    if communications > 0 {
        tracing::info!(communications, "the outbox holds communications of an earlier run; they go out now");
    }
    left.into_iter().for_each(|waiting| outbox.add(waiting));
    let receiver = OutboxReceiver { store: Arc::clone(store), waiting, removals, arrivals, fill: Arc::clone(&fill) };
    Ok((outbox, receiver, fill))
}

/// What the store's outbox holds, by commit.
fn left_behind(store: &dyn Store) -> Result<Vec<Waiting>, StoreError> {
    let snapshot = store.snapshot()?;
    let mut found = BTreeMap::<u64, Waiting>::new();
    let since = Instant::now();
    for partition in Partition::all() {
        let (from, to) = Key::whole(partition);
        let mut without_commit = false;
        for_each_row(&*snapshot, &from, &to, &mut |key, row| match Key::commit_of(key) {
            Some(commit) => {
                let empty = || Waiting { commit, partitions: 0, communications: 0, since, kept: None };
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
    /// Rows that have been committed.
    pub(super) fn add(&mut self, mut waiting: Waiting) {
        self.fill.add(waiting.communications);
        if let Some(bytes) = waiting.kept.as_ref().map(Kept::bytes) {
            if self.fill.kept_bytes.load(Ordering::Relaxed) + bytes > KEPT_BYTES_MAX {
                waiting.kept = None;
            } else {
                self.fill.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        // The publisher ends early only with an error, which ends the pipeline.
        let _ = self.waiting.as_ref().map(|sender| sender.send(waiting));
    }

    /// Communications whose removal has been committed.
    pub(super) fn removed(&self, communications: usize) {
        if communications > 0 {
            self.fill.remove(communications);
        }
    }

    /// Nothing more will come.
    pub(super) fn close(&mut self) {
        self.waiting = None;
    }
}

impl OutboxReceiver {
    /// Publishes until nothing more comes and all is confirmed.
    pub(super) async fn publish(mut self, mut sink: impl Sink) -> Result<(), PublishError> {
        let mut under_way = UnderWay::default();
        let published = self.publish_all(&mut sink, &mut under_way).await;
        if published.is_err() {
            // What the sink has confirmed of it leaves the outbox all the same.
            while let Some(Ok(removal)) = under_way.confirmed().now_or_never() {
                self.let_go(removal).await;
            }
        }
        published
    }

    async fn publish_all(&mut self, sink: &mut impl Sink, under_way: &mut UnderWay) -> Result<(), PublishError> {
        let mut is_open = true;
        while is_open || !under_way.is_empty() {
            tokio::select! {
                biased;
                removal = under_way.confirmed(), if !under_way.is_empty() => self.let_go(removal?).await,
                first = self.waiting.recv(), if is_open && under_way.has_room() => match first {
                    Some(first) => self.send(first, sink, under_way).await?,
                    None => is_open = false,
                },
            }
        }
        Ok(())
    }

    /// Sends what waits to the sink.
    async fn send(
        &mut self,
        first: Waiting,
        sink: &mut impl Sink,
        under_way: &mut UnderWay,
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
            while !under_way.has_room() {
                let removal = under_way.confirmed().await?;
                self.let_go(removal).await;
            }
            let batch;
            (batch, rows) = self.read(rows).await?;
            Failpoint::BeforePublish.pass();
            let mut left = batch.communications.as_slice();
            let mut confirms = VecDeque::new();
            while !left.is_empty() {
                let (some, rest) = left.split_at(fitting(left));
                confirms.push_back(self.hand_over(some, sink, under_way).await?);
                left = rest;
            }
            under_way.add(confirms, batch.bytes, batch.removal);
        }
        Ok(())
    }

    /// Waits until the sink takes a batch; what is confirmed meanwhile leaves the outbox.
    async fn hand_over(
        &mut self,
        batch: &[Communication],
        sink: &mut impl Sink,
        under_way: &mut UnderWay,
    ) -> Result<Confirmed, PublishError> {
        let mut taken = pin!(sink.publish(batch));
        loop {
            tokio::select! {
                biased;
                confirmed = &mut taken => return Ok(confirmed?),
                removal = under_way.confirmed(), if !under_way.is_empty() => self.let_go(removal?).await,
            }
        }
    }

    /// Has a confirmed batch removed from the outbox.
    async fn let_go(&self, removal: Removal) {
        self.arrivals.count(|tally| tally.confirmed += removal.communications as u64);
        let seconds = ::metrics::histogram!(metrics::OUTBOX_SECONDS);
        removal.since.iter().for_each(|committed| seconds.record(committed.elapsed()));
        Failpoint::BeforeRemoval.pass();
        // The committer is gone only when the pipeline ends early, which somebody else tells.
        let _ = self.removals.send(removal).await;
    }

    /// What goes out next. Waits for the store only if something has to be read from it.
    async fn read(&self, mut rows: vec::IntoIter<Waiting>) -> Result<(Batch, vec::IntoIter<Waiting>), StoreError> {
        if rows.as_slice().iter().all(|waiting| waiting.kept.is_some()) {
            return read(None, &mut rows, &self.fill).map(|batch| (batch, rows));
        }
        let (store, fill) = (Arc::clone(&self.store), Arc::clone(&self.fill));
        let read = tokio::task::spawn_blocking(move || {
            let snapshot = store.snapshot()?;
            read(Some(&*snapshot), &mut rows, &fill).map(|batch| (batch, rows))
        });
        read.await.map_err(|_| StoreError::Interrupted)?
    }
}

/// Communications that go out together, and the rows that they are.
struct Batch {
    communications: Vec<Communication>,
    bytes: usize,
    removal: Removal,
}

/// What the sink has got, in the order in which it got it. A batch that is confirmed leaves the outbox at once, and counts here until all before it are, so that
/// one that is not can't be overtaken for ever.
#[derive(Default)]
struct UnderWay {
    batches: VecDeque<Sent>,
    communications: usize,
    bytes: usize,
}

struct Sent {
    confirms: VecDeque<Confirmed>,
    communications: usize,
    bytes: usize,
    /// `None` when it is confirmed.
    removal: Option<Removal>,
}

impl UnderWay {
    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    fn has_room(&self) -> bool {
        self.communications < OUTSTANDING_MAX && self.bytes < PUBLISH_BYTES_MAX
    }

    fn add(&mut self, confirms: VecDeque<Confirmed>, bytes: usize, removal: Removal) {
        self.communications += removal.communications;
        self.bytes += bytes;
        let communications = removal.communications;
        self.batches.push_back(Sent { confirms, communications, bytes, removal: Some(removal) });
    }

    /// Waits until one more is confirmed. It may be stopped and called again.
    async fn confirmed(&mut self) -> Result<Removal, SinkError> {
        let removal = poll_fn(|context| {
            let mut removals = self.batches.iter_mut().map(|sent| sent.poll(context));
            removals.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        let removal = removal.await?;
        while let Some(Sent { communications, bytes, .. }) = self.batches.pop_front_if(|sent| sent.removal.is_none()) {
            self.communications -= communications;
            self.bytes -= bytes;
        }
        Ok(removal)
    }
}

impl Sent {
    /// What leaves the outbox, once, when all of it is confirmed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Removal, SinkError>> {
        while let Some(confirmed) = self.confirms.front_mut() {
            ready!(confirmed.poll(context))?;
            self.confirms.pop_front();
        }
        self.removal.take().map_or(Poll::Pending, |removal| Poll::Ready(Ok(removal)))
    }
}

/// Takes whole commits until it is enough, each commit's communications in the order in which they were decided.
fn read(snapshot: Option<&dyn Snapshot>, rows: &mut vec::IntoIter<Waiting>, fill: &Fill) -> Result<Batch, StoreError> {
    let mut batch = Batch { communications: Vec::new(), bytes: 0, removal: Removal::default() };
    for mut waiting in rows {
        let Kept { items, keys } = match (waiting.kept.take(), snapshot) {
            (Some(kept), _) => {
                fill.kept_bytes.fetch_sub(kept.bytes(), Ordering::Relaxed);
                kept
            }
            (None, Some(snapshot)) => look_up(snapshot, &waiting)?,
            (None, None) => unreachable!("what is not kept is read from a snapshot"),
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

/// Reads the rows of a commit.
fn look_up(snapshot: &dyn Snapshot, waiting: &Waiting) -> Result<Kept, StoreError> {
    let mut kept = Kept { items: OutboxRow::with_capacity(waiting.communications), keys: Vec::new() };
    for partition in Partition::all().filter(|partition| waiting.partitions & 1 << partition.number() != 0) {
        let (from, to) = Key::parts_of_commit(partition, waiting.commit);
        for_each_row(snapshot, &from, &to, &mut |key, mut row| {
            kept.items.append(&mut row);
            kept.keys.push(key.to_vec());
        })?;
    }
    // It is committed, and nobody else removes it.
    if kept.items.len() != waiting.communications {
        return Err(StoreError::unreadable(Table::Outbox, "rows that were committed are not there"));
    }
    kept.items.sort_unstable_by_key(|item| item.place);
    Ok(kept)
}

/// How many of these go out together: at least one.
fn fitting(communications: &[Communication]) -> usize {
    let mut bytes = 0;
    let fits = |communication: &&Communication| {
        bytes += communication.body.len();
        bytes <= PUBLISH_BYTES_MAX
    };
    communications.iter().take_while(fits).count().max(1)
}

/// Shows the outbox's rows between two keys.
fn for_each_row(
    snapshot: &dyn Snapshot,
    from: &[u8],
    to: &[u8],
    visit: &mut dyn FnMut(&[u8], OutboxRow),
) -> Result<(), StoreError> {
    let mut broken = None;
    snapshot.range(Table::Outbox, from, to, &mut |key, row| match decode::<OutboxRow>(Table::Outbox, row) {
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
    async fn what_is_confirmed_leaves_at_once_and_counts_until_all_before_it_are() {
        let mut under_way = UnderWay::default();
        let [tell_first, tell_second] = [1, 2].map(|number| {
            let (tell, told) = oneshot::channel();
            let removal = Removal { keys: vec![vec![number]], communications: OUTSTANDING_MAX / 2, since: Vec::new() };
            under_way.add([Confirmed::when(told)].into(), 10, removal);
            tell
        });
        assert!(!under_way.has_room());
        tell_second.send(()).unwrap();
        assert_eq!(under_way.confirmed().now_or_never().expect("at once").unwrap().keys, [[2]]);
        assert!(!under_way.has_room(), "the first could be overtaken for ever");
        assert!(under_way.confirmed().now_or_never().is_none(), "each leaves once");
        tell_first.send(()).unwrap();
        assert_eq!(under_way.confirmed().await.unwrap().keys, [[1]]);
        assert!(under_way.is_empty() && under_way.has_room());
    }

    #[tokio::test]
    async fn a_batch_that_nobody_works_on_any_more_is_an_error() {
        let mut under_way = UnderWay::default();
        let (tell, told) = oneshot::channel();
        under_way.add([Confirmed::already(), Confirmed::when(told)].into(), 0, Removal::default());
        drop(tell);
        assert!(under_way.confirmed().await.is_err());
    }
}
