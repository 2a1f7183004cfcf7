//! Making a store: a new one, a copy of one, or one of an export. It is written under a name of its own, and is moved to its place when it is whole and on the disk; so a
//! tree in its place is never half made, and nothing that is there is replaced.

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

/// What older versions kept their tables in.
pub(super) const OLDER_FILE: &str = "hailer.redb";
const UNFINISHED: &str = ".hailer-store-unfinished-";
/// What a copy gathers before it adds it to the tree.
const CHUNK_BYTES: usize = 4 << 20;
/// And of these so many before they are written to a table.
const CHUNKS_PER_TABLE: usize = 8;
/// Greater than every key.
pub(crate) const END: [u8; KEY_BYTES_MAX + 1] = [0xff; KEY_BYTES_MAX + 1];

/// Whether nothing of a store is in a directory: then a first start may make one. False if it has a tree.
///
/// # Errors
/// When there is something of a store, and no tree.
pub(super) fn has_nothing(directory: &Path) -> Result<bool, StoreError> {
    let path = directory.join(tree::DIRECTORY);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => return Ok(false),
        Ok(_) => return Err(StoreError::NotAStore { file: path, reason: "it is not a directory".to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::Io { path, error }),
    }
    let older = directory.join(OLDER_FILE);
    if older.symlink_metadata().is_ok() {
        return Err(StoreError::OfOlderVersion { file: older });
    }
    if directory.join(log::FILE_NAME).symlink_metadata().is_ok() && !LogFile::lock(directory)?.has_nothing()? {
        return Err(StoreError::TreeMissing { directory: path });
    }
    Ok(true)
}

/// Makes a store with nothing in it.
pub(super) fn create(directory: &Path, environment: &str, log_bytes: usize) -> Result<(), StoreError> {
    let unusable = |error| StoreError::Io { path: directory.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
    // Or the directory itself may be gone after a loss of power.
    sync(&parent_of(directory)).map_err(unusable)?;
    let mut unique = [0; 16];
    let unreadable = |error| StoreError::Io { path: "/dev/urandom".into(), error };
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut unique)).map_err(unreadable)?;
    let identity = Identity::new(environment, unique);
    fill(directory, &identity, Size { log_bytes, commits: 0 }, &mut |_| Ok(()))?;
    tracing::info!(directory = %directory.display(), environment, id = identity.id, "a new store");
    Ok(())
}

/// Copies a snapshot to a new directory.
pub(crate) fn copy(identity: &Identity, snapshot: &dyn Snapshot, to: &Path) -> Result<(), StoreError> {
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

/// Makes a store with rows in a new directory. If `rows` fails, nothing is at `to`.
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
    // For this user alone; it is removed if it does not become the store.
    let private = Permissions::from_mode(0o700);
    let unfinished = tempfile::Builder::new().prefix(UNFINISHED).permissions(private).tempdir_in(&parent);
    let unfinished = unfinished.map_err(unusable)?;
    // It has a commit, so that it is never taken for one whose making was interrupted.
    fill(unfinished.path(), identity, Size { log_bytes, commits: 1 }, rows)?;
    match renameat_with(CWD, unfinished.path(), CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST | Errno::NOTEMPTY) => return Err(StoreError::Exists { path: to.to_owned() }),
        renamed => renamed.map_err(|error| unusable(error.into()))?,
    }
    let _moved = unfinished.keep();
    sync(&parent).map_err(unusable)
}

/// Removes what a crash left of making a store.
pub(super) fn remove_unfinished(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(directory = %entry.path().display(), %error, "a directory that is not needed stays");
        }
    }
}

/// What a store that is made begins with.
struct Size {
    log_bytes: usize,
    commits: u64,
}

/// A tree that is being filled.
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
        if self.chunks.is_multiple_of(CHUNKS_PER_TABLE) { self.write_out() } else { Ok(()) }
    }

    fn insert(&mut self) {
        let mut rows = Vec::new();
        Rows::write(&std::mem::take(&mut self.waiting), &mut self.sealer, &mut rows);
        self.tree.insert(self.commits, Rows::written(&rows));
    }

    fn write_out(&self) -> Result<(), StoreError> {
        self.tree.seal_memory();
        self.tree.write_out()?;
        while self.tree.compact()? {}
        Ok(())
    }
}

/// Makes a store in a directory, the tree last of all.
fn fill(
    directory: &Path,
    identity: &Identity,
    Size { log_bytes, commits }: Size,
    rows: &mut dyn FnMut(&mut Target) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let unusable = |error| StoreError::Io { path: directory.to_owned(), error };
    let log = LogFile::make(directory, identity.nonce(), log_bytes, commits)?;
    remove_unfinished(directory);
    let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(directory).map_err(unusable)?;
    let (making, place) = (unfinished.path().join(tree::DIRECTORY), directory.join(tree::DIRECTORY));
    let tree = Arc::new(Tree::make(&making)?);
    let mut target = Target { tree, commits, waiting: Changes::new(), sealer: Sealer::default(), chunks: 0 };
    rows(&mut target)?;
    target.waiting.put(Table::Meta, IDENTITY_KEY, identity.to_bytes());
    target.insert();
    target.write_out()?;
    drop(target);
    fs::rename(&making, &place).and_then(|()| sync(directory)).map_err(unusable)?;
    drop(log);
    Ok(())
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
