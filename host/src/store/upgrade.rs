//! Brings a store that an older version wrote to the format of this one, when an engine opens it.
//!
//! It may be killed at any moment, and goes on at the next start: a row that is as it should be is left alone. Before anything is changed the store
//! gets a number that every older version refuses, and only when all is done its own.

use std::ops::ControlFlow;

use super::identity::{FORMAT, ON_THE_WAY, ON_THE_WAY_TO_4};
use super::records::{ClosedPeriod, Partition, Progress, decode};
use super::redb::RedbStore;
use super::{Changes, Snapshot, Store, StoreError, Table};

/// Keys that are changed in one commit.
const KEYS_AT_ONCE: usize = 1 << 16;
/// How often it is said how far it has come, in keys.
const SAYS_EVERY: usize = 1 << 20;

/// Whether an engine has to upgrade the store before anybody can read it; an error unless it is one that may.
pub(super) fn refuse_older(tables: &RedbStore, may_upgrade: bool) -> Result<(), StoreError> {
    let (file, found) = (tables.file().to_owned(), tables.identity().format);
    match found {
        FORMAT => Ok(()),
        _ if may_upgrade => Ok(()),
        ON_THE_WAY | ON_THE_WAY_TO_4 => Err(StoreError::Upgrading { file }),
        _ => Err(StoreError::ToUpgrade { file, found, known: FORMAT }),
    }
}

/// What the log has is in the tables already.
pub(super) fn upgrade(tables: &mut RedbStore) -> Result<(), StoreError> {
    upgrade_noting(tables, &mut |_| {})
}

/// Shows the store before each of the commits that change rows.
fn upgrade_noting(tables: &mut RedbStore, before_commit: &mut dyn FnMut(&RedbStore)) -> Result<(), StoreError> {
    let found = tables.identity().format;
    if found == FORMAT {
        return Ok(());
    }
    tracing::warn!(found, now = FORMAT, "the store is brought to the format of this version, which no older one reads");
    tables.commit_format(ON_THE_WAY)?;
    let (mut moved, mut said) = (0, 0);
    for table in [Table::Trail, Table::Seen] {
        let mut after = Vec::new();
        loop {
            let changes = next_of(table, &*tables.snapshot()?, &mut after)?;
            before_commit(tables);
            tables.commit(&changes)?;
            moved += changes.put_in(table);
            if after.is_empty() {
                break;
            }
            if moved - said >= SAYS_EVERY {
                said = moved;
                tracing::info!(keys = moved, "keys of the trail and of what was seen have been written anew");
            }
        }
    }
    before_commit(tables);
    close_period_of_before(tables)?;
    tables.commit_format(FORMAT)?;
    tracing::info!(keys = moved, "the store is of the format of this version");
    Ok(())
}

/// What was seen before there were periods is one that is over, and has no filter.
fn close_period_of_before(tables: &RedbStore) -> Result<(), StoreError> {
    let progress = tables.snapshot()?.get(Table::Meta, Progress::KEY)?;
    let ended_ms = match progress {
        Some(progress) => decode::<Progress>(Table::Meta, &progress)?.connected_ms,
        None => 0,
    };
    let mut changes = Changes::new();
    let closed = ClosedPeriod { period: 0, ended_ms, filter: Vec::new() };
    changes.put(Table::Meta, ClosedPeriod::key(closed.period), closed.encode());
    tables.commit(&changes)
}

/// Gives the next keys of a table that have no period the period 0; says after which key the rest begins.
fn next_of(table: Table, snapshot: &dyn Snapshot, after: &mut Vec<u8>) -> Result<Changes, StoreError> {
    let mut changes = Changes::new();
    let mut count = 0;
    let from = std::mem::take(after);
    snapshot.range(table, &from, &[Partition::COUNT], &mut |key, value| {
        if let Some(now) = key_with_period(table, key) {
            changes.delete(table, key);
            changes.put(table, now, value);
            count += 1;
        }
        if count < KEYS_AT_ONCE {
            return ControlFlow::Continue(());
        }
        after.extend_from_slice(key);
        ControlFlow::Break(())
    })?;
    Ok(changes)
}

/// What a key without a period has become; `None` if it has one.
fn key_with_period(table: Table, key: &[u8]) -> Option<Vec<u8>> {
    let (partition, rest) = key.split_first_chunk::<1>()?;
    let bytes_before = match table {
        // A hash.
        Table::Seen => 16,
        // A customer and a commit.
        Table::Trail => 16 + 8,
        _ => return None,
    };
    (rest.len() == bytes_before).then(|| [&partition[..], &[0; 8], rest].concat())
}

#[cfg(test)]
mod tests;
