//! What is appended is durable at once, shown soon, and found again after a kill; and every way in which a log is refused.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::store::Table;

fn open(directory: &TempDir) -> Result<FileStore, StoreError> {
    FileStore::open(directory.path(), Opening { create: true, ..Opening::of("test") })
}

/// What a directory would hold if the engine were killed now.
fn killed(directory: &TempDir) -> TempDir {
    let image = TempDir::new().unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), image.path().join(entry.file_name())).unwrap();
    }
    image
}

fn one(key: u64, value: &[u8]) -> Changes {
    let mut changes = Changes::new();
    changes.put(Table::Customers, key.to_be_bytes(), value);
    changes
}

fn get(snapshot: &dyn Snapshot, key: u64) -> Option<Vec<u8>> {
    snapshot.get(Table::Customers, &key.to_be_bytes()).unwrap()
}

fn log_file(directory: &TempDir) -> PathBuf {
    directory.path().join("hailer.wal")
}

#[test]
fn what_was_appended_outlives_a_kill_before_the_tables_have_it() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    store.append(one(1, b"first")).unwrap();
    store.catch_up().unwrap();
    for value in [&b"second"[..], b"third"] {
        store.append(one(1, value)).unwrap();
    }
    let mut gone = one(2, b"there");
    store.append(gone.clone()).unwrap();
    gone.delete(Table::Customers, 2_u64.to_be_bytes());
    store.append(gone).unwrap();
    let killed = killed(&directory);
    assert_eq!(verify(killed.path(), &mut |_| {}).unwrap().in_log, 4);
    let store = open(&killed).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(get(&*snapshot, 1).unwrap(), b"third");
    assert_eq!(get(&*snapshot, 2), None);
    drop(store);
    assert_eq!(verify(killed.path(), &mut |_| {}).unwrap().in_log, 0);
}

#[test]
fn a_kill_after_a_start_that_followed_a_kill_loses_nothing_either() {
    let mut directory = TempDir::new().unwrap();
    for run in 1..=3 {
        let store = open(&directory).unwrap();
        store.append(one(run, b"value")).unwrap();
        directory = killed(&directory);
    }
    let snapshot = open(&directory).unwrap().snapshot().unwrap();
    for run in 1..=3 {
        assert_eq!(get(&*snapshot, run).unwrap(), b"value", "{run}");
    }
}

#[test]
fn a_snapshot_has_what_was_appended_and_a_recent_view_never_waits() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    let place = store.append(one(1, b"value")).unwrap();
    store.recent().unwrap();
    assert_eq!(get(&*store.snapshot().unwrap(), 1).unwrap(), b"value");
    assert!(store.shown().unwrap() >= place);
    assert_eq!(get(&*store.recent().unwrap(), 1).unwrap(), b"value");
}

#[test]
fn what_nobody_waits_for_is_shown_soon_all_the_same() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    let place = store.append(one(1, b"value")).unwrap();
    while store.shown().unwrap() < place {
        std::thread::yield_now();
    }
}

#[test]
fn a_store_that_was_closed_needs_no_log() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    store.append(one(1, b"value")).unwrap();
    drop(store);
    fs::remove_file(log_file(&directory)).unwrap();
    assert_eq!(get(&*open(&directory).unwrap().snapshot().unwrap(), 1).unwrap(), b"value");
}

#[test]
fn a_store_that_was_killed_is_refused_without_its_log_or_with_a_damaged_one() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    store.append(one(1, b"value")).unwrap();
    let missing = killed(&directory);
    fs::remove_file(log_file(&missing)).unwrap();
    assert!(matches!(open(&missing), Err(StoreError::LogMissing { .. })));
    assert!(matches!(verify(missing.path(), &mut |_| {}), Err(StoreError::LogMissing { .. })));
    let damaged = killed(&directory);
    let mut bytes = fs::read(log_file(&damaged)).unwrap();
    bytes[4096 + 30] ^= 4;
    fs::write(log_file(&damaged), bytes).unwrap();
    let refused = open(&damaged).unwrap_err().to_string();
    assert!(refused.contains("hailer.wal") && refused.contains("record 1 of the log"), "{refused}");
    assert!(compact(damaged.path(), &mut |_| {}).is_err());
}

#[test]
fn the_log_of_another_run_is_refused() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    store.append(one(1, b"value")).unwrap();
    let first = killed(&directory);
    drop(store);
    let store = open(&directory).unwrap();
    store.append(one(2, b"value")).unwrap();
    let second = killed(&directory);
    fs::copy(log_file(&first), log_file(&second)).unwrap();
    assert!(matches!(open(&second), Err(StoreError::LogOfAnother { .. })));
}

#[test]
fn a_backup_has_everything_and_needs_no_log() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    store.append(one(1, b"value")).unwrap();
    let copy = TempDir::new().unwrap();
    store.backup(&copy.path().join(FILE_NAME)).unwrap();
    assert_eq!(get(&*open(&copy).unwrap().snapshot().unwrap(), 1).unwrap(), b"value");
}

#[test]
fn changes_too_large_for_the_log_are_in_the_tables_when_they_are_appended() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    store.append(one(1, b"before")).unwrap();
    let mut large = one(2, b"with it");
    large.put(Table::Bodies, *b"large", vec![7; 9 << 20]);
    let place = store.append(large).unwrap();
    assert!(store.shown().unwrap() >= place);
    store.append(one(3, b"behind")).unwrap();
    let snapshot = open(&killed(&directory)).unwrap().snapshot().unwrap();
    for key in 1..=3 {
        assert!(get(&*snapshot, key).is_some(), "{key}");
    }
}

#[test]
fn nothing_is_appended_once_the_tables_can_not_be_written() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    store.append(one(1, b"value")).unwrap();
    store.catch_up().unwrap();
    store.tables.stop_writing("the disk is gone");
    store.append(one(2, b"durable")).unwrap();
    let refused = store.catch_up().unwrap_err().to_string();
    assert!(refused.contains("the disk is gone"), "{refused}");
    assert!(store.shown().is_err());
    assert!(store.append(one(3, b"value")).is_err());
    let snapshot = open(&killed(&directory)).unwrap().snapshot().unwrap();
    assert_eq!(get(&*snapshot, 2).unwrap(), b"durable", "what was acknowledged is found again");
}

/// Counts how often it is asked, and notes it in the tables.
#[derive(Debug, Default)]
struct Counter(u64);

impl Upkeep for Counter {
    fn add(&mut self, _: &dyn Snapshot, changes: &mut Changes) -> Result<(), StoreError> {
        self.0 += 1;
        changes.put(Table::Customers, u64::MAX.to_be_bytes(), self.0.to_be_bytes());
        Ok(())
    }
}

#[test]
fn upkeep_is_done_with_what_is_brought_over() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    store.set_upkeep(Box::new(Counter::default()));
    for key in 1..=2 {
        store.append(one(key, b"value")).unwrap();
        store.catch_up().unwrap();
    }
    assert_eq!(get(&*store.snapshot().unwrap(), u64::MAX).unwrap(), 2_u64.to_be_bytes());
}
