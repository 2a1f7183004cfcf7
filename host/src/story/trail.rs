//! The way back through the journal: from the newest entry of a few customers to the older ones, until it is enough.
//!
//! What is found in the outbox is of the same snapshot as the entry, so that both tell of one moment.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::clock::Millis;
use crate::event::CustomerKey;
use crate::records::{Decided, JournalEntry, JournalRow, Key, OutboxRow, Partition, TrailKey, Verdict, decode, encode};
use crate::store::{Snapshot, StoreError, Table};

/// As many events as anybody reads.
const ENTRIES_MAX: usize = 1000;
/// What they may take, encoded, so that a story fits into an answer.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// Of the journal that is read for them: a row holds the events of other customers, too.
const READ_BYTES_MAX: usize = 256 << 20;

/// What was found, the oldest first.
pub(super) struct Trail {
    pub(super) entries: Vec<Entry>,
    /// There is more, which would have been too much.
    pub(super) is_cut: bool,
}

/// An entry of the journal.
pub(super) struct Entry {
    pub(super) customer: CustomerKey,
    pub(super) entry: JournalEntry,
    /// The ids of communications of its commit that are in the outbox.
    pub(super) waiting: Arc<HashSet<Box<str>>>,
}

/// Where the way back through one customer's trail has come to.
struct Walk {
    customer: CustomerKey,
    /// The newest commit that has not been looked at.
    commit: u64,
}

/// Reads the newest entries of these customers, none of which is older than `since`.
pub(super) fn read(
    snapshot: &dyn Snapshot,
    customers: &[CustomerKey],
    since: Option<Millis>,
) -> Result<Trail, StoreError> {
    let mut walks = Vec::new();
    for &customer in customers {
        let last = TrailKey::before(snapshot, customer, u64::MAX)?;
        walks.extend(last.map(|TrailKey { commit, .. }| Walk { customer, commit }));
    }
    let mut trail = Trail { entries: Vec::new(), is_cut: false };
    let (mut kept_bytes, mut read_bytes) = (0, 0);
    while let Some(at) = (0..walks.len()).max_by_key(|at| walks[*at].commit) {
        if trail.entries.len() >= ENTRIES_MAX || kept_bytes >= KEPT_BYTES_MAX || read_bytes >= READ_BYTES_MAX {
            trail.is_cut = true;
            break;
        }
        let Walk { customer, commit } = walks[at];
        let partition = Partition::of_customer(customer);
        let mut entries = Vec::new();
        for_each_row::<JournalRow>(snapshot, Table::Journal, partition, commit, &mut |bytes, row| {
            read_bytes += bytes;
            entries.extend(row.into_iter().filter(|entry| entry.customer == Some(customer)));
        })?;
        let before = entries.len();
        entries.retain(|entry| since.is_none_or(|since| entry.now >= since));
        // Time does not go back, so what comes next is older still.
        let is_over = before > 0 && entries.is_empty();
        let waiting = match entries.iter().any(has_passed) {
            true => Arc::new(outbox_of(snapshot, partition, commit)?),
            false => Arc::default(),
        };
        for entry in entries.into_iter().rev() {
            kept_bytes += encode(&entry).len();
            trail.entries.push(Entry { customer, entry, waiting: Arc::clone(&waiting) });
        }
        let earlier = if is_over { None } else { TrailKey::before(snapshot, customer, commit)? };
        match earlier {
            Some(earlier) => walks[at].commit = earlier.commit,
            None => {
                walks.swap_remove(at);
            }
        }
    }
    trail.entries.reverse();
    Ok(trail)
}

/// The oldest that is kept about anybody in the partitions of these customers.
pub(super) fn kept_since(snapshot: &dyn Snapshot, customers: &[CustomerKey]) -> Result<Option<Millis>, StoreError> {
    let mut oldest: Option<Millis> = None;
    for &customer in customers {
        let (from, to) = Key::whole(Partition::of_customer(customer));
        let mut first = None;
        snapshot.range(Table::Journal, &from, &to, &mut |_, row| {
            first = Some(decode::<JournalRow>(Table::Journal, row));
            ControlFlow::Break(())
        })?;
        let first = first.transpose()?.and_then(|row| row.first().map(|entry| entry.now));
        oldest = oldest.into_iter().chain(first).min();
    }
    Ok(oldest)
}

fn has_passed(entry: &JournalEntry) -> bool {
    let passed = |decided: &Decided| match decided {
        Decided::Answered { communications, .. } => communications.iter().any(|one| one.verdict == Verdict::Passed),
        _ => false,
    };
    entry.outcomes.iter().any(|outcome| passed(&outcome.decided))
}

fn outbox_of(snapshot: &dyn Snapshot, partition: Partition, commit: u64) -> Result<HashSet<Box<str>>, StoreError> {
    let mut ids = HashSet::new();
    for_each_row::<OutboxRow>(snapshot, Table::Outbox, partition, commit, &mut |_, row| {
        ids.extend(row.into_iter().map(|item| item.id));
    })?;
    Ok(ids)
}

/// Shows the rows of a commit, each with its bytes.
fn for_each_row<R: serde::de::DeserializeOwned>(
    snapshot: &dyn Snapshot,
    table: Table,
    partition: Partition,
    commit: u64,
    visit: &mut dyn FnMut(usize, R),
) -> Result<(), StoreError> {
    let (from, to) = Key::parts_of_commit(partition, commit);
    let mut broken = None;
    snapshot.range(table, &from, &to, &mut |_, row| match decode(table, row) {
        Ok(decoded) => {
            visit(row.len(), decoded);
            ControlFlow::Continue(())
        }
        Err(error) => {
            broken = Some(error);
            ControlFlow::Break(())
        }
    })?;
    broken.map_or(Ok(()), Err)
}
