//! Stores that older versions wrote.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::clock::Millis;
use crate::event::CustomerKey;
use crate::store::records::{SeenKey, TrailKey, encode};
use crate::store::{FileStore, Opening};

/// More than one commit takes.
const KEYS: usize = KEYS_AT_ONCE + 100;
const CONNECTED_MS: Millis = 12_345;
const UPGRADING: Opening<'_> =
    Opening { environment: "test", create: true, cache_bytes: 64 << 20, check_bytes_max: 0, upgrade: true };

fn trail_key(number: usize) -> TrailKey {
    let mut customer = [0; 16];
    customer[..8].copy_from_slice(&(number as u64 / 3).to_le_bytes());
    customer[8] = number as u8;
    TrailKey { period: 0, customer: CustomerKey::from_bytes(customer), commit: number as u64 }
}

fn seen_key(number: usize) -> SeenKey {
    let hash = *blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk().unwrap();
    SeenKey { partition: Partition::of_key(&[number as u8 % 64]).unwrap(), period: 0, hash }
}

/// A key as it was before there were periods.
fn before(mut key: Vec<u8>) -> Vec<u8> {
    key.drain(1..9);
    key
}

/// A store as a version with this format left it.
fn older(format: u32) -> TempDir {
    let directory = TempDir::new().unwrap();
    let mut tables = RedbStore::open(directory.path(), UPGRADING).unwrap();
    let mut changes = Changes::new();
    for number in 0..KEYS {
        let trail = trail_key(number).encode();
        changes.put(Table::Trail, if format < 4 { before(trail) } else { trail }, Vec::new());
        changes.put(Table::Seen, before(seen_key(number).encode()), number.to_be_bytes());
    }
    changes.put(Table::Meta, Progress::KEY, encode(&Progress { connected_ms: CONNECTED_MS, ..Progress::default() }));
    tables.commit(&changes).unwrap();
    tables.commit_format(format).unwrap();
    directory
}

/// Every key is there, as it is now.
fn assert_upgraded(directory: &Path) {
    let tables = RedbStore::open(directory, Opening::of("test")).unwrap();
    assert_eq!(tables.identity().format, FORMAT);
    let snapshot = tables.snapshot().unwrap();
    let trail = (0..KEYS).map(|number| (trail_key(number).encode(), Vec::new())).collect();
    let seen = (0..KEYS).map(|number| (seen_key(number).encode(), number.to_be_bytes().to_vec())).collect();
    for (table, wanted) in [(Table::Trail, trail), (Table::Seen, seen)] {
        let mut rows = BTreeMap::new();
        let visit = &mut |key: &[u8], row: &[u8]| {
            rows.insert(key.to_vec(), row.to_vec());
            ControlFlow::Continue(())
        };
        snapshot.range(table, &[], &[Partition::COUNT], visit).unwrap();
        assert!(rows == wanted, "{} has other rows", table.name());
    }
    let closed = snapshot.get(Table::Meta, &ClosedPeriod::key(0)).unwrap().unwrap();
    assert_eq!(ClosedPeriod::read(&ClosedPeriod::key(0), &closed).unwrap(), (0, CONNECTED_MS, &[][..]));
}

#[test]
fn every_older_format_is_upgraded_when_an_engine_opens_it() {
    for format in [1, 2, ON_THE_WAY_TO_4, 4] {
        let directory = older(format);
        let asked = FileStore::open(directory.path(), Opening::of("test")).unwrap_err();
        let is_refused = match asked {
            StoreError::ToUpgrade { found, .. } => found == format,
            StoreError::Upgrading { .. } => format == ON_THE_WAY_TO_4,
            _ => false,
        };
        assert!(is_refused, "{asked}");
        let store = FileStore::open(directory.path(), UPGRADING).unwrap();
        assert_eq!(store.identity().format, FORMAT);
        drop(store);
        assert_upgraded(directory.path());
    }
}

#[test]
fn an_upgrade_that_was_killed_goes_on_and_what_it_left_is_read_by_nobody() {
    const { assert!(ON_THE_WAY > 4 && ON_THE_WAY < FORMAT) };
    for (format, table) in [(2, Table::Trail), (2, Table::Seen), (4, Table::Seen)] {
        let directory = older(format);
        let mut tables = RedbStore::open(directory.path(), UPGRADING).unwrap();
        tables.commit_format(ON_THE_WAY).unwrap();
        let mut after = Vec::new();
        let changes = next_of(table, &*tables.snapshot().unwrap(), &mut after).unwrap();
        assert_eq!(changes.put_in(table), KEYS_AT_ONCE);
        tables.commit(&changes).unwrap();
        drop(tables);
        let asked = FileStore::open(directory.path(), Opening::of("test")).unwrap_err();
        assert!(matches!(asked, StoreError::Upgrading { .. }), "{asked}");
        drop(FileStore::open(directory.path(), UPGRADING).unwrap());
        assert_upgraded(directory.path());
    }
}

#[test]
fn an_upgrade_begins_with_the_number_that_older_versions_refuse_and_ends_with_its_own() {
    let directory = older(4);
    let mut tables = RedbStore::open(directory.path(), UPGRADING).unwrap();
    let mut formats = Vec::new();
    upgrade_noting(&mut tables, &mut |tables| formats.push(tables.identity().format)).unwrap();
    assert!(formats.len() > 2 && formats.iter().all(|format| *format == ON_THE_WAY), "{formats:?}");
    assert_eq!(tables.identity().format, FORMAT);
}

#[test]
fn what_the_log_of_an_older_version_has_is_upgraded_too() {
    let directory = older(2);
    let store = FileStore::open(directory.path(), UPGRADING).unwrap();
    // As the older version would have appended it, and then been killed.
    let mut changes = Changes::new();
    let (gone, kept) = (trail_key(5).encode(), before(trail_key(5).encode()));
    changes.delete(Table::Trail, gone);
    changes.put(Table::Trail, kept, Vec::new());
    let (gone, kept) = (seen_key(5).encode(), before(seen_key(5).encode()));
    changes.delete(Table::Seen, gone);
    changes.put(Table::Seen, kept, 5_usize.to_be_bytes());
    store.append(changes).unwrap();
    let image = TempDir::new().unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), image.path().join(entry.file_name())).unwrap();
    }
    drop(store);
    RedbStore::open(image.path(), UPGRADING).unwrap().commit_format(2).unwrap();
    drop(FileStore::open(image.path(), UPGRADING).unwrap());
    assert_upgraded(image.path());
}
