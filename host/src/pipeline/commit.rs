//! The committer: one for all shards, as the store has one writer.
//!
//! What waits is committed together, in the order in which it was decided: state, what was seen, the journal and the outbox, all or
//! nothing. While one commit is on its way to the disk, the shards decide what the next will take. **An event's receipt is settled only
//! after the commit that holds everything it led to (G1).** After an error nothing more is committed, published or settled: the pipeline
//! ends, and the next start goes on from what the store has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::failures::FailureTotals;
use super::outbox::{OutboxSender, Waiting};
use super::sweep::Sweep;
use super::timers::Due;
use super::{Arrivals, Group};
use crate::clock::Millis;
use crate::communication::Communication;
use crate::event::CustomerKey;
use crate::failpoint::Failpoint;
use crate::metrics;
use crate::store::records::{FailureDelta, Key, OutboxItem, Partition, Progress, encode, encode_to};
use crate::store::{Changes, Store, StoreError, Table};

/// Events in one commit, at most; one more group may come on top.
const EVENTS_MAX: usize = 4096;
/// What one commit writes, in bytes, unless it is one group's.
const BYTES_MAX: usize = 8 << 20;
/// A row that has become so large takes no more items.
const ROW_BYTES_MAX: usize = 4 << 20;
/// A removal alone waits so long for company: an idle engine needn't write twice.
const REMOVAL_DELAY: Duration = Duration::from_millis(25);
/// The time between two commits counts as connected up to this.
const CONNECTED_STEP_MAX_MS: Millis = 60_000;

/// What makes sure that a session has outlived two heartbeats.
const ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// An entry of the journal, ready to be put into a row.
#[derive(Debug)]
pub(super) struct JournalPiece {
    pub(super) partition: Partition,
    pub(super) customer: Option<CustomerKey>,
    pub(super) bytes: Vec<u8>,
}

/// Rows of the outbox that are published.
#[derive(Debug, Default)]
pub(super) struct Removal {
    pub(super) keys: Vec<Vec<u8>>,
    /// How many communications they hold.
    pub(super) communications: usize,
}

pub(super) struct Committer {
    pub(super) store: Arc<dyn Store>,
    pub(super) progress: Progress,
    /// For each shard the number of its last group that is committed.
    pub(super) committed: Arc<[Arc<AtomicU64>]>,
    pub(super) outbox: OutboxSender,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) sweep: Sweep,
    pub(super) failures: Arc<FailureTotals>,
    pub(super) due: Arc<Due>,
    /// Two heartbeats.
    pub(super) settles_after: Duration,
    /// When to note that the session of what was committed last is still alive.
    pub(super) alive_at: Option<Instant>,
}

/// What the next commit will hold.
#[derive(Default)]
struct Taken {
    changes: Changes,
    journal: Vec<JournalPiece>,
    outbox: Vec<(Partition, Communication)>,
    failures: Vec<FailureDelta>,
    removed: usize,
    bytes: usize,
    groups: Vec<Group>,
    events: usize,
}

impl Committer {
    /// Commits until the shards are done and the outbox is published.
    ///
    /// # Errors
    /// At the first commit that fails.
    pub(super) async fn run(
        mut self,
        mut groups: mpsc::Receiver<Group>,
        mut removals: mpsc::Receiver<Removal>,
    ) -> Result<(), StoreError> {
        let mut deciding = true;
        loop {
            let mut taken = Taken::default();
            tokio::select! {
                biased;
                group = groups.recv(), if deciding => match group {
                    Some(group) => taken.add(group),
                    None => {
                        deciding = false;
                        self.outbox.close();
                        continue;
                    }
                },
                removed = removals.recv() => match removed {
                    Some(removed) => {
                        taken.remove(removed);
                        if deciding && let Ok(Some(group)) = tokio::time::timeout(REMOVAL_DELAY, groups.recv()).await {
                            taken.add(group);
                        }
                    }
                    None => return Ok(()),
                },
                () = sleep_until(self.alive_at) => self.alive_at = None,
            }
            while taken.events < EVENTS_MAX
                && taken.bytes < BYTES_MAX
                && let Ok(group) = groups.try_recv()
            {
                taken.add(group);
            }
            while let Ok(removed) = removals.try_recv() {
                taken.remove(removed);
            }
            self.commit(taken).await?;
        }
    }

    async fn commit(&mut self, taken: Taken) -> Result<(), StoreError> {
        let Taken { mut changes, journal, outbox, failures, removed, groups, events, .. } = taken;
        if groups.iter().any(|group| group.has_open_occurrences) {
            self.alive_at = Some(Instant::now() + self.settles_after + ALIVE_MARGIN);
        }
        let commit = self.progress.commit + 1;
        self.advance(commit);
        let waiting = put_outbox(commit, outbox, &mut changes);
        self.progress.journal_bytes += put_journal(commit, journal, &mut changes);
        let freed: u64 = groups.iter().map(|group| group.journal_bytes_freed).sum();
        self.progress.journal_bytes = self.progress.journal_bytes.saturating_sub(freed);
        let failures_change = !failures.is_empty();
        self.failures.count(&mut self.progress, failures);
        let store = Arc::clone(&self.store);
        let mut sweep = std::mem::take(&mut self.sweep);
        let mut progress = std::mem::take(&mut self.progress);
        let committed = tokio::task::spawn_blocking(move || {
            sweep.sweep(&*store, &mut progress, events, &mut changes)?;
            changes.put(Table::Meta, Progress::KEY.to_vec(), encode(&progress));
            Failpoint::BeforeCommit.pass();
            let began = Instant::now();
            store.commit(&changes)?;
            Failpoint::AfterCommit.pass();
            ::metrics::histogram!(metrics::COMMIT_SECONDS).record(began.elapsed());
            Ok((sweep, progress))
        });
        (self.sweep, self.progress) = committed.await.map_err(|_| StoreError::Interrupted)??;
        if failures_change {
            self.failures.committed(&self.progress);
        }
        for group in &groups {
            if let Some(shard) = group.shard {
                self.committed[shard].store(group.number, Ordering::Release);
            }
        }
        if let Some(waiting) = waiting {
            self.outbox.add(waiting);
        }
        self.outbox.removed(removed);
        groups.into_iter().for_each(|group| group.settle(&self.due));
        Ok(())
    }

    /// Notes how far the engine has come.
    fn advance(&mut self, commit: u64) {
        let (now, sessions) = self.arrivals.now_and_sessions();
        let progress = &mut self.progress;
        progress.connected_ms += (now - progress.now).clamp(0, CONNECTED_STEP_MAX_MS);
        progress.commit = commit;
        progress.now = now.max(progress.now);
        progress.sessions = sessions;
        self.arrivals.set_connected(progress.connected_ms);
    }
}

impl Taken {
    fn add(&mut self, mut group: Group) {
        self.bytes += group.bytes();
        self.events += group.events();
        self.changes.append(std::mem::take(&mut group.changes));
        self.journal.append(&mut group.journal);
        self.outbox.append(&mut group.outbox);
        self.failures.append(&mut group.failures);
        self.groups.push(group);
    }

    fn remove(&mut self, removal: Removal) {
        self.removed += removal.communications;
        for key in removal.keys {
            self.changes.delete(Table::Outbox, key);
        }
    }
}

/// Puts the communications of a commit into rows, and says where they are.
fn put_outbox(commit: u64, outbox: Vec<(Partition, Communication)>, changes: &mut Changes) -> Option<Waiting> {
    let mut rows = Rows::default();
    let communications = outbox.len();
    let mut partitions = 0;
    for (place, (partition, communication)) in (0..).zip(outbox) {
        partitions |= 1 << partition.number();
        encode_to(&OutboxItem::new(place, communication), rows.of(partition));
    }
    rows.put(Table::Outbox, commit, changes);
    (partitions != 0).then_some(Waiting { commit, partitions, communications })
}

/// Puts the entries of a commit into rows, and marks the trail of each customer. Returns how much that is, in bytes.
fn put_journal(commit: u64, journal: Vec<JournalPiece>, changes: &mut Changes) -> u64 {
    let mut rows = Rows::default();
    for piece in journal {
        rows.of(piece.partition).extend_from_slice(&piece.bytes);
        if let Some(customer) = piece.customer {
            changes.put(Table::Trail, Key::trail(customer, commit), Vec::new());
        }
    }
    rows.put(Table::Journal, commit, changes)
}

/// Items of one commit, put together into a few large rows: a partition's into one, or into several if they are much.
struct Rows(Box<[Vec<Row>; Partition::COUNT as usize]>);

/// A row in the making: how many items, and their bytes behind room for the head.
type Row = (u32, Vec<u8>);

/// The head of a row: an array of so many items.
const HEAD_BYTES: usize = 5;
/// The room with which a row begins: what a partition's share of a busy commit takes.
const ROW_BYTES_FIRST: usize = 4096;

impl Default for Rows {
    fn default() -> Self {
        Rows(Box::new(std::array::from_fn(|_| Vec::new())))
    }
}

impl Rows {
    /// Where the partition's next item goes, encoded.
    fn of(&mut self, partition: Partition) -> &mut Vec<u8> {
        let rows = &mut self.0[usize::from(partition.number())];
        if rows.last().is_none_or(|(_, bytes)| bytes.len() >= ROW_BYTES_MAX) {
            let mut bytes = Vec::with_capacity(ROW_BYTES_FIRST);
            bytes.resize(HEAD_BYTES, 0);
            rows.push((0, bytes));
        }
        let (items, bytes) = rows.last_mut().expect("there is one now");
        *items += 1;
        bytes
    }

    /// Returns how many bytes that is.
    fn put(self, table: Table, commit: u64, changes: &mut Changes) -> u64 {
        let mut written = 0;
        for (partition, rows) in Partition::all().zip(*self.0) {
            for (part, (items, mut row)) in (0..).zip(rows) {
                row[0] = rmp::Marker::Array32.to_u8();
                row[1..HEAD_BYTES].copy_from_slice(&items.to_be_bytes());
                written += row.len() as u64;
                changes.put(table, Key::commit(partition, commit, part), row);
            }
        }
        written
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
