//! The store in a directory: a write-ahead log, and the tree that shows each commit as soon as the log has it.
//!
//! A commit is durable once the log has it, and shown once it is in the tree's memory. When a half of the log is full, what is in memory is written
//! to tables by a thread, while the other half is filled; then the half is written again. **What the log has and the tables lack is brought back to
//! memory whenever the store is opened (G9).**
//!
//! **After a commit that failed there is no other (G9).** Whether the failed one is in the log is only known when that has been read again. Until then
//! snapshots show what was committed before.

mod new;
#[cfg(test)]
mod tests;
mod upkeep;
mod writing_out;

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use self::new::{END, copy, make};
pub use self::upkeep::{Compacted, Step, Verified, compact, file_bytes, verify};
use self::writing_out::WritingOut;
use super::identity::IDENTITY_KEY;
use super::log::{self, Log, LogFile};
use super::tree::{self, Tree};
use super::{Changes, Identity, Sizes, Snapshot, Statistics, Store, StoreError, Table, Upkeep};

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// A store belongs to one environment for ever.
    pub environment: &'a str,
    /// Makes a store if there is none. Without it, none is an error.
    pub create: bool,
    /// What may be kept of the tables in memory, beside what was not written to them yet.
    pub cache_bytes: usize,
    /// The size of the log of a store that is made. As much may be in memory that was not written to tables yet.
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
    writing_out: WritingOut,
    writer: Mutex<Writer>,
}

/// The side that commits.
struct Writer {
    log: Log,
    /// Some of what is in memory was there when the store was opened, and is written out before anything is added.
    is_filled: bool,
    upkeep: Option<Box<dyn Upkeep>>,
    /// Why nothing more may be committed.
    closed: Option<String>,
}

/// Whether a directory has a store, sound or not.
#[must_use]
pub fn is_there(directory: &Path) -> bool {
    [tree::DIRECTORY, log::FILE_NAME, new::OLDER_FILE]
        .iter()
        .any(|name| directory.join(name).symlink_metadata().is_ok())
}

impl FileStore {
    /// Opens the store of a directory.
    ///
    /// # Errors
    /// When there is none and none may be made, or it can't be used; see [`StoreError`].
    pub fn open(directory: &Path, opening: Opening<'_>) -> Result<FileStore, StoreError> {
        if opening.create && new::has_nothing(directory)? {
            new::create(directory, opening.environment, opening.log_bytes)?;
        }
        let Opened { identity, tree, log, brought_back } = open(directory, opening.cache_bytes)?;
        if identity.environment != opening.environment {
            let (found, wanted) = (identity.environment, opening.environment.to_owned());
            return Err(StoreError::Environment { file: directory.to_owned(), found, wanted });
        }
        if brought_back > 0 {
            tracing::info!(commits = brought_back, "commits of the log are in memory, and not in tables yet");
        }
        let tree = Arc::new(tree);
        let written = log.last() - brought_back;
        let writer = Writer { log, is_filled: brought_back > 0, upkeep: None, closed: None };
        let writing_out = WritingOut::start(Arc::clone(&tree), written);
        Ok(FileStore { directory: directory.into(), identity, tree, writing_out, writer: Mutex::new(writer) })
    }

    fn write(&self, writer: &mut Writer, changes: &Changes) -> Result<(), StoreError> {
        if std::mem::take(&mut writer.is_filled) {
            self.writing_out.begin(writer.log.last());
        }
        let last = writer.log.last();
        let make_room = |number| {
            self.writing_out.begin(last);
            self.writing_out.wait(number)
        };
        if writer.log.append(last + 1, changes, &make_room)? {
            self.tree.insert(last + 1, writer.log.rows());
            return Ok(());
        }
        // More than the log can hold is durable when it is in tables, together with everything before it or not at all.
        self.writing_out.begin(last);
        self.writing_out.wait(last)?;
        let hidden = self.tree.insert_hidden(last, writer.log.rows());
        self.writing_out.write_now()?;
        self.tree.show(hidden);
        Ok(())
    }
}

impl Store for FileStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.tree.view()))
    }

    fn commit(&self, mut changes: Changes) -> Result<(), StoreError> {
        changes.check()?;
        let mut writer = lock(&self.writer);
        if let Some(reason) = &writer.closed {
            return Err(StoreError::Closed { file: self.directory.to_path_buf(), reason: reason.clone() });
        }
        if let Some(upkeep) = &mut writer.upkeep {
            upkeep.add(&self.tree.view(), &mut changes)?;
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
        Ok(Sizes { tables: self.tree.view().sizes()?, file_bytes: file_bytes(&self.directory) })
    }

    fn statistics(&self) -> Statistics {
        self.tree.statistics()
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        copy(&self.identity, &self.tree.view(), to)
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.writing_out.end();
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &writer.closed {
            tracing::warn!(directory = %self.directory.display(), reason, "the store was closed after this; the next start finds what was committed");
        }
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FileStore").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// What a directory has.
struct Opened {
    identity: Identity,
    tree: Tree,
    log: Log,
    /// Commits that only the log had.
    brought_back: u64,
}

/// Opens a directory that has a store, of whatever environment it is.
fn open(directory: &Path, cache_bytes: usize) -> Result<Opened, StoreError> {
    if new::has_nothing(directory)? {
        return Err(StoreError::Missing { directory: directory.to_owned() });
    }
    let file = LogFile::lock(directory)?;
    new::remove_unfinished(directory);
    let path = directory.join(tree::DIRECTORY);
    make_private(&path)?;
    let tree = Arc::new(Tree::open(&path, cache_bytes)?);
    let identity = identity(&tree, &path)?;
    let applied = tree.last_commit()?;
    let mut brought_back = 0;
    let log = file.read(identity.nonce(), applied, &mut |number, rows| {
        brought_back += 1;
        tree.insert(number, rows);
        Ok(())
    })?;
    let tree = Arc::into_inner(tree).expect("no view of it is left");
    Ok(Opened { identity, tree, log, brought_back })
}

/// Takes the rights of other users away: it has personal data, and a copy is easily left open to all.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let unusable = |error| StoreError::Io { path: path.to_owned(), error };
    let mut rights = fs::metadata(path).map_err(unusable)?.permissions();
    if rights.mode() & 0o077 != 0 {
        tracing::warn!(directory = %path.display(), "other users had rights to the store; they are taken away");
        rights.set_mode(rights.mode() & !0o077);
        fs::set_permissions(path, rights).map_err(unusable)?;
    }
    Ok(())
}

fn identity(tree: &Arc<Tree>, path: &Path) -> Result<Identity, StoreError> {
    let row = tree.view().get(Table::Meta, IDENTITY_KEY)?;
    let reason = "it has no row that says which store it is".to_owned();
    let row = row.ok_or_else(|| StoreError::NotAStore { file: path.to_owned(), reason })?;
    Identity::read(&row, path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under the writer's lock leaves a log that is read again before anything is done with it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directory in which a path lies.
fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
