//! Keeps the store bounded: with every commit a few rows that are not needed any more are removed, in proportion to what is added.
//!
//! What was seen expires by connected time, a period as a whole. The journal is kept by commit. Both are kept the oldest first, so their ends are
//! found at once. **Twice as many rows may go as come (G10)**, so that they come back under their bounds however fast they grow.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Millis;
use crate::event::CustomerKey;
use crate::records::{ClosedPeriod, JournalRow, Key, Partition, Progress, SeenKey, Swept, TrailKey, decode, encode};
use crate::store::{Changes, Snapshot, StoreError, Table, Upkeep};

/// Rows of what was seen that may go for each that comes.
const SEEN_ROWS_PER_ROW: usize = 2;
const SEEN_ROWS_MIN: usize = 16;
/// Looks for them. A period takes one for each partition and one for itself: of periods with hardly any rows one may go for each row that comes.
const SEEN_LOOKS_PER_PERIOD: usize = Partition::COUNT as usize + 1;
const SEEN_PERIODS_MAX: usize = 1024;
/// Rows of the journal that may go for each that comes.
const JOURNAL_ROWS_PER_ROW: usize = 2;
const JOURNAL_ROWS_MIN: usize = 4;
/// Of rows that must go only because all of it is too much, a partition loses so many before the next does: what is left is about as old everywhere.
const JOURNAL_ROWS_AT_ONCE: usize = 4;
/// No more is removed from the journal at once, in bytes, but for the row with which it comes to that: more than is added at once.
const JOURNAL_BYTES_AT_ONCE: u64 = 32 << 20;

/// What a store in memory keeps of the journal, in bytes.
const JOURNAL_BYTES_IN_MEMORY: u64 = 32 << 20;
/// What a store in memory keeps of deduplication keys: 131,072 at least.
const SEEN_ROWS_IN_MEMORY: u64 = 1 << 17;

/// For how long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Deduplication, in connected time.
    pub seen_ms: Millis,
    /// The journal.
    pub journal_ms: Millis,
    pub journal_bytes_max: u64,
    /// The most deduplication keys that are kept, about: the oldest go first. `None`: as many as come in `seen_ms`.
    pub seen_rows_max: Option<u64>,
}

impl Retention {
    /// Of a store in memory: what it keeps of a long input is bounded, whatever the settings let a store on disk have.
    #[must_use]
    pub fn in_memory(self) -> Retention {
        Retention {
            journal_bytes_max: self.journal_bytes_max.min(JOURNAL_BYTES_IN_MEMORY),
            seen_rows_max: Some(SEEN_ROWS_IN_MEMORY),
            ..self
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            seen_ms: 24 * HOUR_MS,
            journal_ms: 30 * 24 * HOUR_MS,
            journal_bytes_max: 5 << 30,
            seen_rows_max: None,
        }
    }
}

const HOUR_MS: Millis = 3_600_000;

/// Where the sweeping stands.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    retention: Retention,
    /// The oldest period of what was seen that was not removed yet; none until it has been looked for.
    expiring: Option<Expiring>,
    /// All before this one have been removed.
    seen_from: u64,
    /// Periods before this one are too many.
    seen_floor: Arc<AtomicU64>,
    /// The partition whose journal is looked at next.
    journal_partition: u8,
    /// The first key of each partition's journal that may be there. Keys only grow, and what was removed before it takes time to pass by.
    journal_from: HashMap<u8, Vec<u8>>,
    /// What has been removed so far; none until that has been read.
    swept: Option<Swept>,
}

/// A period of what was seen, and how much of it has been removed.
#[derive(Debug)]
struct Expiring {
    period: u64,
    ended_ms: Millis,
    /// The partition whose rows go next; all have gone if there is none with this number.
    partition: u8,
    /// The first of them that may be there.
    from: Vec<u8>,
}

/// What was done with a partition's journal.
#[derive(Debug, Default)]
struct Removed {
    rows: usize,
    /// Its next row is neither too old nor too much.
    keeps_some: bool,
}

impl Upkeep for Sweep {
    fn add(&mut self, before: &dyn Snapshot, changes: &mut Changes) -> Result<(), StoreError> {
        let [seen, journal] = [Table::Seen, Table::Journal].map(|table| changes.put_in(table));
        // What does not say how far the engine has come adds nothing either.
        let Some(progress) = changes.value(Table::Meta, Progress::KEY).filter(|_| seen + journal > 0) else {
            return Ok(());
        };
        let progress: Progress = decode(Table::Meta, progress)?;
        self.sweep_seen(before, &progress, seen, changes)?;
        self.sweep_journal(before, &progress, (journal * JOURNAL_ROWS_PER_ROW).max(JOURNAL_ROWS_MIN), changes)
    }
}

impl Sweep {
    pub(super) fn new(retention: Retention) -> Sweep {
        Sweep { retention, ..Sweep::default() }
    }

    /// What was seen goes by this, too: the writer of it says what is too much.
    pub(super) fn with_floor(self, seen_floor: Arc<AtomicU64>) -> Sweep {
        Sweep { seen_floor, ..self }
    }

    /// Removes the rows of the oldest period if all of it is too old, partition by partition; the next time goes on where it stopped.
    fn sweep_seen(
        &mut self,
        snapshot: &dyn Snapshot,
        progress: &Progress,
        added: usize,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let oldest = progress.connected_ms.saturating_sub(self.retention.seen_ms);
        let floor = self.seen_floor.load(Ordering::Acquire);
        let mut rows_left = (added * SEEN_ROWS_PER_ROW).max(SEEN_ROWS_MIN);
        // One more than can have come, so that what is behind catches up.
        let periods = (added + 1).min(SEEN_PERIODS_MAX);
        for _ in 0..periods * SEEN_LOOKS_PER_PERIOD {
            if rows_left == 0 {
                break;
            }
            let expiring = match &mut self.expiring {
                Some(expiring) => expiring,
                none => match first_closed(snapshot, self.seen_from)? {
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
                changes.delete(Table::Meta, ClosedPeriod::key(expiring.period));
                self.seen_from = expiring.period + 1;
                self.expiring = None;
                continue;
            };
            let (first, to) = SeenKey::of_period(partition, expiring.period);
            let mut stopped_at = None;
            snapshot.range(Table::Seen, &std::mem::take(&mut expiring.from).max(first), &to, &mut |key, _| {
                if rows_left == 0 {
                    stopped_at = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                rows_left -= 1;
                changes.delete(Table::Seen, key.to_vec());
                ControlFlow::Continue(())
            })?;
            match stopped_at {
                Some(key) => expiring.from = key,
                None => expiring.partition += 1,
            }
        }
        Ok(())
    }

    /// Looks at one partition after another, up to the first that keeps what it has, or until enough is removed; the next time goes on from there.
    fn sweep_journal(
        &mut self,
        snapshot: &dyn Snapshot,
        progress: &Progress,
        rows_max: usize,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let swept = match self.swept {
            Some(swept) => swept,
            None => match snapshot.get(Table::Meta, Swept::KEY)? {
                Some(row) => decode(Table::Meta, &row)?,
                None => Swept::default(),
            },
        };
        let mut bytes = progress.journal_bytes.saturating_sub(swept.journal_bytes);
        let (bytes_before, mut rows_left) = (bytes, rows_max);
        for _ in Partition::all() {
            let partition = next(&mut self.journal_partition);
            let removed = self.sweep_partition(snapshot, partition, (rows_left, &mut bytes), progress, changes)?;
            rows_left = rows_left.saturating_sub(removed.rows);
            if removed.keeps_some || rows_left == 0 || bytes + JOURNAL_BYTES_AT_ONCE <= bytes_before {
                break;
            }
        }
        let swept = Swept { journal_bytes: swept.journal_bytes + (bytes_before - bytes) };
        if bytes < bytes_before {
            changes.put(Table::Meta, Swept::KEY, encode(&swept));
        }
        self.swept = Some(swept);
        Ok(())
    }

    /// Removes the oldest rows of a partition's journal as long as they are too old, or all of it is too much.
    fn sweep_partition(
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
            // The rows of a commit go together: a customer may have entries in several.
            let is_next = trails.last().is_none_or(|(last, _)| *last != commit);
            if is_next {
                let is_old = entries.first().is_none_or(|entry| progress.clock.dated(commit, entry.now) < oldest);
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
            trails.last_mut().expect("this commit was added").1.extend(customers);
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

/// The first closed period from this one on, and when it ended.
fn first_closed(snapshot: &dyn Snapshot, period: u64) -> Result<Option<(u64, Millis)>, StoreError> {
    let (from, to) = ClosedPeriod::from(period);
    let mut first = None;
    snapshot.range(Table::Meta, &from, &to, &mut |key, row| {
        first = Some(ClosedPeriod::read(key, row).map(|(period, ended_ms, _)| (period, ended_ms)));
        ControlFlow::Break(())
    })?;
    first.transpose()
}

/// The partition with this number, and the number of the one after it.
fn next(number: &mut u8) -> Partition {
    let partition = Partition::of_key(&[*number]).expect("it is always a partition's");
    *number = (*number + 1) % Partition::COUNT;
    partition
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::event::EventId;
    use crate::records::{Cause, JournalEntry};
    use crate::store::{MemoryStore, Store};

    const COMMITS: u64 = 1000;

    fn row(now: Millis) -> Vec<u8> {
        encode(&vec![entry(now, None)])
    }

    fn entry(now: Millis, customer: Option<CustomerKey>) -> JournalEntry {
        let cause = Cause::Event { code: "OnPurchaseConfirm".into() };
        let (event_id, outcomes) = (EventId::NONE, Vec::new());
        JournalEntry { event_id, customer, cause, now, rule_set: 1, outcomes, again: None, named: None }
    }

    /// The most bytes that the journal holds while so many commits, one a millisecond, add a row to each of some partitions.
    fn journal_bytes_most(partitions: &[u8], retention: Retention) -> u64 {
        let store = MemoryStore::new("test");
        store.set_upkeep(Box::new(Sweep::new(retention)));
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
    fn the_journal_stays_under_its_bound_however_many_partitions_a_commit_adds_to() {
        for partitions in all_or_some() {
            let journal_bytes_max = (row(0).len() * partitions.len() * 100) as u64;
            let most = journal_bytes_most(&partitions, Retention { journal_bytes_max, ..Retention::default() });
            assert!(most < 2 * journal_bytes_max, "{} partitions: {most} of {journal_bytes_max}", partitions.len());
        }
    }

    /// Shows every row of a table.
    fn for_each(store: &MemoryStore, table: Table, visit: &mut dyn FnMut(&[u8], &[u8])) {
        let visit = &mut |key: &[u8], row: &[u8]| {
            visit(key, row);
            ControlFlow::Continue(())
        };
        store.snapshot().unwrap().range(table, &[], &[Partition::COUNT], visit).unwrap();
    }

    /// Rows of what was seen, as many a commit, each in a partition of its own; commits are an hour apart, and a period is over after so many.
    struct Seeing {
        rows: u64,
        commits_in_period: u64,
        restarts_every: u64,
    }

    /// Checks after each commit that no row has gone that is not as old as it has to be. Returns the most rows that there were.
    fn seen_rows_most(seeing: &Seeing, commits: u64) -> usize {
        const HOURS: Millis = 24;
        let retention = Retention { seen_ms: HOURS * HOUR_MS, ..Retention::default() };
        let store = MemoryStore::new("test");
        store.set_upkeep(Box::new(Sweep::new(retention)));
        let mut progress = Progress::default();
        let (mut began, mut most) = (1, 0);
        for commit in 1..=commits {
            if commit % seeing.restarts_every == 0 {
                store.set_upkeep(Box::new(Sweep::new(retention)));
            }
            let mut changes = Changes::new();
            progress.connected_ms += HOUR_MS;
            if commit - began == seeing.commits_in_period {
                let closed = ClosedPeriod { period: began, ended_ms: progress.connected_ms, filter: Vec::new() };
                changes.put(Table::Meta, ClosedPeriod::key(began), closed.encode());
                began = commit;
            }
            for row in 0..seeing.rows {
                let partition = Partition::of_key(&[(row % 64) as u8]).unwrap();
                let mut hash = [0; 16];
                hash[..8].copy_from_slice(&commit.to_be_bytes());
                hash[8..].copy_from_slice(&row.to_be_bytes());
                changes.put(Table::Seen, SeenKey { partition, period: began, hash }.encode(), Vec::new());
            }
            changes.put(Table::Meta, Progress::KEY, encode(&progress));
            store.commit(changes).unwrap();

            let mut of_commit = BTreeMap::<u64, u64>::new();
            for_each(&store, Table::Seen, &mut |key, _| {
                let SeenKey { hash, .. } = SeenKey::decode(key).unwrap();
                *of_commit.entry(u64::from_be_bytes(*hash.first_chunk().unwrap())).or_default() += 1;
            });
            for kept in commit.saturating_sub(HOURS as u64).max(1)..=commit {
                assert_eq!(of_commit.get(&kept), Some(&seeing.rows), "of commit {kept} after {commit}");
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
    fn what_was_seen_goes_when_all_of_its_period_is_too_old_as_fast_as_new_comes() {
        for rows in [1, 3, 64, 200] {
            for (commits_in_period, restarts_every) in [(1, u64::MAX), (10, u64::MAX), (10, 7)] {
                let most = seen_rows_most(&Seeing { rows, commits_in_period, restarts_every }, 300);
                // What is kept, its oldest period that is not over yet, and one that is going.
                let alive = rows * (24 + 1 + 3 * commits_in_period);
                assert!(most as u64 <= alive, "{rows} rows, {commits_in_period} commits: {most} of {alive}");
            }
        }
    }

    #[test]
    fn the_trail_goes_with_the_journal_and_not_before() {
        let store = MemoryStore::new("test");
        let customers = [1, 65, 129].map(|number| CustomerKey::from_bytes([number; 16]));
        let partition = Partition::of_customer(customers[0]);
        let row = |now, of: [usize; 2]| encode(&of.map(|at| entry(now, Some(customers[at]))).to_vec());
        let journal_bytes_max = row(0, [0, 1]).len() as u64 * 300;
        store.set_upkeep(Box::new(Sweep::new(Retention { journal_bytes_max, ..Retention::default() })));
        let mut progress = Progress::default();
        for commit in 1..=COMMITS {
            let mut changes = Changes::new();
            progress.now = commit as Millis;
            let period = progress.trail.at_commit(commit);
            // Customers of one partition, each of whom has entries in two of a commit's rows.
            for (part, of) in [(0, [0, 1]), (1, [1, 2]), (2, [2, 0])] {
                let row = row(progress.now, of);
                progress.journal_bytes += row.len() as u64;
                changes.put(Table::Journal, Key::commit(partition, commit, part), row);
            }
            for customer in customers {
                changes.put(Table::Trail, TrailKey { period, customer, commit }.encode(), Vec::new());
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
    fn what_is_too_old_goes_as_fast_as_new_comes() {
        for partitions in all_or_some() {
            let of_retention = (row(0).len() * partitions.len() * 100) as u64;
            let most = journal_bytes_most(&partitions, Retention { journal_ms: 100, ..Retention::default() });
            assert!(most < 3 * of_retention, "{} partitions: {most} of {of_retention}", partitions.len());
        }
    }
}
