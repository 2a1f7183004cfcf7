//! The file under redb. It never tells redb of a write that failed, because redb refuses to read after one: it keeps the
//! failure for the commit that it belongs to, and writes nothing more, so that what was committed before stays as it is.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ::redb::backends::FileBackend;
use ::redb::{BackendError, StorageBackend};

use super::lock;
use crate::failpoint::Failpoint;
use crate::store::StoreError;

/// The first write of a file that failed.
#[derive(Debug, Default)]
pub(super) struct Failure {
    happened: AtomicBool,
    first: Mutex<Option<(io::ErrorKind, String)>>,
    /// How many writes still succeed.
    #[cfg(test)]
    pub(super) writes_left: Mutex<Option<u64>>,
}

impl Failure {
    /// Whether everything so far has been written.
    pub(super) fn check(&self, file: &Path) -> Result<(), StoreError> {
        let Some((kind, reason)) = lock(&self.first).clone() else { return Ok(()) };
        let file = file.to_owned();
        Err(match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StoreError::Full { file, reason }
            }
            _ => StoreError::Write { file, reason },
        })
    }

    /// Lets nothing more be written.
    pub(super) fn stop(&self, reason: &str) {
        self.keep(&io::Error::other(reason));
    }

    fn keep(&self, error: &io::Error) {
        lock(&self.first).get_or_insert_with(|| (error.kind(), error.to_string()));
        self.happened.store(true, Ordering::Release);
    }

    fn attempt(&self, write: impl FnOnce() -> io::Result<()>) {
        if self.happened.load(Ordering::Acquire) {
            return;
        }
        #[cfg(test)]
        if let Some(left) = lock(&self.writes_left).as_mut() {
            if *left == 0 {
                return self.keep(&io::ErrorKind::StorageFull.into());
            }
            *left -= 1;
        }
        if let Err(error) = write() {
            self.keep(&error);
        }
    }
}

/// A gentle commit is synced whenever it has written so much. A sync of one page and one of so many differ little beside one of the thousand that a
/// commit may write.
const GENTLY_BYTES: usize = 128 << 10;

/// How a commit's pages are brought to the disk. A sync takes the longer the more pages it has to write, and the log's sync meanwhile waits for it. Gently, that is a few pages at a time, which takes longer as a whole.
#[derive(Debug, Default)]
pub(in crate::store) struct Pace {
    is_gentle: AtomicBool,
    #[cfg(test)]
    pub(super) syncs: AtomicUsize,
}

impl Pace {
    /// Also for a commit that is on its way.
    pub(in crate::store) fn set_gentle(&self, is_gentle: bool) {
        self.is_gentle.store(is_gentle, Ordering::Relaxed);
    }

    pub(in crate::store) fn is_gentle(&self) -> bool {
        self.is_gentle.load(Ordering::Relaxed)
    }
}

/// A file, and what became of it.
#[derive(Debug)]
pub(super) struct Disk {
    file: FileBackend,
    failure: Arc<Failure>,
    pace: Arc<Pace>,
    /// What was written since the last sync, in bytes.
    unsynced: AtomicUsize,
}

impl Disk {
    pub(super) fn new(file: FileBackend, failure: Arc<Failure>, pace: Arc<Pace>) -> Disk {
        Disk { file, failure, pace, unsynced: AtomicUsize::new(0) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.failure.attempt(|| self.file.set_len(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Failpoint::DuringApply.pass();
        self.unsynced.store(0, Ordering::Relaxed);
        #[cfg(test)]
        self.pace.syncs.fetch_add(1, Ordering::Relaxed);
        self.failure.attempt(|| self.file.sync_data());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.failure.attempt(|| self.file.write(offset, data));
        let unsynced = self.unsynced.fetch_add(data.len(), Ordering::Relaxed) + data.len();
        if unsynced >= GENTLY_BYTES && self.pace.is_gentle() {
            return self.sync_data();
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
