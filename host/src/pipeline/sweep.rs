//! Keeps the store bounded: with every commit to the tables a few rows that nobody needs any more are removed, in proportion to what is added.
//!
//! What was seen expires by connected time. It is not found by its age: a cursor goes round and round over the rows, looks at
//! [`LOOKS_PER_ROW`] of them for each row that is added, and removes the expired. So the table never holds more than what is alive and
//! what expired within the last round. The journal is kept by commit, the oldest first, so its end is found at once. **Twice as many of the journal's
//! rows may go as come (G10)**, so that it comes back under its bound however fast it grows.

use std::ops::ControlFlow;

use crate::clock::Millis;
use crate::event::CustomerKey;
use crate::store::records::{JournalRow, Key, Partition, Progress, SeenRow, Swept, TrailKey, decode, encode};
use crate::store::{Changes, Snapshot, StoreError, Table, Upkeep};

/// Rows looked at for each that is added: a round is over before the table has grown by half.
const LOOKS_PER_ROW: usize = 2;
const LOOKS_MIN: usize = 16;
/// Rows of the journal that may go for each that comes.
const JOURNAL_ROWS_PER_ROW: usize = 2;
const JOURNAL_ROWS_MIN: usize = 4;
/// Of rows that must go only because all of it is too much, a partition loses so many before the next does: what is left is about as old everywhere.
const JOURNAL_ROWS_AT_ONCE: usize = 4;
/// No more is removed from the journal at once, in bytes, but for the row with which it comes to that: more than is added at once.
const JOURNAL_BYTES_AT_ONCE: u64 = 32 << 20;

/// For how long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Deduplication, in connected time.
    pub seen_ms: Millis,
    /// The journal.
    pub journal_ms: Millis,
    pub journal_bytes_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { seen_ms: 24 * HOUR_MS, journal_ms: 30 * 24 * HOUR_MS, journal_bytes_max: 5 << 30 }
    }
}

const HOUR_MS: Millis = 3_600_000;

/// Where the sweeping stands.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    retention: Retention,
    /// The key after which the next look at what was seen begins.
    seen_after: Vec<u8>,
    /// The partition whose journal is looked at next.
    journal_partition: u8,
    /// What has been removed so far; none until that has been read.
    swept: Option<Swept>,
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
        self.sweep_seen(before, &progress, (seen * LOOKS_PER_ROW).max(LOOKS_MIN), changes)?;
        self.sweep_journal(before, &progress, (journal * JOURNAL_ROWS_PER_ROW).max(JOURNAL_ROWS_MIN), changes)
    }
}

impl Sweep {
    pub(super) fn new(retention: Retention) -> Sweep {
        Sweep { retention, ..Sweep::default() }
    }

    fn sweep_seen(
        &mut self,
        snapshot: &dyn Snapshot,
        progress: &Progress,
        looks: usize,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let oldest = progress.connected_ms - self.retention.seen_ms;
        let mut looked = 0;
        let mut broken = None;
        let mut last = Vec::new();
        snapshot.range(Table::Seen, &self.seen_after, &[Partition::COUNT], &mut |key, row| {
            match decode::<SeenRow>(Table::Seen, row) {
                // What this very commit saw again is in its changes, and stays.
                Ok(row) if row.connected_ms < oldest && !changes.has(Table::Seen, key) => {
                    changes.delete(Table::Seen, key.to_vec());
                }
                Ok(_) => {}
                Err(error) => broken = Some(error),
            }
            looked += 1;
            if looked < looks && broken.is_none() {
                return ControlFlow::Continue(());
            }
            last = key.to_vec();
            ControlFlow::Break(())
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        // The least key behind the last; from the first again at the end.
        if !last.is_empty() {
            last.push(0);
        }
        self.seen_after = last;
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
        &self,
        snapshot: &dyn Snapshot,
        partition: Partition,
        (rows_max, bytes): (usize, &mut u64),
        progress: &Progress,
        changes: &mut Changes,
    ) -> Result<Removed, StoreError> {
        let oldest = progress.now - self.retention.journal_ms;
        let (from, to) = Key::whole(partition);
        let mut broken = None;
        let mut removed = Removed::default();
        let mut trails: Vec<(u64, Vec<CustomerKey>)> = Vec::new();
        snapshot.range(Table::Journal, &from, &to, &mut |key, row| {
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
                let is_old = entries.first().is_none_or(|entry| entry.now < oldest);
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
        for (commit, customers) in trails {
            for key in TrailKey::of_commit(snapshot, partition, commit, customers)? {
                changes.delete(Table::Trail, key.encode());
            }
        }
        Ok(removed)
    }
}

/// The partition with this number, and the number of the one after it.
fn next(number: &mut u8) -> Partition {
    let partition = Partition::of_key(&[*number]).expect("it is always a partition's");
    *number = (*number + 1) % Partition::COUNT;
    partition
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event::EventId;
    use crate::store::records::{Cause, JournalEntry};
    use crate::store::{MemoryStore, Store};

    const COMMITS: u64 = 1000;

    fn row(now: Millis) -> Vec<u8> {
        encode(&vec![entry(now, None)])
    }

    fn entry(now: Millis, customer: Option<CustomerKey>) -> JournalEntry {
        let cause = Cause::Event { code: "OnPurchaseConfirm".into() };
        let (event_id, outcomes) = (EventId::NONE, Vec::new());
        JournalEntry { event_id, customer, cause, now, rule_set: 1, outcomes, again: None }
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
            store.append(changes).unwrap();
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
            let period = progress.trail.of(commit);
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
            store.append(changes).unwrap();

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
