//! The store in a directory: tables in a file (redb), and before them a write-ahead log.
//!
//! A commit is durable once the log has it. The tables get many commits at once, a little later, on a thread of their own: their pages are written
//! once for all of these, and a row that was put and taken away meanwhile never reaches them. **What is in the log is brought over before anything
//! else is done with a store that was not closed (G9)**, and a store that was closed needs no log.

mod applier;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::applier::Applier;
use super::log::{Left, Log, Nonce};
use super::redb::{FILE_NAME, LogMark, Opening, RedbStore, Step, Verified};
use super::upgrade::{refuse_older, upgrade};
use super::{Changes, Identity, Place, Sizes, Snapshot, Store, StoreError, Upkeep, log, redb};

/// A store in a directory.
pub struct FileStore {
    tables: Arc<RedbStore>,
    applier: Applier,
    writer: Mutex<Writer>,
    directory: Box<Path>,
}

/// Who writes the log.
#[derive(Debug)]
struct Writer {
    /// None until something is appended: whoever only reads changes nothing.
    log: Option<Log>,
    /// The number of the last commit that was appended.
    last: u64,
    /// Why nothing more may be appended.
    closed: Option<String>,
}

impl FileStore {
    /// Opens the store of a directory, brings over what its log has and its tables lack, and upgrades what an older version wrote, if it may.
    ///
    /// # Errors
    /// When there is none and none may be made, or it can't be used; see [`StoreError`].
    pub fn open(directory: &Path, opening: Opening<'_>) -> Result<FileStore, StoreError> {
        let mut tables = RedbStore::open(directory, opening)?;
        refuse_older(&tables, opening.upgrade)?;
        bring_over(&tables, directory)?;
        upgrade(&mut tables)?;
        let tables = Arc::new(tables);
        let writer = Mutex::new(Writer { log: None, last: 0, closed: None });
        Ok(FileStore { applier: Applier::start(Arc::clone(&tables)), tables, writer, directory: directory.into() })
    }

    /// A number that no log had before.
    fn nonce() -> Result<Nonce, StoreError> {
        let mut nonce = [0; 8];
        let unreadable = |error| StoreError::Io { path: "/dev/urandom".into(), error };
        File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut nonce)).map_err(unreadable)?;
        Ok(Nonce::from_le_bytes(nonce))
    }

    fn write(&self, writer: &mut Writer, changes: Changes) -> Result<Place, StoreError> {
        let log = match &mut writer.log {
            Some(log) => log,
            None => {
                let nonce = Self::nonce()?;
                let log = Log::begin(&self.directory, nonce)?;
                // From here on the tables are not whole without the log.
                self.tables.commit_marked(&Changes::new(), Some(LogMark { nonce, shown: 0 }))?;
                self.applier.begin(nonce);
                writer.log.insert(log)
            }
        };
        let number = writer.last + 1;
        if log.append(number, &changes, &|number| self.applier.wait(number))? {
            writer.last = number;
            self.applier.add(number, changes)?;
        } else {
            // More than the log can hold goes to the tables at once, behind everything before it.
            self.applier.wait(writer.last)?;
            self.tables.commit_marked(&changes, Some(LogMark { nonce: log.nonce(), shown: writer.last }))?;
        }
        Ok(Place(writer.last))
    }
}

impl Store for FileStore {
    fn identity(&self) -> &Identity {
        self.tables.identity()
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.catch_up()?;
        self.tables.snapshot()
    }

    fn recent(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.tables.snapshot()
    }

    fn commit(&self, changes: &Changes) -> Result<(), StoreError> {
        let writer = lock(&self.writer);
        self.applier.wait(writer.last)?;
        self.tables.commit(changes)
    }

    fn append(&self, changes: Changes) -> Result<Place, StoreError> {
        changes.check()?;
        let mut writer = lock(&self.writer);
        if let Some(reason) = &writer.closed {
            let file = self.directory.join(FILE_NAME);
            return Err(StoreError::Closed { file, reason: reason.clone() });
        }
        let appended = self.write(&mut writer, changes);
        if let Err(error) = &appended {
            writer.closed = Some(format!("a commit failed: {error}"));
        }
        appended
    }

    fn shown(&self) -> Result<Place, StoreError> {
        self.applier.shown().map(Place)
    }

    fn hasten(&self) {
        self.applier.hasten();
    }

    fn catch_up(&self) -> Result<(), StoreError> {
        self.applier.wait_for_all()
    }

    fn set_upkeep(&self, upkeep: Box<dyn Upkeep>) {
        self.applier.set_upkeep(upkeep);
    }

    fn sizes(&self) -> Result<Sizes, StoreError> {
        self.catch_up()?;
        self.tables.sizes()
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.catch_up()?;
        self.tables.backup(to)
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        let is_whole = self.applier.finish();
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        // A store that failed is not closed: the next start finds what the log has.
        if is_whole
            && writer.closed.is_none()
            && writer.log.is_some()
            && let Err(error) = self.tables.commit_marked(&Changes::new(), None)
        {
            tracing::warn!(%error, "the store could not be closed; the next start reads its log");
        }
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FileStore").field("tables", &self.tables).finish_non_exhaustive()
    }
}

/// Reads all of the store of a directory: every page and row of its tables, and what its log has beside them.
///
/// # Errors
/// When it can't be opened, or anything in it is damaged.
pub fn verify(directory: &Path, progress: &mut dyn FnMut(Step)) -> Result<Verified, StoreError> {
    let mut verified = redb::verify(directory, progress)?;
    if let Some(LogMark { nonce, shown }) = verified.log_mark {
        verified.in_log = Log::read(directory, nonce, shown)?.last - shown;
    }
    Ok(verified)
}

/// Gives what the tables of a directory do not need back to the disk, after bringing over what its log has. The rows are copied to a
/// new file, if there is room, and the log is overwritten with zeros: so nothing is left of rows that were removed.
///
/// # Errors
/// When it can't be opened or written, or is damaged.
pub fn compact(directory: &Path, progress: &mut dyn FnMut(Step)) -> Result<redb::Compacted, StoreError> {
    progress(Step::Pages);
    let tables = RedbStore::open_any(directory, Opening::of("").cache_bytes, 0)?;
    bring_over(&tables, directory)?;
    drop(tables);
    let bytes_before = file_bytes_of_tables(directory);
    let is_rewritten = redb::rewrite(directory)?;
    let compacted = redb::compact(directory, progress)?;
    // The tables need nothing of it, and what it still has may name a customer who was erased.
    log::clear(directory)?;
    Ok(redb::Compacted { bytes_before, is_rewritten, ..compacted })
}

/// The size of the files of a store in bytes; 0 if there are none.
#[must_use]
pub fn file_bytes(directory: &Path) -> u64 {
    let log = std::fs::metadata(directory.join(log::FILE_NAME)).map_or(0, |found| found.len());
    file_bytes_of_tables(directory) + log
}

fn file_bytes_of_tables(directory: &Path) -> u64 {
    std::fs::metadata(directory.join(FILE_NAME)).map_or(0, |found| found.len())
}

/// Brings to the tables what their log has and they lack; from then on they need none.
fn bring_over(tables: &RedbStore, directory: &Path) -> Result<(), StoreError> {
    let Some(LogMark { nonce, shown }) = tables.log_mark()? else { return Ok(()) };
    let Left { changes, last } = Log::read(directory, nonce, shown)?;
    let commits = last - shown;
    if commits > 0 {
        tracing::info!(commits, "the store was not closed: commits of its log are brought to its tables");
    }
    tables.commit_marked(&Changes::united(changes), None)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under the writer's lock leaves a log that is read again before anything is done with it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
