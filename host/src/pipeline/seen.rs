//! What tells, without a look at the store, that an event was not seen before; and in which periods to look if it may have been.
//!
//! What was seen is kept by period: see [`SeenKey`]. A period has a Bloom filter, and the filters of 64 periods lie side by side, a word with a bit for
//! each at every position: a few words tell of all of them. What was not seen, which is nearly everything, is known by that alone. **A key that
//! was added is never denied (G4)** for as long as its period is kept. A key that was not is taken for another's once in two thousand times for each full
//! period, and then costs a look.
//!
//! The committer alone adds, to the periods that it begins and closes; the shards look, and wait for nothing. A key is in its filter before the store
//! shows its row, and until then memory has it.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::clock::Millis;
use crate::records::{ClosedPeriod, Partition, Progress, SeenKey, SeenPeriod};
use crate::store::{Changes, Snapshot, Store, StoreError, Table};

/// With so many rows a period is over: few enough for some blocks of each partition. Tests go through many periods, and so does a debug build.
const ROWS_MAX: u64 = if cfg!(test) {
    1 << 6
} else if cfg!(debug_assertions) {
    1 << 10
} else {
    1 << 16
};
/// A period is over after this part of the time for which rows are kept, too: so much longer some of them are kept.
const PERIODS_IN_TIME: Millis = 8;
/// 16 for every row of a full period.
const POSITIONS: usize = 16 * ROWS_MAX as usize;
const POSITION_BITS: u32 = POSITIONS.trailing_zeros();
/// Of each key. With 16 positions a row, 11 take the fewest keys for others: one in 2,000.
const PROBES: u64 = 11;
/// Which kind of filter this is: another for whoever changes [`positions`]. How many there are is told by its length.
const KIND: u8 = 1;
/// Periods whose filters lie side by side, in 8 MiB.
const SIDE_BY_SIDE: usize = u64::BITS as usize;
/// With 512 MiB of filters, of 268 million keys, it is enough: then periods are only over by time, and more and more keys are taken for others.
const BLOCKS_MAX: usize = 64;
/// So many slots are left for those: more than are kept at once.
const SLOTS_FOR_TIME: usize = 2 * PERIODS_IN_TIME as usize;
/// A filter with so many times the keys that it is for takes nearly all for others, and is not made again at a start.
const OVERFULL: u64 = 8;

/// A row of what was seen, on its way to its period.
#[derive(Debug)]
pub(super) struct SeenPiece {
    pub(super) partition: Partition,
    pub(super) hash: [u8; 16],
    pub(super) bytes: Vec<u8>,
}

/// The filters: what the shards see.
#[derive(Debug)]
pub(super) struct SeenFilters {
    /// A word for each position, made when the first of its periods is.
    blocks: Vec<OnceLock<Box<[AtomicU64]>>>,
    /// For each slot its period and one; 0 if it is free, and then its filter is empty.
    periods: Vec<AtomicU64>,
}

/// What adds to the filters; there is one.
#[derive(Debug)]
pub(super) struct SeenWriter {
    filters: Arc<SeenFilters>,
    /// For how long rows are kept, in connected time.
    kept_ms: Millis,
    /// The slot of the period to which rows are added.
    current: Option<usize>,
    /// The slots of those that are closed, and when they ended; the oldest first.
    closed: VecDeque<(usize, Millis)>,
    /// The most periods that stay closed.
    closed_max: usize,
    /// Periods before this one are more than that.
    floor: Arc<AtomicU64>,
    has_said_full: bool,
}

/// A filter that was kept, and says nothing of its keys: it is none, or of another kind.
#[derive(Debug, PartialEq, Eq)]
struct Unknown;

/// Finds what the store has.
pub(super) fn open(
    store: &dyn Store,
    progress: &Progress,
    (kept_ms, rows_max): (Millis, Option<u64>),
) -> Result<(Arc<SeenFilters>, SeenWriter), StoreError> {
    let snapshot = store.snapshot()?;
    let mut filters = SeenFilters::new(BLOCKS_MAX);
    let mut closed = VecDeque::new();
    let oldest = progress.connected_ms.saturating_sub(kept_ms);
    for_each(&*snapshot, Table::Meta, ClosedPeriod::from(0), |key, row| {
        let (period, ended_ms, filter) = ClosedPeriod::read(key, row)?;
        if ended_ms >= oldest {
            let slot = filters.slot_for(period);
            if filters.load(slot, filter) == Err(Unknown) {
                tracing::info!(period, "what was seen in a period has no filter, and is looked for with every event");
            }
            closed.push_back((slot, ended_ms));
        }
        Ok(())
    })?;
    let current = progress.seen.map(|SeenPeriod { began, rows, .. }| (filters.slot_for(began), began, rows));
    match current {
        Some((slot, _, rows)) if rows >= OVERFULL * ROWS_MAX => filters.fill(slot),
        Some((slot, began, _)) => {
            for partition in Partition::all() {
                for_each(&*snapshot, Table::Seen, SeenKey::of_period(partition, began), |key, _| {
                    filters.mark(slot, &SeenKey::decode(key)?.hash);
                    Ok(())
                })?;
            }
        }
        None => {}
    }
    let filters = Arc::new(filters);
    let current = current.map(|(slot, ..)| slot);
    let closed_max = rows_max.map_or(usize::MAX, |rows| usize::try_from(rows / ROWS_MAX).unwrap_or(usize::MAX).max(1));
    let floor = Arc::<AtomicU64>::default();
    let writer =
        SeenWriter { filters: Arc::clone(&filters), kept_ms, current, closed, closed_max, floor, has_said_full: false };
    Ok((filters, writer))
}

/// Shows rows until one of them is an error.
fn for_each(
    snapshot: &dyn Snapshot,
    table: Table,
    (from, to): (Vec<u8>, Vec<u8>),
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut broken = Ok(());
    snapshot.range(table, &from, &to, &mut |key, row| match visit(key, row) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            broken = Err(error);
            ControlFlow::Break(())
        }
    })?;
    broken
}

impl SeenWriter {
    /// Adds the rows of a commit, and what they begin and close; `progress` is already the commit's.
    pub(super) fn add(&mut self, pieces: Vec<SeenPiece>, progress: &mut Progress, changes: &mut Changes) {
        if pieces.is_empty() {
            return;
        }
        let slot = self.slot_of_commit(progress, changes);
        let period = progress.seen.as_mut().expect("a period has begun");
        period.rows += pieces.len() as u64;
        period.last_ms = progress.connected_ms;
        for SeenPiece { partition, hash, bytes } in pieces {
            self.filters.mark(slot, &hash);
            changes.put(Table::Seen, SeenKey { partition, period: period.began, hash }.encode(), bytes);
        }
    }

    /// The slot of the period to which this commit adds: the last, or the next, which the commit begins.
    fn slot_of_commit(&mut self, progress: &mut Progress, changes: &mut Changes) -> usize {
        let last = progress.seen.zip(self.current);
        if let Some((period, slot)) = last
            && !self.is_over(period, progress.connected_ms)
        {
            return slot;
        }
        self.forget_before(progress.connected_ms.saturating_sub(self.kept_ms));
        let slot = match (self.filters.free_slot(), last) {
            (Some(slot), _) => slot,
            // Only if more is kept now than was before.
            (None, Some((_, slot))) => return slot,
            (None, None) => unreachable!("those that are closed leave a slot"),
        };
        if let Some((SeenPeriod { began, last_ms, .. }, slot)) = last {
            let closed = ClosedPeriod { period: began, ended_ms: last_ms, filter: self.filters.kept(slot) };
            changes.put(Table::Meta, ClosedPeriod::key(began), closed.encode());
            self.closed.push_back((slot, last_ms));
            self.keep_few();
        }
        self.filters.occupy(slot, progress.commit);
        self.current = Some(slot);
        let (began, began_ms) = (progress.commit, progress.connected_ms);
        progress.seen = Some(SeenPeriod { began, began_ms, rows: 0, last_ms: began_ms });
        slot
    }

    fn is_over(&mut self, period: SeenPeriod, connected_ms: Millis) -> bool {
        let is_long = connected_ms.saturating_sub(period.began_ms) >= self.kept_ms / PERIODS_IN_TIME;
        is_long || period.rows >= ROWS_MAX && self.has_room()
    }

    /// Whether there are slots for periods with many rows.
    fn has_room(&mut self) -> bool {
        let periods = self.closed.len() + 1;
        let has_room = periods + SLOTS_FOR_TIME < self.filters.periods.len();
        if !has_room && !std::mem::replace(&mut self.has_said_full, true) {
            tracing::warn!(
                periods,
                "there are no more filters for what was seen, and more and more events are looked for in the store; a lower store.deduplication_hours takes fewer"
            );
        }
        has_room
    }

    /// Where [`Sweep`](super::sweep::Sweep) reads from which period on they are kept.
    pub(super) fn floor(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.floor)
    }

    /// Lets go of periods that are more than are kept.
    fn keep_few(&mut self) {
        while self.closed.len() > self.closed_max
            && let Some((slot, _)) = self.closed.pop_front()
        {
            // The number of a period and one, so it is the next's.
            self.floor.store(self.filters.periods[slot].load(Ordering::Relaxed), Ordering::Release);
            self.filters.free(slot);
        }
    }

    /// Lets go of the periods that ended before this time.
    fn forget_before(&mut self, oldest: Millis) {
        while let Some((slot, _)) = self.closed.pop_front_if(|(_, ended_ms)| *ended_ms < oldest) {
            self.filters.free(slot);
        }
    }
}

impl SeenFilters {
    pub(super) fn new(blocks: usize) -> SeenFilters {
        let mut filters = SeenFilters { blocks: Vec::new(), periods: Vec::new() };
        (0..blocks).for_each(|_| filters.add_block());
        filters
    }

    fn add_block(&mut self) {
        self.blocks.push(OnceLock::new());
        self.periods.extend(std::iter::repeat_with(AtomicU64::default).take(SIDE_BY_SIDE));
    }

    /// The periods of which a key may be, the last first.
    pub(super) fn periods_of(&self, hash: &[u8; 16]) -> Vec<u64> {
        let mut periods = Vec::new();
        for (block, words) in self.blocks.iter().map_while(OnceLock::get).enumerate() {
            let mut may_be = u64::MAX;
            for position in positions(hash) {
                may_be &= words[position].load(Ordering::Relaxed);
                if may_be == 0 {
                    break;
                }
            }
            while may_be != 0 {
                let slot = block * SIDE_BY_SIDE + may_be.trailing_zeros() as usize;
                // It may have been freed in this moment.
                periods.extend(self.periods[slot].load(Ordering::Acquire).checked_sub(1));
                may_be &= may_be - 1;
            }
        }
        periods.sort_unstable_by(|one, other| other.cmp(one));
        periods
    }

    fn free_slot(&self) -> Option<usize> {
        self.periods.iter().position(|period| period.load(Ordering::Relaxed) == 0)
    }

    /// Gives a period that the store has a slot, also if there are more than this version makes.
    fn slot_for(&mut self, period: u64) -> usize {
        // The last is left for the next period.
        let slot = self.free_slot().filter(|slot| slot + 1 < self.periods.len()).unwrap_or_else(|| {
            self.add_block();
            self.periods.len() - SIDE_BY_SIDE
        });
        self.occupy(slot, period);
        slot
    }

    fn occupy(&self, slot: usize, period: u64) {
        self.blocks[slot / SIDE_BY_SIDE]
            .get_or_init(|| std::iter::repeat_with(AtomicU64::default).take(POSITIONS).collect());
        self.periods[slot].store(period + 1, Ordering::Release);
    }

    fn free(&self, slot: usize) {
        self.periods[slot].store(0, Ordering::Release);
        for word in self.words(slot) {
            change(word, |word| word & !bit(slot));
        }
    }

    fn mark(&self, slot: usize, hash: &[u8; 16]) {
        let words = self.words(slot);
        for position in positions(hash) {
            change(&words[position], |word| word | bit(slot));
        }
    }

    /// A slot's filter, to be kept.
    fn kept(&self, slot: usize) -> Vec<u8> {
        let is_set = |word: &AtomicU64| word.load(Ordering::Relaxed) >> (slot % SIDE_BY_SIDE) & 1;
        let byte = |words: &[AtomicU64]| words.iter().rev().fold(0, |byte, word| byte << 1 | is_set(word) as u8);
        let bytes = self.words(slot).chunks(u8::BITS as usize).map(byte);
        std::iter::once(KIND).chain(bytes).collect()
    }

    /// Fills a slot's filter with what was kept of it. If that is none, or of another kind, it may be every key.
    fn load(&self, slot: usize, kept: &[u8]) -> Result<(), Unknown> {
        let bytes = match kept {
            [KIND, bytes @ ..] if bytes.len() * u8::BITS as usize == POSITIONS => bytes,
            _ => {
                self.fill(slot);
                return Err(Unknown);
            }
        };
        for (words, byte) in self.words(slot).chunks(u8::BITS as usize).zip(bytes) {
            for (position, word) in words.iter().enumerate() {
                change(word, |word| word | u64::from(byte >> position & 1) << (slot % SIDE_BY_SIDE));
            }
        }
        Ok(())
    }

    /// Makes a slot's filter one that may be every key.
    fn fill(&self, slot: usize) {
        self.words(slot).iter().for_each(|word| change(word, |word| word | bit(slot)));
    }

    fn words(&self, slot: usize) -> &[AtomicU64] {
        self.blocks[slot / SIDE_BY_SIDE].get().expect("a slot that was occupied has a block")
    }
}

/// Changes a word. Only one thread changes any, so nothing comes between.
fn change(word: &AtomicU64, change: impl Fn(u64) -> u64) {
    word.store(change(word.load(Ordering::Relaxed)), Ordering::Relaxed);
}

fn bit(slot: usize) -> u64 {
    1 << (slot % SIDE_BY_SIDE)
}

/// Where a key's bits are. A key is a hash already.
fn positions(hash: &[u8; 16]) -> impl Iterator<Item = usize> {
    let (first, step) = hash.split_at(8);
    let [first, step] = [first, step].map(|half| u64::from_le_bytes(half.try_into().expect("half of sixteen bytes")));
    // An odd step: none would be the same position again and again.
    (0..PROBES)
        .map(move |probe| (first.wrapping_add(probe.wrapping_mul(step | 1)) >> (u64::BITS - POSITION_BITS)) as usize)
}

#[cfg(test)]
mod tests;
