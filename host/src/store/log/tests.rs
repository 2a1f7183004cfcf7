//! What was acknowledged is read back from the file, or the file is refused: bit by bit.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::Table;

const NONCE: Nonce = 0x0123_4567_89ab_cdef;

fn changes(number: u64) -> Changes {
    let mut changes = Changes::new();
    changes.put(Table::Customers, number.to_be_bytes(), vec![number as u8; 100]);
    changes.delete(Table::Outbox, (number - 1).to_be_bytes());
    changes
}

fn rows(changes: &Changes) -> Vec<(Table, Vec<u8>, Option<Vec<u8>>)> {
    let of = |table| changes.of(table).map(move |(key, value)| (table, key.to_vec(), value.map(<[u8]>::to_vec)));
    Table::ALL.into_iter().flat_map(of).collect()
}

/// A log with these records, acknowledged.
fn log_of(numbers: std::ops::RangeInclusive<u64>) -> (TempDir, Log) {
    let directory = TempDir::new().unwrap();
    let mut log = Log::begin(directory.path(), NONCE).unwrap();
    for number in numbers {
        assert!(log.append(number, &changes(number), &|_| Ok(())).unwrap());
    }
    (directory, log)
}

fn read(directory: &TempDir, shown: u64) -> Result<u64, StoreError> {
    let left = Log::read(directory.path(), NONCE, shown)?;
    let expected: Vec<_> = (shown + 1..=left.last).map(|number| rows(&changes(number))).collect();
    assert_eq!(left.changes.iter().map(rows).collect::<Vec<_>>(), expected);
    Ok(left.last)
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
    let (directory, _) = log_of(1..=5);
    assert_eq!(read(&directory, 0).unwrap(), 5);
    assert_eq!(read(&directory, 3).unwrap(), 5);
    assert_eq!(read(&directory, 5).unwrap(), 5);
}

#[test]
fn a_half_is_written_again_once_the_tables_have_it() {
    let directory = TempDir::new().unwrap();
    let mut log = Log::begin(directory.path(), NONCE).unwrap();
    let large = |number: u64| {
        let mut changes = changes(number);
        changes.put(Table::Bodies, *b"large", vec![number as u8; HALF_BYTES / 3]);
        changes
    };
    let waited = std::cell::RefCell::new(Vec::new());
    for number in 1..=9 {
        let shown = |until| {
            waited.borrow_mut().push((number, until));
            Ok(())
        };
        assert!(log.append(number, &large(number), &shown).unwrap());
    }
    assert_eq!(*waited.borrow(), [(3, 0), (5, 2), (7, 4), (9, 6)], "each half holds two");
    let left = Log::read(directory.path(), NONCE, 6).unwrap();
    assert_eq!(left.changes.iter().map(rows).collect::<Vec<_>>(), [7, 8, 9].map(|number| rows(&large(number))));
    let missing = Log::read(directory.path(), NONCE, 5).unwrap_err().to_string();
    assert!(missing.contains("record 6 of the log is missing"), "{missing}");
}

#[test]
fn what_is_larger_than_a_half_is_not_taken() {
    let (directory, mut log) = log_of(1..=1);
    let mut large = changes(2);
    large.put(Table::Bodies, *b"large", vec![0; HALF_BYTES]);
    assert!(!log.append(2, &large, &|_| Ok(())).unwrap());
    assert!(log.append(2, &changes(2), &|_| Ok(())).unwrap());
    assert_eq!(read(&directory, 0).unwrap(), 2);
}

#[test]
fn a_torn_last_record_was_not_acknowledged_and_is_no_damage() {
    let (directory, log) = log_of(1..=3);
    log.acknowledge(2).unwrap();
    change(&directory, 3 * BLOCK_BYTES + 50, |byte| *byte ^= 1);
    assert_eq!(read(&directory, 0).unwrap(), 2);
    forget_the_end(&directory);
    assert_eq!(read(&directory, 0).unwrap(), 2);
}

#[test]
fn an_acknowledged_record_that_can_not_be_read_is_damage() {
    let (directory, _) = log_of(1..=3);
    change(&directory, 3 * BLOCK_BYTES + 50, |byte| *byte ^= 1);
    let refused = read(&directory, 0).unwrap_err().to_string();
    assert!(refused.contains("record 3 of the log was acknowledged and can't be read"), "{refused}");
    assert_eq!(Log::read(directory.path(), NONCE, 3).unwrap().last, 3, "the tables have it");
}

#[test]
fn a_sound_record_behind_one_that_is_not_tells_of_the_damage_by_itself() {
    let (directory, _) = log_of(1..=3);
    forget_the_end(&directory);
    change(&directory, 2 * BLOCK_BYTES, |byte| *byte ^= 1);
    let refused = read(&directory, 0).unwrap_err().to_string();
    assert!(refused.contains("a record before record 3 of the log is not what was written"), "{refused}");
}

#[test]
fn every_flipped_bit_of_an_acknowledged_record_is_found() {
    let (directory, _) = log_of(1..=2);
    let path = directory.path().join(FILE_NAME);
    let sound = fs::read(&path).unwrap();
    let mut first = Vec::new();
    record::write(&mut first, NONCE, 1, &changes(1));
    for at in (0..HEAD_BYTES).chain(BLOCK_BYTES..BLOCK_BYTES + first.len()) {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[sound[at] ^ 1 << (at % 8)], at as u64).unwrap();
        assert!(read(&directory, 0).is_err(), "byte {at}");
        file.write_all_at(&sound[at..=at], at as u64).unwrap();
    }
    assert_eq!(read(&directory, 0).unwrap(), 2);
}

#[test]
fn a_log_that_is_missing_cut_off_or_of_another_store_is_refused() {
    let (directory, _) = log_of(1..=1);
    assert!(matches!(Log::read(directory.path(), NONCE + 1, 0), Err(StoreError::LogOfAnother { .. })));
    let path = directory.path().join(FILE_NAME);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(FILE_BYTES as u64 - 1).unwrap();
    assert!(matches!(read(&directory, 0), Err(StoreError::Truncated { .. })));
    fs::remove_file(path).unwrap();
    assert!(matches!(read(&directory, 0), Err(StoreError::LogMissing { .. })));
}

#[test]
fn nothing_of_an_earlier_log_is_read() {
    let (directory, _) = log_of(1..=3);
    let mut log = Log::begin(directory.path(), NONCE + 1).unwrap();
    assert_eq!(Log::read(directory.path(), NONCE + 1, 0).unwrap().last, 0);
    assert!(log.append(1, &changes(1), &|_| Ok(())).unwrap());
    assert_eq!(Log::read(directory.path(), NONCE + 1, 0).unwrap().last, 1);
}

#[test]
fn the_file_never_grows_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, _) = log_of(1..=50);
    for name in [FILE_NAME, END_NAME] {
        let found = fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(directory.path().join(FILE_NAME)).unwrap().len(), FILE_BYTES as u64);
}

proptest! {
    #[test]
    fn any_changes_come_back_from_a_record_and_no_part_of_one_does(
        rows in prop::collection::vec((0..Table::ALL.len(), prop::collection::vec(any::<u8>(), 0..40), prop::option::of(prop::collection::vec(any::<u8>(), 0..200))), 0..20),
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
        let mut written = Vec::new();
        record::write(&mut written, nonce, number, &changes);
        let found = record::find(&written, nonce).unwrap();
        prop_assert_eq!((found.number, found.bytes), (number, written.len()));
        prop_assert_eq!(super::tests::rows(&record::read(found.payload).unwrap()), super::tests::rows(&changes));
        prop_assert!(record::find(&written[..written.len() - 1], nonce).is_none());
        prop_assert!(record::find(&written, nonce ^ 1).is_none());
    }

    #[test]
    fn no_payload_whatever_makes_reading_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        record::read(&payload);
    }
}
