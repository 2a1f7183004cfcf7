//! Every acknowledged record is read back from the file, or the file is refused.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::Table;
use crate::contract::noise;
use crate::rows::RowChange;
use crate::sealed::unseal;

const NONCE: Nonce = 0x0123_4567_89ab_cdef;
const HALF_BYTES: usize = 1 << 20;
const FILE_BYTES: u64 = (BLOCK_BYTES + 2 * HALF_BYTES) as u64;

fn changes(number: u64) -> Changes {
    let mut changes = Changes::new();
    changes.put(Table::Customers, number.to_be_bytes(), vec![number as u8; 100]);
    changes.delete(Table::Outbox, (number - 1).to_be_bytes());
    changes
}

/// The table, the key and the value of each row.
type Plain = Vec<(Table, Vec<u8>, Option<Vec<u8>>)>;

fn plain(changes: &Changes) -> Plain {
    let of = |table| {
        changes.of(table).map(move |(key, value)| (table, key.to_vec(), value.map(<[u8]>::to_vec)))
    };
    Table::ALL.into_iter().flat_map(of).collect()
}

fn unsealed(rows: Rows<'_>) -> Plain {
    let plain = |row: RowChange<'_>| {
        let (table, key) = row.key.split_first().unwrap();
        let table = Table::ALL[usize::from(*table)];
        (
            table,
            key.to_vec(),
            row.sealed.map(|sealed| unseal(table, key, sealed).unwrap().into_owned()),
        )
    };
    rows.map(plain).collect()
}

/// Makes a log with these records, all acknowledged.
fn log_of(numbers: std::ops::RangeInclusive<u64>) -> (TempDir, Log) {
    let directory = TempDir::new().unwrap();
    let mut log = LogFile::make(directory.path(), NONCE, 2 * HALF_BYTES, 0).unwrap();
    for number in numbers {
        assert!(log.append(number, &changes(number), &|_| Ok(())).unwrap());
    }
    (directory, log)
}

/// Makes a log with these records, as a killed process leaves it.
fn left_of(numbers: std::ops::RangeInclusive<u64>) -> TempDir {
    log_of(numbers).0
}

fn read_as(
    directory: &TempDir,
    nonce: Nonce,
    flushed: u64,
) -> Result<(Log, Vec<(u64, Plain)>), StoreError> {
    let mut left = Vec::new();
    let log = LogFile::lock(directory.path())?.read(nonce, flushed, &mut |number, rows| {
        left.push((number, unsealed(rows)));
        Ok(())
    })?;
    Ok((log, left))
}

/// Reads the log beside tables that have the commits up to `flushed`, and returns the number of the
/// last record.
fn read(directory: &TempDir, flushed: u64) -> Result<u64, StoreError> {
    let (log, left) = read_as(directory, NONCE, flushed)?;
    let last = log.last();
    assert_eq!(
        left,
        (flushed + 1..=last).map(|number| (number, plain(&changes(number)))).collect::<Vec<_>>()
    );
    Ok(last)
}

/// Changes one byte of the log's file.
fn change(directory: &TempDir, at: usize, change: impl FnOnce(&mut u8)) {
    let path = directory.path().join(FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes[at]);
    fs::write(path, bytes).unwrap();
}

/// Removes the number of the last acknowledged record, as a loss of power may.
fn remove_end_file(directory: &TempDir) {
    fs::remove_file(directory.path().join(END_NAME)).unwrap();
}

#[test]
fn commits_that_the_tables_lack_are_replayed_in_order() {
    let directory = left_of(1..=5);
    assert_eq!(read(&directory, 0).unwrap(), 5);
    assert_eq!(read(&directory, 3).unwrap(), 5);
    assert_eq!(read(&directory, 5).unwrap(), 5);
}

fn large(number: u64) -> Changes {
    let mut changes = changes(number);
    changes.put(Table::Bodies, *b"large", noise(number, HALF_BYTES / 3));
    changes
}

#[test]
fn a_half_is_used_again_once_the_tables_have_its_commits() {
    let directory = TempDir::new().unwrap();
    let mut log = LogFile::make(directory.path(), NONCE, 2 * HALF_BYTES, 0).unwrap();
    let waited = std::cell::RefCell::new(Vec::new());
    for number in 1..=9 {
        let flushed = |until| {
            waited.borrow_mut().push((number, until));
            Ok(())
        };
        assert!(log.append(number, &large(number), &flushed).unwrap());
    }
    assert_eq!(*waited.borrow(), [(3, 0), (5, 2), (7, 4), (9, 6)], "each half holds two");
    drop(log);
    let (log, left) = read_as(&directory, NONCE, 6).unwrap();
    assert_eq!(left, [7, 8, 9].map(|number| (number, plain(&large(number)))));
    drop(log);
    let missing = read_as(&directory, NONCE, 5).unwrap_err().to_string();
    assert!(missing.contains("record 6 of the log is missing"), "{missing}");
}

#[test]
fn a_log_that_was_read_appends_after_its_last_record() {
    let mut directory = TempDir::new().unwrap();
    drop(LogFile::make(directory.path(), NONCE, 2 * HALF_BYTES, 0).unwrap());
    for number in 1..=12_u64 {
        // The tables have only the commits whose records were overwritten.
        let flushed = ((number - 1) / 2 * 2).saturating_sub(2);
        let (mut log, left) = read_as(&directory, NONCE, flushed).unwrap();
        assert_eq!((log.last(), left.len() as u64), (number - 1, number - 1 - flushed));
        let waits = |until| {
            assert!(until <= flushed, "record {number} waits for {until}");
            Ok(())
        };
        assert!(log.append(number, &large(number), &waits).unwrap());
        let next = TempDir::new().unwrap();
        for name in [FILE_NAME, END_NAME] {
            fs::copy(directory.path().join(name), next.path().join(name)).unwrap();
        }
        directory = next;
    }
}

#[test]
fn a_log_that_ends_before_or_begins_after_the_tables_end_is_refused() {
    let directory = left_of(1..=3);
    let refused = read(&directory, 4).unwrap_err().to_string();
    assert!(
        refused.contains("it ends with commit 3, and the tables beside it with commit 4"),
        "{refused}"
    );
    drop(read_as(&directory, NONCE, 3).unwrap().0.clear().unwrap());
    assert_eq!(read(&directory, 3).unwrap(), 3);
    let refused = read(&directory, 2).unwrap_err().to_string();
    assert!(
        refused.contains("it begins after commit 3, and the tables beside it end with commit 2"),
        "{refused}"
    );
}

#[test]
fn a_record_larger_than_a_half_is_not_appended() {
    let (directory, mut log) = log_of(1..=1);
    let mut large = changes(2);
    large.put(Table::Bodies, *b"large", noise(2, HALF_BYTES));
    assert!(!log.append(2, &large, &|_| Ok(())).unwrap());
    assert!(log.append(2, &changes(2), &|_| Ok(())).unwrap());
    drop(log);
    assert_eq!(read(&directory, 0).unwrap(), 2);
}

#[test]
fn a_torn_last_record_that_was_not_acknowledged_is_no_damage() {
    let (directory, log) = log_of(1..=3);
    log.note_end(2).unwrap();
    drop(log);
    change(&directory, 3 * BLOCK_BYTES + 50, |byte| *byte ^= 1);
    assert_eq!(read(&directory, 0).unwrap(), 2);
    remove_end_file(&directory);
    assert_eq!(read(&directory, 0).unwrap(), 2);
}

#[test]
fn an_acknowledged_record_that_cannot_be_read_is_damage() {
    let directory = left_of(1..=3);
    change(&directory, 3 * BLOCK_BYTES + 50, |byte| *byte ^= 1);
    let refused = read(&directory, 0).unwrap_err().to_string();
    assert!(
        refused.contains("record 3 of the log was acknowledged and cannot be read"),
        "{refused}"
    );
    let refused = read(&directory, 3).unwrap_err().to_string();
    assert!(refused.contains("it ends with commit 2"), "{refused}");
}

#[test]
fn a_valid_record_after_an_invalid_one_is_damage() {
    let directory = left_of(1..=3);
    remove_end_file(&directory);
    change(&directory, 2 * BLOCK_BYTES, |byte| *byte ^= 1);
    let refused = read(&directory, 0).unwrap_err().to_string();
    assert!(refused.contains("a record before record 3 of the log is damaged"), "{refused}");
}

#[test]
fn every_flipped_bit_of_an_acknowledged_record_is_found() {
    let directory = left_of(1..=2);
    let path = directory.path().join(FILE_NAME);
    let sound = fs::read(&path).unwrap();
    let mut first = Record::default();
    first.write(NONCE, 1, &changes(1), 0);
    let bytes = record::find(first.blocks(), NONCE).unwrap().bytes;
    for at in (0..HEAD_BYTES).chain(BLOCK_BYTES..BLOCK_BYTES + bytes) {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[sound[at] ^ 1 << (at % 8)], at as u64).unwrap();
        assert!(read(&directory, 0).is_err(), "byte {at}");
        file.write_all_at(&sound[at..=at], at as u64).unwrap();
    }
    assert_eq!(read(&directory, 0).unwrap(), 2);
}

#[test]
fn a_log_that_is_missing_cut_off_or_of_another_store_is_refused() {
    let directory = left_of(1..=1);
    assert!(matches!(read_as(&directory, NONCE + 1, 0), Err(StoreError::LogOfAnother { .. })));
    let path = directory.path().join(FILE_NAME);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(FILE_BYTES - 1).unwrap();
    assert!(matches!(read(&directory, 0), Err(StoreError::Truncated { .. })));
    fs::remove_file(path).unwrap();
    assert!(matches!(read(&directory, 0), Err(StoreError::LogMissing { .. })));
}

#[test]
fn records_of_an_earlier_log_are_not_read() {
    let directory = left_of(1..=3);
    drop(LogFile::make(directory.path(), NONCE + 1, 2 * HALF_BYTES, 0).unwrap());
    let (mut log, left) = read_as(&directory, NONCE + 1, 0).unwrap();
    assert!(left.is_empty());
    assert!(log.append(1, &changes(1), &|_| Ok(())).unwrap());
    drop(log);
    assert_eq!(read_as(&directory, NONCE + 1, 0).unwrap().1.len(), 1);
}

#[test]
fn a_log_is_unused_until_there_was_a_commit() {
    let is_unused =
        |directory: &TempDir| LogFile::lock(directory.path()).unwrap().is_unused().unwrap();
    let directory = TempDir::new().unwrap();
    drop(LogFile::make(directory.path(), NONCE, 2 * HALF_BYTES, 0).unwrap());
    assert!(is_unused(&directory));
    let directory = left_of(1..=1);
    assert!(!is_unused(&directory));
    drop(read_as(&directory, NONCE, 1).unwrap().0.clear().unwrap());
    assert!(!is_unused(&directory), "the tables have a commit");
    fs::write(directory.path().join(FILE_NAME), b"").unwrap();
    assert!(is_unused(&directory));
    fs::write(directory.path().join(FILE_NAME), [7; 9000]).unwrap();
    assert!(!is_unused(&directory));
}

#[test]
fn the_file_never_grows_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, _) = log_of(1..=50);
    for name in [FILE_NAME, END_NAME] {
        let found = fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(directory.path().join(FILE_NAME)).unwrap().len(), FILE_BYTES);
}

/// The number of a table, a key, and a value; `None` deletes the key.
fn row() -> impl Strategy<Value = (usize, Vec<u8>, Option<Vec<u8>>)> {
    let key = prop::collection::vec(any::<u8>(), 0..40);
    let value = prop::option::of(prop::collection::vec(0..4u8, 0..600));
    (0..Table::ALL.len(), key, value)
}

proptest! {
    #[test]
    fn any_changes_are_read_back_from_a_whole_record_only(
        rows in prop::collection::vec(row(), 0..20),
        number: u64,
        nonce: u64,
    ) {
        let mut changes = Changes::new();
        for (table, key, value) in rows {
            match value {
                Some(value) => changes.put(Table::ALL[table], key, value),
                None => changes.delete(Table::ALL[table], key),
            }
        }
        let mut record = Record::default();
        record.write(nonce, number, &changes, 0);
        let written = record.blocks();
        let found = record::find(written, nonce).unwrap();
        prop_assert_eq!(found.number, number);
        prop_assert_eq!(found.bytes.next_multiple_of(BLOCK_BYTES), written.len());
        prop_assert_eq!(unsealed(Rows::read(found.payload).unwrap()), plain(&changes));
        prop_assert!(record::find(&written[..found.bytes - 1], nonce).is_none());
        prop_assert!(record::find(written, nonce ^ 1).is_none());
    }

    #[test]
    fn no_payload_makes_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        Rows::read(&bytes);
    }
}
