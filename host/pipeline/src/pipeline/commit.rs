//! The committer. One committer serves all shards, because the store has one writer; it has its own
//! thread, because it waits for the disk.
//!
//! Waiting groups are committed together (group commit), in the order in which they were decided,
//! all or nothing. A commit holds the customers' rows (states, timers, consents, counts, deferred
//! messages) with their indexes, failures, dedup entries, journal, trail, outbox and progress, the
//! deletion of confirmed communications, and of expired rows (`retention.rs`). While one commit is
//! written to disk, the shards decide the next events. **An event's receipt is settled only after
//! the commit that holds everything it led to (G1).** After an error, nothing more is committed,
//! published or settled: the pipeline ends, and the next start continues from the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::dedup::{DedupWriter, EncodedDedupEntry};
use super::failures::FailureTotals;
use super::outbox::{CachedRows, OutboxSender, Waiting};
use super::overlay::LastCommitted;
use super::timers::Due;
use super::trials::Registry;
use super::{Group, IntakeState, quota};
use crate::records::{
    FailureDelta, Key, OutboxItem, Partition, Progress, TimerKey, TrailKey, encode, encode_to,
};
use hailer_base::clock::Millis;
use hailer_base::failpoint::Failpoint;
use hailer_base::metrics;
use hailer_broker::communication::Communication;
use hailer_event::CustomerKey;
use hailer_store::{Changes, Store, StoreError, Table};

/// The most events in one commit; the last group may exceed it.
const EVENTS_MAX: usize = 4096;
/// The most bytes that one commit writes; the last group may exceed it.
const BYTES_MAX: usize = 8 << 20;
/// A row of at least this many bytes takes no more items.
const ROW_BYTES_MAX: usize = 4 << 20;
/// The longest time for which a removal waits for a group to share its commit with. It spares an
/// idle engine a second write.
const REMOVAL_DELAY: Duration = Duration::from_millis(25);
/// The interval at which an idle engine records the current time. The next start counts the stop
/// from the last recorded time.
const RECORD_TIME_EVERY: Duration = Duration::from_secs(3600);
/// The most time between two commits that counts as connected time.
const CONNECTED_STEP_MAX_MS: Millis = 60_000;

/// A margin added to two heartbeats, so that the session has certainly outlived them.
const ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// An encoded journal entry that is not in a row yet.
#[derive(Debug)]
pub(super) struct EncodedJournalEntry {
    pub(super) partition: Partition,
    pub(super) customer: Option<CustomerKey>,
    pub(super) bytes: Vec<u8>,
}

/// Rows of the outbox whose communications are confirmed, to be deleted.
#[derive(Debug, Default)]
pub(super) struct Removal {
    pub(super) keys: Vec<Vec<u8>>,
    /// The number of communications in the rows.
    pub(super) communications: usize,
    /// The time at which each commit of these rows was made, or was found at the start.
    pub(super) since: Vec<Instant>,
}

pub(super) struct Committer {
    pub(super) store: Arc<dyn Store>,
    pub(super) progress: Progress,
    pub(super) dedup: DedupWriter,
    /// The number of each shard's last committed group.
    pub(super) last_committed: Box<[LastCommitted]>,
    pub(super) outbox: OutboxSender,
    pub(super) intake: Arc<IntakeState>,
    pub(super) failures: Arc<FailureTotals>,
    pub(super) trials: Registry,
    pub(super) due: Arc<Due>,
    /// Two heartbeats.
    pub(super) settles_after: Duration,
    /// When to record that the session of the last committed events is still alive; `None` if
    /// nothing depends on it.
    pub(super) alive_at: Option<Instant>,
}

/// The contents of the next commit.
#[derive(Default)]
struct Taken {
    changes: Changes,
    dedup: Vec<EncodedDedupEntry>,
    journal: Vec<EncodedJournalEntry>,
    outbox: Vec<(Partition, Communication)>,
    failures: Vec<FailureDelta>,
    removed: usize,
    bytes: usize,
    groups: Vec<Group>,
    events: usize,
}

impl Committer {
    /// Commits until the shards have ended and the outbox is published. It blocks its thread while
    /// it waits for the disk, so it needs a thread of its own. Handing each commit to another
    /// thread would add two thread switches to the latency of every event.
    ///
    /// # Errors
    /// A commit fails. The loop ends at once.
    pub(super) async fn run(
        mut self,
        mut groups: mpsc::Receiver<Group>,
        mut removals: mpsc::Receiver<Removal>,
    ) -> Result<(), StoreError> {
        let mut shards_run = true;
        let mut record_time_at = Instant::now() + RECORD_TIME_EVERY;
        loop {
            let mut taken = Taken::default();
            let is_believed = self.intake.look_at_clock().is_none();
            tokio::select! {
                biased;
                group = groups.recv(), if shards_run => match group {
                    Some(group) => taken.add(group),
                    None => {
                        shards_run = false;
                        self.outbox.close();
                        // The source has ended. What it reported about its last session must be
                        // stored for the next run.
                        if self.intake.take_settled() {
                            self.commit(taken)?;
                        }
                        continue;
                    }
                },
                removed = removals.recv() => match removed {
                    Some(removed) => {
                        taken.remove(removed);
                        if shards_run
                            && let Ok(Some(group)) =
                                tokio::time::timeout(REMOVAL_DELAY, groups.recv()).await
                        {
                            taken.add(group);
                        }
                    }
                    None => break,
                },
                () = sleep_until(self.alive_at) => self.alive_at = None,
                () = sleep_until(Some(record_time_at)), if is_believed => {}
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
            record_time_at = Instant::now() + RECORD_TIME_EVERY;
        }
        Ok(())
    }

    fn commit(&mut self, taken: Taken) -> Result<(), StoreError> {
        let Taken { mut changes, dedup, journal, outbox, failures, removed, mut groups, .. } =
            taken;
        if groups.iter().any(|group| group.has_open_occurrences) {
            self.alive_at = Some(Instant::now() + self.settles_after + ALIVE_MARGIN);
        }
        let commit = self.progress.commit + 1;
        self.advance(commit);
        self.dedup.add(dedup, &mut self.progress, &mut changes);
        let cached = put_outbox(commit, outbox, &mut changes);
        self.progress.journal_bytes +=
            put_journal(commit, self.progress.trail.at_commit(commit), journal, &mut changes);
        self.progress.trail.add(changes.put_in(Table::Trail));
        let freed: u64 = groups.iter().map(|group| group.journal_bytes_freed).sum();
        self.progress.journal_bytes = self.progress.journal_bytes.saturating_sub(freed);
        let deferred: i64 = groups.iter().map(|group| group.deferred).sum();
        self.progress.deferred = self.progress.deferred.saturating_add_signed(deferred);
        if deferred != 0 {
            ::metrics::gauge!(metrics::DEFERRED).set(self.progress.deferred as f64);
        }
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
        let defers = groups.iter().any(|group| group.deferred > 0);
        Failpoint::BeforeCommit.pass();
        if defers {
            Failpoint::DuringDeferral.pass();
        }
        let began = Instant::now();
        self.store.commit(changes)?;
        if defers {
            Failpoint::DuringDeferral.pass();
        }
        let since = Instant::now();
        ::metrics::histogram!(metrics::COMMIT_SECONDS).record(since - began);
        Failpoint::AfterCommit.pass();
        if let Some(due) = first_set {
            self.due.committed(due);
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
        if let Some((partitions, cached)) = cached {
            self.outbox.add(Waiting {
                commit,
                partitions,
                communications: cached.items.len(),
                since,
                cached: Some(cached),
            });
        }
        self.outbox.removed(removed);
        groups.into_iter().for_each(Group::settle);
        Ok(())
    }

    /// Updates `progress` for the next commit.
    fn advance(&mut self, commit: u64) {
        let (now, sessions) = self.intake.now_and_sessions();
        let progress = &mut self.progress;
        progress.connected_ms += (now - progress.now).clamp(0, CONNECTED_STEP_MAX_MS);
        progress.clock = self.intake.clock_record(progress.commit);
        progress.commit = commit;
        // `now` goes back only if an operator accepts an earlier clock.
        progress.now = now;
        progress.sessions = sessions;
        self.intake.set_connected(progress.connected_ms);
    }
}

impl Taken {
    fn add(&mut self, mut group: Group) {
        self.bytes += group.bytes();
        self.events += group.events();
        self.changes.append(std::mem::take(&mut group.changes));
        self.dedup.append(&mut group.dedup);
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

/// Writes the communications of a commit as rows. Returns a bit set of the partitions with a row,
/// and the rows' contents; `None` if there are no communications.
fn put_outbox(
    commit: u64,
    outbox: Vec<(Partition, Communication)>,
    changes: &mut Changes,
) -> Option<(u64, CachedRows)> {
    let mut rows = Rows::default();
    let mut partitions = 0;
    let mut cached = CachedRows { items: Vec::with_capacity(outbox.len()), keys: Vec::new() };
    for (place, (partition, communication)) in (0..).zip(outbox) {
        partitions |= 1 << partition.number();
        let item = OutboxItem::new(place, communication);
        encode_to(&item, rows.of(partition));
        cached.items.push(item);
    }
    rows.put(commit, &mut |key, row| {
        cached.keys.push(key.clone());
        changes.put(Table::Outbox, key, row);
    });
    (partitions != 0).then_some((partitions, cached))
}

/// Writes the journal entries of a commit as rows, and adds the customers to the trail. Returns the
/// bytes of the rows.
fn put_journal(
    commit: u64,
    period: u64,
    journal: Vec<EncodedJournalEntry>,
    changes: &mut Changes,
) -> u64 {
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

/// The items of one commit by partition, gathered into a few large rows. A partition has one row,
/// or several if it has many items.
struct Rows(Box<[Vec<Row>; Partition::COUNT as usize]>);

/// A row that is being built: the number of its items, and its bytes with space for the header.
type Row = (u32, Vec<u8>);

/// The size of a row's header, in bytes: a MessagePack array header with a 32-bit length.
const HEAD_BYTES: usize = 5;
/// The initial capacity of a row, in bytes: the share of one partition in a busy commit.
const ROW_BYTES_FIRST: usize = 4096;

impl Default for Rows {
    fn default() -> Self {
        Rows(Box::new(std::array::from_fn(|_| Vec::new())))
    }
}

impl Rows {
    /// The buffer to which the partition's next encoded item is appended.
    fn of(&mut self, partition: Partition) -> &mut Vec<u8> {
        let rows = &mut self.0[usize::from(partition.number())];
        if rows.last().is_none_or(|(_, bytes)| bytes.len() >= ROW_BYTES_MAX) {
            let mut bytes = Vec::with_capacity(ROW_BYTES_FIRST);
            bytes.resize(HEAD_BYTES, 0);
            rows.push((0, bytes));
        }
        let (items, bytes) = rows.last_mut().expect("a row was added if there was none");
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
