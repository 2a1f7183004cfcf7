//! The store in a directory: a write-ahead log, and a tree with all rows.
//!
//! A commit is durable when its record is in the log. Then its rows go to the tree's memory, and
//! every later snapshot shows them. When a half of the log is full, a thread flushes the memory to
//! tables while commits fill the other half. Then the first half is used again. **Each open replays
//! the commits that the log has and the tables do not have (G9).**
//!
//! **After a failed commit the store accepts no other commit (G9).** Only reading the log again
//! shows whether the failed commit is in it. Until then snapshots show the commits before it.

mod flush;
mod new;
#[cfg(test)]
mod tests;
mod upkeep;

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::flush::Flusher;
pub(super) use self::new::{END, copy, make};
pub use self::upkeep::{Compacted, Step, Verified, compact, file_bytes, verify};
use super::identity::IDENTITY_KEY;
use super::log::{self, Log, LogFile};
use super::tree::{self, Tree};
use super::{Changes, Identity, Sizes, Snapshot, Statistics, Store, StoreError, Table, Upkeep};

/// The options for opening a store.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The environment of the store. It never changes, and a store of another one is refused.
    pub environment: &'a str,
    /// Whether a missing store is made. If not, a missing store is an error.
    pub create: bool,
    /// The size of the block cache in bytes. Rows that are not flushed yet come on top.
    pub cache_bytes: usize,
    /// The size in bytes of the log of a new store. It also bounds the rows in memory that are not
    /// flushed yet.
    pub log_bytes: usize,
}

impl<'a> Opening<'a> {
    #[must_use]
    pub fn of(environment: &'a str) -> Opening<'a> {
        Opening { environment, create: false, cache_bytes: CACHE_BYTES, log_bytes: log::BYTES }
    }
}

const CACHE_BYTES: usize = 64 << 20;

/// A store in a directory.
pub struct FileStore {
    directory: Box<Path>,
    identity: Identity,
    tree: Arc<Tree>,
    flusher: Flusher,
    writer: Mutex<Writer>,
}

/// The part of the store that commits use, one at a time.
struct Writer {
    log: Log,
    /// Whether memory has replayed rows. The first commit requests their flush before it inserts
    /// its own rows.
    has_replayed: bool,
    upkeep: Option<Box<dyn Upkeep>>,
    /// The reason why the store accepts no more commits; `None` while it does.
    closed: Option<String>,
}

/// Whether a directory has a store, damaged or not.
#[must_use]
pub fn is_there(directory: &Path) -> bool {
    [tree::DIRECTORY, log::FILE_NAME]
        .iter()
        .any(|name| directory.join(name).symlink_metadata().is_ok())
}

impl FileStore {
    /// Opens the store of a directory.
    ///
    /// # Errors
    /// When there is no store and none may be made, or the store cannot be used; see
    /// [`StoreError`].
    pub fn open(directory: &Path, opening: Opening<'_>) -> Result<FileStore, StoreError> {
        if opening.create && new::has_no_store(directory)? {
            new::create(directory, opening.environment, opening.log_bytes)?;
        }
        let Opened { identity, tree, log, replayed } = open(directory, opening.cache_bytes)?;
        if identity.environment != opening.environment {
            let (found, wanted) = (identity.environment, opening.environment.to_owned());
            return Err(StoreError::Environment { file: directory.to_owned(), found, wanted });
        }
        if replayed > 0 {
            tracing::info!(commits = replayed, "replayed commits from the write-ahead log");
        }
        let tree = Arc::new(tree);
        let written = log.last() - replayed;
        let writer = Writer { log, has_replayed: replayed > 0, upkeep: None, closed: None };
        let flusher = Flusher::start(Arc::clone(&tree), written);
        Ok(FileStore {
            directory: directory.into(),
            identity,
            tree,
            flusher,
            writer: Mutex::new(writer),
        })
    }

    fn write(&self, writer: &mut Writer, changes: &Changes) -> Result<(), StoreError> {
        if std::mem::take(&mut writer.has_replayed) {
            self.flusher.begin(writer.log.last());
        }
        let last = writer.log.last();
        let make_room = |number| {
            self.flusher.begin(last);
            self.flusher.wait(number)
        };
        if writer.log.append(last + 1, changes, &make_room)? {
            self.tree.insert(last + 1, writer.log.rows());
            return Ok(());
        }
        // The commit is larger than a half of the log, so its rows go to tables directly.
        // Everything before it is flushed first. One flush then makes all of its rows durable, or
        // none.
        self.flusher.begin(last);
        self.flusher.wait(last)?;
        let hidden = self.tree.insert_hidden(last, writer.log.rows());
        self.flusher.flush_now()?;
        self.tree.show(hidden);
        Ok(())
    }
}

impl Store for FileStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.tree.snapshot()))
    }

    fn commit(&self, mut changes: Changes) -> Result<(), StoreError> {
        changes.check()?;
        let mut writer = lock(&self.writer);
        if let Some(reason) = &writer.closed {
            return Err(StoreError::Closed {
                file: self.directory.to_path_buf(),
                reason: reason.clone(),
            });
        }
        if let Some(upkeep) = &mut writer.upkeep {
            upkeep.add(&self.tree.snapshot(), &mut changes)?;
        }
        if changes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.write(&mut writer, &changes) {
            writer.closed = Some(format!("a commit failed: {error}"));
            return Err(error);
        }
        Ok(())
    }

    fn set_upkeep(&self, upkeep: Box<dyn Upkeep>) {
        lock(&self.writer).upkeep = Some(upkeep);
    }

    fn sizes(&self) -> Result<Sizes, StoreError> {
        Ok(Sizes { tables: self.tree.snapshot().sizes()?, file_bytes: file_bytes(&self.directory) })
    }

    fn statistics(&self) -> Statistics {
        self.tree.statistics()
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        copy(&self.identity, &self.tree.snapshot(), to)
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.flusher.end();
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &writer.closed {
            tracing::warn!(
                directory = %self.directory.display(),
                reason,
                "the store accepted no more commits after an error; the next start replays the log"
            );
        }
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FileStore")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// The parts of an open store.
struct Opened {
    identity: Identity,
    tree: Tree,
    log: Log,
    /// The number of commits that only the log had.
    replayed: u64,
}

/// Opens the store of a directory, whatever its environment is.
fn open(directory: &Path, cache_bytes: usize) -> Result<Opened, StoreError> {
    if new::has_no_store(directory)? {
        return Err(StoreError::Missing { directory: directory.to_owned() });
    }
    let file = LogFile::lock(directory)?;
    new::remove_unfinished(directory);
    let path = directory.join(tree::DIRECTORY);
    make_private(&path)?;
    let tree = Arc::new(Tree::open(&path, cache_bytes)?);
    let identity = identity(&tree, &path)?;
    let flushed = tree.last_commit()?;
    let mut replayed = 0;
    let log = file.read(identity.nonce(), flushed, &mut |number, rows| {
        replayed += 1;
        tree.insert(number, rows);
        Ok(())
    })?;
    let tree = Arc::into_inner(tree).expect("no snapshot of the tree is open");
    Ok(Opened { identity, tree, log, replayed })
}

/// Removes the permissions of other users, because a store has personal data and a copy of it often
/// gets too many.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let unusable = |error| StoreError::Io { path: path.to_owned(), error };
    let mut rights = fs::metadata(path).map_err(unusable)?.permissions();
    if rights.mode() & 0o077 != 0 {
        tracing::warn!(
            directory = %path.display(),
            "other users had permissions for the store; they are removed"
        );
        rights.set_mode(rights.mode() & !0o077);
        fs::set_permissions(path, rights).map_err(unusable)?;
    }
    Ok(())
}

fn identity(tree: &Arc<Tree>, path: &Path) -> Result<Identity, StoreError> {
    let row = tree.snapshot().get(Table::Meta, IDENTITY_KEY)?;
    let reason = "it has no identity row".to_owned();
    let row = row.ok_or_else(|| StoreError::NotAStore { file: path.to_owned(), reason })?;
    Identity::read(&row, path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // If a commit panics under this lock, the next open reads the log again and finds its state.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directory that contains a path.
fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
