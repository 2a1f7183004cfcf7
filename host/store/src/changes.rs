//! What one commit changes.
//!
//! It is kept in the order of the keys: neighbours share a page of the file, and a tree takes sorted rows faster. It
//! refuses, before anything has happened, what can't be a row.

use std::collections::BTreeMap;

use super::identity::IDENTITY_KEY;
use super::{StoreError, Table};

/// A key is an identifier; longer ones would make a tree of few branches.
pub const KEY_BYTES_MAX: usize = 1024;
/// The longest value in bytes. Every room bounds its rows below this, so that a row that is too long is refused as data before it gets here: an event's
/// body by `event.bytes_max`, what is kept about a customer by `CUSTOMER_BYTES_MAX`, an entry of the journal by its own.
pub const VALUE_BYTES_MAX: usize = 80 << 20;

/// The new value of each key; `None` takes it away.
type Rows = BTreeMap<Box<[u8]>, Option<Vec<u8>>>;

/// The changes of one commit. Of several changes of one key the last wins.
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

    /// Gives a key a value, in place of any that it had.
    pub fn put(&mut self, table: Table, key: impl Into<Box<[u8]>>, value: impl Into<Vec<u8>>) {
        self.change(table, key.into(), Some(value.into()));
    }

    /// Takes a key away, if it is there.
    pub fn delete(&mut self, table: Table, key: impl Into<Box<[u8]>>) {
        self.change(table, key.into(), None);
    }

    /// Adds later changes to these.
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

    /// The value that a key is given, if it is.
    #[must_use]
    pub fn value(&self, table: Table, key: &[u8]) -> Option<&[u8]> {
        self.tables[table.index()].get(key)?.as_deref()
    }

    /// How many rows of a table are given a value.
    #[must_use]
    pub fn put_in(&self, table: Table) -> usize {
        self.tables[table.index()].values().flatten().count()
    }

    /// Whether a key is changed.
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

    /// How many rows it changes.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    /// Of the keys and values that it holds.
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

    /// The changes of a table in the order of their keys; `None` takes the key away.
    #[must_use]
    pub fn of(&self, table: Table) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        self.tables[table.index()].iter().map(|(key, value)| (&**key, value.as_deref()))
    }

    /// Whether all of it may be committed.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        for table in Table::ALL {
            for (key, value) in self.of(table) {
                let value_bytes = value.map_or(0, <[u8]>::len);
                for (part, bytes, bytes_max) in
                    [("key", key.len(), KEY_BYTES_MAX), ("value", value_bytes, VALUE_BYTES_MAX)]
                {
                    if bytes > bytes_max {
                        return Err(StoreError::TooLarge { table: table.name(), part, bytes, bytes_max });
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
