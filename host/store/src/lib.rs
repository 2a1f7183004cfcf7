//! The durable store: tables of keys and values as bytes, which commits change atomically.
//!
//! It owns the files of the store, the durability of a commit, the refusal of damaged files, and
//! the checksum of every row that is read. It refuses to know the meaning of a row:
//! `hailer-pipeline` defines the rows of customers, timers and the outbox.
//!
//! **A read returns the committed bytes, or an error (G9).** The store never treats a damaged store
//! as an empty one, nor a missing one as a first start.

mod changes;
mod error;
mod export;
mod file;
mod identity;
mod log;
mod memory;
mod rows;
mod sealed;
mod tree;

#[cfg(test)]
mod contract;

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::Path;

pub use changes::{Changes, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use error::StoreError;
pub use export::{ExportError, Exported, export, import};
pub use file::{
    Compacted, FileStore, Opening, Step, Verified, compact, file_bytes, is_there, verify,
};
pub use identity::Identity;
pub use log::BYTES as LOG_BYTES;
pub use memory::MemoryStore;

/// The tables. Every key begins with the byte of its partition, which is below 64. Only the keys of
/// `Meta` do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    Meta,
    Customers,
    Timers,
    Dedup,
    Outbox,
    Journal,
    Trail,
    Failures,
    Bodies,
    Redirects,
}

impl Table {
    /// All tables in the order of their numbers. Checksums include the number, so a new table goes
    /// to the end and no table moves.
    pub const ALL: [Table; 10] = [
        Table::Meta,
        Table::Customers,
        Table::Timers,
        Table::Dedup,
        Table::Outbox,
        Table::Journal,
        Table::Trail,
        Table::Failures,
        Table::Bodies,
        Table::Redirects,
    ];

    /// The name of the table in exports and in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Customers => "customers",
            Table::Timers => "timers",
            Table::Dedup => "seen",
            Table::Outbox => "outbox",
            Table::Journal => "journal",
            Table::Trail => "trail",
            Table::Failures => "failures",
            Table::Bodies => "bodies",
            Table::Redirects => "redirects",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Tables of ordered keys that commits change.
pub trait Store: Send + Sync + Debug {
    /// The identity of the store.
    fn identity(&self) -> &Identity;

    /// Returns a snapshot of all commits so far. A snapshot and a commit never wait for each other.
    /// The store keeps the space of every row that a snapshot shows, so drop it soon.
    ///
    /// # Errors
    /// When the snapshot cannot be made.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Applies all of the changes or none. When it returns `Ok`, they are durable and every later
    /// snapshot shows them.
    ///
    /// # Errors
    /// When a change is invalid or the upkeep fails: nothing is committed, and the store stays
    /// usable. Invalid are too long keys and values, and changes of the identity row. When the
    /// write fails: the store refuses every later commit, and earlier commits can still be read.
    /// Close the store then. Only the next open finds out whether the failed commit is durable.
    fn commit(&self, changes: Changes) -> Result<(), StoreError>;

    /// Sets the upkeep that adds its changes to every later commit.
    fn set_upkeep(&self, upkeep: Box<dyn Upkeep>);

    /// Returns the number of rows and bytes of each table. It reads every row, so use it for
    /// reports and not to check a limit.
    ///
    /// # Errors
    /// When a table cannot be read.
    fn sizes(&self) -> Result<Sizes, StoreError>;

    /// Returns figures for metrics. The call is cheap.
    fn statistics(&self) -> Statistics {
        Statistics::default()
    }

    /// Copies the state of the last commit to a new directory while commits go on. The directory
    /// appears complete or not at all.
    ///
    /// # Errors
    /// When `to` already exists or cannot be written, or a row is damaged.
    fn backup(&self, to: &Path) -> Result<(), StoreError>;
}

/// Adds its own changes to each commit, such as deleting a few expired rows.
pub trait Upkeep: Send + Debug {
    /// Adds changes to a commit. `before` shows the store as it is before the commit.
    ///
    /// # Errors
    /// When a row cannot be read.
    fn add(&mut self, before: &dyn Snapshot, changes: &mut Changes) -> Result<(), StoreError>;
}

/// All rows as of one commit.
pub trait Snapshot: Send {
    /// Returns the value of a key; `None` if the key does not exist.
    ///
    /// # Errors
    /// When the row is damaged or cannot be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Calls `visit` for each row from `from` (included) to `to` (excluded), in the order of the
    /// keys, until it breaks. An empty range is no error.
    ///
    /// # Errors
    /// When a row is damaged or cannot be read.
    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError>;

    /// Returns the row with the greatest key from `from` (included) to `to` (excluded); `None` if
    /// there is no row.
    ///
    /// # Errors
    /// When the row is damaged or cannot be read.
    fn last(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Row>, StoreError>;
}

/// The callback of a range: it receives a key and its value, and breaks to end the range.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Figures of a store for metrics; all 0 for a store in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The bytes of the rows in memory: those not flushed yet, and those of the last flush.
    pub memory_bytes: u64,
    /// The number of table files.
    pub tables: u64,
    /// The number of runs of tables that wait to be merged.
    pub runs: u64,
    /// The number of blocks that reads needed.
    pub blocks: u64,
    /// The number of those blocks that were read from the disk.
    pub blocks_read: u64,
    /// The number of lookups that a filter answered without reading a block.
    pub spared: u64,
}

/// The size of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub tables: Vec<TableSize>,
    /// The bytes of all files on the disk; 0 for a store in memory.
    pub file_bytes: u64,
}

/// The size of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize {
    pub table: Table,
    pub rows: u64,
    /// The bytes of all keys and values as stored, without indexes and filters.
    pub bytes: u64,
}
