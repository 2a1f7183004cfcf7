//! What a shard knows of its customers and of the events that it has seen: what the store shows, and over it
//! what has been decided since. A customer belongs to one shard, so nobody else changes these rows; but a customer who is merged into another goes
//! to that one's shard, which then finds here what theirs has decided.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;

use super::seen::{SeenFilters, SeenPiece};
use crate::event::{CustomerKey, DedupKey};
use crate::store::records::{CustomerRow, Key, Partition, SeenKey, SeenRow, decode, encode};
use crate::store::{Changes, Snapshot, Store, StoreError, Table};

pub(super) struct Memory {
    store: Arc<dyn Store>,
    filters: Arc<SeenFilters>,
    ahead: Arc<Ahead>,
    shard: usize,
    /// Only while a batch is decided: a store keeps what a snapshot can see.
    snapshot: Option<Box<dyn Snapshot>>,
    /// The number of the group that is being decided.
    group: u64,
    customers: Changed<CustomerKey>,
    seen: Changed<(Partition, DedupKey)>,
}

/// What all shards have decided and the store may not show yet.
#[derive(Debug)]
pub(super) struct Ahead {
    /// For each shard the number of its last group that the store shows.
    shown: Box<[AtomicU64]>,
    customers: AheadRows<CustomerKey, CustomerRow>,
    seen: AheadRows<(Partition, DedupKey), SeenRow>,
}

/// A group that the store may not show yet.
#[derive(Clone, Debug)]
pub(super) struct AheadGroup {
    ahead: Arc<Ahead>,
    shard: usize,
    group: u64,
}

impl Ahead {
    pub(super) fn new(shards: usize) -> Ahead {
        Ahead {
            shown: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            customers: AheadRows::new(),
            seen: AheadRows::new(),
        }
    }

    /// The store shows a shard's groups up to this one.
    pub(super) fn show(&self, shard: usize, group: u64) {
        self.shown[shard].store(group, Ordering::Release);
    }

    fn shows(&self, shard: usize, group: u64) -> bool {
        self.shown[shard].load(Ordering::Acquire) >= group
    }
}

impl AheadGroup {
    /// Whether it is still so. Once it is not, every view of the store that is taken from then on shows the group.
    pub(super) fn is_unshown(&self) -> bool {
        !self.ahead.shows(self.shard, self.group)
    }
}

impl Memory {
    pub(super) fn new(store: Arc<dyn Store>, filters: Arc<SeenFilters>, ahead: Arc<Ahead>, shard: usize) -> Memory {
        let (customers, seen) = Default::default();
        Memory { store, filters, ahead, shard, snapshot: None, group: 0, customers, seen }
    }

    /// Begins the next group.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.group += 1;
        // Whoever misses what is forgotten here looks at the store after that, which shows it.
        let shown = self.ahead.shown[self.shard].load(Ordering::Acquire);
        self.snapshot = Some(self.store.recent()?);
        self.customers.forget(shown, self.shard, &self.ahead.customers);
        self.seen.forget(shown, self.shard, &self.ahead.seen);
        Ok(())
    }

    /// The group that is being decided.
    pub(super) fn group(&self) -> AheadGroup {
        AheadGroup { ahead: Arc::clone(&self.ahead), shard: self.shard, group: self.group }
    }

    /// What is kept about a customer.
    pub(super) fn customer(&self, key: CustomerKey) -> Result<CustomerRow, StoreError> {
        match self.known(&self.ahead.customers, &key) {
            Some(row) => Ok(row),
            None => CustomerRow::get(&*self.store.recent()?, key),
        }
    }

    /// Remembers what is kept about a customer from now on.
    pub(super) fn keep(&mut self, key: CustomerKey, row: CustomerRow) {
        self.customers.set(key, row, (self.shard, self.group), &self.ahead.customers);
    }

    /// What is known of a deduplication key; `None` if it was never seen, or long ago.
    pub(super) fn seen(&self, partition: Partition, key: DedupKey) -> Result<Option<SeenRow>, StoreError> {
        if let Some(row) = self.known(&self.ahead.seen, &(partition, key)) {
            return Ok(Some(row));
        }
        let mut snapshot = None;
        for period in self.filters.periods_of(key.as_bytes()) {
            let snapshot = match &mut snapshot {
                Some(snapshot) => snapshot,
                none => none.insert(self.store.recent()?),
            };
            let place = SeenKey { partition, period, hash: *key.as_bytes() }.encode();
            if let Some(row) = snapshot.get(Table::Seen, &place)? {
                return decode(Table::Seen, &row).map(Some);
            }
        }
        Ok(None)
    }

    /// Remembers that an event was seen.
    pub(super) fn saw(&mut self, partition: Partition, key: DedupKey, row: SeenRow) {
        self.seen.set((partition, key), row, (self.shard, self.group), &self.ahead.seen);
    }

    /// A row that the store may not show. What another shard left there and the store shows may have been erased from the store since.
    fn known<K: InPartition, V: Clone>(&self, rows: &AheadRows<K, V>, key: &K) -> Option<V> {
        let rows = rows.of(key);
        let Row { row, shard, group } = rows.get(key)?;
        (*shard == self.shard || !self.ahead.shows(*shard, *group)).then(|| row.clone())
    }

    /// What the store shows, whatever has been decided since.
    pub(super) fn snapshot(&self) -> &dyn Snapshot {
        self.snapshot.as_deref().expect("rows are read while a group is decided")
    }

    /// Ends the group: its number, what it changes, and what it has seen.
    pub(super) fn end(&mut self) -> (u64, Changes, Vec<SeenPiece>) {
        self.snapshot = None;
        let mut changes = Changes::default();
        self.customers.of_group(self.group, &self.ahead.customers, |key, row| {
            if row.is_empty() {
                changes.delete(Table::Customers, Key::customer(*key));
            } else {
                changes.put(Table::Customers, Key::customer(*key), encode(row));
            }
        });
        let mut seen = Vec::new();
        self.seen.of_group(self.group, &self.ahead.seen, |(partition, key), row| {
            seen.push(SeenPiece { partition: *partition, hash: *key.as_bytes(), bytes: encode(row) });
        });
        (self.group, changes, seen)
    }
}

/// Rows, each with the last group that changed it. A lock for each partition, held for one row at a time.
#[derive(Debug)]
struct AheadRows<K, V>(Box<[Mutex<Partitioned<K, V>>]>);

type Partitioned<K, V> = HashMap<K, Row<V>>;

#[derive(Debug)]
struct Row<V> {
    row: V,
    shard: usize,
    group: u64,
}

/// What lies in a partition.
trait InPartition: Copy + Eq + Hash {
    fn partition(&self) -> Partition;
}

impl InPartition for CustomerKey {
    fn partition(&self) -> Partition {
        Partition::of_customer(*self)
    }
}

impl InPartition for (Partition, DedupKey) {
    fn partition(&self) -> Partition {
        self.0
    }
}

impl<K: InPartition, V> AheadRows<K, V> {
    fn of(&self, key: &K) -> MutexGuard<'_, Partitioned<K, V>> {
        // A row is put or taken as a whole.
        self.0[usize::from(key.partition().number())].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> AheadRows<K, V> {
    fn new() -> AheadRows<K, V> {
        AheadRows(Partition::all().map(|_| Mutex::default()).collect())
    }
}

/// What each group of a shard changed, the oldest group first.
#[derive(Debug)]
struct Changed<K>(VecDeque<(u64, Vec<K>)>);

impl<K: InPartition> Changed<K> {
    fn set<V>(&mut self, key: K, row: V, (shard, group): (usize, u64), rows: &AheadRows<K, V>) {
        let before = rows.of(&key).insert(key, Row { row, shard, group });
        if before.is_some_and(|before| (before.shard, before.group) == (shard, group)) {
            return;
        }
        match self.0.back_mut() {
            Some((last, keys)) if *last == group => keys.push(key),
            _ => self.0.push_back((group, vec![key])),
        }
    }

    fn of_group<V>(&self, group: u64, rows: &AheadRows<K, V>, mut visit: impl FnMut(&K, &V)) {
        let keys = self.0.back().filter(|(last, _)| *last == group).map_or(&[][..], |(_, keys)| keys);
        for key in keys {
            if let Some(row) = rows.of(key).get(key) {
                visit(key, &row.row);
            }
        }
    }

    /// Forgets what this shard and no later group of it than this has changed: the store shows it.
    fn forget<V>(&mut self, shown: u64, shard: usize, rows: &AheadRows<K, V>) {
        while self.0.front().is_some_and(|(group, _)| *group <= shown) {
            let (_, keys) = self.0.pop_front().expect("there is a front");
            for key in keys {
                let mut rows = rows.of(&key);
                if rows.get(&key).is_some_and(|row| row.shard == shard && row.group <= shown) {
                    rows.remove(&key);
                }
            }
        }
    }
}

impl<K> Default for Changed<K> {
    fn default() -> Self {
        Changed(VecDeque::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn customer(number: u8) -> CustomerKey {
        CustomerKey::from_bytes([number; 16])
    }

    #[test]
    fn a_row_is_forgotten_once_its_last_change_is_shown() {
        let (mut changed, rows) = (Changed::default(), AheadRows::new());
        let [a, b] = [1, 2].map(customer);
        changed.set(a, 10, (0, 1), &rows);
        changed.set(b, 20, (0, 1), &rows);
        changed.set(a, 11, (0, 2), &rows);
        changed.set(a, 12, (0, 2), &rows);
        let of_group = |changed: &Changed<_>, group| {
            let mut found = Vec::new();
            changed.of_group(group, &rows, |key, row| found.push((*key, *row)));
            found
        };
        let row = |key| rows.of(&key).get(&key).map(|row| row.row);
        assert_eq!(of_group(&changed, 2), [(a, 12)]);
        changed.forget(1, 0, &rows);
        assert_eq!((row(a), row(b)), (Some(12), None));
        changed.forget(2, 0, &rows);
        assert_eq!(row(a), None);
        assert!(changed.0.is_empty());
        assert!(of_group(&changed, 2).is_empty());
    }

    #[test]
    fn what_another_shard_has_changed_since_is_not_forgotten() {
        let ([mut first, mut second], rows) = ([const { Changed(VecDeque::new()) }; 2], AheadRows::new());
        let a = customer(1);
        first.set(a, 10, (0, 7), &rows);
        second.set(a, 20, (1, 3), &rows);
        first.forget(7, 0, &rows);
        assert_eq!(rows.of(&a).get(&a).map(|row| row.row), Some(20));
        second.forget(3, 1, &rows);
        assert!(rows.of(&a).is_empty());
    }

    #[test]
    fn a_row_of_another_shard_counts_until_the_store_shows_it() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
        let ahead = Arc::new(Ahead::new(2));
        let [mut first, second] = [0, 1]
            .map(|shard| Memory::new(Arc::clone(&store), Arc::new(SeenFilters::new(1)), Arc::clone(&ahead), shard));
        let (a, mut row) = (customer(1), CustomerRow::default());
        row.absorbed.push(customer(2));
        first.begin().unwrap();
        first.keep(a, row.clone());
        let group = first.group();
        first.end();
        assert!(group.is_unshown());
        assert!(second.customer(a).unwrap() == row);
        // The store, which shows it, has nothing by now: somebody has erased it.
        ahead.show(0, 1);
        assert!(!group.is_unshown());
        assert!(second.customer(a).unwrap() == CustomerRow::default());
    }
}
