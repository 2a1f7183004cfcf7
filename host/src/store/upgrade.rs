//! Brings a store that an older version wrote to the format of this one, when an engine opens it.
//!
//! It may be killed at any moment, and goes on at the next start: a row that is as it should be is left alone. Before anything is changed the store
//! gets a number that every older version refuses, and only when all is done its own.

use std::ops::ControlFlow;

use super::identity::{FORMAT, ON_THE_WAY};
use super::records::{Partition, trail_key_of_before};
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
        ON_THE_WAY => Err(StoreError::Upgrading { file }),
        _ => Err(StoreError::ToUpgrade { file, found, known: FORMAT }),
    }
}

/// What the log has is in the tables already.
pub(super) fn upgrade(tables: &mut RedbStore) -> Result<(), StoreError> {
    let found = tables.identity().format;
    if found == FORMAT {
        return Ok(());
    }
    tracing::warn!(found, now = FORMAT, "the store is brought to the format of this version, which no older one reads");
    tables.commit_format(ON_THE_WAY)?;
    let (mut after, mut moved, mut said) = (Vec::new(), 0, 0);
    loop {
        let changes = next_of_trail(&*tables.snapshot()?, &mut after)?;
        tables.commit(&changes)?;
        moved += changes.put_in(Table::Trail);
        if after.is_empty() {
            break;
        }
        if moved - said >= SAYS_EVERY {
            said = moved;
            tracing::info!(keys = moved, "keys of the trail have been written anew");
        }
    }
    tables.commit_format(FORMAT)?;
    tracing::info!(keys = moved, "the store is of the format of this version");
    Ok(())
}

/// Gives the next keys of the trail that have no period one; says after which key the rest begins.
fn next_of_trail(snapshot: &dyn Snapshot, after: &mut Vec<u8>) -> Result<Changes, StoreError> {
    let mut changes = Changes::new();
    let mut count = 0;
    let from = std::mem::take(after);
    snapshot.range(Table::Trail, &from, &[Partition::COUNT], &mut |key, value| {
        if let Some(now) = trail_key_of_before(key) {
            changes.delete(Table::Trail, key);
            changes.put(Table::Trail, now, value);
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

#[cfg(test)]
mod tests;
