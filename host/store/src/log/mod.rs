//! The write-ahead log (WAL): one file in which commits become durable in order. The tree keeps
//! their rows in memory until it flushes them to its tables.
//!
//! A commit is one write and one sync of neighbouring blocks. The file has two halves of a fixed
//! size. They are filled with zeros when the file is made, so that a sync writes no metadata and a
//! full disk cannot refuse a commit. A half is written again from its beginning when all of its
//! commits are in tables.
//!
//! **Every record whose append returned `Ok` is read back, or the log is refused (G9).** Each
//! record has a number and a checksum. A missing number is damage, and so is a valid record after
//! an invalid one. The head of the file has the number of the last commit in the tables when the
//! log was made. So older tables are refused. A log that ends before the tables end is refused,
//! too. Only the last record may be torn, and a second file says whether that record was
//! acknowledged. The second file is written after every sync and never synced itself. So it
//! survives the end of the process, and a loss of power can lose only its latest writes. After such
//! a loss, damage to the last record looks like a record that was not finished. Each record begins
//! in a block of its own, so a write never changes a block with an earlier record.

mod record;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::record::{Found, Record};
use super::rows::Rows;
use super::{Changes, StoreError};
use hailer_base::failpoint::Failpoint;

/// The name of the log's file.
pub(super) const FILE_NAME: &str = "hailer.wal";
/// The name of the file with the number of the last acknowledged record.
const END_NAME: &str = "hailer.wal.end";

const MAGIC: &[u8; 8] = b"hailwal2";
/// The size of a block, the unit that a disk or a file system may write incompletely. Each record
/// begins at a multiple of it.
const BLOCK_BYTES: usize = 4096;
/// The default size of both halves together, in bytes. A commit of a busy engine has a few hundred
/// thousand bytes. The tree keeps the rows of the log in memory, so this also bounds memory.
pub const BYTES: usize = 32 << 20;
const HALF_BYTES_MAX: u64 = 1 << 30;
const PRIVATE: u32 = 0o600;

/// Ties a log to its tree. It is a hash of the store's id, so the log of another store is refused.
pub(super) type Nonce = u64;

/// The log's file, locked for this process and not read yet.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Locked,
}

/// A file that is locked until it is dropped.
#[derive(Debug)]
struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing alone is not enough: a forked child holds the lock until it executes its program.
        let _ = self.0.unlock();
    }
}

/// The log, open for appending.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Locked,
    end: File,
    nonce: Nonce,
    half_bytes: usize,
    /// The half that is being written: 0 or 1.
    half: usize,
    /// The offset of the next record in that half, in bytes.
    at: usize,
    /// The number of the last record in each half.
    last: [u64; 2],
    /// The latest record that `append` has built.
    record: Record,
}

impl LogFile {
    /// Locks the log of a directory.
    ///
    /// # Errors
    /// When there is no log, or another process has locked it.
    pub(super) fn lock(directory: &Path) -> Result<LogFile, StoreError> {
        LogFile::of(directory, false)
    }

    fn of(directory: &Path, is_made: bool) -> Result<LogFile, StoreError> {
        let path = directory.join(FILE_NAME);
        let unusable = |error| StoreError::Io { path: path.clone(), error };
        let file = match open(&path, is_made) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::LogMissing { file: path });
            }
            opened => opened.map_err(unusable)?,
        };
        let found = file.metadata().map_err(unusable)?;
        if !found.is_file() {
            return Err(StoreError::NotAStore {
                file: path,
                reason: "it is not a file".to_owned(),
            });
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { file: path }),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // The log has personal data, and a copy of it often gets too many permissions.
        if found.permissions().mode() & 0o077 != 0 {
            tracing::warn!(
                file = %path.display(),
                "other users had permissions for the store; they are removed"
            );
            file.set_permissions(std::fs::Permissions::from_mode(PRIVATE)).map_err(unusable)?;
        }
        Ok(LogFile { path, file: Locked(file) })
    }

    /// Makes the log of a directory for tables that have every commit up to `base`. Both halves
    /// together have about `bytes` bytes.
    ///
    /// # Errors
    /// When the log cannot be written, or another process has locked it.
    pub(super) fn make(
        directory: &Path,
        nonce: Nonce,
        bytes: usize,
        base: u64,
    ) -> Result<Log, StoreError> {
        let half_bytes =
            (bytes / 2).next_multiple_of(BLOCK_BYTES).clamp(BLOCK_BYTES, HALF_BYTES_MAX as usize);
        LogFile::of(directory, true)?.begin(Head { half_bytes, nonce, base })
    }

    fn begin(self, head: Head) -> Result<Log, StoreError> {
        let LogFile { path, mut file } = self;
        let failed = |error| write_failed(&path, &error);
        // The new head is written first. With the old head, a log with fewer records than before
        // would look like an older log.
        file.0
            .write_all_at(&head.to_bytes(), 0)
            .and_then(|()| file.0.sync_all())
            .map_err(failed)?;
        Failpoint::DuringCompaction.pass();
        fill_with_zeros(&mut file.0, head.file_bytes())
            .and_then(|()| file.0.sync_all())
            .map_err(failed)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let end = open(&directory.join(END_NAME), true).map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        let Head { half_bytes, nonce, base } = head;
        let log = Log {
            path,
            file,
            end,
            nonce,
            half_bytes,
            half: 0,
            at: 0,
            last: [base; 2],
            record: Record::default(),
        };
        log.note_end(base)?;
        Ok(log)
    }

    /// Whether the log never had a commit, because the making of its store was interrupted.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn is_unused(&self) -> Result<bool, StoreError> {
        let unreadable = |error| StoreError::Io { path: self.path.clone(), error };
        let (mut at, mut part) = (BLOCK_BYTES as u64, vec![0; 1 << 20]);
        let mut start = [0; HEAD_BYTES];
        let head_bytes = self.file.0.read_at(&mut start, 0).map_err(unreadable)?;
        let is_new =
            start == [0; HEAD_BYTES] || Head::read(&start).is_some_and(|head| head.base == 0);
        if head_bytes == HEAD_BYTES && !is_new {
            return Ok(false);
        }
        loop {
            match self.file.0.read_at(&mut part, at).map_err(unreadable)? {
                0 => return Ok(true),
                read if part[..read].iter().all(|byte| *byte == 0) => at += read as u64,
                _ => return Ok(false),
            }
        }
    }

    /// Reads the log and passes to `take` each commit after `flushed`, the last commit in the
    /// tables.
    ///
    /// # Errors
    /// When an acknowledged record is missing or damaged, or `take` fails.
    pub(super) fn read(
        mut self,
        nonce: Nonce,
        flushed: u64,
        take: &mut dyn FnMut(u64, Rows<'_>) -> Result<(), StoreError>,
    ) -> Result<Log, StoreError> {
        let path = self.path;
        let unreadable = |error| StoreError::Io { path: path.clone(), error };
        let damaged = |reason: String| StoreError::Damaged { file: path.clone(), reason };
        let mut start = [0; HEAD_BYTES];
        let head = self.file.0.read_at(&mut start, 0).map_err(unreadable)?;
        let head = Head::read(&start).filter(|_| head == HEAD_BYTES);
        let head = head.ok_or_else(|| damaged("its head is damaged".to_owned()))?;
        let Head { half_bytes, base, .. } = head;
        if head.nonce != nonce {
            return Err(StoreError::LogOfAnother { file: path });
        }
        let (found, expected) =
            (self.file.0.metadata().map_err(unreadable)?.len(), head.file_bytes() as u64);
        if found != expected {
            return Err(StoreError::Truncated {
                file: path,
                bytes: found,
                bytes_expected: expected,
            });
        }
        let mut bytes = Vec::with_capacity(head.file_bytes() + 1);
        Read::by_ref(&mut self.file.0)
            .take(expected)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() != head.file_bytes() {
            return Err(StoreError::Truncated {
                file: path,
                bytes: bytes.len() as u64,
                bytes_expected: expected,
            });
        }
        if flushed < base {
            return Err(damaged(format!(
                "it begins after commit {base}, and the tables beside it end with commit {flushed}"
            )));
        }
        let mut found = Vec::new();
        let mut ends = [HalfEnd { at: 0, last: base }; 2];
        for (half, end) in ends.iter_mut().enumerate() {
            let range = BLOCK_BYTES + half * half_bytes..BLOCK_BYTES + (half + 1) * half_bytes;
            *end = read_half(&bytes, range.clone(), nonce, base, &mut found);
            let rest = &bytes[range.start + end.at..range.end];
            if let Some(behind) = find_behind(rest, nonce, end.last.max(flushed)) {
                return Err(damaged(format!(
                    "a record before record {behind} of the log is damaged"
                )));
            }
        }
        found.sort_unstable_by_key(|(number, _)| *number);
        let end_of_log = found.last().map_or(base, |(number, _)| *number);
        if end_of_log < flushed {
            return Err(damaged(format!(
                "it ends with commit {end_of_log}, and the tables beside it with commit {flushed}"
            )));
        }
        let mut last = flushed;
        for (number, payload) in found.into_iter().filter(|(number, _)| *number > flushed) {
            if number != last + 1 {
                return Err(damaged(format!("record {} of the log is missing", last + 1)));
            }
            let rows = Rows::read(&bytes[payload]);
            take(
                number,
                rows.ok_or_else(|| damaged(format!("record {number} of the log is malformed")))?,
            )?;
            last = number;
        }
        let directory = path.parent().unwrap_or(Path::new("."));
        if noted_end(directory, nonce).is_some_and(|end| end > last) {
            return Err(damaged(format!(
                "record {} of the log was acknowledged and cannot be read",
                last + 1
            )));
        }
        let end =
            open(&directory.join(END_NAME), true).map_err(|error| write_failed(&path, &error))?;
        let half = usize::from(ends[1].last > ends[0].last);
        let (at, last) = (ends[half].at, ends.map(|end| end.last));
        Ok(Log {
            file: self.file,
            end,
            nonce,
            half_bytes,
            half,
            at,
            last,
            record: Record::default(),
            path,
        })
    }
}

impl Log {
    /// Overwrites the whole log, so that no byte of a deleted row is left. The tables must have
    /// every commit.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub(super) fn clear(self) -> Result<Log, StoreError> {
        let head = Head { half_bytes: self.half_bytes, nonce: self.nonce, base: self.last() };
        LogFile { path: self.path, file: self.file }.begin(head)
    }

    /// The number of the last record.
    pub(super) fn last(&self) -> u64 {
        self.last[self.half].max(self.last[1 - self.half])
    }

    /// Appends the record of a commit and syncs it. `wait_flushed` waits until the tables have
    /// every commit up to a number.
    ///
    /// Returns false, without a write, if the record is larger than a half. The caller then writes
    /// the rows to tables directly.
    pub(super) fn append(
        &mut self,
        number: u64,
        changes: &Changes,
        wait_flushed: &dyn Fn(u64) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        self.record.write(self.nonce, number, changes, self.half_bytes);
        let blocks = self.record.blocks();
        if blocks.len() > self.half_bytes {
            return Ok(false);
        }
        if self.at + blocks.len() > self.half_bytes {
            let other = 1 - self.half;
            wait_flushed(self.last[other])?;
            (self.half, self.at) = (other, 0);
        }
        let offset = BLOCK_BYTES + self.half * self.half_bytes + self.at;
        let failed = |error| write_failed(&self.path, &error);
        Failpoint::DuringCommit.pass();
        self.file.0.write_all_at(blocks, offset as u64).map_err(failed)?;
        Failpoint::DuringCommit.pass();
        self.file.0.sync_data().map_err(failed)?;
        Failpoint::DuringCommit.pass();
        self.note_end(number)?;
        self.at += blocks.len();
        self.last[self.half] = number;
        Ok(true)
    }

    /// The rows of the latest record, even if it was too large to append.
    pub(super) fn rows(&self) -> Rows<'_> {
        self.record.rows()
    }

    fn note_end(&self, number: u64) -> Result<(), StoreError> {
        let mut end = [0; END_BYTES];
        end[..8].copy_from_slice(&number.to_le_bytes());
        let sum = checksum(&end[..8], self.nonce);
        end[8..].copy_from_slice(&sum);
        self.end
            .write_all_at(&end, 0)
            .map_err(|error| write_failed(&self.path.with_file_name(END_NAME), &error))
    }
}

/// Overwrites the halves in place. Truncating the file would leave their old bytes on the disk.
fn fill_with_zeros(file: &mut File, bytes: usize) -> io::Result<()> {
    file.seek(SeekFrom::Start(BLOCK_BYTES as u64))?;
    let zeros = vec![0; 1 << 20];
    for written in (BLOCK_BYTES..bytes).step_by(zeros.len()) {
        file.write_all(&zeros[..zeros.len().min(bytes - written)])?;
    }
    file.set_len(bytes as u64)
}

const END_BYTES: usize = 16;

/// Reads the number of the last acknowledged record; `None` if the file is missing or damaged, as
/// after a loss of power.
fn noted_end(directory: &Path, nonce: Nonce) -> Option<u64> {
    let mut end = [0; END_BYTES];
    open(&directory.join(END_NAME), false).ok()?.read_exact(&mut end).ok()?;
    let (number, sum) = end.split_first_chunk::<8>()?;
    (*sum == checksum(number, nonce)).then(|| u64::from_le_bytes(*number))
}

/// The end of the records of a half.
#[derive(Clone, Copy)]
struct HalfEnd {
    /// The offset after the last record, in bytes.
    at: usize,
    /// The number of the last record, or the log's `base` if the half has no record.
    last: u64,
}

/// Finds the consecutive valid records at the beginning of a half, and adds them to `found`.
fn read_half(
    bytes: &[u8],
    range: Range<usize>,
    nonce: Nonce,
    base: u64,
    found: &mut Vec<(u64, Range<usize>)>,
) -> HalfEnd {
    let (start, half) = (range.start, &bytes[range]);
    let (mut at, mut last) = (0, None);
    while let Some(Found { number, payload, bytes }) = record::find(&half[at..], nonce) {
        if last.is_some_and(|last| number != last + 1) || number <= base {
            break;
        }
        let end = start + at + bytes;
        found.push((number, end - payload.len()..end));
        last = Some(number);
        at = (at + bytes).next_multiple_of(BLOCK_BYTES).min(half.len());
    }
    HalfEnd { at, last: last.unwrap_or(base) }
}

/// Searches the rest of a half for a valid record with a number greater than `last`. There should
/// be none.
fn find_behind(rest: &[u8], nonce: Nonce, last: u64) -> Option<u64> {
    let blocks = (0..rest.len()).step_by(BLOCK_BYTES);
    blocks
        .filter_map(|at| record::find(&rest[at..], nonce))
        .map(|found| found.number)
        .find(|number| *number > last)
}

const HEAD_BYTES: usize = 40;

/// The head of the file.
#[derive(Clone, Copy)]
struct Head {
    half_bytes: usize,
    nonce: Nonce,
    /// The number of the last commit in the tables when the log was made.
    base: u64,
}

impl Head {
    fn file_bytes(&self) -> usize {
        BLOCK_BYTES + 2 * self.half_bytes
    }

    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(MAGIC);
        for (at, number) in [(8, self.half_bytes as u64), (16, self.nonce), (24, self.base)] {
            head[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let sum = checksum(&head[..32], self.nonce);
        head[32..].copy_from_slice(&sum);
        head
    }

    /// Reads a head; `None` if the bytes are damaged.
    fn read(bytes: &[u8; HEAD_BYTES]) -> Option<Head> {
        let number =
            |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (half_bytes, nonce, base) = (number(8), number(16), number(24));
        let is_size = (1..=HALF_BYTES_MAX).contains(&half_bytes)
            && half_bytes.is_multiple_of(BLOCK_BYTES as u64);
        let head = Head { half_bytes: half_bytes as usize, nonce, base };
        (is_size && head.to_bytes() == *bytes).then_some(head)
    }
}

fn checksum(bytes: &[u8], nonce: Nonce) -> [u8; 8] {
    xxh3_64_with_seed(bytes, nonce).to_le_bytes()
}

fn open(path: &Path, is_made: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(is_made).mode(PRIVATE).custom_flags(flags.bits() as i32);
    options.open(path)
}

fn write_failed(path: &Path, error: &io::Error) -> StoreError {
    let (file, reason) = (path.to_owned(), error.to_string());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::Full { file, reason }
        }
        _ => StoreError::Write { file, reason },
    }
}
