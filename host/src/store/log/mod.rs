//! The write-ahead log: one file in which commits become durable, one after another, before they are brought to the tables.
//!
//! A commit to the tables touches a page for every row, and syncs twice; here it is one write and one sync of neighbouring blocks. The file has
//! two halves of a fixed size, filled with zeros when it is made, so that a sync has no metadata to write, and a full disk can't refuse a commit.
//! A half is written from its beginning again once all of it is in the tables.
//!
//! **A record that was acknowledged is read back, or the log is refused (G9).** Every record has a number and a checksum; a missing number, or a
//! sound record behind one that is not, is damage. Only the last record of all may be torn. Whether it was acknowledged, a second file says, which
//! is written after every sync and never synced itself: it outlives the process, and of a machine that lost its power what is lost of it is what
//! the kernel had not written yet. Records begin at blocks of their own, so that none that was acknowledged is ever written over half.

mod record;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::record::Found;
use super::{Changes, StoreError};
use crate::failpoint::Failpoint;

/// The log's file beside the tables'.
pub(super) const FILE_NAME: &str = "hailer.wal";
/// Which record was acknowledged last.
const END_NAME: &str = "hailer.wal.end";

const MAGIC: &[u8; 8] = b"hailwal1";
/// A record begins at a multiple of this: what a disk or a file system may write over half.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Of one half. A commit of a busy engine is a few hundred thousand bytes.
const HALF_BYTES: usize = 8 << 20;
const FILE_BYTES: usize = BLOCK_BYTES + 2 * HALF_BYTES;
const PRIVATE: u32 = 0o600;

/// What a log is called in the tables that it belongs to: one made anew has another name, and so has that of another store.
pub(super) type Nonce = u64;

/// The log, open to be written.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    end: File,
    nonce: Nonce,
    /// The half that is being written, and how far it is.
    half: usize,
    at: usize,
    /// The number of the last record in each half.
    last: [u64; 2],
    buffer: Vec<u8>,
}

/// What was acknowledged and is not in the tables yet.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) changes: Vec<Changes>,
    /// The number of the last one, or of the last that is in the tables.
    pub(super) last: u64,
}

impl Log {
    /// Makes the log of a directory, or takes its file for a new one: the caller knows that the tables need nothing of it.
    pub(super) fn begin(directory: &Path, nonce: Nonce) -> Result<Log, StoreError> {
        let path = directory.join(FILE_NAME);
        let failed = |error| write_failed(&path, &error);
        let mut file = open(&path, true).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() != FILE_BYTES as u64 {
            fill_with_zeros(&mut file).map_err(failed)?;
        }
        file.write_all_at(&head(nonce), 0).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let end = open(&directory.join(END_NAME), true).map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        let log = Log { path, file, end, nonce, half: 0, at: 0, last: [0; 2], buffer: Vec::new() };
        log.acknowledge(0)?;
        Ok(log)
    }

    pub(super) fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// Reads what the tables, which have all up to `shown`, still lack of the log that they name.
    ///
    /// # Errors
    /// When anything that was acknowledged is missing or damaged.
    pub(super) fn read(directory: &Path, nonce: Nonce, shown: u64) -> Result<Left, StoreError> {
        let path = directory.join(FILE_NAME);
        let mut bytes = Vec::new();
        match open(&path, false).and_then(|file| file.take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(StoreError::LogMissing { file: path }),
            read => read.map_err(|error| StoreError::Io { path: path.clone(), error })?,
        };
        if bytes.len() != FILE_BYTES {
            let (bytes, bytes_expected) = (bytes.len() as u64, FILE_BYTES as u64);
            return Err(StoreError::Truncated { file: path, bytes, bytes_expected });
        }
        if bytes[..HEAD_BYTES] != head(nonce) {
            return Err(StoreError::LogOfAnother { file: path });
        }
        let damaged = |reason: String| StoreError::Damaged { file: path.clone(), reason };
        let mut found = Vec::new();
        for half in bytes[BLOCK_BYTES..].chunks_exact(HALF_BYTES) {
            let end = read_half(half, nonce, &mut found).map_err(&damaged)?;
            if let Some(behind) = find_behind(&half[end.at..], nonce, end.last.max(shown)) {
                return Err(damaged(format!("a record before record {behind} of the log is not what was written")));
            }
        }
        found.retain(|(number, _)| *number > shown);
        found.sort_unstable_by_key(|(number, _)| *number);
        let mut left = Left { changes: Vec::with_capacity(found.len()), last: shown };
        for (number, changes) in found {
            if number != left.last + 1 {
                return Err(damaged(format!("record {} of the log is missing", left.last + 1)));
            }
            left.last = number;
            left.changes.push(changes);
        }
        match acknowledged(directory, nonce) {
            Some(end) if end > left.last => {
                Err(damaged(format!("record {} of the log was acknowledged and can't be read", left.last + 1)))
            }
            _ => Ok(left),
        }
    }

    /// Makes changes durable under the next number. `shown` waits until the tables have everything up to a number.
    ///
    /// Returns whether it was done: changes too large for a half have to go to the tables by themselves.
    pub(super) fn append(
        &mut self,
        number: u64,
        changes: &Changes,
        shown: &dyn Fn(u64) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        self.buffer.clear();
        record::write(&mut self.buffer, self.nonce, number, changes);
        self.buffer.resize(self.buffer.len().next_multiple_of(BLOCK_BYTES), 0);
        if self.buffer.len() > HALF_BYTES {
            self.buffer = Vec::new();
            return Ok(false);
        }
        if self.at + self.buffer.len() > HALF_BYTES {
            let other = 1 - self.half;
            shown(self.last[other])?;
            (self.half, self.at) = (other, 0);
        }
        let offset = BLOCK_BYTES + self.half * HALF_BYTES + self.at;
        let failed = |error| write_failed(&self.path, &error);
        Failpoint::DuringCommit.pass();
        self.file.write_all_at(&self.buffer, offset as u64).map_err(failed)?;
        Failpoint::DuringCommit.pass();
        self.file.sync_data().map_err(failed)?;
        Failpoint::DuringCommit.pass();
        self.acknowledge(number)?;
        self.at += self.buffer.len();
        self.last[self.half] = number;
        Ok(true)
    }

    fn acknowledge(&self, number: u64) -> Result<(), StoreError> {
        let mut end = [0; END_BYTES];
        end[..8].copy_from_slice(&number.to_le_bytes());
        let sum = checksum(&end[..8], self.nonce);
        end[8..].copy_from_slice(&sum);
        self.end.write_all_at(&end, 0).map_err(|error| write_failed(&self.path.with_file_name(END_NAME), &error))
    }
}

/// Overwrites a log that the tables need nothing of, so that no record of it can be read any more.
pub(super) fn clear(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join(FILE_NAME);
    if !path.exists() {
        return Ok(());
    }
    let failed = |error| write_failed(&path, &error);
    let mut file = open(&path, true).map_err(failed)?;
    fill_with_zeros(&mut file).and_then(|()| file.sync_all()).map_err(failed)
}

/// Overwrites a file in its place: what is cut off may stay on the disk.
fn fill_with_zeros(file: &mut File) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let zeros = vec![0; 1 << 20];
    for written in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all(&zeros[..zeros.len().min(FILE_BYTES - written)])?;
    }
    file.set_len(FILE_BYTES as u64)
}

const END_BYTES: usize = 16;

/// The number that was acknowledged last, as far as that outlived; none is as good as 0.
fn acknowledged(directory: &Path, nonce: Nonce) -> Option<u64> {
    let mut end = [0; END_BYTES];
    open(&directory.join(END_NAME), false).ok()?.read_exact(&mut end).ok()?;
    let (number, sum) = end.split_first_chunk::<8>()?;
    (*sum == checksum(number, nonce)).then(|| u64::from_le_bytes(*number))
}

/// Where the records of a half end.
struct HalfEnd {
    at: usize,
    /// The number of the last; 0 if there is none.
    last: u64,
}

/// Reads the records that follow each other in a half.
fn read_half(half: &[u8], nonce: Nonce, found: &mut Vec<(u64, Changes)>) -> Result<HalfEnd, String> {
    let mut end = HalfEnd { at: 0, last: 0 };
    while let Some(Found { number, payload, bytes }) = record::find(&half[end.at..], nonce) {
        if end.last != 0 && number != end.last + 1 {
            break;
        }
        let changes = record::read(payload).ok_or_else(|| format!("record {number} of the log makes no sense"))?;
        found.push((number, changes));
        end = HalfEnd { at: (end.at + bytes).next_multiple_of(BLOCK_BYTES).min(half.len()), last: number };
    }
    Ok(end)
}

/// A sound record with a number greater than `last` in what should have none.
fn find_behind(rest: &[u8], nonce: Nonce, last: u64) -> Option<u64> {
    let blocks = (0..rest.len()).step_by(BLOCK_BYTES);
    blocks.filter_map(|at| record::find(&rest[at..], nonce)).map(|found| found.number).find(|number| *number > last)
}

const HEAD_BYTES: usize = 32;

fn head(nonce: Nonce) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&(HALF_BYTES as u64).to_le_bytes());
    head[16..24].copy_from_slice(&nonce.to_le_bytes());
    let sum = checksum(&head[..24], nonce);
    head[24..].copy_from_slice(&sum);
    head
}

fn checksum(bytes: &[u8], nonce: Nonce) -> [u8; 8] {
    xxh3_64_with_seed(bytes, nonce).to_le_bytes()
}

fn open(path: &Path, is_made: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut options = OpenOptions::new();
    options.read(true).write(is_made).create(is_made).mode(PRIVATE).custom_flags(flags.bits() as i32);
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
