//! The tables in a file: redb, opened by one process at a time, and every way in which it refuses.
//!
//! **After a commit that failed there is no other (G9).** Whether the failed one is on the disk is only known when the file
//! has been opened again. Until then snapshots show what was committed before.
//!
//! Commits are in two phases and write down which pages are free ("quick repair"): that takes a second sync, up to 4 ms, and
//! buys a start in milliseconds after a crash, and that a damaged last commit is an error: with one phase redb takes it for
//! torn and goes back to the one before.

mod disk;
mod header;
mod new;
mod open;
mod upkeep;
mod view;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redb::{Database, TableDefinition, WriteTransaction};

use self::disk::Failure;
pub(super) use self::disk::Pace;
use self::open::{Opened, failed, guarded, open};
use self::view::View;
use super::checksum::seal;
use super::identity::{IDENTITY_KEY, LOG_KEY};
use super::log::Nonce;
use super::{Changes, Identity, Sizes, Snapshot, Store, StoreError, Table, Upkeep};
use crate::failpoint::Failpoint;

pub(super) use self::new::backup;
pub use self::upkeep::{Compacted, Step, Verified};
pub(super) use self::upkeep::{compact, rewrite, verify};

/// The store's file in its directory.
pub const FILE_NAME: &str = "hailer.redb";

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// A store belongs to one environment for ever.
    pub environment: &'a str,
    /// Makes a store if there is none. Without it, none is an error.
    pub create: bool,
    /// What may be kept of the file in memory.
    pub cache_bytes: usize,
    /// A file of up to so many bytes is checked page by page before it is used (measured: 300 to 800 MB/s). A larger one
    /// is trusted: a damaged value is still an error when it is read, but a damaged key may look like none, until
    /// `verify`.
    pub check_bytes_max: u64,
    /// Brings a store that an older version wrote to the format of this one, from which there is no way back. Without it, one is an error.
    pub upgrade: bool,
}

impl<'a> Opening<'a> {
    #[must_use]
    pub fn of(environment: &'a str) -> Opening<'a> {
        Opening { environment, create: false, cache_bytes: 64 << 20, check_bytes_max: 256 << 20, upgrade: false }
    }
}

/// The store in a directory.
pub struct RedbStore {
    file: Arc<Path>,
    identity: Identity,
    view: Mutex<Arc<View>>,
    /// Held by whoever commits; says why nobody may any more.
    closed: Mutex<Option<String>>,
    failure: Arc<Failure>,
    pace: Arc<Pace>,
    database: Database,
}

/// What the tables say of their log: which it is, and up to which of its commits they show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogMark {
    pub(super) nonce: Nonce,
    pub(super) shown: u64,
}

impl LogMark {
    fn to_bytes(self) -> Vec<u8> {
        [self.nonce.to_le_bytes(), self.shown.to_le_bytes()].concat()
    }

    fn read(bytes: &[u8], file: &Path) -> Result<LogMark, StoreError> {
        let (parts, []) = bytes.as_chunks::<8>() else { return Err(Self::unreadable(file)) };
        let [nonce, shown] = parts else { return Err(Self::unreadable(file)) };
        Ok(LogMark { nonce: u64::from_le_bytes(*nonce), shown: u64::from_le_bytes(*shown) })
    }

    fn unreadable(file: &Path) -> StoreError {
        let reason = "the row that says which log it needs can't be read".to_owned();
        StoreError::Damaged { file: file.to_owned(), reason }
    }
}

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

fn definition(table: Table) -> Definition {
    TableDefinition::new(table.name())
}

impl RedbStore {
    /// Opens the store of a directory.
    ///
    /// # Errors
    /// When there is none and none may be made, or it can't be used; see [`StoreError`].
    pub fn open(directory: &Path, opening: Opening<'_>) -> Result<RedbStore, StoreError> {
        let file = directory.join(FILE_NAME);
        match fs::symlink_metadata(&file) {
            Ok(_) => {}
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(StoreError::Io { path: file, error }),
            Err(_) if !opening.create => return Err(StoreError::Missing { directory: directory.to_owned() }),
            Err(_) => create(directory, &file, opening.environment)?,
        }
        let store = Self::open_any(directory, opening.cache_bytes, opening.check_bytes_max)?;
        if store.identity.environment != opening.environment {
            let (found, wanted) = (store.identity.environment.clone(), opening.environment.to_owned());
            return Err(StoreError::Environment { file, found, wanted });
        }
        Ok(store)
    }

    /// Opens the store of a directory, of whatever environment it is.
    pub(super) fn open_any(
        directory: &Path,
        cache_bytes: usize,
        check_bytes_max: u64,
    ) -> Result<RedbStore, StoreError> {
        let opened = open(&directory.join(FILE_NAME), cache_bytes, check_bytes_max)?;
        // Under the file's lock, so nobody is still writing them.
        new::remove_unfinished(directory);
        let Opened { file, identity, view, failure, pace, database } = opened;
        let view = Mutex::new(Arc::new(view));
        Ok(RedbStore { file, identity, view, closed: Mutex::new(None), failure, pace, database })
    }

    /// Which log the tables are not whole without; none if the store was closed.
    pub(super) fn log_mark(&self) -> Result<Option<LogMark>, StoreError> {
        let row = self.view().value(Table::Meta, LOG_KEY)?;
        row.map(|row| LogMark::read(&row, &self.file)).transpose()
    }

    /// Commits changes, and from then on the tables need this log, or none.
    pub(super) fn commit_marked(&self, changes: &Changes, mark: Option<LogMark>) -> Result<(), StoreError> {
        changes.check()?;
        let mut rows = Changes::new();
        match mark {
            Some(mark) => rows.put(Table::Meta, LOG_KEY, mark.to_bytes()),
            None => rows.delete(Table::Meta, LOG_KEY),
        }
        self.commit_checked(changes, &rows)
    }

    /// Says of which format the tables are from now on.
    pub(super) fn commit_format(&mut self, format: u32) -> Result<(), StoreError> {
        let identity = self.identity.of_format(format);
        let mut rows = Changes::new();
        rows.put(Table::Meta, IDENTITY_KEY, identity.to_bytes());
        self.commit_checked(&Changes::new(), &rows)?;
        self.identity = identity;
        Ok(())
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// How its commits are brought to the disk.
    pub(super) fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    fn view(&self) -> Arc<View> {
        lock(&self.view).clone()
    }

    /// Has every further write fail.
    #[cfg(test)]
    pub(super) fn stop_writing(&self, reason: &str) {
        self.failure.stop(reason);
    }

    fn commit_checked(&self, changes: &Changes, more: &Changes) -> Result<(), StoreError> {
        let mut closed = lock(&self.closed);
        if let Some(reason) = &*closed {
            return Err(StoreError::Closed { file: self.file.to_path_buf(), reason: reason.clone() });
        }
        match guarded(&self.file, || self.write(changes, more)) {
            Ok(view) => {
                *lock(&self.view) = Arc::new(view);
                Ok(())
            }
            Err(error) => {
                self.failure.stop(&error.to_string());
                *closed = Some(format!("a commit failed: {error}"));
                Err(error)
            }
        }
    }

    fn write(&self, changes: &Changes, more: &Changes) -> Result<View, StoreError> {
        let refused = |error| failed(&self.file, error);
        let mut transaction = self.database.begin_write().map_err(|error| refused(error.into()))?;
        transaction.set_quick_repair(true);
        for changes in [changes, more] {
            for table in Table::ALL {
                if changes.of(table).len() > 0 {
                    apply(&transaction, table, changes).map_err(refused)?;
                }
            }
        }
        Failpoint::DuringApply.pass();
        transaction.commit().map_err(|error| refused(error.into()))?;
        self.failure.check(&self.file)?;
        View::of(&self.database, &self.file)
    }
}

fn create(directory: &Path, file: &Path, environment: &str) -> Result<(), StoreError> {
    let unusable = |error| StoreError::Io { path: directory.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // Or the directory itself may be gone after a loss of power.
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(unusable)?;
    }
    match new::create(file, environment) {
        // Somebody else was faster; what they made is as good.
        Err(StoreError::Exists { .. }) => Ok(()),
        made => made,
    }
}

fn apply(transaction: &WriteTransaction, table: Table, changes: &Changes) -> Result<(), ::redb::Error> {
    let mut rows = transaction.open_table(definition(table))?;
    let mut sealed = Vec::new();
    for (key, value) in changes.of(table) {
        match value {
            Some(value) => {
                seal(table, key, value, &mut sealed);
                rows.insert(key, sealed.as_slice())?;
            }
            None => {
                rows.remove(key)?;
            }
        }
    }
    Ok(())
}

impl Store for RedbStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.view()))
    }

    fn commit(&self, changes: &Changes) -> Result<(), StoreError> {
        changes.check()?;
        if changes.is_empty() && lock(&self.closed).is_none() {
            return Ok(());
        }
        self.commit_checked(changes, &Changes::new())
    }

    fn set_upkeep(&self, _: Box<dyn Upkeep>) {
        // Nothing is appended to the tables alone.
    }

    fn sizes(&self) -> Result<Sizes, StoreError> {
        let file_bytes =
            fs::metadata(&self.file).map_err(|error| StoreError::Io { path: self.file.to_path_buf(), error })?.len();
        Ok(Sizes { tables: self.view().sizes()?, file_bytes })
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        backup(&self.view(), to)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is replaced as a whole, so a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedbStore").field("file", &self.file).field("identity", &self.identity).finish()
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        if let Some(reason) = &*lock(&self.closed) {
            tracing::warn!(file = %self.file.display(), reason, "the store was closed after this, and is repaired when it is opened");
        }
    }
}
