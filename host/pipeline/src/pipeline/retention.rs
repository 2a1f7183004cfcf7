//! Retention: every commit also deletes a few expired rows, in proportion to the rows that it adds.
//!
//! Dedup entries expire by connected time, one whole period after another. The journal expires by
//! commit. Both are stored oldest first, so the expired rows are found without a search. **A commit
//! may delete twice as many rows as it adds (G10)**, so both return below their bounds however fast
//! they grow.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::records::{
    ClosedDedupPeriod, DedupEntryKey, ExpiredTotals, JournalRow, Key, Partition, Progress,
    TrailKey, decode, encode,
};
use hailer_base::clock::Millis;
use hailer_event::CustomerKey;
use hailer_store::{Changes, Snapshot, StoreError, Table, Upkeep};

/// Dedup rows that may be deleted for each row that is added.
const DEDUP_ROWS_PER_ROW: usize = 2;
const DEDUP_ROWS_MIN: usize = 16;
/// Range reads for one period: one for each partition, and one for the period itself. If periods
/// have hardly any rows, one period may be deleted for each row that is added.
const DEDUP_LOOKS_PER_PERIOD: usize = Partition::COUNT as usize + 1;
const DEDUP_PERIODS_MAX: usize = 1024;
/// Journal rows that may be deleted for each row that is added.
const JOURNAL_ROWS_PER_ROW: usize = 2;
const JOURNAL_ROWS_MIN: usize = 4;
/// The number of rows that each partition loses in its turn when rows are deleted only because the
/// journal is over its byte bound. So the remaining rows are about equally old in all partitions.
const JOURNAL_ROWS_AT_ONCE: usize = 4;
/// The most bytes that one commit deletes from the journal, apart from the row that passes the
/// bound. One commit adds less than this.
const JOURNAL_BYTES_AT_ONCE: u64 = 32 << 20;

/// The journal's byte bound for a store in memory.
const JOURNAL_BYTES_IN_MEMORY: u64 = 32 << 20;
/// The bound on dedup entries for a store in memory. At least 131,072 stay.
const DEDUP_ENTRIES_IN_MEMORY: u64 = 1 << 17;

/// Retention: how long, and up to what size, the store keeps rows.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// The time for which dedup entries are kept, in milliseconds of connected time.
    pub dedup_ms: Millis,
    /// The time for which journal entries are kept, in milliseconds.
    pub journal_ms: Millis,
    pub journal_bytes_max: u64,
    /// The approximate maximum of dedup entries; the oldest are deleted first. `None`: only
    /// `dedup_ms` bounds them.
    pub dedup_entries_max: Option<u64>,
}

impl Retention {
    /// The bounds for a store in memory. They hold for inputs of any length, whatever the settings
    /// allow a store on disk.
    #[must_use]
    pub fn in_memory(self) -> Retention {
        Retention {
            journal_bytes_max: self.journal_bytes_max.min(JOURNAL_BYTES_IN_MEMORY),
            dedup_entries_max: Some(DEDUP_ENTRIES_IN_MEMORY),
            ..self
        }
    }
}

impl Retention {
    /// The deduplication window: in milliseconds, and the most entries, if they are bounded.
    pub(super) fn dedup(&self) -> (Millis, Option<u64>) {
        (self.dedup_ms, self.dedup_entries_max)
    }
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            dedup_ms: 24 * HOUR_MS,
            journal_ms: 30 * 24 * HOUR_MS,
            journal_bytes_max: 5 << 30,
            dedup_entries_max: None,
        }
    }
}

const HOUR_MS: Millis = 3_600_000;

/// Deletes expired rows, and remembers where the last commit stopped.
#[derive(Debug, Default)]
pub(super) struct RetentionUpkeep {
    retention: Retention,
    /// The oldest dedup period that is not deleted yet; `None` until it has been looked up.
    expiring: Option<Expiring>,
    /// All dedup periods before this one are deleted.
    dedup_from: u64,
    /// Dedup periods before this one are beyond the bound on entries.
    dedup_floor: Arc<AtomicU64>,
    /// The partition whose journal is examined next.
    journal_partition: u8,
    /// The first key that each partition's journal may still have. Keys only grow, and reading over
    /// deleted rows takes time.
    journal_from: HashMap<u8, Vec<u8>>,
    /// Totals of what retention has deleted; `None` until they have been read from the store.
    expired: Option<ExpiredTotals>,
}

/// A dedup period that is being deleted.
#[derive(Debug)]
struct Expiring {
    period: u64,
    ended_ms: Millis,
    /// The partition whose rows are deleted next. If no partition has this number, all rows of the
    /// period are deleted.
    partition: u8,
    /// The first key of that partition that may still exist.
    from: Vec<u8>,
}

/// The result of one pass over a partition's journal.
#[derive(Debug, Default)]
struct Removed {
    rows: usize,
    /// The next row of the partition has not expired.
    keeps_some: bool,
}

impl Upkeep for RetentionUpkeep {
    fn add(&mut self, before: &dyn Snapshot, changes: &mut Changes) -> Result<(), StoreError> {
        let [dedup, journal] = [Table::Dedup, Table::Journal].map(|table| changes.put_in(table));
        // A commit without `Progress` adds no rows either.
        let Some(progress) =
            changes.value(Table::Meta, Progress::KEY).filter(|_| dedup + journal > 0)
        else {
            return Ok(());
        };
        let progress: Progress = decode(Table::Meta, progress)?;
        self.expire_dedup(before, &progress, dedup, changes)?;
        self.expire_journal(
            before,
            &progress,
            (journal * JOURNAL_ROWS_PER_ROW).max(JOURNAL_ROWS_MIN),
            changes,
        )
    }
}

impl RetentionUpkeep {
    pub(super) fn new(retention: Retention) -> RetentionUpkeep {
        RetentionUpkeep { retention, ..RetentionUpkeep::default() }
    }

    /// Sets the shared number below which the dedup writer has dropped periods as too many.
    pub(super) fn with_floor(self, dedup_floor: Arc<AtomicU64>) -> RetentionUpkeep {
        RetentionUpkeep { dedup_floor, ..self }
    }

    /// Deletes the rows of the oldest period if the whole period has expired, partition by
    /// partition. The next commit continues where this one stopped.
    fn expire_dedup(
        &mut self,
        snapshot: &dyn Snapshot,
        progress: &Progress,
        added: usize,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let oldest = progress.connected_ms.saturating_sub(self.retention.dedup_ms);
        let floor = self.dedup_floor.load(Ordering::Acquire);
        let mut rows_left = (added * DEDUP_ROWS_PER_ROW).max(DEDUP_ROWS_MIN);
        // One period more than the added rows can have begun, so that a backlog shrinks.
        let periods = (added + 1).min(DEDUP_PERIODS_MAX);
        for _ in 0..periods * DEDUP_LOOKS_PER_PERIOD {
            if rows_left == 0 {
                break;
            }
            let expiring = match &mut self.expiring {
                Some(expiring) => expiring,
                none => match first_closed(snapshot, self.dedup_from)? {
                    Some((period, ended_ms)) => {
                        none.insert(Expiring { period, ended_ms, partition: 0, from: Vec::new() })
                    }
                    None => return Ok(()),
                },
            };
            if expiring.ended_ms >= oldest && expiring.period >= floor {
                return Ok(());
            }
            let Some(partition) = Partition::of_key(&[expiring.partition]) else {
                changes.delete(Table::Meta, ClosedDedupPeriod::key(expiring.period));
                self.dedup_from = expiring.period + 1;
                self.expiring = None;
                continue;
            };
            let (first, to) = DedupEntryKey::of_period(partition, expiring.period);
            let mut stopped_at = None;
            snapshot.range(
                Table::Dedup,
                &std::mem::take(&mut expiring.from).max(first),
                &to,
                &mut |key, _| {
                    if rows_left == 0 {
                        stopped_at = Some(key.to_vec());
                        return ControlFlow::Break(());
                    }
                    rows_left -= 1;
                    changes.delete(Table::Dedup, key.to_vec());
                    ControlFlow::Continue(())
                },
            )?;
            match stopped_at {
                Some(key) => expiring.from = key,
                None => expiring.partition += 1,
            }
        }
        Ok(())
    }

    /// Examines partitions in turn, up to the first that keeps its next row, or until enough is
    /// deleted. The next commit continues from there.
    fn expire_journal(
        &mut self,
        snapshot: &dyn Snapshot,
        progress: &Progress,
        rows_max: usize,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let expired = match self.expired {
            Some(expired) => expired,
            None => match snapshot.get(Table::Meta, ExpiredTotals::KEY)? {
                Some(row) => decode(Table::Meta, &row)?,
                None => ExpiredTotals::default(),
            },
        };
        let mut bytes = progress.journal_bytes.saturating_sub(expired.journal_bytes);
        let (bytes_before, mut rows_left) = (bytes, rows_max);
        for _ in Partition::all() {
            let partition = next(&mut self.journal_partition);
            let removed = self.expire_journal_partition(
                snapshot,
                partition,
                (rows_left, &mut bytes),
                progress,
                changes,
            )?;
            rows_left = rows_left.saturating_sub(removed.rows);
            if removed.keeps_some || rows_left == 0 || bytes + JOURNAL_BYTES_AT_ONCE <= bytes_before
            {
                break;
            }
        }
        let expired =
            ExpiredTotals { journal_bytes: expired.journal_bytes + (bytes_before - bytes) };
        if bytes < bytes_before {
            changes.put(Table::Meta, ExpiredTotals::KEY, encode(&expired));
        }
        self.expired = Some(expired);
        Ok(())
    }

    /// Deletes the oldest rows of a partition's journal while they are too old, or while the
    /// journal is over its byte bound.
    fn expire_journal_partition(
        &mut self,
        snapshot: &dyn Snapshot,
        partition: Partition,
        (rows_max, bytes): (usize, &mut u64),
        progress: &Progress,
        changes: &mut Changes,
    ) -> Result<Removed, StoreError> {
        let oldest = progress.now - self.retention.journal_ms;
        let (first, to) = Key::whole(partition);
        let from = self.journal_from.remove(&partition.number()).unwrap_or(first);
        let mut next_from = from.clone();
        let mut broken = None;
        let mut removed = Removed::default();
        let mut trails: Vec<(u64, Vec<CustomerKey>)> = Vec::new();
        snapshot.range(Table::Journal, &from, &to, &mut |key, row| {
            key.clone_into(&mut next_from);
            let entries = match decode::<JournalRow>(Table::Journal, row) {
                Ok(entries) => entries,
                Err(error) => {
                    broken = Some(error);
                    return ControlFlow::Break(());
                }
            };
            let Some(commit) = Key::commit_of(key) else {
                broken = Some(StoreError::unreadable(Table::Journal, "a key without a commit"));
                return ControlFlow::Break(());
            };
            // The rows of one commit are deleted together, because a customer may have entries in
            // several of them.
            let is_next = trails.last().is_none_or(|(last, _)| *last != commit);
            if is_next {
                let is_old = entries
                    .first()
                    .is_none_or(|entry| progress.clock.dated(commit, entry.now) < oldest);
                let is_too_much = *bytes > self.retention.journal_bytes_max;
                if !(is_old || is_too_much) {
                    removed.keeps_some = true;
                    return ControlFlow::Break(());
                }
                if removed.rows >= rows_max || !is_old && removed.rows >= JOURNAL_ROWS_AT_ONCE {
                    return ControlFlow::Break(());
                }
                trails.push((commit, Vec::new()));
            }
            removed.rows += 1;
            *bytes = bytes.saturating_sub(row.len() as u64);
            let customers = entries.iter().filter_map(|entry| entry.customer);
            trails.last_mut().expect("the commit was pushed above").1.extend(customers);
            changes.delete(Table::Journal, key.to_vec());
            ControlFlow::Continue(())
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        self.journal_from.insert(partition.number(), next_from);
        for (commit, customers) in trails {
            for key in TrailKey::of_commit(snapshot, partition, commit, customers)? {
                changes.delete(Table::Trail, key.encode());
            }
        }
        Ok(removed)
    }
}

/// The first closed dedup period from `period` on, and when it ended.
fn first_closed(snapshot: &dyn Snapshot, period: u64) -> Result<Option<(u64, Millis)>, StoreError> {
    let (from, to) = ClosedDedupPeriod::from(period);
    let mut first = None;
    snapshot.range(Table::Meta, &from, &to, &mut |key, row| {
        first =
            Some(ClosedDedupPeriod::read(key, row).map(|(period, ended_ms, _)| (period, ended_ms)));
        ControlFlow::Break(())
    })?;
    first.transpose()
}

/// The partition with this number. Advances the number to the next partition.
fn next(number: &mut u8) -> Partition {
    let partition =
        Partition::of_key(&[*number]).expect("the number stays below the number of partitions");
    *number = (*number + 1) % Partition::COUNT;
    partition
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::records::{Cause, JournalEntry};
    use hailer_event::EventId;
    use hailer_store::{MemoryStore, Store};

    const COMMITS: u64 = 1000;

    fn row(now: Millis) -> Vec<u8> {
        encode(&vec![entry(now, None)])
    }

    fn entry(now: Millis, customer: Option<CustomerKey>) -> JournalEntry {
        let cause = Cause::Event { code: "OnPurchaseConfirm".into() };
        let (event_id, outcomes) = (EventId::NONE, Vec::new());
        JournalEntry {
            event_id,
            customer,
            cause,
            now,
            rule_set: 1,
            outcomes,
            again: None,
            named: None,
        }
    }

    /// The most bytes that the journal holds during [`COMMITS`] commits, one a millisecond, each
    /// with a row in every one of `partitions`.
    fn journal_bytes_most(partitions: &[u8], retention: Retention) -> u64 {
        let store = MemoryStore::new("test");
        store.set_upkeep(Box::new(RetentionUpkeep::new(retention)));
        let mut progress = Progress::default();
        let mut most = 0;
        for commit in 0..COMMITS {
            let mut changes = Changes::new();
            progress.now = commit as Millis;
            for partition in partitions.iter().filter_map(|number| Partition::of_key(&[*number])) {
                let row = row(progress.now);
                progress.journal_bytes += row.len() as u64;
                changes.put(Table::Journal, Key::commit(partition, commit, 0), row);
            }
            changes.put(Table::Meta, Progress::KEY, encode(&progress));
            store.commit(changes).unwrap();
            let tables = store.sizes().unwrap().tables;
            most = most.max(tables.iter().find(|size| size.table == Table::Journal).unwrap().bytes);
        }
        most
    }

    fn all_or_some() -> [Vec<u8>; 3] {
        [vec![11], vec![0, 5, 63], (0..Partition::COUNT).collect()]
    }

    #[test]
    fn the_journal_stays_bounded_for_any_number_of_partitions() {
        for partitions in all_or_some() {
            let journal_bytes_max = (row(0).len() * partitions.len() * 100) as u64;
            let most = journal_bytes_most(
                &partitions,
                Retention { journal_bytes_max, ..Retention::default() },
            );
            assert!(
                most < 2 * journal_bytes_max,
                "{} partitions: {most} of {journal_bytes_max}",
                partitions.len()
            );
        }
    }

    /// Visits every row of a table.
    fn for_each(store: &MemoryStore, table: Table, visit: &mut dyn FnMut(&[u8], &[u8])) {
        let visit = &mut |key: &[u8], row: &[u8]| {
            visit(key, row);
            ControlFlow::Continue(())
        };
        store.snapshot().unwrap().range(table, &[], &[Partition::COUNT], visit).unwrap();
    }

    /// A test run: every commit adds `rows` dedup entries, each in a partition of its own. Commits
    /// are an hour apart.
    struct Decided {
        rows: u64,
        commits_in_period: u64,
        restarts_every: u64,
    }

    /// Checks after each commit that every row within the retention time still exists. Returns the
    /// most rows that existed at once.
    fn dedup_entries_most(decided: &Decided, commits: u64) -> usize {
        const HOURS: Millis = 24;
        let retention = Retention { dedup_ms: HOURS * HOUR_MS, ..Retention::default() };
        let store = MemoryStore::new("test");
        store.set_upkeep(Box::new(RetentionUpkeep::new(retention)));
        let mut progress = Progress::default();
        let (mut began, mut most) = (1, 0);
        for commit in 1..=commits {
            if commit % decided.restarts_every == 0 {
                store.set_upkeep(Box::new(RetentionUpkeep::new(retention)));
            }
            let mut changes = Changes::new();
            progress.connected_ms += HOUR_MS;
            if commit - began == decided.commits_in_period {
                let closed = ClosedDedupPeriod {
                    period: began,
                    ended_ms: progress.connected_ms,
                    filter: Vec::new(),
                };
                changes.put(Table::Meta, ClosedDedupPeriod::key(began), closed.encode());
                began = commit;
            }
            for row in 0..decided.rows {
                let partition = Partition::of_key(&[(row % 64) as u8]).unwrap();
                let mut hash = [0; 16];
                hash[..8].copy_from_slice(&commit.to_be_bytes());
                hash[8..].copy_from_slice(&row.to_be_bytes());
                changes.put(
                    Table::Dedup,
                    DedupEntryKey { partition, period: began, hash }.encode(),
                    Vec::new(),
                );
            }
            changes.put(Table::Meta, Progress::KEY, encode(&progress));
            store.commit(changes).unwrap();

            let mut of_commit = BTreeMap::<u64, u64>::new();
            for_each(&store, Table::Dedup, &mut |key, _| {
                let DedupEntryKey { hash, .. } = DedupEntryKey::decode(key).unwrap();
                *of_commit.entry(u64::from_be_bytes(*hash.first_chunk().unwrap())).or_default() +=
                    1;
            });
            for kept in commit.saturating_sub(HOURS as u64).max(1)..=commit {
                assert_eq!(
                    of_commit.get(&kept),
                    Some(&decided.rows),
                    "rows of commit {kept} after commit {commit}"
                );
            }
            most = most.max(of_commit.values().sum::<u64>());
            let closed = first_closed(&*store.snapshot().unwrap(), 0).unwrap();
            assert!(
                closed.is_none_or(|(period, _)| of_commit.keys().all(|kept| *kept >= period)),
                "rows without a period"
            );
        }
        most as usize
    }

    #[test]
    fn expired_dedup_periods_are_deleted_as_fast_as_entries_come() {
        for rows in [1, 3, 64, 200] {
            for (commits_in_period, restarts_every) in [(1, u64::MAX), (10, u64::MAX), (10, 7)] {
                let most =
                    dedup_entries_most(&Decided { rows, commits_in_period, restarts_every }, 300);
                // The rows that are kept, the oldest period that has not ended yet, and one that is
                // being deleted.
                let alive = rows * (24 + 1 + 3 * commits_in_period);
                assert!(
                    most as u64 <= alive,
                    "{rows} rows, {commits_in_period} commits: {most} of {alive}"
                );
            }
        }
    }

    #[test]
    fn the_trail_is_deleted_together_with_the_journal() {
        let store = MemoryStore::new("test");
        let customers = [1, 65, 129].map(|number| CustomerKey::from_bytes([number; 16]));
        let partition = Partition::of_customer(customers[0]);
        let row =
            |now, of: [usize; 2]| encode(&of.map(|at| entry(now, Some(customers[at]))).to_vec());
        let journal_bytes_max = row(0, [0, 1]).len() as u64 * 300;
        store.set_upkeep(Box::new(RetentionUpkeep::new(Retention {
            journal_bytes_max,
            ..Retention::default()
        })));
        let mut progress = Progress::default();
        for commit in 1..=COMMITS {
            let mut changes = Changes::new();
            progress.now = commit as Millis;
            let period = progress.trail.at_commit(commit);
            // Customers of one partition. Each has entries in two rows of a commit.
            for (part, of) in [(0, [0, 1]), (1, [1, 2]), (2, [2, 0])] {
                let row = row(progress.now, of);
                progress.journal_bytes += row.len() as u64;
                changes.put(Table::Journal, Key::commit(partition, commit, part), row);
            }
            for customer in customers {
                changes.put(
                    Table::Trail,
                    TrailKey { period, customer, commit }.encode(),
                    Vec::new(),
                );
            }
            progress.trail.add(changes.put_in(Table::Trail));
            changes.put(Table::Meta, Progress::KEY, encode(&progress));
            store.commit(changes).unwrap();

            let [mut journal, mut trail] = [const { BTreeSet::new() }; 2];
            for_each(&store, Table::Journal, &mut |key, row| {
                let commit = Key::commit_of(key).unwrap();
                let entries = decode::<JournalRow>(Table::Journal, row).unwrap();
                journal.extend(entries.into_iter().map(|entry| (commit, entry.customer.unwrap())));
            });
            for_each(&store, Table::Trail, &mut |key, _| {
                let key = TrailKey::decode(key).unwrap();
                trail.insert((key.commit, key.customer));
            });
            assert_eq!(journal, trail);
            assert!(journal.len() < 3 * 200, "{} entries are kept", journal.len());
        }
    }

    #[test]
    fn expired_journal_rows_are_deleted_as_fast_as_new_ones_come() {
        for partitions in all_or_some() {
            let of_retention = (row(0).len() * partitions.len() * 100) as u64;
            let most = journal_bytes_most(
                &partitions,
                Retention { journal_ms: 100, ..Retention::default() },
            );
            assert!(
                most < 3 * of_retention,
                "{} partitions: {most} of {of_retention}",
                partitions.len()
            );
        }
    }
}
