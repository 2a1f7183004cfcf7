//! The tree (lsm-tree): all rows, in memory and in tables on the disk, as of any commit that somebody still reads.
//!
//! It is one tree for all tables: the number of a table is the first byte of its keys, so one write to the disk brings whole commits over, and with them
//! the number of the last. What a reader sees is chosen by sequence number: rows of a commit have one, and a snapshot shows what is before its
//! own.
//!
//! **lsm-tree checks every block that it reads, but not the list of its tables**, so [`check_version`] does before anything is opened: opening deletes
//! what it takes for unused. Every value has a checksum of ours besides.

mod compaction;
mod version;
mod view;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lsm_tree::compaction::Leveled;
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, DescriptorTable, SeqNo, SequenceNumberCounter};

use xxhash_rust::xxh3::Xxh3;

use self::compaction::EndsEarly;
use self::version::check_version;
pub(super) use self::view::View;
use super::rows::{RowChange, Rows};
use super::sealed::{Sealer, unseal};
use super::{Statistics, StoreError, Table};

/// The directory of the tree beside the log.
pub(super) const DIRECTORY: &str = "tree";
/// Of the tables that are kept open.
const OPEN_FILES_MAX: usize = 128;
/// So many runs of tables may wait to be merged; then whoever writes more waits. Each is one more place to look at for every read.
const RUNS_MAX: usize = 12;
/// The row with the number of the last commit. It is not in any table.
const LAST_COMMIT: &[u8] = &[0xff];

/// The tree of a directory.
pub(super) struct Tree {
    path: PathBuf,
    tree: AnyTree,
    sequence: SequenceNumberCounter,
    /// What snapshots that are taken now show: everything before this sequence number.
    shown: AtomicU64,
    /// How many snapshots there are of each.
    open: Mutex<BTreeMap<SeqNo, usize>>,
    /// Compactions are to end.
    ends: Arc<AtomicBool>,
}

impl Tree {
    /// Makes a tree with nothing in it.
    pub(super) fn make(path: &Path) -> Result<Tree, StoreError> {
        let made = std::fs::DirBuilder::new().mode(0o700).create(path);
        made.map_err(|error| StoreError::Io { path: path.to_owned(), error })?;
        Tree::open_unchecked(path, 0)
    }

    /// Opens the tree of a directory.
    ///
    /// # Errors
    /// When it is damaged, or can't be read.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Tree, StoreError> {
        check_version(path)?;
        Tree::open_unchecked(path, cache_bytes)
    }

    fn open_unchecked(path: &Path, cache_bytes: usize) -> Result<Tree, StoreError> {
        let (sequence, visible) = (SequenceNumberCounter::default(), SequenceNumberCounter::default());
        let ends = Arc::<AtomicBool>::default();
        let opened = guarded(path, || {
            let mut config = Config::new(path, sequence.clone(), visible)
                .use_cache(Arc::new(Cache::with_capacity_bytes(cache_bytes as u64)))
                .use_descriptor_table(Some(Arc::new(DescriptorTable::new(OPEN_FILES_MAX))));
            config.compaction_filter_factory = Some(Arc::new(EndsEarly(Arc::clone(&ends))));
            config.open().map_err(|error| failed(path, error))
        })?;
        let highest = opened.get_highest_persisted_seqno().map_or(1, |highest| highest + 1);
        sequence.fetch_max(highest);
        let (path, shown, open) = (path.to_owned(), AtomicU64::new(highest), Mutex::default());
        Ok(Tree { path, tree: opened, sequence, shown, open, ends })
    }

    /// The number of the last commit in it; 0 if there is none.
    pub(super) fn last_commit(&self) -> Result<u64, StoreError> {
        let row = self.tree.get(LAST_COMMIT, SeqNo::MAX).map_err(|error| self.failed(error))?;
        let Some(row) = row else { return Ok(0) };
        let reason = || "the row with the number of its last commit can't be read".to_owned();
        let damaged = || StoreError::Damaged { file: self.path.clone(), reason: reason() };
        let number = unseal(Table::Meta, LAST_COMMIT, &row).map_err(|_| damaged())?;
        Ok(u64::from_le_bytes((*number).try_into().map_err(|_| damaged())?))
    }

    /// Adds the rows of a commit, which snapshots show from now on. One commit at a time.
    pub(super) fn insert(&self, commit: u64, rows: Rows<'_>) {
        let hidden = self.insert_hidden(commit, rows);
        self.show(hidden);
    }

    /// Adds the rows of a commit, which no snapshot shows until [`Self::show`].
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

    /// Has what is in memory be written to tables by the next [`Self::write_out`].
    pub(super) fn seal_memory(&self) {
        self.tree.rotate_memtable();
    }

    /// Writes what was sealed to tables.
    pub(super) fn write_out(&self) -> Result<(), StoreError> {
        let watermark = self.watermark();
        let lock = self.tree.get_flush_lock();
        guarded(&self.path, || self.tree.flush(&lock, watermark).map_err(|error| self.failed(error)))?;
        Ok(())
    }

    /// Merges some tables, if there are any to be merged; returns whether there may be more.
    pub(super) fn compact(&self) -> Result<bool, StoreError> {
        let (levels, watermark) = (Leveled::default().with_table_target_size(TABLE_BYTES), self.watermark());
        let before = self.tree.current_version().id();
        let done =
            guarded(&self.path, || self.tree.compact(Arc::new(levels), watermark).map_err(|error| self.failed(error)));
        match done {
            Err(_) if self.ends.load(Ordering::Acquire) => Ok(false),
            done => done.map(|()| self.tree.current_version().id() != before),
        }
    }

    /// Merges all tables, so that nothing is left of rows that were removed.
    pub(super) fn compact_all(&self) -> Result<(), StoreError> {
        let watermark = self.watermark();
        guarded(&self.path, || self.tree.major_compact(TABLE_BYTES, watermark).map_err(|error| self.failed(error)))
    }

    /// Reads every file of tables, and compares its checksum with the one in the list of tables. Reading rows leaves out what finds keys that are not there.
    pub(super) fn check_files(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        let version = self.tree.current_version();
        let of = version.table_count() as u64;
        for (read, table) in (1..).zip(version.iter_tables()) {
            let file = self.path.join("tables").join(table.id().to_string());
            let sum = checksum_of(&file).map_err(|error| StoreError::Io { path: file.clone(), error })?;
            if sum != table.checksum().into_u128() {
                return Err(StoreError::Damaged { file, reason: "its checksum is not the one in its list".to_owned() });
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

    /// Has compactions end soon, without having done anything.
    pub(super) fn end(&self) {
        self.ends.store(true, Ordering::Release);
    }

    /// Whether tables have to be merged before there may be more.
    pub(super) fn has_too_many_runs(&self) -> bool {
        self.tree.l0_run_count() >= RUNS_MAX
    }

    /// A view as of the last commit.
    pub(super) fn view(self: &Arc<Self>) -> View {
        let mut open = lock(&self.open);
        let at = self.shown.load(Ordering::Acquire);
        *open.entry(at).or_default() += 1;
        View::new(Arc::clone(self), at)
    }

    fn close_view(&self, at: SeqNo) {
        let mut open = lock(&self.open);
        if let Some(views) = open.get_mut(&at) {
            *views -= 1;
            if *views == 0 {
                open.remove(&at);
            }
        }
    }

    /// Of what is before this, only the newest is read by anybody.
    fn watermark(&self) -> SeqNo {
        let open = lock(&self.open);
        open.keys().next().copied().unwrap_or_else(|| self.shown.load(Ordering::Acquire))
    }

    fn failed(&self, error: lsm_tree::Error) -> StoreError {
        failed(&self.path, error)
    }
}

/// A commit that no snapshot shows.
pub(super) struct Hidden(SeqNo);

/// The size of a table on the disk, about.
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

/// The key of a row in the tree.
fn row_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + key.len());
    row.push(table.index() as u8);
    row.extend_from_slice(key);
    row
}

/// What an error of lsm-tree means. It names no file.
fn failed(path: &Path, error: lsm_tree::Error) -> StoreError {
    let file = path.to_owned();
    match error {
        lsm_tree::Error::Io(error) => match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                StoreError::Full { file, reason: error.to_string() }
            }
            // A place before the beginning of a file that was cut off is an invalid one.
            ErrorKind::UnexpectedEof | ErrorKind::InvalidInput => {
                StoreError::Damaged { file, reason: "a table ends before a block that it needs".to_owned() }
            }
            ErrorKind::NotFound => StoreError::Damaged { file, reason: format!("a file is missing: {error}") },
            _ => StoreError::Io { path: file, error },
        },
        lsm_tree::Error::ChecksumMismatch { .. } => {
            StoreError::Damaged { file, reason: "a block of a table is not what was written".to_owned() }
        }
        error => StoreError::Damaged { file, reason: format!("{error:?}") },
    }
}

/// Does something with lsm-tree, and takes a panic for what it is there: a file that is not what was written.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What a panic may leave half done is lsm-tree's, and is not used again: a store that failed is closed.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        let reason = format!("lsm-tree gave up: {}", text.lines().next().unwrap_or_default());
        Err(StoreError::Damaged { file: path.to_owned(), reason })
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that happens under the lock can be left half done but by running out of memory.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
