//! The contract of [`Store`], as tests that run against every implementation.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::*;

/// Makes a test of every fact for every store.
macro_rules! contract {
    ($($fact:ident)*) => {
        mod in_memory {
            $(#[test] fn $fact() { super::$fact(&super::MemoryStore::new("test")); })*
        }
        mod in_a_file {
            $(#[test] fn $fact() {
                let directory = super::TempDir::new().unwrap();
                super::$fact(&super::new_store(&directory));
            })*
        }
    };
}

contract! {
    a_new_store_says_what_it_is_and_holds_nothing_else
    a_commit_is_seen_by_snapshots_taken_after_it_only
    of_several_changes_of_one_key_the_last_wins
    a_key_that_is_deleted_is_gone_and_deleting_it_again_is_no_error
    a_range_shows_rows_in_order_and_keeps_its_bounds
    a_range_ends_when_its_visitor_has_seen_enough
    the_last_row_of_a_range_is_found
    values_may_be_empty_or_a_mebibyte
    keys_that_begin_alike_are_kept_apart
    one_commit_changes_all_tables
    what_cannot_be_a_row_is_refused_and_nothing_is_committed
    the_row_that_says_which_store_it_is_cannot_be_changed
    a_reader_sees_whole_commits_while_they_are_made
    a_snapshot_outlives_the_commits_after_it
    sizes_count_rows_and_bytes
    a_backup_opens_and_equals
    a_backup_replaces_nothing
    any_changes_leave_what_they_leave_in_a_map
}

/// Options for a store with a small log, which is soon full.
pub(super) fn small() -> Opening<'static> {
    Opening { create: true, log_bytes: 4 << 20, ..Opening::of("test") }
}

/// A value that compression does not shorten.
pub(super) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let words = (0..bytes.div_ceil(8) as u64)
        .map(|at| xxh3_64_with_seed(&at.to_le_bytes(), seed).to_le_bytes());
    let mut noise: Vec<u8> = words.flatten().collect();
    noise.truncate(bytes);
    noise
}

pub(super) fn new_store(directory: &TempDir) -> FileStore {
    FileStore::open(directory.path(), small()).unwrap()
}

/// Every row of every table.
pub(super) fn contents(store: &dyn Store) -> BTreeMap<(Table, Vec<u8>), Vec<u8>> {
    let snapshot = store.snapshot().unwrap();
    let mut rows = BTreeMap::new();
    for table in Table::ALL {
        for (key, value) in between(&*snapshot, table, b"", &[0xff; 2000]) {
            rows.insert((table, key), value);
        }
    }
    rows
}

fn between(snapshot: &dyn Snapshot, table: Table, from: &[u8], to: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    snapshot.range(table, from, to, &mut visit).unwrap();
    rows
}

fn put(store: &dyn Store, table: Table, rows: &[(&[u8], &[u8])]) {
    let mut changes = Changes::new();
    for (key, value) in rows {
        changes.put(table, *key, *value);
    }
    store.commit(changes).unwrap();
}

fn get(store: &dyn Store, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    store.snapshot().unwrap().get(table, key).unwrap()
}

fn a_new_store_says_what_it_is_and_holds_nothing_else(store: &dyn Store) {
    let identity = store.identity();
    assert_eq!((identity.format, &*identity.environment, identity.id.len()), (10, "test", 32));
    let rows = contents(store);
    assert_eq!(rows.keys().collect::<Vec<_>>(), [&(Table::Meta, b"store".to_vec())]);
}

fn a_commit_is_seen_by_snapshots_taken_after_it_only(store: &dyn Store) {
    put(store, Table::Customers, &[(b"a", b"1"), (b"b", b"1")]);
    let before = store.snapshot().unwrap();
    let mut changes = Changes::new();
    changes.put(Table::Customers, *b"a", *b"2");
    changes.delete(Table::Customers, *b"b");
    changes.put(Table::Customers, *b"c", *b"2");
    store.commit(changes).unwrap();
    assert_eq!(
        between(&*before, Table::Customers, b"", b"z"),
        [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"1".to_vec())]
    );
    assert_eq!(before.get(Table::Customers, b"c").unwrap(), None);
    let after = store.snapshot().unwrap();
    assert_eq!(
        between(&*after, Table::Customers, b"", b"z"),
        [(b"a".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"2".to_vec())]
    );
}

fn of_several_changes_of_one_key_the_last_wins(store: &dyn Store) {
    let mut changes = Changes::new();
    assert!(changes.is_empty());
    changes.put(Table::Dedup, *b"put last", *b"1");
    changes.delete(Table::Dedup, *b"put last");
    changes.put(Table::Dedup, *b"put last", *b"three");
    changes.put(Table::Dedup, *b"deleted last", *b"1");
    changes.delete(Table::Dedup, *b"deleted last");
    assert_eq!((changes.rows(), changes.bytes()), (2, 8 + 5 + 12));
    store.commit(changes).unwrap();
    assert_eq!(get(store, Table::Dedup, b"put last").unwrap(), b"three");
    assert_eq!(get(store, Table::Dedup, b"deleted last"), None);
}

fn a_key_that_is_deleted_is_gone_and_deleting_it_again_is_no_error(store: &dyn Store) {
    put(store, Table::Timers, &[(b"k", b"v")]);
    for _ in 0..2 {
        let mut changes = Changes::new();
        changes.delete(Table::Timers, *b"k");
        store.commit(changes).unwrap();
        assert_eq!(get(store, Table::Timers, b"k"), None);
    }
}

fn a_range_shows_rows_in_order_and_keeps_its_bounds(store: &dyn Store) {
    put(
        store,
        Table::Journal,
        &[(b"\x02", b"d"), (b"\x01\xff", b"c"), (b"\x01", b"a"), (b"\x01\x00", b"b")],
    );
    let snapshot = store.snapshot().unwrap();
    let values = |from: &[u8], to: &[u8]| -> Vec<u8> {
        between(&*snapshot, Table::Journal, from, to)
            .into_iter()
            .flat_map(|(_, value)| value)
            .collect()
    };
    assert_eq!(values(b"", b"\xff"), b"abcd");
    assert_eq!(values(b"\x01", b"\x02"), b"abc");
    assert_eq!(values(b"\x01\x00", b"\x01\xff"), b"b");
    assert_eq!(values(b"\x01\x00", b"\x01\xff\x00"), b"bc");
    assert_eq!(values(b"\x02", b"\x02"), b"");
    assert_eq!(values(b"\x02", b"\x01"), b"");
    assert_eq!(values(b"", b""), b"");
    assert!(between(&*snapshot, Table::Trail, b"", b"\xff").is_empty());
}

fn a_range_ends_when_its_visitor_has_seen_enough(store: &dyn Store) {
    put(store, Table::Journal, &[(b"a", b""), (b"b", b""), (b"c", b"")]);
    let mut seen = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        seen.extend_from_slice(key);
        if key == b"b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.snapshot().unwrap().range(Table::Journal, b"a", b"z", &mut visit).unwrap();
    assert_eq!(seen, b"ab");
}

fn the_last_row_of_a_range_is_found(store: &dyn Store) {
    put(store, Table::Outbox, &[(b"a", b"1"), (b"b", b"2"), (b"d", b"4")]);
    let snapshot = store.snapshot().unwrap();
    let last = |from: &[u8], to: &[u8]| snapshot.last(Table::Outbox, from, to).unwrap();
    assert_eq!(last(b"", b"z"), Some((b"d".to_vec(), b"4".to_vec())));
    assert_eq!(last(b"", b"d"), Some((b"b".to_vec(), b"2".to_vec())));
    assert_eq!(last(b"b", b"c"), Some((b"b".to_vec(), b"2".to_vec())));
    assert_eq!(last(b"c", b"d"), None);
    assert_eq!(last(b"d", b"d"), None);
    assert_eq!(last(b"z", b"a"), None);
}

fn values_may_be_empty_or_a_mebibyte(store: &dyn Store) {
    let large: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    put(store, Table::Bodies, &[(b"", b""), (b"empty", b""), (b"large", &large)]);
    assert_eq!(get(store, Table::Bodies, b"").unwrap(), b"");
    assert_eq!(get(store, Table::Bodies, b"empty").unwrap(), b"");
    assert!(get(store, Table::Bodies, b"large").unwrap() == large);
    put(store, Table::Bodies, &[(b"large", b"small")]);
    assert_eq!(get(store, Table::Bodies, b"large").unwrap(), b"small");
}

fn keys_that_begin_alike_are_kept_apart(store: &dyn Store) {
    let keys: Vec<Vec<u8>> = (0..200).map(|zeros| vec![0; zeros]).collect();
    let mut changes = Changes::new();
    for key in &keys {
        changes.put(Table::Trail, &**key, key.len().to_le_bytes());
    }
    store.commit(changes).unwrap();
    let mut changes = Changes::new();
    changes.delete(Table::Trail, [0; 7]);
    store.commit(changes).unwrap();
    for key in &keys {
        let expected = (key.len() != 7).then(|| key.len().to_le_bytes().to_vec());
        assert_eq!(get(store, Table::Trail, key), expected);
    }
}

fn one_commit_changes_all_tables(store: &dyn Store) {
    let mut changes = Changes::new();
    for table in Table::ALL {
        changes.put(table, *b"k", table.name());
    }
    store.commit(changes).unwrap();
    for table in Table::ALL {
        assert_eq!(get(store, table, b"k").unwrap(), table.name().as_bytes());
    }
}

fn what_cannot_be_a_row_is_refused_and_nothing_is_committed(store: &dyn Store) {
    let before = contents(store);
    for (key_bytes, value_bytes) in [(KEY_BYTES_MAX + 1, 0), (1, VALUE_BYTES_MAX + 1)] {
        let mut changes = Changes::new();
        changes.put(Table::Customers, *b"good", *b"row");
        changes.put(Table::Customers, vec![1; key_bytes], vec![0; value_bytes]);
        assert!(matches!(
            store.commit(changes),
            Err(StoreError::TooLarge { table: "customers", .. })
        ));
        assert_eq!(contents(store), before);
    }
    // An invalid change is the caller's error, so the store stays usable.
    put(store, Table::Customers, &[(&[1; KEY_BYTES_MAX], b"longest key")]);
}

fn the_row_that_says_which_store_it_is_cannot_be_changed(store: &dyn Store) {
    let before = contents(store);
    let (mut put, mut delete) = (Changes::new(), Changes::new());
    put.put(Table::Meta, *b"store", *b"another");
    delete.delete(Table::Meta, *b"store");
    for changes in [put, delete] {
        assert!(matches!(store.commit(changes), Err(StoreError::Reserved)));
    }
    assert_eq!(contents(store), before);
}

fn a_reader_sees_whole_commits_while_they_are_made(store: &dyn Store) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut newest) = (0, 0);
            while !done.load(Ordering::Relaxed) || seen == 0 {
                let snapshot = store.snapshot().unwrap();
                let rows: Vec<Vec<u8>> = [Table::Customers, Table::Outbox]
                    .into_iter()
                    .flat_map(|table| between(&*snapshot, table, b"", b"\xff"))
                    .map(|(_, value)| value)
                    .collect();
                let Some(first) = rows.first() else { continue };
                assert!(
                    rows.len() == 40 && rows.iter().all(|row| row == first),
                    "a commit was seen in part"
                );
                let number = u64::from_le_bytes(first[..].try_into().unwrap());
                assert!(number >= newest, "a snapshot is older than the one before it");
                newest = number;
                seen += 1;
            }
        });
        for commit in 0..50_u64 {
            let mut changes = Changes::new();
            for key in 0..20_u8 {
                changes.put(Table::Customers, [key], commit.to_le_bytes());
                changes.put(Table::Outbox, [key], commit.to_le_bytes());
            }
            store.commit(changes).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

fn a_snapshot_outlives_the_commits_after_it(store: &dyn Store) {
    put(store, Table::Customers, &[(b"k", b"old")]);
    let old = store.snapshot().unwrap();
    // Many commits, so that flushes and merges could free the rows that the snapshot needs.
    for commit in 0..60_u64 {
        let mut changes = Changes::new();
        for key in 0..17_u8 {
            changes.put(Table::Customers, [b'k', key], vec![commit as u8; 400]);
        }
        changes.put(Table::Customers, *b"k", commit.to_le_bytes());
        store.commit(changes).unwrap();
    }
    assert_eq!(between(&*old, Table::Customers, b"", b"\xff"), [(b"k".to_vec(), b"old".to_vec())]);
}

fn sizes_count_rows_and_bytes(store: &dyn Store) {
    put(store, Table::Failures, &[(b"ab", b"cde"), (b"f", b"")]);
    let mut changes = Changes::new();
    for key in 0..5_000_u32 {
        changes.put(Table::Dedup, key.to_be_bytes(), [0; 16]);
    }
    store.commit(changes).unwrap();
    let sizes = store.sizes().unwrap();
    let of = |table: Table| sizes.tables[table.index()];
    assert_eq!(of(Table::Failures), TableSize { table: Table::Failures, rows: 2, bytes: 6 });
    assert_eq!(of(Table::Dedup), TableSize { table: Table::Dedup, rows: 5_000, bytes: 100_000 });
    // The identity row.
    assert_eq!(of(Table::Meta).rows, 1);
    assert_eq!(of(Table::Trail), TableSize { table: Table::Trail, rows: 0, bytes: 0 });
}

fn a_backup_opens_and_equals(store: &dyn Store) {
    let mut changes = Changes::new();
    for key in 0..2_000_u32 {
        changes.put(Table::Customers, key.to_le_bytes(), vec![key as u8; (key % 700) as usize]);
    }
    changes.put(Table::Bodies, *b"large", noise(3, 6 << 20));
    changes.put(Table::Customers, [0xff; KEY_BYTES_MAX], *b"greatest");
    store.commit(changes).unwrap();
    let elsewhere = TempDir::new().unwrap();
    let place = elsewhere.path().join("copy");
    store.backup(&place).unwrap();
    assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
    put(store, Table::Customers, &[(b"later", b"")]);

    let copy = FileStore::open(&place, Opening::of("test")).unwrap();
    assert_eq!(copy.identity(), store.identity());
    let mut expected = contents(store);
    expected.remove(&(Table::Customers, b"later".to_vec()));
    assert!(contents(&copy) == expected);
    put(&copy, Table::Customers, &[(b"more", b"")]);
    drop(copy);
    let rows = verify(&place, &mut |_| {}).unwrap().rows;
    assert_eq!(rows[Table::Customers.index()], (Table::Customers, 2_002));
}

fn a_backup_replaces_nothing(store: &dyn Store) {
    let elsewhere = TempDir::new().unwrap();
    let there = elsewhere.path().join("there");
    std::fs::write(&there, "precious").unwrap();
    assert!(matches!(store.backup(&there), Err(StoreError::Exists { .. })));
    assert_eq!(std::fs::read(&there).unwrap(), b"precious");
    let nowhere = elsewhere.path().join("no such directory/file");
    assert!(matches!(store.backup(&nowhere), Err(StoreError::Io { .. })));
    assert_eq!(
        std::fs::read_dir(elsewhere.path()).unwrap().count(),
        1,
        "a temporary directory was left behind"
    );
}

type Commit = Vec<(Table, Vec<u8>, Option<Vec<u8>>)>;

fn commits() -> impl Strategy<Value = Vec<Commit>> {
    let table = prop::sample::select(vec![Table::Meta, Table::Customers, Table::Timers]);
    // Few different keys, so that commits often change the same key. Some values are larger than a
    // block of a table.
    let key = prop::collection::vec(0..3_u8, 0..5);
    let value = prop::option::weighted(
        0.7,
        (any::<u8>(), 0..6_000_usize).prop_map(|(byte, bytes)| vec![byte; bytes]),
    );
    prop::collection::vec(prop::collection::vec((table, key, value), 0..40), 1..8)
}

fn any_changes_leave_what_they_leave_in_a_map(store: &dyn Store) {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    // All cases share one store. Each case starts with the rows of the case before it.
    let mut model = contents(store);
    let model = std::cell::RefCell::new(&mut model);
    let same = runner.run(&commits(), |commits| {
        for commit in commits {
            let mut changes = Changes::new();
            let mut model = model.borrow_mut();
            for (table, key, value) in commit {
                match value {
                    Some(value) => {
                        changes.put(table, key.clone(), value.clone());
                        model.insert((table, key), value);
                    }
                    None => {
                        changes.delete(table, key.clone());
                        model.remove(&(table, key));
                    }
                }
            }
            store.commit(changes).unwrap();
            prop_assert!(contents(store) == **model);
        }
        let snapshot = store.snapshot().unwrap();
        for (table, from, to) in
            [(Table::Customers, vec![1], vec![2]), (Table::Timers, vec![0, 2], vec![2, 1, 1])]
        {
            let expected: Vec<Row> = model
                .borrow()
                .range((table, from.clone())..(table, to.clone()))
                .map(|((_, key), value)| (key.clone(), value.clone()))
                .collect();
            prop_assert!(between(&*snapshot, table, &from, &to) == expected);
            prop_assert!(snapshot.last(table, &from, &to).unwrap() == expected.last().cloned());
            for (key, value) in &expected {
                prop_assert!(snapshot.get(table, key).unwrap().as_ref() == Some(value));
            }
        }
        Ok(())
    });
    if let Err(error) = same {
        panic!("{error}");
    }
}
