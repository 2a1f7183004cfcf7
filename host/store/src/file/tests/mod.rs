//! A commit is durable and visible at once, and survives a kill.

mod crash;
mod damage;
mod refusals;
mod upkeep;

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;

use super::*;
use crate::Table;
use crate::contract::{contents, new_store, noise, small};

type Contents = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

fn reopen(directory: &Path) -> Result<FileStore, StoreError> {
    FileStore::open(directory, Opening::of("test"))
}

fn open_or_make(directory: &Path) -> Result<FileStore, StoreError> {
    FileStore::open(directory, small())
}

/// Copies a directory. A dropped store writes nothing, so the copy is what a killed process leaves.
fn copy_of(directory: &Path) -> TempDir {
    let image = TempDir::new().unwrap();
    copy_all(directory, image.path());
    image
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&copy).unwrap();
            copy_all(&entry.path(), &copy);
        } else {
            fs::copy(entry.path(), copy).unwrap();
        }
    }
}

fn one(key: u64, value: &[u8]) -> Changes {
    let mut changes = Changes::new();
    changes.put(Table::Customers, key.to_be_bytes(), value);
    changes
}

fn get(store: &FileStore, key: u64) -> Option<Vec<u8>> {
    store.snapshot().unwrap().get(Table::Customers, &key.to_be_bytes()).unwrap()
}

/// Commits rows, some of them larger than a block of a table.
fn fill(store: &FileStore) {
    for commit in 0..4_u8 {
        let mut changes = Changes::new();
        for key in 0..60_u8 {
            changes.put(Table::Customers, [key % 8, key, commit / 2], vec![key ^ commit; 150]);
            changes.put(Table::Dedup, [key % 8, commit, key], [commit; 16]);
        }
        changes.put(Table::Outbox, [0, commit], noise(u64::from(commit), 9_000));
        changes.delete(Table::Dedup, [1, commit, 9]);
        store.commit(changes).unwrap();
    }
}

/// Flushes everything in memory to tables.
fn flush(store: &FileStore) {
    let writer = lock(&store.writer);
    store.flusher.begin(writer.log.last());
    store.flusher.wait(writer.log.last()).unwrap();
}

#[test]
fn a_commit_survives_a_kill_before_and_after_its_flush() {
    let directory = TempDir::new().unwrap();
    let store = open_or_make(directory.path()).unwrap();
    store.commit(one(1, b"first")).unwrap();
    store.commit(one(2, b"there")).unwrap();
    flush(&store);
    let mut gone = one(1, b"second");
    gone.delete(Table::Customers, 2_u64.to_be_bytes());
    store.commit(gone).unwrap();
    drop(store);
    assert_eq!(verify(directory.path(), &mut |_| {}).unwrap().in_log, 1);
    let store = reopen(directory.path()).unwrap();
    assert_eq!((get(&store, 1).unwrap(), get(&store, 2)), (b"second".to_vec(), None));
    flush(&store);
    drop(store);
    assert_eq!(verify(directory.path(), &mut |_| {}).unwrap().in_log, 0);
    let store = reopen(directory.path()).unwrap();
    assert_eq!((get(&store, 1).unwrap(), get(&store, 2)), (b"second".to_vec(), None));
}

#[test]
fn commits_that_stay_in_the_log_over_several_starts_are_kept() {
    let directory = TempDir::new().unwrap();
    for run in 1..=3 {
        let store = open_or_make(directory.path()).unwrap();
        store.commit(one(run, b"value")).unwrap();
    }
    let store = reopen(directory.path()).unwrap();
    for run in 1..=3 {
        assert_eq!(get(&store, run).unwrap(), b"value", "{run}");
    }
}

#[test]
fn a_log_that_is_filled_again_and_again_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let mut store = open_or_make(directory.path()).unwrap();
    // These commits fill the log several times. Now and then the store is opened again.
    for number in 0..60_u64 {
        let mut changes = one(number % 7, &number.to_le_bytes());
        changes.put(Table::Bodies, (number % 9).to_be_bytes(), noise(number, 1 << 20));
        store.commit(changes).unwrap();
        if number % 23 == 22 {
            drop(store);
            store = reopen(directory.path()).unwrap();
            assert_eq!(get(&store, number % 7).unwrap(), number.to_le_bytes());
        }
    }
    drop(store);
    let store = reopen(directory.path()).unwrap();
    for number in 53..60_u64 {
        assert_eq!(get(&store, number % 7).unwrap(), number.to_le_bytes());
    }
    for number in 51..60_u64 {
        let found =
            store.snapshot().unwrap().get(Table::Bodies, &(number % 9).to_be_bytes()).unwrap();
        assert!(found.unwrap() == noise(number, 1 << 20), "{number}");
    }
}

#[test]
fn a_commit_too_large_for_the_log_is_durable_when_it_returns() {
    let directory = TempDir::new().unwrap();
    let store = open_or_make(directory.path()).unwrap();
    store.commit(one(1, b"before")).unwrap();
    let mut large = one(2, b"with it");
    large.put(Table::Bodies, *b"large", noise(7, 40 << 20));
    store.commit(large).unwrap();
    assert_eq!(get(&store, 2).unwrap(), b"with it");
    drop(store);
    let store = reopen(directory.path()).unwrap();
    assert!((1..=2).all(|key| get(&store, key).is_some()));
    store.commit(one(3, b"behind")).unwrap();
    drop(store);
    let store = reopen(directory.path()).unwrap();
    assert!((1..=3).all(|key| get(&store, key).is_some()));
}

#[test]
fn statistics_count_memory_tables_and_reads() {
    let directory = TempDir::new().unwrap();
    let store = open_or_make(directory.path()).unwrap();
    let made = store.statistics();
    store.commit(one(1, &noise(7, 1000))).unwrap();
    let before = store.statistics();
    assert!(before.memory_bytes >= made.memory_bytes + 1000, "{made:?} {before:?}");
    flush(&store);
    let after = store.statistics();
    assert!(after.tables > made.tables && after.runs > 0, "{made:?} {after:?}");
    assert!(get(&store, 2).is_none());
    assert!(store.statistics().spared > after.spared);
    drop(store);
    let store = reopen(directory.path()).unwrap();
    let opened = store.statistics();
    assert!(opened.blocks_read > 0, "opening reads the identity row: {opened:?}");
    assert!(get(&store, 1).is_some());
    let read = store.statistics();
    assert!(
        read.blocks > opened.blocks && read.blocks_read == opened.blocks_read,
        "all rows are in one block: {opened:?} {read:?}"
    );
}

#[test]
fn commits_fail_once_tables_cannot_be_written_and_the_log_is_full() {
    let directory = TempDir::new().unwrap();
    let store = open_or_make(directory.path()).unwrap();
    store.commit(one(1, b"durable")).unwrap();
    let tables = directory.path().join("tree/tables");
    fs::remove_dir_all(&tables).unwrap();
    {
        let writer = lock(&store.writer);
        store.flusher.begin(writer.log.last());
        assert!(matches!(store.flusher.wait(writer.log.last()), Err(StoreError::Flush { .. })));
    }
    // Until the log is full, no commit waits for a flush. After that every commit is refused.
    let refused = (0..200).find_map(|number| {
        let mut changes = one(2, b"value");
        changes.put(Table::Bodies, *b"large", noise(number, 1 << 20));
        store.commit(changes).err()
    });
    assert!(matches!(refused, Some(StoreError::Flush { .. })), "{refused:?}");
    assert!(matches!(store.commit(one(3, b"value")), Err(StoreError::Closed { .. })));
    assert_eq!(get(&store, 1).unwrap(), b"durable");
}

/// Counts its calls, and writes the count to a row.
#[derive(Debug, Default)]
struct Counter(u64);

impl Upkeep for Counter {
    fn add(&mut self, before: &dyn Snapshot, changes: &mut Changes) -> Result<(), StoreError> {
        let found = before.get(Table::Customers, &self.0.to_be_bytes())?;
        assert_eq!(found.is_some(), self.0 > 0, "upkeep sees every earlier commit");
        self.0 += 1;
        changes.put(Table::Customers, u64::MAX.to_be_bytes(), self.0.to_be_bytes());
        Ok(())
    }
}

#[test]
fn upkeep_runs_with_every_commit() {
    let directory = TempDir::new().unwrap();
    let store = open_or_make(directory.path()).unwrap();
    store.set_upkeep(Box::new(Counter::default()));
    for key in 1..=2 {
        store.commit(one(key, b"value")).unwrap();
    }
    assert_eq!(get(&store, u64::MAX).unwrap(), 2_u64.to_be_bytes());
}
