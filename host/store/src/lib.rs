//! The durable store's lowest layer: ordered bytes in a few tables, changed by whole commits.
//!
//! It owns what a commit promises, the files and their refusals, and the check of every byte that is read back. It refuses
//! to know what a row means: customers, timers and the outbox are written on top.
//!
//! **What is read is what was committed, or an error (G9).** A broken store is never taken for an empty one, nor a lost
//! one for a first start.

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
pub use file::{Compacted, FileStore, Opening, Step, Verified, compact, file_bytes, is_there, verify};
pub use identity::Identity;
pub use log::BYTES as LOG_BYTES;
pub use memory::MemoryStore;

/// The histogram of the seconds that writing memory to tables takes.
pub const APPLY_SECONDS: &str = "hailer_apply_seconds";

/// The tables. Every key begins with its partition (a byte below 64), except `Meta`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    Meta,
    Customers,
    Timers,
    Seen,
    Outbox,
    Journal,
    Trail,
    Failures,
    Bodies,
    Redirects,
}

impl Table {
    /// In the order in which their numbers stand in checksums, so one may be appended, and none moved.
    pub const ALL: [Table; 10] = [
        Table::Meta,
        Table::Customers,
        Table::Timers,
        Table::Seen,
        Table::Outbox,
        Table::Journal,
        Table::Trail,
        Table::Failures,
        Table::Bodies,
        Table::Redirects,
    ];

    /// What it is called in the file and in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Customers => "customers",
            Table::Timers => "timers",
            Table::Seen => "seen",
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

/// Ordered bytes that are changed by commits.
pub trait Store: Send + Sync + Debug {
    /// Which store this is.
    fn identity(&self) -> &Identity;

    /// Everything that was committed before. It does not wait for a commit, nor a commit for it. The space of what it still sees can't be given back, so
    /// let go of it soon.
    ///
    /// # Errors
    /// When the view can't be made.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// All or nothing, durable when it returns, and in every later snapshot.
    ///
    /// # Errors
    /// Changes that can't be rows are refused, and nothing has happened. After any other error every later commit is refused,
    /// and what was committed before can still be read. Close the store then: whether the failed commit is there is known
    /// when it has been opened again.
    fn commit(&self, changes: Changes) -> Result<(), StoreError>;

    /// Sets what adds to each commit, from now on.
    fn set_upkeep(&self, upkeep: Box<dyn Upkeep>);

    /// How much is in it. Walks through every table, so it is for people, not for a limit to be checked with.
    ///
    /// # Errors
    /// When a table can't be read.
    fn sizes(&self) -> Result<Sizes, StoreError>;

    /// How it stands inside, for metrics. It takes no time.
    fn statistics(&self) -> Statistics {
        Statistics::default()
    }

    /// Copies the view as of the last commit to a new directory, which is there whole or not at all, while commits go on.
    ///
    /// # Errors
    /// When something is at `to`, it can't be written, or a row is damaged.
    fn backup(&self, to: &Path) -> Result<(), StoreError>;
}

/// Adds to each commit what must not wait for ever. It sees the store as it is before the commit.
pub trait Upkeep: Send + Debug {
    /// # Errors
    /// When a row can't be read.
    fn add(&mut self, before: &dyn Snapshot, changes: &mut Changes) -> Result<(), StoreError>;
}

/// Everything as of one commit.
pub trait Snapshot: Send {
    /// The value of a key.
    ///
    /// # Errors
    /// When the row is damaged, or can't be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Shows the rows from `from` to before `to`, in the order of their keys, until `visit` has seen enough.
    ///
    /// # Errors
    /// When a row is damaged, or can't be read.
    fn range(&self, table: Table, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// The row with the greatest key from `from` to before `to`.
    ///
    /// # Errors
    /// When the row is damaged, or can't be read.
    fn last(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Row>, StoreError>;
}

/// What is shown a key and its value, and says whether it has seen enough.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// How a store stands inside; all 0 for one in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Rows in memory, in bytes: those that are in no table yet, and those that were written to tables last.
    pub memory_bytes: u64,
    pub tables: u64,
    /// Runs of tables that wait to be merged.
    pub runs: u64,
    /// Blocks that were needed, and how many of them were read from the disk.
    pub blocks: u64,
    pub blocks_read: u64,
    /// Looks for a key that a filter spared.
    pub spared: u64,
}

/// How much is in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub tables: Vec<TableSize>,
    /// What the file takes on the disk; 0 for a store in memory.
    pub file_bytes: u64,
}

/// How much is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize {
    pub table: Table,
    pub rows: u64,
    /// Of keys and values, without what it takes to find them.
    pub bytes: u64,
}
