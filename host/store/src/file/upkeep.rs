//! Maintenance of the store of a stopped engine: verifying it, and compacting it so that no byte of
//! a deleted row is left.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::{CACHE_BYTES, Opened, open};
use crate::log;
use crate::tree;
use crate::{Identity, StoreError, Table};
use hailer_base::failpoint::Failpoint;

/// The number of rows between two progress steps.
const ROWS_A_STEP: u64 = 1 << 16;

/// A progress step of [`verify`] or [`compact`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `read` of `of` table files have been read.
    Files { read: u64, of: u64 },
    /// `read` rows of a table have been read.
    Rows { table: Table, read: u64 },
    /// The merge of all tables begins; it takes longest.
    Merge,
}

/// The result of verifying a store without damage.
#[derive(Clone, Debug)]
pub struct Verified {
    pub identity: Identity,
    /// The number of rows of each table.
    pub rows: Vec<(Table, u64)>,
    /// The number of commits that the log has and the tables do not have.
    pub in_log: u64,
}

/// The size of a store before and after compacting, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// Reads the whole store of a directory. It checks the checksum of every file, then that of every
/// row, including the rows that only the log has.
///
/// # Errors
/// When the store cannot be opened, or any part of it is damaged.
pub fn verify(directory: &Path, progress: &mut dyn FnMut(Step)) -> Result<Verified, StoreError> {
    let Opened { identity, tree, replayed: in_log, .. } = open(directory, CACHE_BYTES)?;
    tree.check_files(&mut |read, of| progress(Step::Files { read, of }))?;
    let snapshot = Arc::new(tree).snapshot();
    let mut rows = Vec::new();
    for table in Table::ALL {
        let mut read = 0;
        snapshot.all(table, &mut |_, _| {
            read += 1;
            if read % ROWS_A_STEP == 0 {
                progress(Step::Rows { table, read });
            }
            ControlFlow::Continue(())
        })?;
        progress(Step::Rows { table, read });
        rows.push((table, read));
    }
    Ok(Verified { identity, rows, in_log })
}

/// Merges all tables of a directory, and overwrites its log with zeros. Then no byte of a deleted
/// row is left.
///
/// # Errors
/// When the store cannot be opened or written, or is damaged.
pub fn compact(directory: &Path, progress: &mut dyn FnMut(Step)) -> Result<Compacted, StoreError> {
    let Opened { tree, log, .. } = open(directory, CACHE_BYTES)?;
    progress(Step::Merge);
    tree.seal_memory();
    tree.flush()?;
    let bytes_before = file_bytes(directory);
    Failpoint::DuringCompaction.pass();
    tree.compact_all()?;
    Failpoint::DuringCompaction.pass();
    // Dropping the tree deletes the files that it no longer needs.
    drop(tree);
    // The old records of the log may name an erased customer.
    log.clear()?;
    Ok(Compacted { bytes_before, bytes_after: file_bytes(directory) })
}

/// The size of the files of a store in bytes; 0 if there is no store.
#[must_use]
pub fn file_bytes(directory: &Path) -> u64 {
    let log = std::fs::metadata(directory.join(log::FILE_NAME)).map_or(0, |found| found.len());
    bytes_in(&directory.join(tree::DIRECTORY)) + log
}

fn bytes_in(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => found.len(),
        // A merge has deleted the file meanwhile.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
