//! What a shard knows of its customers and of the events that it has seen: what the store shows, and over it
//! what the shard itself has decided since. A customer belongs to one shard, so nobody else changes these rows.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::HashMap;
use serde::de::DeserializeOwned;

use super::seen::{SeenFilters, SeenPiece};
use crate::event::{CustomerKey, DedupKey};
use crate::store::records::{CustomerRow, Key, Partition, SeenKey, SeenRow, decode, encode};
use crate::store::{Changes, Snapshot, Store, StoreError, Table};

pub(super) struct Memory {
    store: Arc<dyn Store>,
    filters: Arc<SeenFilters>,
    /// The number of this shard's last group that the store shows.
    shown: Arc<AtomicU64>,
    /// Only while a batch is decided: a store keeps what a snapshot can see.
    snapshot: Option<Box<dyn Snapshot>>,
    /// The number of the group that is being decided.
    group: u64,
    customers: Recent<CustomerKey, CustomerRow>,
    seen: Recent<(Partition, DedupKey), SeenRow>,
}

impl Memory {
    pub(super) fn new(store: Arc<dyn Store>, filters: Arc<SeenFilters>, shown: Arc<AtomicU64>) -> Memory {
        let (customers, seen) = Default::default();
        Memory { store, filters, shown, snapshot: None, group: 0, customers, seen }
    }

    /// Begins the next group.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.group += 1;
        // Read before the snapshot is taken, which therefore includes at least these groups.
        let shown = self.shown.load(Ordering::Acquire);
        self.snapshot = Some(self.store.recent()?);
        self.customers.forget(shown);
        self.seen.forget(shown);
        Ok(())
    }

    /// What is kept about a customer.
    pub(super) fn customer(&self, key: CustomerKey) -> Result<CustomerRow, StoreError> {
        if let Some(row) = self.customers.get(&key) {
            return Ok(row.clone());
        }
        CustomerRow::get(self.snapshot(), key)
    }

    /// Remembers what is kept about a customer from now on.
    pub(super) fn keep(&mut self, key: CustomerKey, row: CustomerRow) {
        self.customers.set(key, self.group, row);
    }

    /// What is known of a deduplication key; `None` if it was never seen, or long ago.
    pub(super) fn seen(&self, partition: Partition, key: DedupKey) -> Result<Option<SeenRow>, StoreError> {
        if let Some(row) = self.seen.get(&(partition, key)) {
            return Ok(Some(row.clone()));
        }
        for period in self.filters.periods_of(key.as_bytes()) {
            let row = self.get(Table::Seen, &SeenKey { partition, period, hash: *key.as_bytes() }.encode())?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }

    /// Remembers that an event was seen.
    pub(super) fn saw(&mut self, partition: Partition, key: DedupKey, row: SeenRow) {
        self.seen.set((partition, key), self.group, row);
    }

    /// A row as the store shows it, whatever has been decided since.
    fn get<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.snapshot().get(table, key)?.map(|bytes| decode(table, &bytes)).transpose()
    }

    /// What the store shows, whatever has been decided since.
    pub(super) fn snapshot(&self) -> &dyn Snapshot {
        self.snapshot.as_deref().expect("rows are read while a group is decided")
    }

    /// Ends the group: its number, what it changes, and what it has seen.
    pub(super) fn end(&mut self) -> (u64, Changes, Vec<SeenPiece>) {
        self.snapshot = None;
        let mut changes = Changes::default();
        for (key, row) in self.customers.of_group(self.group) {
            if row.is_empty() {
                changes.delete(Table::Customers, Key::customer(*key));
            } else {
                changes.put(Table::Customers, Key::customer(*key), encode(row));
            }
        }
        let piece = |(&(partition, key), row): (&(_, DedupKey), _)| SeenPiece {
            partition,
            hash: *key.as_bytes(),
            bytes: encode(row),
        };
        let seen = self.seen.of_group(self.group).map(piece).collect();
        (self.group, changes, seen)
    }
}

/// Rows that the snapshot may not have yet, each with the last group that changed it.
#[derive(Debug)]
struct Recent<K, V> {
    rows: HashMap<K, (V, u64)>,
    /// What each group changed, the oldest group first.
    groups: VecDeque<(u64, Vec<K>)>,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|(row, _)| row)
    }

    fn set(&mut self, key: K, group: u64, row: V) {
        if self.rows.insert(key, (row, group)).is_some_and(|(_, last)| last == group) {
            return;
        }
        match self.groups.back_mut() {
            Some((last, keys)) if *last == group => keys.push(key),
            _ => self.groups.push_back((group, vec![key])),
        }
    }

    fn of_group(&self, group: u64) -> impl Iterator<Item = (&K, &V)> {
        let keys = self.groups.back().filter(|(last, _)| *last == group).map_or(&[][..], |(_, keys)| keys);
        keys.iter().filter_map(|key| Some((key, &self.rows.get(key)?.0)))
    }

    /// Forgets what no later group than this has changed: the snapshot has it.
    fn forget(&mut self, shown: u64) {
        while self.groups.front().is_some_and(|(group, _)| *group <= shown) {
            let (_, keys) = self.groups.pop_front().expect("there is a front");
            for key in keys {
                if self.rows.get(&key).is_some_and(|(_, last)| *last <= shown) {
                    self.rows.remove(&key);
                }
            }
        }
    }
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Recent { rows: HashMap::default(), groups: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_forgotten_once_its_last_change_is_shown() {
        let mut recent = Recent::default();
        recent.set("a", 1, 10);
        recent.set("b", 1, 20);
        recent.set("a", 2, 11);
        recent.set("a", 2, 12);
        assert_eq!(recent.of_group(2).collect::<Vec<_>>(), [(&"a", &12)]);
        recent.forget(1);
        assert_eq!((recent.get(&"a"), recent.get(&"b")), (Some(&12), None));
        recent.forget(2);
        assert_eq!(recent.get(&"a"), None);
        assert!(recent.rows.is_empty() && recent.groups.is_empty());
        assert_eq!(recent.of_group(2).count(), 0);
    }
}
