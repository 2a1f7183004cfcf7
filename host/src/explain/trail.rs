//! Reads the journal backwards, from the newest entry of some customers to older ones, up to a
//! limit.
//!
//! The outbox is read from the same snapshot as the journal, so both show the same moment.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::clock::Millis;
use crate::event::CustomerKey;
use crate::records::{
    Decided, JournalEntry, JournalRow, Key, OutboxRow, Partition, TrailKey, Verdict, decode, encode,
};
use crate::store::{Snapshot, StoreError, Table};

/// Maximum of events in an explanation.
const ENTRIES_MAX: usize = 1000;
/// Maximum of encoded entry bytes, so that an explanation fits into one response.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// Maximum of journal bytes that are read; a row also holds events of other customers.
const READ_BYTES_MAX: usize = 256 << 20;

/// The entries that were found, the oldest first.
pub(super) struct Trail {
    pub(super) entries: Vec<Entry>,
    /// True if older entries exist beyond the limits.
    pub(super) is_cut: bool,
}

/// A journal entry of one of the customers.
pub(super) struct Entry {
    pub(super) customer: CustomerKey,
    pub(super) entry: JournalEntry,
    /// Ids of the communications of the entry's commit that are still in the outbox.
    pub(super) waiting: Arc<HashSet<Box<str>>>,
}

/// Current position in one customer's trail.
struct TrailPosition {
    customer: CustomerKey,
    /// The newest commit that has not been read.
    commit: u64,
}

/// Reads the newest entries of these customers, none older than `since`.
pub(super) fn read(
    snapshot: &dyn Snapshot,
    customers: &[CustomerKey],
    since: Option<Millis>,
) -> Result<Trail, StoreError> {
    let mut positions = Vec::new();
    for &customer in customers {
        let last = TrailKey::before(snapshot, customer, u64::MAX)?;
        positions.extend(last.map(|TrailKey { commit, .. }| TrailPosition { customer, commit }));
    }
    let mut trail = Trail { entries: Vec::new(), is_cut: false };
    let (mut kept_bytes, mut read_bytes) = (0, 0);
    while let Some(at) = (0..positions.len()).max_by_key(|at| positions[*at].commit) {
        if trail.entries.len() >= ENTRIES_MAX
            || kept_bytes >= KEPT_BYTES_MAX
            || read_bytes >= READ_BYTES_MAX
        {
            trail.is_cut = true;
            break;
        }
        let TrailPosition { customer, commit } = positions[at];
        let partition = Partition::of_customer(customer);
        let mut entries = Vec::new();
        for_each_row::<JournalRow>(
            snapshot,
            Table::Journal,
            partition,
            commit,
            &mut |bytes, row| {
                read_bytes += bytes;
                entries.extend(row.into_iter().filter(|entry| entry.customer == Some(customer)));
            },
        )?;
        let before = entries.len();
        entries.retain(|entry| since.is_none_or(|since| entry.now >= since));
        // `now` never goes back, so the remaining entries are older still.
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
            Some(earlier) => positions[at].commit = earlier.commit,
            None => {
                positions.swap_remove(at);
            }
        }
    }
    trail.entries.reverse();
    Ok(trail)
}

/// Time of the oldest decision in the partitions of these customers; `None` if there is none.
pub(super) fn kept_since(
    snapshot: &dyn Snapshot,
    customers: &[CustomerKey],
) -> Result<Option<Millis>, StoreError> {
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
        Decided::Answered { communications, .. } => {
            communications.iter().any(|one| one.verdict == Verdict::Passed)
        }
        Decided::Released { communications } => {
            communications.iter().any(|one| one.communication.verdict == Verdict::Passed)
        }
        _ => false,
    };
    entry.outcomes.iter().any(|outcome| passed(&outcome.decided))
}

fn outbox_of(
    snapshot: &dyn Snapshot,
    partition: Partition,
    commit: u64,
) -> Result<HashSet<Box<str>>, StoreError> {
    let mut ids = HashSet::new();
    for_each_row::<OutboxRow>(snapshot, Table::Outbox, partition, commit, &mut |_, row| {
        ids.extend(row.into_iter().map(|item| item.id));
    })?;
    Ok(ids)
}

/// Visits the rows of a commit, each with its encoded size.
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
