//! What was acknowledged is read back from the file, or the file is refused: bit by bit.

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
    let of = |table| changes.of(table).map(move |(key, value)| (table, key.to_vec(), value.map(<[u8]>::to_vec)));
    Table::ALL.into_iter().flat_map(of).collect()
}

fn unsealed(rows: Rows<'_>) -> Plain {
    let plain = |row: RowChange<'_>| {
        let (table, key) = row.key.split_first().unwrap();
        let table = Table::ALL[usize::from(*table)];
        (table, key.to_vec(), row.sealed.map(|sealed| unseal(table, key, sealed).unwrap().into_owned()))
    };
    rows.map(plain).collect()
}

/// A log with these records, acknowledged.
fn log_of(numbers: std::ops::RangeInclusive<u64>) -> (TempDir, Log) {
    let directory = TempDir::new().unwrap();
    let mut log = LogFile::make(directory.path(), NONCE, 2 * HALF_BYTES, 0).unwrap();
    for number in numbers {
        assert!(log.append(number, &changes(number), &|_| Ok(())).unwrap());
    }
    (directory, log)
}

/// A log whose process was killed.
fn left_of(numbers: std::ops::RangeInclusive<u64>) -> TempDir {
    log_of(numbers).0
}

fn read_as(directory: &TempDir, nonce: Nonce, applied: u64) -> Result<(Log, Vec<(u64, Plain)>), StoreError> {
    let mut left = Vec::new();
    let log = LogFile::lock(directory.path())?.read(nonce, applied, &mut |number, rows| {
        left.push((number, unsealed(rows)));
        Ok(())
    })?;
    Ok((log, left))
}

/// The number of the last record, behind tables with so many.
fn read(directory: &TempDir, applied: u64) -> Result<u64, StoreError> {
    let (log, left) = read_as(directory, NONCE, applied)?;
    let last = log.last();
    assert_eq!(left, (applied + 1..=last).map(|number| (number, plain(&changes(number)))).collect::<Vec<_>>());
    Ok(last)
}

/// Changes bytes of the log's file.
fn change(directory: &TempDir, at: usize, change: impl FnOnce(&mut u8)) {
    let path = directory.path().join(FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes[at]);
    fs::write(path, bytes).unwrap();
}

/// Forgets which record was acknowledged last, as a loss of power may.
fn forget_the_end(directory: &TempDir) {
    fs::remove_file(directory.path().join(END_NAME)).unwrap();
}

#[test]
fn what_the_tables_lack_comes_back_in_order() {
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
fn a_half_is_written_again_once_the_tables_have_it() {
    let directory = TempDir::new().unwrap();
    let mut log = LogFile::make(directory.path(), NONCE, 2 * HALF_BYTES, 0).unwrap();
    let waited = std::cell::RefCell::new(Vec::new());
    for number in 1..=9 {
        let applied = |until| {
            waited.borrow_mut().push((number, until));
            Ok(())
        };
        assert!(log.append(number, &large(number), &applied).unwrap());
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
fn a_log_that_was_read_goes_on_where_it_ended() {
    let mut directory = TempDir::new().unwrap();
    drop(LogFile::make(directory.path(), NONCE, 2 * HALF_BYTES, 0).unwrap());
    for number in 1..=12_u64 {
        // The tables have what was written over, and no more.
        let applied = ((number - 1) / 2 * 2).saturating_sub(2);
        let (mut log, left) = read_as(&directory, NONCE, applied).unwrap();
        assert_eq!((log.last(), left.len() as u64), (number - 1, number - 1 - applied));
        let waits = |until| {
            assert!(until <= applied, "record {number} waits for {until}");
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
fn a_log_ends_no_earlier_than_the_tables_and_begins_no_later() {
    let directory = left_of(1..=3);
    let refused = read(&directory, 4).unwrap_err().to_string();
    assert!(refused.contains("it ends with commit 3, and the tables beside it with 4"), "{refused}");
    drop(read_as(&directory, NONCE, 3).unwrap().0.clear().unwrap());
    assert_eq!(read(&directory, 3).unwrap(), 3);
    let refused = read(&directory, 2).unwrap_err().to_string();
    assert!(refused.contains("it goes on from commit 3, and the tables beside it end with 2"), "{refused}");
}

#[test]
fn what_is_larger_than_a_half_is_not_taken() {
    let (directory, mut log) = log_of(1..=1);
    let mut large = changes(2);
    large.put(Table::Bodies, *b"large", noise(2, HALF_BYTES));
    assert!(!log.append(2, &large, &|_| Ok(())).unwrap());
    assert!(log.append(2, &changes(2), &|_| Ok(())).unwrap());
    drop(log);
    assert_eq!(read(&directory, 0).unwrap(), 2);
}

#[test]
fn a_torn_last_record_was_not_acknowledged_and_is_no_damage() {
    let (directory, log) = log_of(1..=3);
    log.acknowledge(2).unwrap();
    drop(log);
    change(&directory, 3 * BLOCK_BYTES + 50, |byte| *byte ^= 1);
    assert_eq!(read(&directory, 0).unwrap(), 2);
    forget_the_end(&directory);
    assert_eq!(read(&directory, 0).unwrap(), 2);
}

#[test]
fn an_acknowledged_record_that_can_not_be_read_is_damage() {
    let directory = left_of(1..=3);
    change(&directory, 3 * BLOCK_BYTES + 50, |byte| *byte ^= 1);
    let refused = read(&directory, 0).unwrap_err().to_string();
    assert!(refused.contains("record 3 of the log was acknowledged and can't be read"), "{refused}");
    let refused = read(&directory, 3).unwrap_err().to_string();
    assert!(refused.contains("it ends with commit 2"), "{refused}");
}

#[test]
fn a_sound_record_behind_one_that_is_not_tells_of_the_damage_by_itself() {
    let directory = left_of(1..=3);
    forget_the_end(&directory);
    change(&directory, 2 * BLOCK_BYTES, |byte| *byte ^= 1);
    let refused = read(&directory, 0).unwrap_err().to_string();
    assert!(refused.contains("a record before record 3 of the log is not what was written"), "{refused}");
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
fn nothing_of_an_earlier_log_is_read() {
    let directory = left_of(1..=3);
    drop(LogFile::make(directory.path(), NONCE + 1, 2 * HALF_BYTES, 0).unwrap());
    let (mut log, left) = read_as(&directory, NONCE + 1, 0).unwrap();
    assert!(left.is_empty());
    assert!(log.append(1, &changes(1), &|_| Ok(())).unwrap());
    drop(log);
    assert_eq!(read_as(&directory, NONCE + 1, 0).unwrap().1.len(), 1);
}

#[test]
fn a_log_has_nothing_until_there_was_a_commit() {
    let has_nothing = |directory: &TempDir| LogFile::lock(directory.path()).unwrap().has_nothing().unwrap();
    let directory = TempDir::new().unwrap();
    drop(LogFile::make(directory.path(), NONCE, 2 * HALF_BYTES, 0).unwrap());
    assert!(has_nothing(&directory));
    let directory = left_of(1..=1);
    assert!(!has_nothing(&directory));
    drop(read_as(&directory, NONCE, 1).unwrap().0.clear().unwrap());
    assert!(!has_nothing(&directory), "the tables had one");
    fs::write(directory.path().join(FILE_NAME), b"").unwrap();
    assert!(has_nothing(&directory));
    fs::write(directory.path().join(FILE_NAME), [7; 9000]).unwrap();
    assert!(!has_nothing(&directory));
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

proptest! {
    #[test]
    fn any_changes_come_back_from_a_record_and_no_part_of_one_does(
        rows in prop::collection::vec((0..Table::ALL.len(), prop::collection::vec(any::<u8>(), 0..40), prop::option::of(prop::collection::vec(0..4u8, 0..600))), 0..20),
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
        prop_assert_eq!((found.number, found.bytes.next_multiple_of(BLOCK_BYTES)), (number, written.len()));
        prop_assert_eq!(unsealed(Rows::read(found.payload).unwrap()), plain(&changes));
        prop_assert!(record::find(&written[..found.bytes - 1], nonce).is_none());
        prop_assert!(record::find(written, nonce ^ 1).is_none());
    }

    #[test]
    fn no_payload_whatever_makes_reading_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        Rows::read(&payload);
    }
}
