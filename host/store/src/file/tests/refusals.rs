//! Every store that is refused. The error names the cause and the next step.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::rows::Rows;
use crate::sealed::Sealer;

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
fn a_new_store_is_private_and_making_it_again_keeps_it() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("data/store");
    let store = open_or_make(&directory).unwrap();
    fill(&store);
    let (id, rows) = (store.identity().id.clone(), contents(&store));
    drop(store);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join("hailer.wal"))), (0o700, 0o600));
    assert_eq!(mode(&directory.join("tree")), 0o700);
    let store = open_or_make(&directory).unwrap();
    assert_eq!((&store.identity().id, contents(&store)), (&id, rows));

    let another = TempDir::new().unwrap();
    assert_ne!(new_store(&another).identity().id, id);
}

#[test]
fn permissions_of_other_users_are_removed() {
    let directory = TempDir::new().unwrap();
    drop(new_store(&directory));
    let (log, tree) = (directory.path().join("hailer.wal"), directory.path().join("tree"));
    fs::set_permissions(&log, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).unwrap();
    reopen(directory.path()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&log), mode(&tree)), (0o600, 0o700));
}

#[test]
fn a_store_of_another_environment_is_refused() {
    let directory = TempDir::new().unwrap();
    drop(new_store(&directory));
    let refused = FileStore::open(directory.path(), Opening::of("production")).unwrap_err();
    let StoreError::Environment { found, wanted, .. } = &refused else { panic!("{refused}") };
    assert_eq!((&**found, &**wanted), ("test", "production"));
    reopen(directory.path()).unwrap();
}

#[test]
fn another_format_is_refused_by_its_number_alone() {
    let with = |row: &[u8]| {
        let directory = TempDir::new().unwrap();
        drop(new_store(&directory));
        // This inserts the row directly, because a commit refuses to change it.
        let Opened { tree, .. } = open(directory.path(), CACHE_BYTES).unwrap();
        let mut changes = Changes::new();
        changes.put(Table::Meta, IDENTITY_KEY, row);
        let mut rows = Vec::new();
        Rows::write(&changes, &mut Sealer::default(), &mut rows);
        tree.insert(0, Rows::trusted(&rows));
        tree.seal_memory();
        tree.flush().unwrap();
        drop(tree);
        reopen(directory.path()).unwrap_err()
    };
    for (row, format) in [(r#"{"format":11,"new":true}"#, 11), (r#"{"format":7}"#, 7)] {
        let refused = with(row.as_bytes()).to_string();
        let expected = format!(
            "has store format {format}, and this version of hailer reads format 10 only; run the \
             version of hailer that wrote it"
        );
        assert!(refused.contains(&expected), "{refused}");
    }
    assert!(matches!(with(br#"{"format":10}"#), StoreError::Damaged { .. }));
    assert!(matches!(with(b"?"), StoreError::Damaged { .. }));
}

#[test]
fn a_directory_that_is_no_store_is_refused_and_not_changed() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("tree"), "#!/bin/sh").unwrap();
    let refused = open_or_make(directory.path()).unwrap_err();
    assert!(matches!(refused, StoreError::NotAStore { .. }), "{refused}");
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("tree")).unwrap();
    assert!(open_or_make(directory.path()).is_err());
    assert_eq!(fs::read_dir(directory.path().join("tree")).unwrap().count(), 0);
}

#[test]
fn a_log_without_its_tree_is_no_first_start() {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    store.commit(one(1, b"value")).unwrap();
    drop(store);
    fs::remove_dir_all(directory.path().join("tree")).unwrap();
    let refused = open_or_make(directory.path()).unwrap_err();
    assert!(matches!(refused, StoreError::TreeMissing { .. }), "{refused}");
}

#[test]
fn a_backup_without_its_tree_is_no_first_start() {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    store.commit(one(1, b"value")).unwrap();
    let copy = directory.path().join("copy");
    store.backup(&copy).unwrap();
    assert_eq!(get(&reopen(&copy).unwrap(), 1).unwrap(), b"value");
    fs::remove_dir_all(copy.join("tree")).unwrap();
    assert!(matches!(open_or_make(&copy), Err(StoreError::TreeMissing { .. })));
}

#[test]
fn an_unfinished_new_store_is_made_again() {
    let directory = TempDir::new().unwrap();
    drop(new_store(&directory));
    fs::remove_dir_all(directory.path().join("tree")).unwrap();
    fs::create_dir_all(directory.path().join(".hailer-store-unfinished-1/tree")).unwrap();
    let store = open_or_make(directory.path()).unwrap();
    fill(&store);
    assert!(!directory.path().join(".hailer-store-unfinished-1").exists());
}

#[test]
fn the_log_of_another_store_is_refused() {
    let [first, second] = [0, 1].map(|_| {
        let directory = TempDir::new().unwrap();
        drop(new_store(&directory));
        directory
    });
    fs::copy(first.path().join("hailer.wal"), second.path().join("hailer.wal")).unwrap();
    assert!(matches!(reopen(second.path()), Err(StoreError::LogOfAnother { .. })));
    fs::remove_file(second.path().join("hailer.wal")).unwrap();
    assert!(matches!(reopen(second.path()), Err(StoreError::LogMissing { .. })));
    assert!(matches!(verify(second.path(), &mut |_| {}), Err(StoreError::LogMissing { .. })));
}
