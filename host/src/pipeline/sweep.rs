//! Keeps the store bounded: with every commit a few rows that nobody needs any more are removed, in proportion to what is added.
//!
//! What was seen expires by connected time. It is not found by its age: a cursor goes round and round over the rows, looks at
//! [`LOOKS_PER_EVENT`] of them for each event that is added, and removes the expired. So the table never holds more than what is alive and
//! what expired within the last round. The journal is kept by commit, the oldest first, so its end is found at once.

use std::ops::ControlFlow;

use crate::clock::Millis;
use crate::store::records::{JournalRow, Key, Partition, Progress, SeenRow, decode};
use crate::store::{Changes, Snapshot, Store, StoreError, Table};

/// Rows looked at for each that is added: a round is over before the table has grown by half.
const LOOKS_PER_EVENT: usize = 2;
const LOOKS_MIN: usize = 16;
/// Journal rows that one commit removes from a partition, at most.
const JOURNAL_ROWS_MAX: usize = 4;

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
        self.sweep_journal(&*snapshot, progress, changes)
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

    /// Looks at one partition a commit, all of them in turn.
    fn sweep_journal(
        &mut self,
        snapshot: &dyn Snapshot,
        progress: &mut Progress,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let oldest = progress.now - self.retention.journal_ms;
        let partition = Partition::of_key(&[self.journal_partition])
            .unwrap_or_else(|| Partition::all().next().expect("there are partitions"));
        self.journal_partition = (partition.number() + 1) % Partition::COUNT;
        let (from, to) = Key::whole(partition);
        let mut broken = None;
        let mut rows = 0;
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
            if rows == JOURNAL_ROWS_MAX || !(is_old || bytes > self.retention.journal_bytes_max) {
                return ControlFlow::Break(());
            }
            rows += 1;
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
        broken.map_or(Ok(()), Err)
    }
}
