//! Making a file: a new store, or a copy of one. It is written beside its place, under a name of its own, and is moved there when
//! it is whole and on the disk; so a file in its place is never half made, and nothing that is there is replaced.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ::redb::backends::FileBackend;
use ::redb::{Builder, Database};

use super::disk::{Disk, Failure};
use super::open::{failed, guarded};
use super::{apply, definition};
use crate::store::identity::{IDENTITY_KEY, LOG_KEY};
use crate::store::{Changes, Identity, KEY_BYTES_MAX, Snapshot, StoreError, Table};

const UNFINISHED: &str = ".hailer-store-unfinished-";
/// A copy that takes the place of its original; what a crash leaves of it is removed like any unfinished file.
pub(super) const REWRITTEN: &str = ".hailer-store-unfinished-copy";
/// What a copy gathers before it writes: enough for large writes, and little beside the engine that it is made in.
const CHUNK_BYTES: usize = 4 << 20;
/// Greater than every key.
const END: [u8; KEY_BYTES_MAX + 1] = [0xff; KEY_BYTES_MAX + 1];

/// Makes a store with nothing in it.
pub(super) fn create(file: &Path, environment: &str) -> Result<(), StoreError> {
    let mut unique = [0; 16];
    let unreadable = |error| StoreError::Io { path: "/dev/urandom".into(), error };
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut unique)).map_err(unreadable)?;
    let identity = Identity::new(environment, unique);
    write(file, &mut |target| target.put(Table::Meta, IDENTITY_KEY, &identity.to_bytes()))?;
    tracing::info!(file = %file.display(), environment, id = identity.id, "a new store");
    Ok(())
}

/// Copies a snapshot to a new file.
pub(in crate::store) fn backup(snapshot: &impl Snapshot, to: &Path) -> Result<(), StoreError> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(StoreError::Exists { path: to.to_owned() });
    }
    write(to, &mut |target| {
        for table in Table::ALL {
            let mut result = Ok(());
            snapshot.range(table, &[], &END, &mut |key, value| {
                // A copy is whole by itself.
                if (table, key) == (Table::Meta, LOG_KEY) {
                    return ControlFlow::Continue(());
                }
                result = target.put(table, key, value);
                if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            result?;
        }
        Ok(())
    })
}

/// Removes what a crash left of making files.
pub(super) fn remove_unfinished(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!(file = %entry.path().display(), %error, "a file that is not needed stays");
        }
    }
}

/// A file that is being written.
struct Target<'file> {
    file: &'file Path,
    database: Database,
    waiting: Changes,
}

impl Target<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.waiting.put(table, key, value);
        if self.waiting.bytes() > CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let changes = std::mem::take(&mut self.waiting);
        let flushed = || -> Result<(), ::redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_quick_repair(true);
            for table in Table::ALL {
                // Also makes the tables that have no row.
                transaction.open_table(definition(table))?;
                apply(&transaction, table, &changes)?;
            }
            Ok(transaction.commit()?)
        };
        flushed().map_err(|error| failed(self.file, error))
    }
}

fn write(place: &Path, fill: &mut dyn FnMut(&mut Target<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let parent = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let unusable = |error: io::Error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::Full { file: place.to_owned(), reason: error.to_string() }
        }
        _ => StoreError::Io { path: parent.to_owned(), error },
    };
    // Readable and writable for this user alone.
    let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(parent).map_err(unusable)?;
    let failure = Arc::new(Failure::default());
    let backend = unfinished.reopen().map_err(unusable)?;
    let backend = FileBackend::new(backend).map_err(|error| failed(place, error.into()))?;
    let disk = Disk::new(backend, failure.clone(), Arc::default());
    let filled = guarded(place, || {
        let database = Builder::new().set_cache_size(2 * CHUNK_BYTES).create_with_backend(disk);
        let database = database.map_err(|error| failed(place, error.into()))?;
        let mut target = Target { file: place, database, waiting: Changes::new() };
        fill(&mut target)?;
        target.flush()?;
        target.database.close().map_err(|error| failed(place, error.into()))
    });
    // Whatever else went wrong came of the write that failed first.
    failure.check(place)?;
    filled?;
    unfinished.as_file().sync_all().map_err(unusable)?;
    match unfinished.persist_noclobber(place) {
        Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => {
            return Err(StoreError::Exists { path: place.to_owned() });
        }
        Err(refused) => return Err(unusable(refused.error)),
        Ok(_) => {}
    }
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(unusable)
}
