//! A write-ahead log of ours before the trees of lsm-tree, which is what fjall is built on. The memtables show each commit at once; the log is the
//! only journal. Shows whether our own log closes what fjall's journal leaves open.
//!
//! The log is a row of segments. A segment's head says which commits had changed each table before the segment, so the trees must have at least
//! those. When a segment is full, the next one begins, all memtables are flushed, and the older segments are deleted.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_tree::{AbstractTree, AnyTree, Guard, SeqNo, SequenceNumberCounter};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::guard::{self, LAST, Touched};
use super::{Result, Store, seal, unseal};
use crate::end_file::{self, EndFile};
use crate::rows::{Changes, TABLES};

const SEGMENT_BYTES: usize = 2 << 20;
/// Records begin at multiples of this, so that a write never touches the block of an earlier record.
const BLOCK_BYTES: usize = 4096;
const SEGMENT_MAGIC: &[u8; 8] = b"segment1";
const RECORD_MAGIC: &[u8; 8] = b"record01";
const RECORD_HEAD_BYTES: usize = 28;

struct LogLsm {
    trees: Vec<AnyTree>,
    sequence: SequenceNumberCounter,
    visible: SequenceNumberCounter,
    directory: PathBuf,
    segment: File,
    segment_number: u64,
    segment_bytes: usize,
    touched: Touched,
    end: EndFile,
    closed: Option<String>,
}

fn text(error: lsm_tree::Error) -> String {
    format!("lsm-tree: {error:?}")
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

pub(super) fn open(directory: &Path, create: bool) -> Result<Box<dyn Store>> {
    let trees_directory = directory.join("trees");
    if create {
        fs::create_dir_all(&trees_directory).map_err(io(&trees_directory))?;
    } else {
        // Opening a tree deletes what it takes for unused, so every tree is checked before.
        for table in 0..TABLES.len() {
            guard::check_version(&trees_directory.join(table.to_string()))?;
        }
    }
    let log = if create { Log::default() } else { read_log(directory)? };
    let (sequence, visible) = (SequenceNumberCounter::default(), SequenceNumberCounter::default());
    let open_tree = |table: usize| {
        let path = trees_directory.join(table.to_string());
        let opened = lsm_tree::Config::new(&path, sequence.clone(), visible.clone()).open();
        opened.map_err(|error| format!("{}: {error:?}", path.display()))
    };
    let trees = (0..TABLES.len()).map(open_tree).collect::<Result<Vec<_>>>()?;
    let highest = trees.iter().filter_map(AbstractTree::get_highest_persisted_seqno).max();
    sequence.fetch_max(highest.map_or(1, |highest| highest + 1));
    let mut touched = Touched::default();
    for (table, tree) in trees.iter().enumerate() {
        let row = tree.get(LAST, SeqNo::MAX).map_err(text)?;
        guard::check_last(TABLES[table], row.as_deref(), log.before[table], false)?;
        touched[table] = row.as_deref().and_then(crate::rows::progress_number).unwrap_or(0);
    }
    let persisted = touched;
    let mut last = log.before.into_iter().max().unwrap_or(0);
    for (number, changes) in &log.records {
        insert(&trees, &sequence, *number, changes, &persisted);
        for (table, _) in changes.keys() {
            touched[usize::from(*table)] = touched[usize::from(*table)].max(*number);
        }
        last = *number;
    }
    visible.set(sequence.get());
    if let Some((table, number)) = touched.iter().enumerate().find(|(_, number)| **number > last) {
        return Err(format!("the table `{}` has commit {number}, and the log ends with commit {last}", TABLES[table]));
    }
    if let Some(acknowledged) = end_file::read(directory)
        && last < acknowledged
    {
        return Err(format!(
            "commit {acknowledged} was acknowledged, and the log in {} ends with commit {last}",
            directory.display()
        ));
    }
    let segment_number = log.segments.last().map_or(1, |last| last + 1);
    let segment = begin_segment(directory, segment_number, &touched)?;
    let end = EndFile::open(directory)?;
    if create {
        super::sync_directory(&trees_directory)?;
        end.write(0)?;
        super::sync_directory(directory)?;
    }
    let directory = directory.to_owned();
    let mut store = LogLsm {
        trees,
        sequence,
        visible,
        directory,
        segment,
        segment_number,
        segment_bytes: BLOCK_BYTES,
        touched,
        end,
        closed: None,
    };
    store.flush()?;
    Ok(Box::new(store))
}

/// Inserts a commit into the memtables of the trees that lack it.
fn insert(trees: &[AnyTree], sequence: &SequenceNumberCounter, number: u64, changes: &Changes, persisted: &Touched) {
    let at = sequence.next();
    for ((table, key), value) in changes {
        let table = usize::from(*table);
        if number <= persisted[table] {
            continue;
        }
        match value {
            Some(value) => trees[table].insert(&key[..], seal(table as u8, key, value), at),
            None => trees[table].remove(&key[..], at),
        };
        trees[table].insert(LAST, number.to_be_bytes(), at);
    }
}

impl LogLsm {
    fn unreadable(&self, table: u8, error: lsm_tree::Error) -> String {
        format!("{}: {error:?}", self.directory.join("trees").join(table.to_string()).display())
    }

    fn flush(&mut self) -> Result<()> {
        let threshold = self.visible.get();
        for tree in &self.trees {
            tree.flush_active_memtable(threshold).map_err(text)?;
            tree.compact(Arc::new(lsm_tree::compaction::Leveled::default()), threshold).map_err(text)?;
        }
        for number in segments(&self.directory)?.into_iter().filter(|number| *number < self.segment_number) {
            let path = segment_path(&self.directory, number);
            fs::remove_file(&path).map_err(io(&path))?;
        }
        Ok(())
    }

    fn write(&mut self, number: u64, changes: &Changes) -> Result<()> {
        if self.segment_bytes > SEGMENT_BYTES {
            self.segment = begin_segment(&self.directory, self.segment_number + 1, &self.touched)?;
            self.segment_number += 1;
            self.segment_bytes = BLOCK_BYTES;
            self.flush()?;
        }
        let record = record(number, changes);
        let path = segment_path(&self.directory, self.segment_number);
        self.segment.write_all(&record).and_then(|()| self.segment.sync_data()).map_err(io(&path))?;
        self.segment_bytes += record.len();
        insert(&self.trees, &self.sequence, number, changes, &Touched::default());
        self.visible.set(self.sequence.get());
        for (table, _) in changes.keys() {
            self.touched[usize::from(*table)] = number;
        }
        self.end.write(number)
    }
}

impl Store for LogLsm {
    fn commit(&mut self, number: u64, changes: &Changes) -> Result<()> {
        if let Some(reason) = &self.closed {
            return Err(format!("the store is closed: {reason}"));
        }
        // Whether a failed commit is in the log is known when it is read again.
        self.write(number, changes).inspect_err(|reason| self.closed = Some(reason.clone()))
    }

    fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let row = self.trees[usize::from(table)].get(key, SeqNo::MAX).map_err(|error| self.unreadable(table, error))?;
        row.map(|sealed| unseal(table, key, &sealed)).transpose()
    }

    fn all(&self, table: u8, visit: &mut dyn FnMut(&[u8], Vec<u8>)) -> Result<()> {
        for row in self.trees[usize::from(table)].iter(SeqNo::MAX, None) {
            let (key, sealed) = row.into_inner().map_err(|error| self.unreadable(table, error))?;
            if !guard::is_own(&key) {
                let value = unseal(table, &key, &sealed)?;
                visit(&key, value);
            }
        }
        Ok(())
    }
}

fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("log-{number:08}"))
}

fn segments(directory: &Path) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(io(directory))? {
        let name = entry.map_err(io(directory))?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix("log-")).and_then(|number| number.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn begin_segment(directory: &Path, number: u64, touched: &Touched) -> Result<File> {
    let path = segment_path(directory, number);
    let mut head = SEGMENT_MAGIC.to_vec();
    head.extend_from_slice(&number.to_le_bytes());
    head.extend(touched.iter().flat_map(|number| number.to_le_bytes()));
    head.extend_from_slice(&xxh3_64(&head).to_le_bytes());
    head.resize(BLOCK_BYTES, 0);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).map_err(io(&path))?;
    file.write_all(&head).and_then(|()| file.sync_all()).map_err(io(&path))?;
    super::sync_directory(directory)?;
    Ok(file)
}

/// The content of the segments of a log.
#[derive(Default)]
struct Log {
    segments: Vec<u64>,
    /// The last commit that had changed each table before the first segment.
    before: Touched,
    records: Vec<(u64, Changes)>,
}

fn read_log(directory: &Path) -> Result<Log> {
    let mut log = Log { segments: segments(directory)?, ..Log::default() };
    let Some(newest) = log.segments.last().copied() else {
        return Err(format!("the log in {} is missing", directory.display()));
    };
    let mut last = None;
    for (place, number) in log.segments.iter().enumerate() {
        let path = segment_path(directory, *number);
        if *number != log.segments[0] + place as u64 {
            return Err(format!("the segment before {} is missing", path.display()));
        }
        let damaged = |reason: &str| format!("{} is damaged: {reason}", path.display());
        let bytes = fs::read(&path).map_err(io(&path))?;
        let head = read_head(&bytes, *number);
        if head.is_none() && *number == newest && place > 0 && find_record(&bytes, last.unwrap_or(0)).is_none() {
            // The segment was being made: it is used only after its head is synced.
            break;
        }
        let before = head.ok_or_else(|| damaged("its head cannot be read"))?;
        let reached = before.into_iter().max().unwrap_or(0);
        if place == 0 {
            log.before = before;
            last = Some(reached);
        } else if last != Some(reached) {
            return Err(damaged(&format!(
                "it follows commit {reached}, and the segment before ends with commit {last:?}"
            )));
        }
        let mut at = BLOCK_BYTES;
        while let Some((found, changes, end)) = bytes.get(at..).and_then(read_record) {
            if Some(found) != last.map(|last| last + 1) {
                return Err(damaged(&format!("commit {found} follows commit {last:?}")));
            }
            log.records.push((found, changes));
            last = Some(found);
            at += end;
        }
        if at < bytes.len() {
            if *number != newest {
                return Err(damaged(&format!("the record at byte {at} cannot be read")));
            }
            if let Some(behind) = find_record(&bytes[at..], last.unwrap_or(0)) {
                return Err(damaged(&format!("a record before commit {behind} cannot be read")));
            }
        }
    }
    Ok(log)
}

/// A sound record of a later commit in what should have none.
fn find_record(bytes: &[u8], last: u64) -> Option<u64> {
    let blocks = (0..bytes.len()).step_by(BLOCK_BYTES);
    blocks.filter_map(|at| read_record(&bytes[at..])).map(|(number, _, _)| number).find(|number| *number > last)
}

fn read_head(bytes: &[u8], number: u64) -> Option<Touched> {
    let mut reader = Reader(bytes);
    let head = reader.take(16 + 8 * TABLES.len())?;
    if reader.take(8)? != xxh3_64(head).to_le_bytes() || bytes.len() < BLOCK_BYTES {
        return None;
    }
    let mut reader = Reader(head);
    if reader.take(8)? != SEGMENT_MAGIC || reader.u64()? != number {
        return None;
    }
    let mut touched = Touched::default();
    for table in &mut touched {
        *table = reader.u64()?;
    }
    Some(touched)
}

fn record(number: u64, changes: &Changes) -> Vec<u8> {
    let mut record = vec![0; RECORD_HEAD_BYTES];
    for ((table, key), value) in changes {
        record.push(*table);
        record.extend_from_slice(&(key.len() as u32).to_le_bytes());
        record.extend_from_slice(&value.as_ref().map_or(u32::MAX, |value| value.len() as u32).to_le_bytes());
        record.extend_from_slice(key);
        record.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    let payload_bytes = (record.len() - RECORD_HEAD_BYTES) as u32;
    let sum = xxh3_64_with_seed(&record[RECORD_HEAD_BYTES..], number);
    record[..8].copy_from_slice(RECORD_MAGIC);
    record[8..16].copy_from_slice(&number.to_le_bytes());
    record[16..20].copy_from_slice(&payload_bytes.to_le_bytes());
    record[20..28].copy_from_slice(&sum.to_le_bytes());
    record.resize(record.len().next_multiple_of(BLOCK_BYTES), 0);
    record
}

fn read_record(bytes: &[u8]) -> Option<(u64, Changes, usize)> {
    let mut reader = Reader(bytes);
    if reader.take(8)? != RECORD_MAGIC {
        return None;
    }
    let (number, payload_bytes, sum) = (reader.u64()?, reader.u32()? as usize, reader.u64()?);
    let payload = reader.take(payload_bytes)?;
    if sum != xxh3_64_with_seed(payload, number) {
        return None;
    }
    let mut changes = Changes::new();
    let mut rows = Reader(payload);
    while !rows.0.is_empty() {
        let table = rows.take(1)?[0];
        let (key_bytes, value_bytes) = (rows.u32()? as usize, rows.u32()?);
        let key = rows.take(key_bytes)?.to_vec();
        let value = if value_bytes == u32::MAX { None } else { Some(rows.take(value_bytes as usize)?.to_vec()) };
        changes.insert((table, key), value);
    }
    Some((number, changes, (RECORD_HEAD_BYTES + payload_bytes).next_multiple_of(BLOCK_BYTES)))
}

struct Reader<'bytes>(&'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    fn take(&mut self, bytes: usize) -> Option<&'bytes [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }
}
