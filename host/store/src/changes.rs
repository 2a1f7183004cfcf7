//! The changes of one commit.
//!
//! They are in the order of their keys, because the tree inserts sorted rows faster. A change with
//! too long a key or value is refused before anything is written.

use std::collections::BTreeMap;

use super::identity::IDENTITY_KEY;
use super::{StoreError, Table};

/// The longest key in bytes. Keys are identifiers, so longer ones are not needed.
pub const KEY_BYTES_MAX: usize = 1024;
/// The longest value in bytes. Every module bounds its own rows below this, so that a too long row
/// is refused as data before it gets here. `event.bytes_max` bounds an event's body,
/// `CUSTOMER_BYTES_MAX` the row of a customer, and the journal has a bound of its own.
pub const VALUE_BYTES_MAX: usize = 80 << 20;

/// The new value of each key; `None` deletes the key.
type Rows = BTreeMap<Box<[u8]>, Option<Vec<u8>>>;

/// The changes of one commit. If a key is changed several times, the last change wins.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    tables: [Rows; Table::ALL.len()],
    bytes: usize,
}

impl Changes {
    #[must_use]
    pub fn new() -> Changes {
        Changes::default()
    }

    /// Sets the value of a key, replacing any earlier value.
    pub fn put(&mut self, table: Table, key: impl Into<Box<[u8]>>, value: impl Into<Vec<u8>>) {
        self.change(table, key.into(), Some(value.into()));
    }

    /// Deletes a key, if it exists.
    pub fn delete(&mut self, table: Table, key: impl Into<Box<[u8]>>) {
        self.change(table, key.into(), None);
    }

    /// Appends later changes to these.
    pub fn append(&mut self, later: Changes) {
        if self.is_empty() {
            *self = later;
            return;
        }
        for (table, changes) in Table::ALL.into_iter().zip(later.tables) {
            for (key, value) in changes {
                self.change(table, key, value);
            }
        }
    }

    /// Returns the new value of a key; `None` if the key is not changed or is deleted.
    #[must_use]
    pub fn value(&self, table: Table, key: &[u8]) -> Option<&[u8]> {
        self.tables[table.index()].get(key)?.as_deref()
    }

    /// Returns the number of rows of a table that get a value.
    #[must_use]
    pub fn put_in(&self, table: Table) -> usize {
        self.tables[table.index()].values().flatten().count()
    }

    /// Whether a key is set or deleted.
    #[must_use]
    pub fn has(&self, table: Table, key: &[u8]) -> bool {
        self.tables[table.index()].contains_key(key)
    }

    /// Whether any row of a table is changed.
    #[must_use]
    pub fn touches(&self, table: Table) -> bool {
        !self.tables[table.index()].is_empty()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(BTreeMap::is_empty)
    }

    /// Returns the number of rows that are set or deleted.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    /// Returns the bytes of all keys and values in the changes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn change(&mut self, table: Table, key: Box<[u8]>, value: Option<Vec<u8>>) {
        let key_bytes = key.len();
        self.bytes += key_bytes + value.as_ref().map_or(0, Vec::len);
        if let Some(replaced) = self.tables[table.index()].insert(key, value) {
            self.bytes -= key_bytes + replaced.map_or(0, |value| value.len());
        }
    }

    /// Returns the changes of a table in the order of their keys. A value of `None` deletes the
    /// key.
    #[must_use]
    pub fn of(&self, table: Table) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        self.tables[table.index()].iter().map(|(key, value)| (&**key, value.as_deref()))
    }

    /// Refuses too long keys and values, and changes of the identity row.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        for table in Table::ALL {
            for (key, value) in self.of(table) {
                let value_bytes = value.map_or(0, <[u8]>::len);
                for (part, bytes, bytes_max) in
                    [("key", key.len(), KEY_BYTES_MAX), ("value", value_bytes, VALUE_BYTES_MAX)]
                {
                    if bytes > bytes_max {
                        return Err(StoreError::TooLarge {
                            table: table.name(),
                            part,
                            bytes,
                            bytes_max,
                        });
                    }
                }
            }
        }
        if self.has(Table::Meta, IDENTITY_KEY) {
            return Err(StoreError::Reserved);
        }
        Ok(())
    }
}
