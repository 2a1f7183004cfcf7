//! Every file that is refused, and that the refusal says why and what to do.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::store::identity::IDENTITY_KEY;

#[test]
fn a_lost_volume_is_not_a_first_start() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("not mounted");
    for path in [directory.path(), &missing] {
        let refused = reopen(path).unwrap_err();
        assert!(matches!(refused, StoreError::Missing { .. }));
        assert!(refused.to_string().contains("pass --create-store for a first start"), "{refused}");
    }
    assert!(!missing.exists());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_new_store_is_this_users_alone_and_making_it_again_keeps_it() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("data/store");
    let opening = Opening { create: true, ..Opening::of("test") };
    let store = RedbStore::open(&directory, opening).unwrap();
    fill(&store);
    let (id, rows) = (store.identity().id.clone(), contents(&store));
    drop(store);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join(FILE_NAME))), (0o700, 0o600));
    let store = RedbStore::open(&directory, opening).unwrap();
    assert_eq!((&store.identity().id, contents(&store)), (&id, rows));

    let another = TempDir::new().unwrap();
    assert_ne!(new_store(&another).identity().id, id);
}

#[test]
fn rights_of_others_are_taken_away() {
    let directory = TempDir::new().unwrap();
    filled(&directory);
    fs::set_permissions(file_of(&directory), fs::Permissions::from_mode(0o644)).unwrap();
    reopen(directory.path()).unwrap();
    assert_eq!(fs::metadata(file_of(&directory)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn another_environments_store_is_refused() {
    let directory = TempDir::new().unwrap();
    filled(&directory);
    let refused = RedbStore::open(directory.path(), Opening::of("production")).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Environment { found, wanted, .. } if found == "test" && wanted == "production")
    );
    reopen(directory.path()).unwrap();
}

#[test]
fn another_format_is_refused_by_its_number_whatever_else_it_says() {
    let directory = TempDir::new().unwrap();
    filled(&directory);
    let with = |row: &[u8]| {
        tamper(&directory, |transaction| {
            let mut sealed = Vec::new();
            seal(Table::Meta, IDENTITY_KEY, row, &mut sealed);
            let mut rows = transaction.open_table(definition(Table::Meta)).unwrap();
            rows.insert(IDENTITY_KEY, &*sealed).unwrap();
        });
        reopen(directory.path()).unwrap_err()
    };
    assert!(matches!(with(br#"{"format":7,"new":true}"#), StoreError::Newer { found: 7, known: 6, .. }));
    assert!(matches!(with(br#"{"format":0}"#), StoreError::Older { found: 0, oldest: 1, .. }));
    assert!(matches!(with(br#"{"format":1}"#), StoreError::Damaged { .. }));
    assert!(matches!(with(b"?"), StoreError::Damaged { .. }));
}

#[test]
fn what_is_not_a_store_is_refused_and_left_alone() {
    let opening = Opening { create: true, ..Opening::of("test") };
    for content in [&b"#!/bin/sh"[..], &[0; 5_000], b"redb but not really, however long it may go on"] {
        let directory = TempDir::new().unwrap();
        fs::write(file_of(&directory), content).unwrap();
        let refused = RedbStore::open(directory.path(), opening).unwrap_err();
        assert!(matches!(refused, StoreError::NotAStore { .. }), "{refused}");
        assert_eq!(fs::read(file_of(&directory)).unwrap(), content);
    }
    let directory = TempDir::new().unwrap();
    fs::create_dir(file_of(&directory)).unwrap();
    assert!(RedbStore::open(directory.path(), opening).is_err());
}

#[test]
fn an_empty_file_is_not_a_new_store() {
    let directory = TempDir::new().unwrap();
    fs::write(file_of(&directory), "").unwrap();
    let refused = RedbStore::open(directory.path(), Opening { create: true, ..Opening::of("test") }).unwrap_err();
    assert!(matches!(refused, StoreError::Truncated { bytes: 0, .. }), "{refused}");
    assert_eq!(fs::metadata(file_of(&directory)).unwrap().len(), 0);
}

#[test]
fn a_link_is_not_followed() {
    let (directory, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    filled(&elsewhere);
    symlink(file_of(&elsewhere), file_of(&directory)).unwrap();
    assert!(matches!(reopen(directory.path()), Err(StoreError::Io { .. })));
}

#[test]
fn somebody_elses_redb_database_is_refused() {
    let directory = TempDir::new().unwrap();
    drop(Database::create(file_of(&directory)).unwrap());
    assert!(matches!(reopen(directory.path()), Err(StoreError::NotAStore { .. })));
    tamper(&directory, |transaction| {
        for table in Table::ALL {
            transaction.open_table(definition(table)).unwrap();
        }
    });
    let refused = reopen(directory.path()).unwrap_err();
    assert!(matches!(refused, StoreError::NotAStore { .. }), "{refused}");
}

#[test]
fn a_store_is_opened_once_at_a_time() {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    let refused = reopen(directory.path()).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }) && refused.to_string().contains("already in use"));
    assert!(matches!(verify(directory.path(), &mut |_| {}), Err(StoreError::InUse { .. })));
    assert!(matches!(compact(directory.path(), &mut |_| {}), Err(StoreError::InUse { .. })));
    fill(&store);
    drop(store);
    reopen(directory.path()).unwrap();
}

#[test]
fn a_snapshot_of_a_closed_store_says_that_it_is_closed() {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    fill(&store);
    let snapshot = store.snapshot().unwrap();
    drop(store);
    let read = snapshot.range(Table::Outbox, b"", b"\xff", &mut |_, _| std::ops::ControlFlow::Continue(()));
    assert!(matches!(read, Err(StoreError::Closed { .. })), "{read:?}");
}

#[test]
fn what_a_crash_left_of_a_new_file_is_removed() {
    let directory = TempDir::new().unwrap();
    let expected = filled(&directory);
    fs::write(directory.path().join(".hailer-store-unfinished-x"), "half").unwrap();
    fs::write(directory.path().join("somebody's"), "own").unwrap();
    let store = reopen(directory.path()).unwrap();
    assert_eq!(contents(&store), expected);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}
