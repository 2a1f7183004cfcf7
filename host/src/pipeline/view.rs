//! What a shard reads of what was before: in a running engine the store, with what was decided and is not committed yet laid over it; in a rehearsal
//! nothing but what the rehearsal itself has seen. **A rehearsal reads no store and writes none.**

use foldhash::HashMap;

use super::memory::Memory;
use crate::clock::Millis;
use crate::event::{CustomerKey, DedupKey};
use crate::records::{CustomerRow, Partition, SeenRow};
use crate::store::{MemoryStore, Snapshot, Store, StoreError};

/// For so long a rehearsal knows at least that it has seen an event: what an engine is set to at first.
const SEEN_FOR_MS: Millis = 24 * 3_600_000;

/// What was before.
pub(super) enum View {
    Store(Memory),
    Rehearsal(Rehearsed),
}

/// What a rehearsal has seen. Its customers' rows stay with the shard that changes them ([`Rows`](super::rows::Rows)).
pub(super) struct Rehearsed {
    /// Of a store with nothing in it: no failures of earlier runs.
    empty: Box<dyn Snapshot>,
    /// What was seen since `since`, and what in the span before.
    seen: HashMap<(Partition, DedupKey), SeenRow>,
    seen_before: HashMap<(Partition, DedupKey), SeenRow>,
    since: Millis,
}

impl View {
    pub(super) fn of_rehearsal() -> Result<View, StoreError> {
        let empty = MemoryStore::new("rehearsal").snapshot()?;
        let (seen, seen_before) = Default::default();
        Ok(View::Rehearsal(Rehearsed { empty, seen, seen_before, since: Millis::MIN }))
    }

    /// What a running engine's shard decides over.
    pub(super) fn memory(&mut self) -> &mut Memory {
        match self {
            View::Store(memory) => memory,
            View::Rehearsal(_) => unreachable!("a rehearsal begins and ends no group"),
        }
    }

    /// The number of the group that a running engine's shard decides; 0 in a rehearsal, which has no groups.
    pub(super) fn group(&self) -> u64 {
        match self {
            View::Store(memory) => memory.group(),
            View::Rehearsal(_) => 0,
        }
    }

    /// The number of the last group that [`Self::snapshot`] has.
    pub(super) fn committed(&self) -> u64 {
        match self {
            View::Store(memory) => memory.committed(),
            View::Rehearsal(_) => 0,
        }
    }

    /// What is kept about a customer whom nobody has asked for yet.
    pub(super) fn customer(&self, key: CustomerKey) -> Result<CustomerRow, StoreError> {
        match self {
            View::Store(memory) => memory.customer(key),
            View::Rehearsal(_) => Ok(CustomerRow::default()),
        }
    }

    /// What is known of a deduplication key; `None` if it was never seen, or long ago.
    pub(super) fn seen(&self, partition: Partition, key: DedupKey) -> Result<Option<SeenRow>, StoreError> {
        match self {
            View::Store(memory) => memory.seen(partition, key),
            View::Rehearsal(rehearsed) => Ok(rehearsed.seen(partition, key).cloned()),
        }
    }

    /// Remembers that an event was seen.
    pub(super) fn saw(&mut self, partition: Partition, key: DedupKey, row: SeenRow) {
        match self {
            View::Store(memory) => memory.saw(partition, key, row),
            View::Rehearsal(rehearsed) => {
                rehearsed.seen.insert((partition, key), row);
            }
        }
    }

    /// What was committed before the group began.
    pub(super) fn snapshot(&self) -> &dyn Snapshot {
        match self {
            View::Store(memory) => memory.snapshot(),
            View::Rehearsal(rehearsed) => &*rehearsed.empty,
        }
    }

    /// Lets a rehearsal's clock go on: what was seen long before is forgotten, so that what it remembers stays bounded by what comes in two days.
    pub(super) fn advance(&mut self, now: Millis) {
        if let View::Rehearsal(rehearsed) = self
            && now >= rehearsed.since.saturating_add(SEEN_FOR_MS)
        {
            let span_before_is_near = now < rehearsed.since.saturating_add(2 * SEEN_FOR_MS);
            let seen = std::mem::take(&mut rehearsed.seen);
            rehearsed.seen_before = if span_before_is_near { seen } else { HashMap::default() };
            rehearsed.since = now;
        }
    }
}

impl Rehearsed {
    fn seen(&self, partition: Partition, key: DedupKey) -> Option<&SeenRow> {
        self.seen.get(&(partition, key)).or_else(|| self.seen_before.get(&(partition, key)))
    }
}
