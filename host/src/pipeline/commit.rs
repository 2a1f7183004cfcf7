//! The committer: one for all shards, as the store has one writer; on a thread of its own, as it waits for the disk.
//!
//! What waits is committed together, in the order in which it was decided: state, what was seen, the journal and the outbox, all or
//! nothing. While one commit is on its way to the disk, the shards decide what the next will take. **An event's receipt is settled only
//! after the commit that holds everything it led to (G1).** After an error nothing more is committed, published or settled: the pipeline
//! ends, and the next start goes on from what the store has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::failures::FailureTotals;
use super::memory::LastCommitted;
use super::outbox::{Kept, OutboxSender, Waiting};
use super::seen::{SeenPiece, SeenWriter};
use super::timers::Due;
use super::trials::Registry;
use super::{Arrivals, Group, quota};
use crate::clock::Millis;
use crate::communication::Communication;
use crate::event::CustomerKey;
use crate::failpoint::Failpoint;
use crate::metrics;
use crate::records::{FailureDelta, Key, OutboxItem, Partition, Progress, TimerKey, TrailKey, encode, encode_to};
use crate::store::{Changes, Store, StoreError, Table};

/// Events in one commit, at most; one more group may come on top.
const EVENTS_MAX: usize = 4096;
/// What one commit writes, in bytes, unless it is one group's.
const BYTES_MAX: usize = 8 << 20;
/// A row that has become so large takes no more items.
const ROW_BYTES_MAX: usize = 4 << 20;
/// A removal alone waits so long for company: an idle engine needn't write twice.
const REMOVAL_DELAY: Duration = Duration::from_millis(25);
/// An idle engine notes that it runs so often: how long it was stopped is told from then on.
const NOTES_TIME_EVERY: Duration = Duration::from_secs(3600);
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
    /// When each of their commits was made, or was found at the start.
    pub(super) since: Vec<Instant>,
}

pub(super) struct Committer {
    pub(super) store: Arc<dyn Store>,
    pub(super) progress: Progress,
    pub(super) seen: SeenWriter,
    /// Of each shard.
    pub(super) last_committed: Box<[LastCommitted]>,
    pub(super) outbox: OutboxSender,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) failures: Arc<FailureTotals>,
    pub(super) trials: Registry,
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
    seen: Vec<SeenPiece>,
    journal: Vec<JournalPiece>,
    outbox: Vec<(Partition, Communication)>,
    failures: Vec<FailureDelta>,
    removed: usize,
    bytes: usize,
    groups: Vec<Group>,
    events: usize,
}

impl Committer {
    /// Commits until the shards are done and the outbox is published. It needs a thread to itself: it waits for the disk where it stands,
    /// as each hand over to another thread and back is time that every event waits.
    ///
    /// # Errors
    /// At the first commit that fails.
    pub(super) async fn run(
        mut self,
        mut groups: mpsc::Receiver<Group>,
        mut removals: mpsc::Receiver<Removal>,
    ) -> Result<(), StoreError> {
        let mut deciding = true;
        let mut notes_time_at = Instant::now() + NOTES_TIME_EVERY;
        loop {
            let mut taken = Taken::default();
            let is_believed = self.arrivals.look_at_clock().is_none();
            tokio::select! {
                biased;
                group = groups.recv(), if deciding => match group {
                    Some(group) => taken.add(group),
                    None => {
                        deciding = false;
                        self.outbox.close();
                        // The source has ended by now. What it said of its last session must outlive this run.
                        if self.arrivals.take_settled() {
                            self.commit(taken)?;
                        }
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
                    None => break,
                },
                () = sleep_until(self.alive_at) => self.alive_at = None,
                () = sleep_until(Some(notes_time_at)), if is_believed => {}
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
            self.commit(taken)?;
            notes_time_at = Instant::now() + NOTES_TIME_EVERY;
        }
        Ok(())
    }

    fn commit(&mut self, taken: Taken) -> Result<(), StoreError> {
        let Taken { mut changes, seen, journal, outbox, failures, removed, mut groups, .. } = taken;
        if groups.iter().any(|group| group.has_open_occurrences) {
            self.alive_at = Some(Instant::now() + self.settles_after + ALIVE_MARGIN);
        }
        let commit = self.progress.commit + 1;
        self.advance(commit);
        self.seen.add(seen, &mut self.progress, &mut changes);
        let kept = put_outbox(commit, outbox, &mut changes);
        self.progress.journal_bytes +=
            put_journal(commit, self.progress.trail.at_commit(commit), journal, &mut changes);
        self.progress.trail.add(changes.put_in(Table::Trail));
        let freed: u64 = groups.iter().map(|group| group.journal_bytes_freed).sum();
        self.progress.journal_bytes = self.progress.journal_bytes.saturating_sub(freed);
        let hours = groups.iter_mut().flat_map(|group| std::mem::take(&mut group.hours));
        hours.for_each(|taken| taken.count(&mut self.progress.hours));
        let faults = groups.iter_mut().flat_map(|group| std::mem::take(&mut group.faults));
        faults.for_each(|faults| faults.count(&mut self.progress.faults));
        self.trials.commit(&mut self.progress.trials);
        quota::forget_before(&mut self.progress.hours, self.progress.now);
        let failures_change = !failures.is_empty();
        self.failures.count(&mut self.progress, failures);
        changes.put(Table::Meta, Progress::KEY.to_vec(), encode(&self.progress));
        let set = changes.of(Table::Timers).filter(|(_, value)| value.is_some());
        let first_set = set.filter_map(|(key, _)| TimerKey::due_of(key)).min();
        Failpoint::BeforeCommit.pass();
        let began = Instant::now();
        self.store.commit(changes)?;
        let since = Instant::now();
        ::metrics::histogram!(metrics::COMMIT_SECONDS).record(since - began);
        Failpoint::AfterCommit.pass();
        if let Some(due) = first_set {
            self.due.is_set(due);
        }
        if failures_change {
            self.failures.committed(&self.progress);
        }
        for group in &groups {
            if let Some(shard) = group.shard {
                self.last_committed[shard].set(group.number);
            }
            ::metrics::gauge!(metrics::IN_FLIGHT).decrement(group.timers.len() as f64);
            self.due.settled(&group.timers);
        }
        if let Some((partitions, kept)) = kept {
            self.outbox.add(Waiting { commit, partitions, communications: kept.items.len(), since, kept: Some(kept) });
        }
        self.outbox.removed(removed);
        groups.into_iter().for_each(Group::settle);
        Ok(())
    }

    /// Notes how far the engine has come.
    fn advance(&mut self, commit: u64) {
        let (now, sessions) = self.arrivals.now_and_sessions();
        let progress = &mut self.progress;
        progress.connected_ms += (now - progress.now).clamp(0, CONNECTED_STEP_MAX_MS);
        progress.clock = self.arrivals.clock_record(progress.commit);
        progress.commit = commit;
        // It goes back only by the word of an operator.
        progress.now = now;
        progress.sessions = sessions;
        self.arrivals.set_connected(progress.connected_ms);
    }
}

impl Taken {
    fn add(&mut self, mut group: Group) {
        self.bytes += group.bytes();
        self.events += group.events();
        self.changes.append(std::mem::take(&mut group.changes));
        self.seen.append(&mut group.seen);
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

/// Puts the communications of a commit into rows; the partitions that have one, a bit each, and what stands in them.
fn put_outbox(commit: u64, outbox: Vec<(Partition, Communication)>, changes: &mut Changes) -> Option<(u64, Kept)> {
    let mut rows = Rows::default();
    let mut partitions = 0;
    let mut kept = Kept { items: Vec::with_capacity(outbox.len()), keys: Vec::new() };
    for (place, (partition, communication)) in (0..).zip(outbox) {
        partitions |= 1 << partition.number();
        let item = OutboxItem::new(place, communication);
        encode_to(&item, rows.of(partition));
        kept.items.push(item);
    }
    rows.put(commit, &mut |key, row| {
        kept.keys.push(key.clone());
        changes.put(Table::Outbox, key, row);
    });
    (partitions != 0).then_some((partitions, kept))
}

/// Puts the entries of a commit into rows, and marks the trail of each customer. Returns how much that is, in bytes.
fn put_journal(commit: u64, period: u64, journal: Vec<JournalPiece>, changes: &mut Changes) -> u64 {
    let mut rows = Rows::default();
    for piece in journal {
        rows.of(piece.partition).extend_from_slice(&piece.bytes);
        if let Some(customer) = piece.customer {
            changes.put(Table::Trail, TrailKey { period, customer, commit }.encode(), Vec::new());
        }
    }
    let mut written = 0;
    rows.put(commit, &mut |key, row| {
        written += row.len() as u64;
        changes.put(Table::Journal, key, row);
    });
    written
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

    fn put(self, commit: u64, put: &mut dyn FnMut(Vec<u8>, Vec<u8>)) {
        for (partition, rows) in Partition::all().zip(*self.0) {
            for (part, (items, mut row)) in (0..).zip(rows) {
                row[0] = rmp::Marker::Array32.to_u8();
                row[1..HEAD_BYTES].copy_from_slice(&items.to_be_bytes());
                put(Key::commit(partition, commit, part), row);
            }
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
