//! Writes that fail, in every place: the commit is an error, there is no other, and everything before it stays.

use std::process::Command;

use super::*;

fn number_of(contents: &Contents) -> u64 {
    contents
        .get(&(Table::Meta, b"number".to_vec()))
        .map_or(0, |value| u64::from_le_bytes(value[..].try_into().unwrap()))
}

/// Commit `number` of a row of them, each of which leaves no row of the one before as it was.
fn commit(store: &RedbStore, number: u64) -> Result<(), StoreError> {
    let mut changes = Changes::new();
    changes.put(Table::Meta, *b"number", number.to_le_bytes());
    for key in 0..40_u8 {
        changes.put(Table::Customers, [key], vec![number as u8; 700]);
    }
    store.commit(&changes)
}

#[test]
fn a_write_that_fails_anywhere_fails_its_commit_and_all_later_ones_but_no_reading() {
    let mut failures = 0;
    for writes_left in 0.. {
        let directory = TempDir::new().unwrap();
        let store = new_store(&directory);
        for number in 1..=3 {
            commit(&store, number).unwrap();
        }
        let (before, old) = (contents(&store), store.snapshot().unwrap());
        *lock(&store.failure.writes_left) = Some(writes_left);
        match commit(&store, 4) {
            Ok(()) => {
                assert_eq!(number_of(&contents(&store)), 4);
                assert!(writes_left > 10, "a commit can't be so few writes");
                break;
            }
            Err(error) => assert!(matches!(error, StoreError::Full { .. }), "{error}"),
        }
        failures += 1;
        *lock(&store.failure.writes_left) = None;
        let refused = commit(&store, 5).unwrap_err();
        assert!(matches!(&refused, StoreError::Closed { reason, .. } if reason.contains("no space left")), "{refused}");
        assert!(contents(&store) == before, "after {writes_left} writes");
        assert!(old.get(Table::Customers, &[7]).unwrap().unwrap() == vec![3; 700]);
        store.backup(&directory.path().join("copy")).unwrap();
        drop((old, store));

        let store = reopen(directory.path()).unwrap();
        let after = contents(&store);
        assert!(after == before || number_of(&after) == 4, "after {writes_left} writes");
        commit(&store, 6).unwrap();
    }
    assert!(failures > 10, "{failures}");
}

#[test]
fn a_full_disk_fails_the_commit_and_nothing_before_it() {
    let directory = TempDir::new().unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(directory.path()).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        eprintln!("not run: only root may mount a small disk");
        return;
    }
    let _unmount = Unmount(directory.path());
    let store = new_store(&directory);
    let mut committed = 0_u8;
    let error = loop {
        let mut changes = Changes::new();
        changes.put(Table::Journal, [committed], vec![committed; 100_000]);
        match store.commit(&changes) {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(committed > 3);
    assert_eq!(contents(&store).len(), usize::from(committed) + 1);
    assert!(matches!(commit(&store, 1), Err(StoreError::Closed { .. })));
    drop(store);
    let store = reopen(directory.path()).unwrap();
    assert!((usize::from(committed) + 1..=usize::from(committed) + 2).contains(&contents(&store).len()));
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_gentle_commit_is_synced_a_few_pages_at_a_time() {
    let syncs_of = |is_gentle| {
        let directory = TempDir::new().unwrap();
        let store = new_store(&directory);
        store.pace().set_gentle(is_gentle);
        let before = store.pace().syncs.load(std::sync::atomic::Ordering::Relaxed);
        let mut changes = Changes::new();
        for key in 0..1000_u32 {
            changes.put(Table::Customers, key.to_be_bytes(), vec![7; 3000]);
        }
        store.commit(&changes).unwrap();
        let syncs = store.pace().syncs.load(std::sync::atomic::Ordering::Relaxed) - before;
        drop(store);
        (syncs, contents(&reopen(directory.path()).unwrap()))
    };
    let ((at_once, rows), (gently, same)) = (syncs_of(false), syncs_of(true));
    // At least 1000 pages, of which 32 go at a time.
    assert!(at_once < 10 && gently >= 1000 / 32 + at_once, "{at_once} syncs, and {gently}");
    let is_data = |(table, _): &(Table, Vec<u8>)| *table == Table::Customers;
    assert!(rows.iter().filter(|(key, _)| is_data(key)).eq(same.iter().filter(|(key, _)| is_data(key))));
}
