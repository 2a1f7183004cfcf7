//! What is committed is durable and shown at once, and found again after a kill.

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

/// A copy of a directory. A store that is dropped writes nothing, so it is what a killed process would have left.
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

/// Commits of rows, some of which are larger than a block of a table.
fn fill(store: &FileStore) {
    for commit in 0..4_u8 {
        let mut changes = Changes::new();
        for key in 0..60_u8 {
            changes.put(Table::Customers, [key % 8, key, commit / 2], vec![key ^ commit; 150]);
            changes.put(Table::Seen, [key % 8, commit, key], [commit; 16]);
        }
        changes.put(Table::Outbox, [0, commit], noise(u64::from(commit), 9_000));
        changes.delete(Table::Seen, [1, commit, 9]);
        store.commit(changes).unwrap();
    }
}

/// Writes everything in memory to tables.
fn write_out(store: &FileStore) {
    let writer = lock(&store.writer);
    store.writing_out.begin(writer.log.last());
    store.writing_out.wait(writer.log.last()).unwrap();
}

#[test]
fn what_was_committed_outlives_a_kill_before_and_after_it_is_in_tables() {
    let directory = TempDir::new().unwrap();
    let store = open_or_make(directory.path()).unwrap();
    store.commit(one(1, b"first")).unwrap();
    store.commit(one(2, b"there")).unwrap();
    write_out(&store);
    let mut gone = one(1, b"second");
    gone.delete(Table::Customers, 2_u64.to_be_bytes());
    store.commit(gone).unwrap();
    drop(store);
    assert_eq!(verify(directory.path(), &mut |_| {}).unwrap().in_log, 1);
    let store = reopen(directory.path()).unwrap();
    assert_eq!((get(&store, 1).unwrap(), get(&store, 2)), (b"second".to_vec(), None));
    write_out(&store);
    drop(store);
    assert_eq!(verify(directory.path(), &mut |_| {}).unwrap().in_log, 0);
    let store = reopen(directory.path()).unwrap();
    assert_eq!((get(&store, 1).unwrap(), get(&store, 2)), (b"second".to_vec(), None));
}

#[test]
fn what_was_only_in_the_log_at_several_starts_is_still_there() {
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
    // As many as fill the log several times, and now and then it is opened anew.
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
        let found = store.snapshot().unwrap().get(Table::Bodies, &(number % 9).to_be_bytes()).unwrap();
        assert!(found.unwrap() == noise(number, 1 << 20), "{number}");
    }
}

#[test]
fn changes_too_large_for_the_log_are_durable_when_they_are_committed() {
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
fn its_statistics_say_what_is_in_memory_what_in_tables_and_what_was_read() {
    let directory = TempDir::new().unwrap();
    let store = open_or_make(directory.path()).unwrap();
    let made = store.statistics();
    store.commit(one(1, &noise(7, 1000))).unwrap();
    let before = store.statistics();
    assert!(before.memory_bytes >= made.memory_bytes + 1000, "{made:?} {before:?}");
    write_out(&store);
    let after = store.statistics();
    assert!(after.tables > made.tables && after.runs > 0, "{made:?} {after:?}");
    assert!(get(&store, 2).is_none());
    assert!(store.statistics().spared > after.spared);
    drop(store);
    let store = reopen(directory.path()).unwrap();
    let opened = store.statistics();
    assert!(opened.blocks_read > 0, "who it is: {opened:?}");
    assert!(get(&store, 1).is_some());
    let read = store.statistics();
    assert!(
        read.blocks > opened.blocks && read.blocks_read == opened.blocks_read,
        "all is in one block: {opened:?} {read:?}"
    );
}

#[test]
fn nothing_is_committed_once_tables_can_not_be_written() {
    let directory = TempDir::new().unwrap();
    let store = open_or_make(directory.path()).unwrap();
    store.commit(one(1, b"durable")).unwrap();
    let tables = directory.path().join("tree/tables");
    fs::remove_dir_all(&tables).unwrap();
    {
        let writer = lock(&store.writer);
        store.writing_out.begin(writer.log.last());
        assert!(matches!(store.writing_out.wait(writer.log.last()), Err(StoreError::Behind { .. })));
    }
    // Until the log is full, nothing needs the tables; then there is no other commit.
    let refused = (0..200).find_map(|number| {
        let mut changes = one(2, b"value");
        changes.put(Table::Bodies, *b"large", noise(number, 1 << 20));
        store.commit(changes).err()
    });
    assert!(matches!(refused, Some(StoreError::Behind { .. })), "{refused:?}");
    assert!(matches!(store.commit(one(3, b"value")), Err(StoreError::Closed { .. })));
    assert_eq!(get(&store, 1).unwrap(), b"durable");
}

/// Counts how often it is asked, and notes it in a row.
#[derive(Debug, Default)]
struct Counter(u64);

impl Upkeep for Counter {
    fn add(&mut self, before: &dyn Snapshot, changes: &mut Changes) -> Result<(), StoreError> {
        let found = before.get(Table::Customers, &self.0.to_be_bytes())?;
        assert_eq!(found.is_some(), self.0 > 0, "it sees every earlier commit");
        self.0 += 1;
        changes.put(Table::Customers, u64::MAX.to_be_bytes(), self.0.to_be_bytes());
        Ok(())
    }
}

#[test]
fn upkeep_is_done_with_every_commit() {
    let directory = TempDir::new().unwrap();
    let store = open_or_make(directory.path()).unwrap();
    store.set_upkeep(Box::new(Counter::default()));
    for key in 1..=2 {
        store.commit(one(key, b"value")).unwrap();
    }
    assert_eq!(get(&store, u64::MAX).unwrap(), 2_u64.to_be_bytes());
}
