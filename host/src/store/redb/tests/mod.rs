//! What only a file can go through: refusals, damage, and ends in the middle.

mod crash;
mod damage;
mod refusals;
mod upkeep;
mod writing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::store::contract::{contents, new_store};

type Contents = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

fn reopen(directory: &Path) -> Result<RedbStore, StoreError> {
    RedbStore::open(directory, Opening::of("test"))
}

fn file_of(directory: &TempDir) -> PathBuf {
    directory.path().join(FILE_NAME)
}

/// A closed store of several commits, some rows of which are larger than a page, and what is in it.
fn filled(directory: &TempDir) -> Contents {
    let store = new_store(directory);
    fill(&store);
    contents(&store)
}

fn fill(store: &RedbStore) {
    for commit in 0..4_u8 {
        let mut changes = Changes::new();
        for key in 0..60_u8 {
            changes.put(Table::Customers, [key % 8, key, commit / 2], vec![key ^ commit; 150]);
            changes.put(Table::Seen, [key % 8, commit, key], [commit; 16]);
        }
        changes.put(Table::Outbox, [0, commit], vec![commit; 9_000]);
        changes.delete(Table::Seen, [1, commit, 9]);
        store.commit(&changes).unwrap();
    }
}

/// Changes rows as nobody should: past the checksums.
fn tamper(directory: &TempDir, change: impl FnOnce(&WriteTransaction)) {
    let database = Database::open(file_of(directory)).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}
