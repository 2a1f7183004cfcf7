//! Opening a file that may be anything. redb reports most of what it finds wrong, and panics at some: both are errors here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::ops::Bound;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ::redb::backends::FileBackend;
use ::redb::{Builder, Database, StorageBackend};
use rustix::fs::OFlags;

use super::disk::{Disk, Failure, Pace};
use super::header::{self, FLAGS_AT, HEADER_BYTES};
use super::view::View;
use crate::store::identity::IDENTITY_KEY;
use crate::store::{Identity, StoreError, Table};

const PRIVATE: u32 = 0o600;

/// An open file, and what it says it is.
pub(super) struct Opened {
    pub(super) file: Arc<Path>,
    pub(super) identity: Identity,
    pub(super) view: View,
    pub(super) failure: Arc<Failure>,
    pub(super) pace: Arc<Pace>,
    pub(super) database: Database,
}

/// Opens an existing file. One of up to `check_bytes_max` bytes is checked page by page.
pub(super) fn open(path: &Path, cache_bytes: usize, check_bytes_max: u64) -> Result<Opened, StoreError> {
    open_with(path, cache_bytes, check_bytes_max, Arc::default())
}

/// Opens a file whose writes may fail.
pub(super) fn open_with(
    path: &Path,
    cache_bytes: usize,
    check_bytes_max: u64,
    failure: Arc<Failure>,
) -> Result<Opened, StoreError> {
    let unusable = |error| StoreError::Io { path: path.to_owned(), error };
    let mut file = regular_file(path)?;
    let backend = FileBackend::new(file.try_clone().map_err(unusable)?).map_err(|error| failed(path, error.into()))?;
    // What follows would misread a header that somebody is just writing.
    if !nobody_has_it(&backend).map_err(unusable)? {
        return Err(StoreError::InUse { file: path.to_owned() });
    }
    let bytes = file.metadata().map_err(unusable)?.len();
    let mut start = Vec::with_capacity(HEADER_BYTES);
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut start).map_err(unusable)?;
    let header = header::read(&start, bytes, path)?;
    if header.left_open {
        tracing::warn!(file = %path.display(), "the store was not closed; it goes on from its last commit");
    }
    if let Some(flags) = header.undecided {
        file.write_all_at(&[flags], FLAGS_AT).map_err(unusable)?;
    }
    let pace = Arc::<Pace>::default();
    let disk = Disk::new(backend, failure.clone(), Arc::clone(&pace));
    guarded(path, || {
        let database = Builder::new()
            .set_cache_size(cache_bytes)
            .set_check_integrity_on_open(bytes <= check_bytes_max)
            .create_with_backend(disk)
            .map_err(|error| failed(path, error.into()))?;
        failure.check(path)?;
        let view = View::of(&database, path)?;
        let row = view.value(Table::Meta, IDENTITY_KEY)?;
        let reason = "it has no row that says which store it is".to_owned();
        let row = row.ok_or_else(|| StoreError::NotAStore { file: path.to_owned(), reason })?;
        let identity = Identity::read(&row, path)?;
        Ok(Opened { file: path.into(), identity, view, failure: failure.clone(), pace: Arc::clone(&pace), database })
    })
}

/// Opens a file for redb, and takes it away from other users: it holds personal data, and a copy is easily left open to all.
fn regular_file(path: &Path) -> Result<File, StoreError> {
    let unusable = |error| StoreError::Io { path: path.to_owned(), error };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(StoreError::Missing { directory: path.parent().unwrap_or(path).to_owned() });
        }
        opened => opened.map_err(unusable)?,
    };
    let found = file.metadata().map_err(unusable)?;
    if !found.is_file() {
        return Err(StoreError::NotAStore { file: path.to_owned(), reason: "it is not a file".to_owned() });
    }
    if found.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "other users had rights to the store; they are taken away");
        file.set_permissions(fs::Permissions::from_mode(PRIVATE)).map_err(unusable)?;
    }
    Ok(file)
}

fn nobody_has_it(file: &FileBackend) -> io::Result<bool> {
    let (start, end) = (Bound::Included(0), Bound::Unbounded);
    let free = file.try_lock_range(start, end)?;
    if free {
        file.unlock_range(start, end)?;
    }
    Ok(free)
}

/// Does something with redb, and takes a panic for what it is there: a file that is not what redb wrote.
pub(super) fn guarded<T>(file: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What a panic may leave half done is redb's, and is not used again: a store that failed is closed.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        let reason = format!("redb gave up: {}", text.lines().next().unwrap_or_default());
        Err(StoreError::Damaged { file: file.to_owned(), reason })
    })
}

/// What an error of redb means for a file.
pub(super) fn failed(file: &Path, error: ::redb::Error) -> StoreError {
    use ::redb::Error;
    let file = file.to_owned();
    match error {
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => StoreError::InUse { file },
        Error::DatabaseClosed | Error::PreviousIo => StoreError::Closed { file, reason: error.to_string() },
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            StoreError::Damaged { file, reason: "it ends before a page that it needs".to_owned() }
        }
        Error::Io(error) => StoreError::Io { path: file, error },
        Error::TableDoesNotExist(_) | Error::UpgradeRequired(_) => {
            StoreError::NotAStore { file, reason: error.to_string() }
        }
        error => StoreError::Damaged { file, reason: error.to_string() },
    }
}
