//! Keeps the store bounded: with every commit a few rows that nobody needs any more are removed, in proportion to what is added.
//!
//! What was seen expires by connected time. It is not found by its age: a cursor goes round and round over the rows, looks at
//! [`LOOKS_PER_EVENT`] of them for each event that is added, and removes the expired. So the table never holds more than what is alive and
//! what expired within the last round. The journal is kept by commit, the oldest first, so its end is found at once. **A commit may remove
//! twice as many of its rows as it adds (G10)**, so that the journal comes back under its bound however fast it grows.

use std::ops::ControlFlow;

use crate::clock::Millis;
use crate::store::records::{JournalRow, Key, Partition, Progress, SeenRow, decode};
use crate::store::{Changes, Snapshot, Store, StoreError, Table};

/// Rows looked at for each that is added: a round is over before the table has grown by half.
const LOOKS_PER_EVENT: usize = 2;
const LOOKS_MIN: usize = 16;
/// Journal rows that one commit removes, at most: an event adds one at most, and all of a commit hardly more than one a partition.
const JOURNAL_ROWS_PER_EVENT: usize = 2;
const JOURNAL_ROWS_MIN: usize = 4;
const JOURNAL_ROWS_MAX: usize = 2 * Partition::COUNT as usize;
/// Of rows that must go only because all of it is too much, a partition loses so many before the next does: what is left is about as old everywhere.
const JOURNAL_ROWS_AT_ONCE: usize = 4;
/// No more is removed from the journal by one commit, in bytes, but for the row with which it comes to that: more than a commit adds.
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
}

/// What was done with a partition's journal.
#[derive(Debug, Default)]
struct Swept {
    removed: usize,
    /// Its next row is neither too old nor too much.
    keeps_some: bool,
}

impl Sweep {
    pub(super) fn new(retention: Retention) -> Sweep {
        Sweep { retention, ..Sweep::default() }
    }

    /// Adds to `changes` what is to go, after `events` more have come.
    pub(super) fn sweep(
        &mut self,
        store: &dyn Store,
        progress: &mut Progress,
        events: usize,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        if events == 0 {
            return Ok(());
        }
        let snapshot = store.snapshot()?;
        self.sweep_seen(&*snapshot, progress, (events * LOOKS_PER_EVENT).max(LOOKS_MIN), changes)?;
        self.sweep_journal(&*snapshot, progress, events, changes)
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

    /// Looks at one partition after another, up to the first that keeps what it has, or until enough is removed; the next commit goes on from there.
    fn sweep_journal(
        &mut self,
        snapshot: &dyn Snapshot,
        progress: &mut Progress,
        events: usize,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let mut rows_left = (events * JOURNAL_ROWS_PER_EVENT).clamp(JOURNAL_ROWS_MIN, JOURNAL_ROWS_MAX);
        let bytes_least = progress.journal_bytes.saturating_sub(JOURNAL_BYTES_AT_ONCE);
        for _ in Partition::all() {
            let partition = Partition::of_key(&[self.journal_partition])
                .unwrap_or_else(|| Partition::all().next().expect("there are partitions"));
            self.journal_partition = (partition.number() + 1) % Partition::COUNT;
            let swept = self.sweep_partition(snapshot, partition, rows_left, progress, changes)?;
            rows_left -= swept.removed;
            if swept.keeps_some || rows_left == 0 || progress.journal_bytes <= bytes_least {
                break;
            }
        }
        Ok(())
    }

    /// Removes the oldest rows of a partition's journal as long as they are too old, or all of it is too much.
    fn sweep_partition(
        &self,
        snapshot: &dyn Snapshot,
        partition: Partition,
        rows_max: usize,
        progress: &mut Progress,
        changes: &mut Changes,
    ) -> Result<Swept, StoreError> {
        let oldest = progress.now - self.retention.journal_ms;
        let (from, to) = Key::whole(partition);
        let mut broken = None;
        let mut swept = Swept::default();
        let mut bytes = progress.journal_bytes;
        snapshot.range(Table::Journal, &from, &to, &mut |key, row| {
            let entries = match decode::<JournalRow>(Table::Journal, row) {
                Ok(entries) => entries,
                Err(error) => {
                    broken = Some(error);
                    return ControlFlow::Break(());
                }
            };
            let is_old = entries.first().is_none_or(|entry| entry.now < oldest);
            let is_too_much = bytes > self.retention.journal_bytes_max;
            if !(is_old || is_too_much) {
                swept.keeps_some = true;
                return ControlFlow::Break(());
            }
            if swept.removed == rows_max || !is_old && swept.removed >= JOURNAL_ROWS_AT_ONCE {
                return ControlFlow::Break(());
            }
            swept.removed += 1;
            bytes = bytes.saturating_sub(row.len() as u64);
            if let Some(commit) = Key::commit_of(key) {
                for customer in entries.iter().filter_map(|entry| entry.customer) {
                    changes.delete(Table::Trail, Key::trail(customer, commit));
                }
            }
            changes.delete(Table::Journal, key.to_vec());
            ControlFlow::Continue(())
        })?;
        progress.journal_bytes = bytes;
        broken.map_or(Ok(swept), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::store::MemoryStore;
    use crate::store::records::{Cause, JournalEntry, encode};

    const COMMITS: u64 = 1000;

    fn row(now: Millis) -> Vec<u8> {
        let cause = Cause::Event { code: "OnPurchaseConfirm".into() };
        let (event_id, outcomes) = (EventId::NONE, Vec::new());
        encode(&vec![JournalEntry { event_id, customer: None, cause, now, rule_set: 1, outcomes, again: None }])
    }

    /// The most bytes that the journal holds while so many commits, one a millisecond, add a row to each of some partitions.
    fn journal_bytes_most(partitions: &[u8], retention: Retention) -> u64 {
        let store = MemoryStore::new("test");
        let mut sweep = Sweep::new(retention);
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
            sweep.sweep(&store, &mut progress, partitions.len(), &mut changes).unwrap();
            store.commit(&changes).unwrap();
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

    #[test]
    fn what_is_too_old_goes_as_fast_as_new_comes() {
        for partitions in all_or_some() {
            let of_retention = (row(0).len() * partitions.len() * 100) as u64;
            let most = journal_bytes_most(&partitions, Retention { journal_ms: 100, ..Retention::default() });
            assert!(most < 3 * of_retention, "{} partitions: {most} of {of_retention}", partitions.len());
        }
    }
}
