//! The checks that fjall 3.1 and lsm-tree 3.1 do not make when they open a store. Each list of
//! tables must be the one that was written. No journal and no batch in the middle may be missing.
//! The tables must have every commit that no journal has. All of this is checked before the store
//! is opened, because opening deletes files that look unused.
//!
//! Every commit writes two kinds of additional rows. Each table that it changes gets a row with its
//! number. `meta` gets a row with the number of the last commit that changed each table, before
//! this commit and after it.

use std::fs;
use std::path::{Path, PathBuf};

use lsm_tree::{AbstractTree, SeqNo, SequenceNumberCounter};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::Result;
use crate::rows::{META, PROGRESS, TABLES, progress_number};

/// The number of the last commit that changed each table.
pub(crate) type Touched = [u64; TABLES.len()];

/// The key of the row with the number of the last commit that changed the table.
pub(crate) const LAST: &[u8] = b"\xfflast";
/// The key of the row in `meta` with [`Touched`] before and after the commit.
pub(crate) const TOUCHED: &[u8] = b"\xfftouched";

pub(crate) fn is_own(key: &[u8]) -> bool {
    key == LAST || key == TOUCHED
}

pub(crate) fn row(before: &Touched, after: &Touched) -> Vec<u8> {
    let mut row: Vec<u8> =
        before.iter().chain(after).flat_map(|number| number.to_be_bytes()).collect();
    let sum = xxh3_64(&row).to_be_bytes();
    row.extend_from_slice(&sum);
    row
}

pub(crate) fn after(row: &[u8]) -> Result<Touched> {
    read(row)
        .map(|(_, after)| after)
        .ok_or_else(|| "the row of the last commits is damaged".to_owned())
}

fn read(row: &[u8]) -> Option<(Touched, Touched)> {
    let (numbers, sum) = row.split_last_chunk::<8>()?;
    if xxh3_64(numbers).to_be_bytes() != *sum || numbers.len() != 16 * TABLES.len() {
        return None;
    }
    let mut all = numbers
        .chunks_exact(8)
        .map(|number| number.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
    let before = std::array::from_fn(|_| all.next().unwrap_or(0));
    Some((before, std::array::from_fn(|_| all.next().unwrap_or(0))))
}

/// Checks the number of the last commit in a table. It must equal `expected`, or at least reach it
/// if `is_exact` is false.
pub(crate) fn check_last(
    table: &str,
    row: Option<&[u8]>,
    expected: u64,
    is_exact: bool,
) -> Result<()> {
    let found = row.and_then(progress_number).unwrap_or(0);
    if found < expected || (is_exact && found > expected) {
        return Err(format!(
            "the table `{table}` ends with commit {found}, and commit {expected} changed it"
        ));
    }
    Ok(())
}

/// Checks the directory of a store of fjall.
pub(crate) fn check(directory: &Path) -> Result<()> {
    for keyspace in 0..=TABLES.len() {
        check_version(&keyspace_directory(directory, keyspace))?;
    }
    let Some(before) = check_journals(directory)? else { return Ok(()) };
    for ((table, name), expected) in (1..).zip(TABLES).zip(before) {
        let path = keyspace_directory(directory, table);
        let counter = SequenceNumberCounter::default;
        let failed = |error| format!("{}: {error:?}", path.display());
        let tree = lsm_tree::Config::new(&path, counter(), counter()).open().map_err(failed)?;
        let row = tree.get(LAST, SeqNo::MAX).map_err(failed)?;
        check_last(name, row.as_deref(), expected, false)?;
    }
    Ok(())
}

fn keyspace_directory(directory: &Path, keyspace: usize) -> PathBuf {
    directory.join("keyspaces").join(keyspace.to_string())
}

/// Checks the list of a tree's tables against its checksum in `current`, which lsm-tree ignores.
pub(crate) fn check_version(tree: &Path) -> Result<()> {
    let unreadable = |path: &Path, error| format!("cannot read {}: {error}", path.display());
    let current = tree.join("current");
    let bytes = fs::read(&current).map_err(|error| unreadable(&current, error))?;
    let damaged = || format!("{} is damaged", current.display());
    let bytes: [u8; 25] = bytes.try_into().map_err(|_| damaged())?;
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (sum, kind) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
    if *kind != [0] {
        return Err(damaged());
    }
    let version = tree.join(format!("v{}", u64::from_le_bytes(*number)));
    let bytes = fs::read(&version).map_err(|error| unreadable(&version, error))?;
    if xxh3_128(&bytes) != u128::from_le_bytes(*sum) {
        return Err(format!(
            "{} is damaged: its checksum is not the one in `current`",
            version.display()
        ));
    }
    Ok(())
}

/// Checks that no journal is missing, and every batch in them. Returns the last commit that had
/// changed each table before the first batch; `None` if there is no batch.
fn check_journals(directory: &Path) -> Result<Option<Touched>> {
    let listed = |error| format!("cannot read {}: {error}", directory.display());
    let mut journals = Vec::new();
    for entry in fs::read_dir(directory).map_err(listed)? {
        let path = entry.map_err(listed)?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .and_then(|stem| stem.parse::<u64>().ok());
            journals.push((
                number.ok_or_else(|| format!("{} is not a journal's name", path.display()))?,
                path,
            ));
        }
    }
    journals.sort();
    let Some((newest, _)) = journals.last().cloned() else {
        return Err("there is no journal".to_owned());
    };
    let mut first = None;
    let mut previous: Option<Batch> = None;
    for (place, (number, path)) in journals.iter().enumerate() {
        if *number != journals[0].0 + place as u64 {
            return Err(format!("the journal before {} is missing", path.display()));
        }
        let damaged = |at: usize, reason: &str| {
            format!("{} is damaged at byte {at}: {reason}", path.display())
        };
        let bytes =
            fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let mut at = 0;
        while let Some((batch, end)) = read_batch(&bytes, at) {
            if let Some(previous) = &previous
                && (batch.commit != previous.commit + 1
                    || batch.sequence <= previous.sequence
                    || batch.sequence > previous.sequence + (1 << 20))
            {
                let reason = format!("commit {} follows commit {}", batch.commit, previous.commit);
                return Err(damaged(at, &reason));
            }
            first = first.or(Some(batch.before));
            previous = Some(batch);
            at = end;
        }
        // The rest must be zeros. Only the newest journal may end with an incomplete batch.
        let rest = &bytes[at..];
        if rest.iter().any(|byte| *byte != 0) {
            if *number != newest {
                return Err(damaged(at, "a batch cannot be read"));
            }
            let next = previous.as_ref().map_or(1, |previous| previous.commit + 1);
            let behind = memchr_start(rest).find(|start| {
                read_batch(rest, *start).is_some_and(|(found, _)| found.commit > next)
            });
            if let Some(behind) = behind {
                return Err(damaged(
                    at,
                    &format!(
                        "a batch cannot be read, and there is one behind it at byte {}",
                        at + behind
                    ),
                ));
            }
        }
    }
    Ok(first)
}

/// The offsets at which a batch could begin.
fn memchr_start(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == 1).map(|(at, _)| at)
}

struct Batch {
    commit: u64,
    sequence: u64,
    before: Touched,
}

/// Reads a batch of a journal: a start with a count and a sequence number, the items, and an end
/// with a checksum over the items.
fn read_batch(bytes: &[u8], at: usize) -> Option<(Batch, usize)> {
    let mut reader = Reader { bytes, at };
    if reader.take(1)? != [1] {
        return None;
    }
    let (items, sequence) = (reader.u32()?, reader.u64()?);
    let from = reader.at;
    let (mut commit, mut before) = (None, None);
    for _ in 0..items {
        let head = reader.take(2)?;
        if head[0] != 2 || reader.take(1)? != [0] {
            return None;
        }
        let keyspace = reader.u64()?;
        let key_bytes = usize::from(u16::from_le_bytes(*reader.take(2)?.first_chunk()?));
        let (value_bytes, stored_bytes) = (reader.u32()?, reader.u32()?);
        let (key, value) = (reader.take(key_bytes)?, reader.take(stored_bytes as usize)?);
        if value_bytes != stored_bytes {
            return None;
        }
        if keyspace == u64::from(META) + 1 {
            match key {
                PROGRESS => commit = progress_number(value),
                TOUCHED => before = read(value).map(|(before, _)| before),
                _ => {}
            }
        }
    }
    let sum = xxh3_64(&bytes[from..reader.at]);
    if reader.take(1)? != [3] || reader.u64()? != sum || reader.take(4)? != b"FJL\x03" {
        return None;
    }
    Some((Batch { commit: commit?, sequence, before: before? }, reader.at))
}

struct Reader<'bytes> {
    bytes: &'bytes [u8],
    at: usize,
}

impl<'bytes> Reader<'bytes> {
    fn take(&mut self, bytes: usize) -> Option<&'bytes [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(bytes)?)?;
        self.at += bytes;
        Some(taken)
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }
}
