//! A shard's overlay: the rows of customers and dedup entries that the shard has changed and the
//! committer has not committed yet. Reads see the overlay first, and then the store.
//!
//! **A customer belongs to one shard, so no other shard decides about these rows meanwhile.** A
//! merge takes a customer to another shard. It is therefore decided once everything before it is
//! committed, and everything behind it waits until the merge is committed, too (`merge.rs`).

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::HashMap;

use super::dedup::{DedupFilters, EncodedDedupEntry};
use crate::records::{CustomerRow, DedupEntry, DedupEntryKey, Key, Partition, decode, encode};
use hailer_event::{CustomerKey, DedupKey};
use hailer_store::{Changes, Snapshot, Store, StoreError, Table};

/// The number of a shard's last committed group. The committer sets it, and the shard reads it.
#[derive(Clone, Debug, Default)]
pub(super) struct LastCommitted(Arc<AtomicU64>);

impl LastCommitted {
    /// Records that the store has the shard's groups up to `group`.
    pub(super) fn set(&self, group: u64) {
        self.0.store(group, Ordering::Release);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

pub(super) struct Overlay {
    store: Arc<dyn Store>,
    filters: Arc<DedupFilters>,
    last_committed: LastCommitted,
    /// `Some` only while a group is decided, because a store keeps all data that a snapshot can
    /// see.
    snapshot: Option<Box<dyn Snapshot>>,
    /// The number of the group that is being decided. `committed` is the last group that the
    /// snapshot contains.
    group: u64,
    committed: u64,
    customers: Uncommitted<CustomerKey, CustomerRow>,
    seen: Uncommitted<(Partition, DedupKey), DedupEntry>,
}

impl Overlay {
    pub(super) fn new(
        store: Arc<dyn Store>,
        filters: Arc<DedupFilters>,
        last_committed: LastCommitted,
    ) -> Overlay {
        let (customers, seen) = Default::default();
        Overlay {
            store,
            filters,
            last_committed,
            snapshot: None,
            group: 0,
            committed: 0,
            customers,
            seen,
        }
    }

    /// Begins the next group.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.group += 1;
        // Read before the snapshot is taken, so the snapshot contains all groups up to this number.
        self.committed = self.last_committed.get();
        self.snapshot = Some(self.store.snapshot()?);
        self.customers.forget(self.committed);
        self.seen.forget(self.committed);
        Ok(())
    }

    /// The number of the group that is being decided.
    pub(super) fn group(&self) -> u64 {
        self.group
    }

    /// The number of the last group that [`Self::snapshot`] contains.
    pub(super) fn committed(&self) -> u64 {
        self.committed
    }

    /// A customer's row, with the shard's uncommitted changes.
    pub(super) fn customer(&self, key: CustomerKey) -> Result<CustomerRow, StoreError> {
        match self.customers.get(&key) {
            Some(row) => Ok(row.clone()),
            None => CustomerRow::get(self.snapshot(), key),
        }
    }

    /// Sets a customer's row.
    pub(super) fn keep(&mut self, key: CustomerKey, row: CustomerRow) {
        self.customers.set(key, row, self.group);
    }

    /// The dedup entry of a key; `None` if the key is new or its entry has expired.
    pub(super) fn seen(
        &self,
        partition: Partition,
        key: DedupKey,
    ) -> Result<Option<DedupEntry>, StoreError> {
        if let Some(row) = self.seen.get(&(partition, key)) {
            return Ok(Some(row.clone()));
        }
        for period in self.filters.periods_of(key.as_bytes()) {
            let place = DedupEntryKey { partition, period, hash: *key.as_bytes() }.encode();
            if let Some(row) = self.snapshot().get(Table::Dedup, &place)? {
                return decode(Table::Dedup, &row).map(Some);
            }
        }
        Ok(None)
    }

    /// Sets the dedup entry of a key.
    pub(super) fn saw(&mut self, partition: Partition, key: DedupKey, row: DedupEntry) {
        self.seen.set((partition, key), row, self.group);
    }

    /// The committed rows as of the start of the group.
    pub(super) fn snapshot(&self) -> &dyn Snapshot {
        self.snapshot.as_deref().expect("rows are read while a group is decided")
    }

    /// Ends the group. Returns its number, its changes of customers' rows, and its dedup entries.
    pub(super) fn end(&mut self) -> (u64, Changes, Vec<EncodedDedupEntry>) {
        self.snapshot = None;
        let mut changes = Changes::default();
        for (key, row) in self.customers.of_group(self.group) {
            if row.is_empty() {
                changes.delete(Table::Customers, Key::customer(*key));
            } else {
                changes.put(Table::Customers, Key::customer(*key), encode(row));
            }
        }
        let pieces = self.seen.of_group(self.group).map(|((partition, key), row)| {
            EncodedDedupEntry { partition: *partition, hash: *key.as_bytes(), bytes: encode(row) }
        });
        let seen = pieces.collect();
        (self.group, changes, seen)
    }
}

/// Rows that groups have changed, each with the last group that changed it. A row stays until that
/// group is committed.
#[derive(Debug)]
struct Uncommitted<K, V> {
    rows: HashMap<K, (V, u64)>,
    /// The keys that each group changed, oldest group first.
    groups: VecDeque<(u64, Vec<K>)>,
}

impl<K: Copy + Eq + Hash, V> Uncommitted<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|(row, _)| row)
    }

    fn set(&mut self, key: K, row: V, group: u64) {
        let before = self.rows.insert(key, (row, group));
        if before.is_some_and(|(_, before)| before == group) {
            return;
        }
        match self.groups.back_mut() {
            Some((last, keys)) if *last == group => keys.push(key),
            _ => self.groups.push_back((group, vec![key])),
        }
    }

    /// The rows that `group`, the one being decided, has changed.
    fn of_group(&self, group: u64) -> impl Iterator<Item = (&K, &V)> {
        let last = self.groups.back().filter(|(last, _)| *last == group);
        let keys = last.map_or(&[][..], |(_, keys)| keys);
        keys.iter().filter_map(|key| Some((key, self.get(key)?)))
    }

    /// Drops the rows whose last change is in group `committed` or an earlier one.
    fn forget(&mut self, committed: u64) {
        while let Some((_, keys)) = self.groups.pop_front_if(|(group, _)| *group <= committed) {
            for key in keys {
                if self.rows.get(&key).is_some_and(|(_, group)| *group <= committed) {
                    self.rows.remove(&key);
                }
            }
        }
    }
}

impl<K, V> Default for Uncommitted<K, V> {
    fn default() -> Self {
        Uncommitted { rows: HashMap::default(), groups: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hailer_store::MemoryStore;

    #[test]
    fn a_row_is_forgotten_once_its_last_change_is_committed() {
        let mut rows = Uncommitted::default();
        rows.set("a", 10, 1);
        rows.set("b", 20, 1);
        rows.set("a", 11, 2);
        rows.set("a", 12, 2);
        assert_eq!(rows.of_group(2).collect::<Vec<_>>(), [(&"a", &12)]);
        rows.forget(1);
        assert_eq!((rows.get(&"a"), rows.get(&"b")), (Some(&12), None));
        rows.forget(2);
        assert_eq!(rows.get(&"a"), None);
        assert!(rows.rows.is_empty() && rows.groups.is_empty());
        assert_eq!(rows.of_group(2).count(), 0);
    }

    #[test]
    fn a_customer_is_as_the_last_group_left_them_before_and_after_its_commit() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
        let last_committed = LastCommitted::default();
        let mut memory = Overlay::new(
            Arc::clone(&store),
            Arc::new(DedupFilters::new(1)),
            last_committed.clone(),
        );
        let key = CustomerKey::from_bytes([1; 16]);
        let mut row = CustomerRow::default();
        row.absorbed.push(CustomerKey::from_bytes([2; 16]));
        memory.begin().unwrap();
        memory.keep(key, row.clone());
        let (number, changes, _) = memory.end();
        memory.begin().unwrap();
        assert!(memory.customer(key).unwrap() == row, "it is decided");
        store.commit(changes).unwrap();
        last_committed.set(number);
        memory.begin().unwrap();
        assert!(memory.customers.rows.is_empty());
        assert!(memory.customer(key).unwrap() == row, "it is committed");
        // An erasure changes the store without the shard; an operator may request it while nothing
        // is in flight.
        let mut erased = Changes::default();
        erased.delete(Table::Customers, Key::customer(key));
        store.commit(erased).unwrap();
        memory.begin().unwrap();
        assert!(memory.customer(key).unwrap() == CustomerRow::default());
    }
}
