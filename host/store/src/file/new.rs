//! Making a store: an empty one, a backup, or one from an export. Its tree is written under a
//! temporary name and renamed when it is complete and on the disk. So a tree under its own name is
//! always complete, and no existing file is replaced.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::parent_of;
use crate::identity::IDENTITY_KEY;
use crate::log::{self, LogFile};
use crate::rows::Rows;
use crate::sealed::Sealer;
use crate::tree::{self, Tree};
use crate::{Changes, Identity, KEY_BYTES_MAX, Snapshot, StoreError, Table};

const UNFINISHED: &str = ".hailer-store-unfinished-";
/// A copy inserts its rows into the tree in chunks of about this many bytes.
const CHUNK_BYTES: usize = 4 << 20;
/// The tree is flushed after this many chunks.
const CHUNKS_PER_TABLE: usize = 8;
/// A key greater than every valid key: the end of a range over all rows.
pub(crate) const END: [u8; KEY_BYTES_MAX + 1] = [0xff; KEY_BYTES_MAX + 1];

/// Whether a directory has no part of a store, so that a first start may make one. False if it has
/// a tree.
///
/// # Errors
/// When the directory has other parts of a store, but no tree.
pub(super) fn has_no_store(directory: &Path) -> Result<bool, StoreError> {
    let path = directory.join(tree::DIRECTORY);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => return Ok(false),
        Ok(_) => {
            return Err(StoreError::NotAStore {
                file: path,
                reason: "it is not a directory".to_owned(),
            });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::Io { path, error }),
    }
    if directory.join(log::FILE_NAME).symlink_metadata().is_ok()
        && !LogFile::lock(directory)?.is_unused()?
    {
        return Err(StoreError::TreeMissing { directory: path });
    }
    Ok(true)
}

/// Makes an empty store in a directory.
pub(super) fn create(
    directory: &Path,
    environment: &str,
    log_bytes: usize,
) -> Result<(), StoreError> {
    let unusable = |error| StoreError::Io { path: directory.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
    // Without this sync a loss of power may lose the directory itself.
    sync(&parent_of(directory)).map_err(unusable)?;
    let mut unique = [0; 16];
    let unreadable = |error| StoreError::Io { path: "/dev/urandom".into(), error };
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut unique))
        .map_err(unreadable)?;
    let identity = Identity::new(environment, unique);
    fill(directory, &identity, Size { log_bytes, commits: 0 }, &mut |_| Ok(()))?;
    let directory = directory.display();
    tracing::info!(%directory, environment, id = identity.id, "made a new store");
    Ok(())
}

/// Makes a store from a snapshot in a new directory.
pub(crate) fn copy(
    identity: &Identity,
    snapshot: &dyn Snapshot,
    to: &Path,
) -> Result<(), StoreError> {
    make(identity, to, log::BYTES, &mut |target| {
        for table in Table::ALL {
            let mut result = Ok(());
            snapshot.range(table, &[], &END, &mut |key, value| {
                result = target.put(table, key, value);
                if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            result?;
        }
        Ok(())
    })
}

/// Makes a store in a new directory, with the rows that `rows` adds. If `rows` fails, `to` is not
/// made.
pub(crate) fn make(
    identity: &Identity,
    to: &Path,
    log_bytes: usize,
    rows: &mut dyn FnMut(&mut Target) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(StoreError::Exists { path: to.to_owned() });
    }
    let parent = parent_of(to);
    let unusable = |error: io::Error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::Full { file: to.to_owned(), reason: error.to_string() }
        }
        _ => StoreError::Io { path: parent.clone(), error },
    };
    // Only this user may read it. It is removed if an error ends this function.
    let private = Permissions::from_mode(0o700);
    let unfinished =
        tempfile::Builder::new().prefix(UNFINISHED).permissions(private).tempdir_in(&parent);
    let unfinished = unfinished.map_err(unusable)?;
    // It starts with commit 1, so that its log is never taken for that of an unfinished new store.
    fill(unfinished.path(), identity, Size { log_bytes, commits: 1 }, rows)?;
    match renameat_with(CWD, unfinished.path(), CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST | Errno::NOTEMPTY) => {
            return Err(StoreError::Exists { path: to.to_owned() });
        }
        renamed => renamed.map_err(|error| unusable(error.into()))?,
    }
    let _moved = unfinished.keep();
    sync(&parent).map_err(unusable)
}

/// Removes the temporary directories that a crash during the making of a store has left.
pub(super) fn remove_unfinished(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            let directory = entry.path();
            let directory = directory.display();
            tracing::warn!(%directory, %error, "cannot remove a temporary directory; remove it");
        }
    }
}

/// The size of a new store's log, and the last commit in its tables.
struct Size {
    log_bytes: usize,
    /// The number of the last commit in its tables.
    commits: u64,
}

/// A tree that is being filled with rows.
pub(crate) struct Target {
    tree: Arc<Tree>,
    commits: u64,
    waiting: Changes,
    sealer: Sealer,
    chunks: usize,
}

impl Target {
    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.waiting.put(table, key, value);
        if self.waiting.bytes() <= CHUNK_BYTES {
            return Ok(());
        }
        self.insert();
        self.chunks += 1;
        if self.chunks.is_multiple_of(CHUNKS_PER_TABLE) { self.flush() } else { Ok(()) }
    }

    fn insert(&mut self) {
        let mut rows = Vec::new();
        Rows::write(&std::mem::take(&mut self.waiting), &mut self.sealer, &mut rows);
        self.tree.insert(self.commits, Rows::trusted(&rows));
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.tree.seal_memory();
        self.tree.flush()?;
        while self.tree.compact()? {}
        Ok(())
    }
}

/// Makes the log and the tree of a store in a directory, the tree last.
fn fill(
    directory: &Path,
    identity: &Identity,
    Size { log_bytes, commits }: Size,
    rows: &mut dyn FnMut(&mut Target) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let unusable = |error| StoreError::Io { path: directory.to_owned(), error };
    let log = LogFile::make(directory, identity.nonce(), log_bytes, commits)?;
    remove_unfinished(directory);
    let unfinished =
        tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(directory).map_err(unusable)?;
    let (making, place) =
        (unfinished.path().join(tree::DIRECTORY), directory.join(tree::DIRECTORY));
    let tree = Arc::new(Tree::make(&making)?);
    let mut target =
        Target { tree, commits, waiting: Changes::new(), sealer: Sealer::default(), chunks: 0 };
    rows(&mut target)?;
    target.waiting.put(Table::Meta, IDENTITY_KEY, identity.to_bytes());
    target.insert();
    target.flush()?;
    drop(target);
    fs::rename(&making, &place).and_then(|()| sync(directory)).map_err(unusable)?;
    drop(log);
    Ok(())
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
