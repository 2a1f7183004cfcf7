//! The tree (lsm-tree): all rows, in memory and in tables on the disk. It keeps the state of every
//! commit that an open snapshot reads.
//!
//! One tree has all tables: the number of a table is the first byte of its keys. So one flush
//! writes whole commits, and the number of the last commit with them. Sequence numbers decide what
//! a reader sees. All rows of a commit have the same sequence number, and a snapshot shows the rows
//! with smaller numbers than its own.
//!
//! **lsm-tree checks every block that it reads, but not the list of its tables.** [`check_version`]
//! checks the list before the tree is opened, because opening deletes every file that the list does
//! not name. In addition, every value has a checksum of its own (`sealed.rs`).

mod compaction;
mod snapshot;
mod version;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lsm_tree::compaction::Leveled;
use lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, DescriptorTable, SeqNo, SequenceNumberCounter,
};

use xxhash_rust::xxh3::Xxh3;

use self::compaction::CancelFilter;
pub(super) use self::snapshot::TreeSnapshot;
use self::version::check_version;
use super::rows::{RowChange, Rows};
use super::sealed::{Sealer, unseal};
use super::{Statistics, StoreError, Table};

/// The name of the tree's directory, which is beside the log.
pub(super) const DIRECTORY: &str = "tree";
/// The number of table files that are kept open.
const OPEN_FILES_MAX: usize = 128;
/// The number of unmerged runs of tables at which flushes wait for merging. Every read looks into
/// each run.
const RUNS_MAX: usize = 12;
/// The key of the row with the number of the last commit. The row belongs to no table.
const LAST_COMMIT: &[u8] = &[0xff];

/// The tree of a directory.
pub(super) struct Tree {
    path: PathBuf,
    tree: AnyTree,
    sequence: SequenceNumberCounter,
    /// The sequence number of new snapshots: they show every row with a smaller one.
    shown: AtomicU64,
    /// The number of open snapshots for each sequence number.
    open: Mutex<BTreeMap<SeqNo, usize>>,
    /// Set when merges have to end early.
    cancelled: Arc<AtomicBool>,
}

impl Tree {
    /// Makes an empty tree.
    pub(super) fn make(path: &Path) -> Result<Tree, StoreError> {
        let made = std::fs::DirBuilder::new().mode(0o700).create(path);
        made.map_err(|error| StoreError::Io { path: path.to_owned(), error })?;
        Tree::open_unchecked(path, 0)
    }

    /// Opens the tree of a directory.
    ///
    /// # Errors
    /// When the tree is damaged or cannot be read.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Tree, StoreError> {
        check_version(path)?;
        Tree::open_unchecked(path, cache_bytes)
    }

    fn open_unchecked(path: &Path, cache_bytes: usize) -> Result<Tree, StoreError> {
        let (sequence, visible) =
            (SequenceNumberCounter::default(), SequenceNumberCounter::default());
        let cancelled = Arc::<AtomicBool>::default();
        let opened = guarded(path, || {
            let mut config = Config::new(path, sequence.clone(), visible)
                .use_cache(Arc::new(Cache::with_capacity_bytes(cache_bytes as u64)))
                .use_descriptor_table(Some(Arc::new(DescriptorTable::new(OPEN_FILES_MAX))));
            config.compaction_filter_factory = Some(Arc::new(CancelFilter(Arc::clone(&cancelled))));
            config.open().map_err(|error| failed(path, error))
        })?;
        let highest = opened.get_highest_persisted_seqno().map_or(1, |highest| highest + 1);
        sequence.fetch_max(highest);
        let (path, shown, open) = (path.to_owned(), AtomicU64::new(highest), Mutex::default());
        Ok(Tree { path, tree: opened, sequence, shown, open, cancelled })
    }

    /// Returns the number of the last commit in the tree; 0 if there is none.
    pub(super) fn last_commit(&self) -> Result<u64, StoreError> {
        let row = self.tree.get(LAST_COMMIT, SeqNo::MAX).map_err(|error| self.failed(error))?;
        let Some(row) = row else { return Ok(0) };
        let reason = || "the row with the number of its last commit is damaged".to_owned();
        let damaged = || StoreError::Damaged { file: self.path.clone(), reason: reason() };
        let number = unseal(Table::Meta, LAST_COMMIT, &row).map_err(|_| damaged())?;
        Ok(u64::from_le_bytes((*number).try_into().map_err(|_| damaged())?))
    }

    /// Inserts the rows of a commit, which every later snapshot shows. Callers insert one commit at
    /// a time.
    pub(super) fn insert(&self, commit: u64, rows: Rows<'_>) {
        let hidden = self.insert_hidden(commit, rows);
        self.show(hidden);
    }

    /// Inserts the rows of a commit. No snapshot shows them before [`Self::show`].
    pub(super) fn insert_hidden(&self, commit: u64, rows: Rows<'_>) -> Hidden {
        let at = self.sequence.next();
        for RowChange { key, sealed } in rows {
            match sealed {
                Some(sealed) => self.tree.insert(key, sealed, at),
                None => self.tree.remove(key, at),
            };
        }
        let mut sealed = Vec::new();
        Sealer::default().seal(Table::Meta, LAST_COMMIT, &commit.to_le_bytes(), &mut sealed);
        self.tree.insert(LAST_COMMIT, sealed.as_slice(), at);
        Hidden(at)
    }

    pub(super) fn show(&self, Hidden(at): Hidden) {
        self.shown.store(at + 1, Ordering::Release);
    }

    /// Seals the rows in memory, so that the next [`Self::flush`] writes them to tables.
    pub(super) fn seal_memory(&self) {
        self.tree.rotate_memtable();
    }

    /// Writes all sealed rows to tables.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let watermark = self.watermark();
        let lock = self.tree.get_flush_lock();
        guarded(&self.path, || {
            self.tree.flush(&lock, watermark).map_err(|error| self.failed(error))
        })?;
        Ok(())
    }

    /// Merges some tables, if any need it. Returns whether there may be more to merge.
    pub(super) fn compact(&self) -> Result<bool, StoreError> {
        let (levels, watermark) =
            (Leveled::default().with_table_target_size(TABLE_BYTES), self.watermark());
        let before = self.tree.current_version().id();
        let done = guarded(&self.path, || {
            self.tree.compact(Arc::new(levels), watermark).map_err(|error| self.failed(error))
        });
        match done {
            Err(_) if self.cancelled.load(Ordering::Acquire) => Ok(false),
            done => done.map(|()| self.tree.current_version().id() != before),
        }
    }

    /// Merges all tables, so that no table has a deleted row.
    pub(super) fn compact_all(&self) -> Result<(), StoreError> {
        let watermark = self.watermark();
        guarded(&self.path, || {
            self.tree.major_compact(TABLE_BYTES, watermark).map_err(|error| self.failed(error))
        })
    }

    /// Reads every table file and compares its checksum with the one in the list of tables. Unlike
    /// reading all rows, this also covers the filters.
    pub(super) fn check_files(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        let version = self.tree.current_version();
        let of = version.table_count() as u64;
        for (read, table) in (1..).zip(version.iter_tables()) {
            let file = self.path.join("tables").join(table.id().to_string());
            let sum =
                checksum_of(&file).map_err(|error| StoreError::Io { path: file.clone(), error })?;
            if sum != table.checksum().into_u128() {
                return Err(StoreError::Damaged {
                    file,
                    reason: "its checksum does not match the list of tables".to_owned(),
                });
            }
            progress(read, of);
        }
        Ok(())
    }

    pub(super) fn statistics(&self) -> Statistics {
        let blocks = self.tree.metrics();
        Statistics {
            memory_bytes: self.tree.version_memtable_size_sum(),
            tables: self.tree.table_count() as u64,
            runs: self.tree.l0_run_count() as u64,
            blocks: blocks.block_loads() as u64,
            blocks_read: blocks.block_load_io_count() as u64,
            spared: blocks.io_skipped_by_filter() as u64,
        }
    }

    /// Makes running and later merges end early, without an effect.
    pub(super) fn cancel_merges(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether so many runs wait to be merged that a flush has to wait.
    pub(super) fn has_too_many_runs(&self) -> bool {
        self.tree.l0_run_count() >= RUNS_MAX
    }

    /// Opens a snapshot of the last commit.
    pub(super) fn snapshot(self: &Arc<Self>) -> TreeSnapshot {
        let mut open = lock(&self.open);
        let at = self.shown.load(Ordering::Acquire);
        *open.entry(at).or_default() += 1;
        TreeSnapshot::new(Arc::clone(self), at)
    }

    fn close_snapshot(&self, at: SeqNo) {
        let mut open = lock(&self.open);
        if let Some(count) = open.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                open.remove(&at);
            }
        }
    }

    /// The sequence number below which snapshots read only the newest version of each key.
    fn watermark(&self) -> SeqNo {
        let open = lock(&self.open);
        open.keys().next().copied().unwrap_or_else(|| self.shown.load(Ordering::Acquire))
    }

    fn failed(&self, error: lsm_tree::Error) -> StoreError {
        failed(&self.path, error)
    }
}

/// A commit that is inserted and that no snapshot shows yet.
pub(super) struct Hidden(SeqNo);

/// The approximate size of a table file in bytes.
const TABLE_BYTES: u64 = 32 << 20;

fn checksum_of(file: &Path) -> io::Result<u128> {
    let (mut hash, mut file) = (Xxh3::new(), File::open(file)?);
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hash.digest128()),
            read => hash.update(&part[..read]),
        }
    }
}

/// Returns the key of a row in the tree: the number of the table, then the key.
fn row_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + key.len());
    row.push(table.index() as u8);
    row.extend_from_slice(key);
    row
}

/// Translates an error of lsm-tree, which names no file.
fn failed(path: &Path, error: lsm_tree::Error) -> StoreError {
    let file = path.to_owned();
    match error {
        lsm_tree::Error::Io(error) => match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                StoreError::Full { file, reason: error.to_string() }
            }
            // In a truncated file, lsm-tree may compute an offset before the beginning of the file.
            // The read then fails with `InvalidInput`.
            ErrorKind::UnexpectedEof | ErrorKind::InvalidInput => StoreError::Damaged {
                file,
                reason: "a table ends before one of its blocks".to_owned(),
            },
            ErrorKind::NotFound => {
                StoreError::Damaged { file, reason: format!("a file is missing: {error}") }
            }
            _ => StoreError::Io { path: file, error },
        },
        lsm_tree::Error::ChecksumMismatch { .. } => {
            StoreError::Damaged { file, reason: "a block of a table is damaged".to_owned() }
        }
        error => StoreError::Damaged { file, reason: format!("{error:?}") },
    }
}

/// Calls lsm-tree, and turns a panic into an error: lsm-tree panics on damaged files.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // A panic may leave lsm-tree's own state half changed. It is not used again, because a failed
    // store accepts no more commits.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text =
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        let reason = format!("lsm-tree panicked: {}", text.lines().next().unwrap_or_default());
        Err(StoreError::Damaged { file: path.to_owned(), reason })
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only running out of memory can leave a change half done under this lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
