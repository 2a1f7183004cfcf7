//! Verifying and compacting a store.

use super::*;

#[test]
fn verifying_counts_the_rows_of_every_table_and_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    fill(&store);
    let expected = contents(&store);
    drop(store);
    let mut steps = Vec::new();
    let verified = verify(directory.path(), &mut |step| steps.push(step)).unwrap();
    assert_eq!((&*verified.identity.environment, verified.in_log), ("test", 4));
    for (table, rows) in verified.rows {
        assert_eq!(
            rows,
            expected.keys().filter(|(of, _)| *of == table).count() as u64,
            "{table:?}"
        );
    }
    assert!(steps.contains(&Step::Files { read: 1, of: 1 }));
    assert!(steps.contains(&Step::Rows { table: Table::Outbox, read: 4 }));
    assert_eq!(contents(&reopen(directory.path()).unwrap()), expected);
}

#[test]
fn compacting_leaves_no_byte_of_deleted_rows_and_keeps_all_others() {
    const PERSONAL: &[u8] = b"someone@example.com, and a long address";
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    store.commit(one(7, PERSONAL)).unwrap();
    flush(&store);
    let mut changes = one(8, b"stays");
    changes.delete(Table::Customers, 7_u64.to_be_bytes());
    store.commit(changes).unwrap();
    fill(&store);
    let expected = contents(&store);
    drop(store);
    let has_it = |path: &Path| {
        fs::read(path).unwrap().windows(PERSONAL.len()).any(|bytes| bytes == PERSONAL)
    };
    let files = || {
        let tables = fs::read_dir(directory.path().join("tree/tables"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        tables.chain([directory.path().join("hailer.wal")]).collect::<Vec<_>>()
    };
    assert!(files().iter().any(|path| has_it(path)));
    let Compacted { bytes_after, .. } = compact(directory.path(), &mut |_| {}).unwrap();
    assert!(!files().iter().any(|path| has_it(path)));
    assert_eq!(bytes_after, file_bytes(directory.path()));
    let store = reopen(directory.path()).unwrap();
    assert_eq!(contents(&store), expected);
    store.commit(one(9, b"behind")).unwrap();
    drop(store);
    assert_eq!(get(&reopen(directory.path()).unwrap(), 9).unwrap(), b"behind");
}

#[test]
fn merges_free_the_space_of_deleted_rows_while_the_store_is_open() {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    for round in 0..40_u64 {
        let mut changes = Changes::new();
        changes.put(Table::Bodies, round.to_be_bytes(), noise(round, 4 << 20));
        changes.delete(Table::Bodies, (round.saturating_sub(1)).to_be_bytes());
        store.commit(changes).unwrap();
    }
    flush(&store);
    // The commits wrote 160 MiB, and 4 MiB of rows are left.
    while file_bytes(directory.path()) > 80 << 20 {
        std::thread::yield_now();
    }
}
