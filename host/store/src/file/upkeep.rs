//! What is done to the store of a stopped engine: reading all of it, and leaving nothing of rows that were removed.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::{CACHE_BYTES, Opened, open};
use crate::log;
use crate::tree;
use crate::{Identity, StoreError, Table};
use hailer_base::failpoint::Failpoint;

/// How many rows are read between two steps.
const ROWS_A_STEP: u64 = 1 << 16;

/// How far something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Files of tables have been read.
    Files { read: u64, of: u64 },
    /// Rows of a table have been read.
    Rows { table: Table, read: u64 },
    /// All tables are being merged; this takes longest.
    Merge,
}

/// A store all of which could be read.
#[derive(Clone, Debug)]
pub struct Verified {
    pub identity: Identity,
    pub rows: Vec<(Table, u64)>,
    /// Commits that the log has and the tables do not.
    pub in_log: u64,
}

/// What compacting brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// Reads all of the store of a directory: the checksum of every file, then that of every row, those of the log included.
///
/// # Errors
/// When it can't be opened, or anything in it is damaged.
pub fn verify(directory: &Path, progress: &mut dyn FnMut(Step)) -> Result<Verified, StoreError> {
    let Opened { identity, tree, brought_back: in_log, .. } = open(directory, CACHE_BYTES)?;
    tree.check_files(&mut |read, of| progress(Step::Files { read, of }))?;
    let view = Arc::new(tree).view();
    let mut rows = Vec::new();
    for table in Table::ALL {
        let mut read = 0;
        view.all(table, &mut |_, _| {
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

/// Merges all tables of a directory, and overwrites its log with zeros: so nothing is left of rows that were removed.
///
/// # Errors
/// When it can't be opened or written, or is damaged.
pub fn compact(directory: &Path, progress: &mut dyn FnMut(Step)) -> Result<Compacted, StoreError> {
    let Opened { tree, log, .. } = open(directory, CACHE_BYTES)?;
    progress(Step::Merge);
    tree.seal_memory();
    tree.write_out()?;
    let bytes_before = file_bytes(directory);
    Failpoint::DuringCompaction.pass();
    tree.compact_all()?;
    Failpoint::DuringCompaction.pass();
    // Ended first, so that the files which it no longer needs are gone.
    drop(tree);
    // What the log still has may name a customer who was erased.
    log.clear()?;
    Ok(Compacted { bytes_before, bytes_after: file_bytes(directory) })
}

/// The size of the files of a store in bytes; 0 if there are none.
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
        // It was merged meanwhile.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
