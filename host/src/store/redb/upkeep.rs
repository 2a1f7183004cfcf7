//! What is done to the store of a stopped engine: reading all of it, and giving space back to the disk.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::new::{REWRITTEN, backup, remove_unfinished};
use super::open::{Opened, failed, guarded, open};
use super::{FILE_NAME, LogMark};
use crate::failpoint::Failpoint;
use crate::store::identity::LOG_KEY;
use crate::store::{Identity, StoreError, Table};

const CACHE_BYTES: usize = 64 << 20;
/// How many rows are read between two steps.
const ROWS_A_STEP: u64 = 1 << 16;

/// How far something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The pages of the file are being checked; this takes longest.
    Pages,
    /// Rows of a table have been read.
    Rows { table: Table, read: u64, of: u64 },
    /// One more pass over the file, which has this size now.
    Pass { file_bytes: u64 },
}

/// A store all of which could be read.
#[derive(Clone, Debug)]
pub struct Verified {
    pub identity: Identity,
    pub rows: Vec<(Table, u64)>,
    /// Commits that the log has and the tables do not: the next start brings them over.
    pub in_log: u64,
    pub(in crate::store) log_mark: Option<LogMark>,
}

/// What compacting brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// Its rows were copied to a new file first. If not, as the disk has no room for that, free parts of the file may still hold rows that were removed.
    pub is_rewritten: bool,
}

/// Reads all of the store of a directory: the checksum of every page, then that of every row.
///
/// # Errors
/// When it can't be opened, or anything in it is damaged.
pub(in crate::store) fn verify(directory: &Path, progress: &mut dyn FnMut(Step)) -> Result<Verified, StoreError> {
    progress(Step::Pages);
    // The whole of it is kept, since a view can't be read after its database has been closed.
    let opened = open(&directory.join(FILE_NAME), CACHE_BYTES, u64::MAX)?;
    let view = &opened.view;
    let mut rows = Vec::new();
    for table in Table::ALL {
        let of = view.rows(table)?;
        let mut read = 0;
        view.all(table, &mut |_, _| {
            read += 1;
            if read % ROWS_A_STEP == 0 {
                progress(Step::Rows { table, read, of });
            }
            ControlFlow::Continue(())
        })?;
        progress(Step::Rows { table, read, of });
        if read != of {
            let reason = format!("table `{}` has {read} rows, and counts {of}", table.name());
            return Err(StoreError::Damaged { file: opened.file.to_path_buf(), reason });
        }
        rows.push((table, read));
    }
    let log_mark = view.value(Table::Meta, LOG_KEY)?.map(|row| LogMark::read(&row, &opened.file)).transpose()?;
    Ok(Verified { identity: opened.identity, rows, in_log: 0, log_mark })
}

/// Gives what the file of a directory does not need back to the disk, after checking its pages.
///
/// # Errors
/// When it can't be opened or written, or is damaged.
pub(in crate::store) fn compact(directory: &Path, progress: &mut dyn FnMut(Step)) -> Result<Compacted, StoreError> {
    let path = directory.join(FILE_NAME);
    let file_bytes = || {
        let found = std::fs::metadata(&path);
        found.map(|found| found.len()).map_err(|error| StoreError::Io { path: path.clone(), error })
    };
    progress(Step::Pages);
    let Opened { file, view, failure, mut database, .. } = open(&path, CACHE_BYTES, u64::MAX)?;
    drop(view);
    let bytes_before = file_bytes()?;
    loop {
        let more = guarded(&file, || database.compact().map_err(|error| failed(&file, error.into())));
        failure.check(&file)?;
        Failpoint::DuringCompaction.pass();
        if !more? {
            break;
        }
        progress(Step::Pass { file_bytes: file_bytes()? });
    }
    let closed = guarded(&file, || database.close().map_err(|error| failed(&file, error.into())));
    failure.check(&file)?;
    closed?;
    Ok(Compacted { bytes_before, bytes_after: file_bytes()?, is_rewritten: false })
}

/// Puts a copy of the rows in the place of the file of a directory, after checking its pages: free parts of a file keep what was there. False, and nothing has
/// changed, if there is no room for the copy.
///
/// # Errors
/// When it can't be opened or written, or is damaged.
pub(in crate::store) fn rewrite(directory: &Path) -> Result<bool, StoreError> {
    let (path, copy) = (directory.join(FILE_NAME), directory.join(REWRITTEN));
    let unusable = |error| StoreError::Io { path: path.clone(), error };
    // All of it is kept: a view can't be read after its database has been closed.
    let Opened { view, database, .. } = open(&path, CACHE_BYTES, u64::MAX)?;
    let view = Arc::new(view);
    // Under the file's lock, so one that is there is left by a crash.
    remove_unfinished(directory);
    match backup(&view, &copy) {
        Ok(()) => {}
        Err(StoreError::Full { .. }) => {
            remove_unfinished(directory);
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    std::fs::rename(&copy, &path).map_err(unusable)?;
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(unusable)?;
    drop((view, database));
    Ok(true)
}
