//! A store in memory, for tests and dry runs. It keeps the contract of [`Store`], except that its
//! rows end with the process.
//!
//! Its maps are persistent data structures: a snapshot is a cheap copy, and a commit copies only
//! the paths to the changed rows.

use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rpds::RedBlackTreeMapSync;

use super::identity::IDENTITY_KEY;
use super::{
    Changes, Identity, Row, Sizes, Snapshot, Store, StoreError, Table, TableSize, Upkeep, Visit,
    file,
};

type Rows = RedBlackTreeMapSync<Box<[u8]>, Box<[u8]>>;
type Entry<'rows> = (&'rows Box<[u8]>, &'rows Box<[u8]>);

/// A store in memory whose rows end with the process.
pub struct MemoryStore {
    identity: Identity,
    tables: Mutex<Tables>,
    upkeep: Mutex<Option<Box<dyn Upkeep>>>,
}

#[derive(Clone)]
struct Tables([Rows; Table::ALL.len()]);

impl MemoryStore {
    /// Makes a store that has only its identity row.
    #[must_use]
    pub fn new(environment: &str) -> MemoryStore {
        let identity = Identity::new(environment, [0; 16]);
        let mut tables = Tables(std::array::from_fn(|_| Rows::new_sync()));
        tables.0[Table::Meta.index()].insert_mut(IDENTITY_KEY.into(), identity.to_bytes().into());
        MemoryStore { identity, tables: Mutex::new(tables), upkeep: Mutex::new(None) }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Only running out of memory can leave a change half done under this lock.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.tables().clone()))
    }

    fn commit(&self, mut changes: Changes) -> Result<(), StoreError> {
        changes.check()?;
        let mut upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upkeep) = &mut *upkeep {
            let before = self.tables().clone();
            upkeep.add(&before, &mut changes)?;
        }
        let mut tables = self.tables();
        for table in Table::ALL {
            let rows = &mut tables.0[table.index()];
            for (key, value) in changes.of(table) {
                match value {
                    Some(value) => rows.insert_mut(key.into(), value.into()),
                    None => {
                        rows.remove_mut(key);
                    }
                }
            }
        }
        Ok(())
    }

    fn set_upkeep(&self, upkeep: Box<dyn Upkeep>) {
        *self.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = Some(upkeep);
    }

    fn sizes(&self) -> Result<Sizes, StoreError> {
        let tables = self.tables().clone();
        let size = |table: Table| {
            let rows = &tables.0[table.index()];
            let bytes = rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
            TableSize { table, rows: rows.size() as u64, bytes }
        };
        Ok(Sizes { tables: Table::ALL.map(size).into(), file_bytes: 0 })
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        file::copy(&self.identity, &self.tables().clone(), to)
    }
}

impl Tables {
    fn between<'rows>(
        &'rows self,
        table: Table,
        from: &'rows [u8],
        to: &'rows [u8],
    ) -> Option<impl DoubleEndedIterator<Item = Entry<'rows>>> {
        // A range whose end is before its start is empty. The map would panic.
        (from < to).then(|| {
            self.0[table.index()].range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
        })
    }
}

impl Snapshot for Tables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0[table.index()].get(key).map(|value| value.to_vec()))
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        for (key, value) in self.between(table, from, to).into_iter().flatten() {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Row>, StoreError> {
        let last = self.between(table, from, to).and_then(|mut rows| rows.next_back());
        Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryStore")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
