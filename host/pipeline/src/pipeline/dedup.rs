//! The dedup filters: they rule out most copies without a read of the store, and name the periods
//! in which to look for the rest.
//!
//! Dedup entries are stored by period: see [`DedupEntryKey`]. Each period has a Bloom filter. The
//! filters of 64 periods share one array of words: every word holds one bit per period, so a few
//! words answer for all 64. A new event, which nearly every event is, is recognised by the filters
//! alone. **The filters never deny a key that was added (G4)** as long as its period is kept. For
//! each full period, one new key in two thousand is a false positive and costs one read of the
//! store.
//!
//! Only the committer writes: it adds keys, and begins and closes periods. The shards read the
//! filters without locks. A key is in its filter before the store shows its row; until then the
//! shard's overlay has the row.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::records::{ClosedDedupPeriod, DedupEntryKey, DedupPeriod, Partition, Progress};
use hailer_base::clock::Millis;
use hailer_store::{Changes, Snapshot, Store, StoreError, Table};

/// Rows in a full period: so few that they fill only some blocks of each partition. Tests and debug
/// builds use a small number, so that they pass through many periods.
const ROWS_MAX: u64 = if cfg!(test) {
    1 << 6
} else if cfg!(debug_assertions) {
    1 << 10
} else {
    1 << 16
};
/// A period also ends after this fraction of the retention time. Some rows are therefore kept
/// longer than required, by at most that fraction.
const PERIODS_IN_TIME: Millis = 8;
/// Bits of one filter: 16 for every row of a full period.
const POSITIONS: usize = 16 * ROWS_MAX as usize;
const POSITION_BITS: u32 = POSITIONS.trailing_zeros();
/// Bits that each key sets. With 16 bits a row, 11 gives the fewest false positives: one in 2,000.
const PROBES: u64 = 11;
/// The filter format, as stored. Change it together with [`positions`]. The number of bits is not
/// part of it: it follows from the stored length.
const FILTER_FORMAT: u8 = 1;
/// Periods whose filters share one array of words. One array takes 8 MiB.
const PERIODS_PER_BLOCK: usize = u64::BITS as usize;
/// The most arrays: 512 MiB of filters, for 268 million keys. Beyond that, periods end by time
/// only, and false positives become more and more frequent.
const BLOCKS_MAX: usize = 64;
/// Slots reserved for periods that end by time: more than are kept at once.
const RESERVED_SLOTS: usize = 2 * PERIODS_IN_TIME as usize;
/// A filter with this many times its intended keys gives a false positive for nearly every key. A
/// start does not rebuild it.
const OVERFULL_FACTOR: u64 = 8;

/// An encoded dedup entry that the committer adds to the current period.
#[derive(Debug)]
pub(super) struct EncodedDedupEntry {
    pub(super) partition: Partition,
    pub(super) hash: [u8; 16],
    pub(super) bytes: Vec<u8>,
}

/// The filters, as the shards read them.
#[derive(Debug)]
pub(super) struct DedupFilters {
    /// One array for each 64 slots, with a word for each bit position. It is allocated when the
    /// first of its periods begins.
    blocks: Vec<OnceLock<Box<[AtomicU64]>>>,
    /// The period number plus one of each slot; 0 if the slot is free, and then its filter is
    /// empty.
    periods: Vec<AtomicU64>,
}

/// The one writer of the filters. The committer owns it.
#[derive(Debug)]
pub(super) struct DedupWriter {
    filters: Arc<DedupFilters>,
    /// The time for which entries are kept, in milliseconds of connected time.
    kept_ms: Millis,
    /// The slot of the period to which entries are added; `None` before the first one.
    current: Option<usize>,
    /// The slots of the closed periods with the times at which they ended, in ms of connected time,
    /// oldest first.
    closed: VecDeque<(usize, Millis)>,
    /// The most closed periods that are kept.
    closed_max: usize,
    /// Periods with a lower number are beyond `closed_max`, and retention deletes them.
    floor: Arc<AtomicU64>,
    has_warned_full: bool,
}

/// A stored filter is missing or has another format, so it cannot rule out any key.
#[derive(Debug, PartialEq, Eq)]
struct UnusableFilter;

/// Loads the filters from the store, and rebuilds the filter of the current period from its rows.
pub(super) fn open(
    store: &dyn Store,
    progress: &Progress,
    (kept_ms, rows_max): (Millis, Option<u64>),
) -> Result<(Arc<DedupFilters>, DedupWriter), StoreError> {
    let snapshot = store.snapshot()?;
    let mut filters = DedupFilters::new(BLOCKS_MAX);
    let mut closed = VecDeque::new();
    let oldest = progress.connected_ms.saturating_sub(kept_ms);
    for_each(&*snapshot, Table::Meta, ClosedDedupPeriod::from(0), |key, row| {
        let (period, ended_ms, filter) = ClosedDedupPeriod::read(key, row)?;
        if ended_ms >= oldest {
            let slot = filters.slot_for(period);
            if filters.load(slot, filter) == Err(UnusableFilter) {
                tracing::info!(
                    period,
                    "dedup filter missing for this period: every event is looked up in the store \
                     until the period expires"
                );
            }
            closed.push_back((slot, ended_ms));
        }
        Ok(())
    })?;
    let current = progress
        .dedup
        .map(|DedupPeriod { began, rows, .. }| (filters.slot_for(began), began, rows));
    match current {
        Some((slot, _, rows)) if rows >= OVERFULL_FACTOR * ROWS_MAX => filters.fill(slot),
        Some((slot, began, _)) => {
            for partition in Partition::all() {
                for_each(
                    &*snapshot,
                    Table::Dedup,
                    DedupEntryKey::of_period(partition, began),
                    |key, _| {
                        filters.add(slot, &DedupEntryKey::decode(key)?.hash);
                        Ok(())
                    },
                )?;
            }
        }
        None => {}
    }
    let filters = Arc::new(filters);
    let current = current.map(|(slot, ..)| slot);
    let closed_max = rows_max
        .map_or(usize::MAX, |rows| usize::try_from(rows / ROWS_MAX).unwrap_or(usize::MAX).max(1));
    let floor = Arc::<AtomicU64>::default();
    let writer = DedupWriter {
        filters: Arc::clone(&filters),
        kept_ms,
        current,
        closed,
        closed_max,
        floor,
        has_warned_full: false,
    };
    Ok((filters, writer))
}

/// Visits rows until the visitor returns an error.
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

impl DedupWriter {
    /// Adds the entries of a commit, and begins and closes periods as needed. `progress` is the one
    /// that the commit writes.
    pub(super) fn add(
        &mut self,
        entries: Vec<EncodedDedupEntry>,
        progress: &mut Progress,
        changes: &mut Changes,
    ) {
        if entries.is_empty() {
            return;
        }
        let slot = self.slot_of_commit(progress, changes);
        let period = progress.dedup.as_mut().expect("a period has begun");
        period.rows += entries.len() as u64;
        period.last_ms = progress.connected_ms;
        for EncodedDedupEntry { partition, hash, bytes } in entries {
            self.filters.add(slot, &hash);
            changes.put(
                Table::Dedup,
                DedupEntryKey { partition, period: period.began, hash }.encode(),
                bytes,
            );
        }
    }

    /// The slot of the period to which this commit adds: the current one, or a new one that the
    /// commit begins.
    fn slot_of_commit(&mut self, progress: &mut Progress, changes: &mut Changes) -> usize {
        let last = progress.dedup.zip(self.current);
        if let Some((period, slot)) = last
            && !self.is_over(period, progress.connected_ms)
        {
            return slot;
        }
        self.drop_ended_before(progress.connected_ms.saturating_sub(self.kept_ms));
        let slot = match (self.filters.free_slot(), last) {
            (Some(slot), _) => slot,
            // This happens only if the retention time has been raised since the last run.
            (None, Some((_, slot))) => return slot,
            (None, None) => unreachable!("dropping closed periods frees a slot"),
        };
        if let Some((DedupPeriod { began, last_ms, .. }, slot)) = last {
            let closed = ClosedDedupPeriod {
                period: began,
                ended_ms: last_ms,
                filter: self.filters.encoded(slot),
            };
            changes.put(Table::Meta, ClosedDedupPeriod::key(began), closed.encode());
            self.closed.push_back((slot, last_ms));
            self.drop_excess();
        }
        self.filters.occupy(slot, progress.commit);
        self.current = Some(slot);
        let (began, began_ms) = (progress.commit, progress.connected_ms);
        progress.dedup = Some(DedupPeriod { began, began_ms, rows: 0, last_ms: began_ms });
        slot
    }

    fn is_over(&mut self, period: DedupPeriod, connected_ms: Millis) -> bool {
        let is_long =
            connected_ms.saturating_sub(period.began_ms) >= self.kept_ms / PERIODS_IN_TIME;
        is_long || period.rows >= ROWS_MAX && self.has_room()
    }

    /// Whether a slot is left for another period that ends because it is full. Logs a warning the
    /// first time that there is none.
    fn has_room(&mut self) -> bool {
        let periods = self.closed.len() + 1;
        let has_room = periods + RESERVED_SLOTS < self.filters.periods.len();
        if !has_room && !std::mem::replace(&mut self.has_warned_full, true) {
            tracing::warn!(
                periods,
                "the dedup filters are full: more and more events are looked up in the store; \
                 lower store.deduplication_hours"
            );
        }
        has_room
    }

    /// The number of the oldest period that is kept;
    /// [`RetentionUpkeep`](super::retention::RetentionUpkeep) reads it.
    pub(super) fn floor(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.floor)
    }

    /// Drops the oldest periods beyond `closed_max`.
    fn drop_excess(&mut self) {
        while self.closed.len() > self.closed_max
            && let Some((slot, _)) = self.closed.pop_front()
        {
            // The slot holds the period number plus one, so this is the first number after it.
            self.floor.store(self.filters.periods[slot].load(Ordering::Relaxed), Ordering::Release);
            self.filters.free(slot);
        }
    }

    /// Drops the periods that ended before `oldest`.
    fn drop_ended_before(&mut self, oldest: Millis) {
        while let Some((slot, _)) = self.closed.pop_front_if(|(_, ended_ms)| *ended_ms < oldest) {
            self.filters.free(slot);
        }
    }
}

impl DedupFilters {
    pub(super) fn new(blocks: usize) -> DedupFilters {
        let mut filters = DedupFilters { blocks: Vec::new(), periods: Vec::new() };
        (0..blocks).for_each(|_| filters.add_block());
        filters
    }

    fn add_block(&mut self) {
        self.blocks.push(OnceLock::new());
        self.periods.extend(std::iter::repeat_with(AtomicU64::default).take(PERIODS_PER_BLOCK));
    }

    /// The periods that may contain a key, newest first.
    pub(super) fn periods_of(&self, hash: &[u8; 16]) -> Vec<u64> {
        let mut periods = Vec::new();
        for (block, words) in self.blocks.iter().map_while(OnceLock::get).enumerate() {
            let mut candidates = u64::MAX;
            for position in positions(hash) {
                candidates &= words[position].load(Ordering::Relaxed);
                if candidates == 0 {
                    break;
                }
            }
            while candidates != 0 {
                let slot = block * PERIODS_PER_BLOCK + candidates.trailing_zeros() as usize;
                // The committer may have freed the slot a moment ago.
                periods.extend(self.periods[slot].load(Ordering::Acquire).checked_sub(1));
                candidates &= candidates - 1;
            }
        }
        periods.sort_unstable_by(|one, other| other.cmp(one));
        periods
    }

    fn free_slot(&self) -> Option<usize> {
        self.periods.iter().position(|period| period.load(Ordering::Relaxed) == 0)
    }

    /// Assigns a slot to a period of the store. Adds an array if the store has more periods than
    /// this version would make.
    fn slot_for(&mut self, period: u64) -> usize {
        // The last slot stays free for the next period.
        let slot =
            self.free_slot().filter(|slot| slot + 1 < self.periods.len()).unwrap_or_else(|| {
                self.add_block();
                self.periods.len() - PERIODS_PER_BLOCK
            });
        self.occupy(slot, period);
        slot
    }

    fn occupy(&self, slot: usize, period: u64) {
        self.blocks[slot / PERIODS_PER_BLOCK]
            .get_or_init(|| std::iter::repeat_with(AtomicU64::default).take(POSITIONS).collect());
        self.periods[slot].store(period + 1, Ordering::Release);
    }

    fn free(&self, slot: usize) {
        self.periods[slot].store(0, Ordering::Release);
        for word in self.words(slot) {
            change(word, |word| word & !bit(slot));
        }
    }

    fn add(&self, slot: usize, hash: &[u8; 16]) {
        let words = self.words(slot);
        for position in positions(hash) {
            change(&words[position], |word| word | bit(slot));
        }
    }

    /// A slot's filter, encoded for the store.
    fn encoded(&self, slot: usize) -> Vec<u8> {
        let is_set =
            |word: &AtomicU64| word.load(Ordering::Relaxed) >> (slot % PERIODS_PER_BLOCK) & 1;
        let byte = |words: &[AtomicU64]| {
            words.iter().rev().fold(0, |byte, word| byte << 1 | is_set(word) as u8)
        };
        let bytes = self.words(slot).chunks(u8::BITS as usize).map(byte);
        std::iter::once(FILTER_FORMAT).chain(bytes).collect()
    }

    /// Loads a slot's filter from its stored form. A missing filter, or one of another format,
    /// becomes a filter that rules out no key.
    fn load(&self, slot: usize, kept: &[u8]) -> Result<(), UnusableFilter> {
        let bytes = match kept {
            [FILTER_FORMAT, bytes @ ..] if bytes.len() * u8::BITS as usize == POSITIONS => bytes,
            _ => {
                self.fill(slot);
                return Err(UnusableFilter);
            }
        };
        for (words, byte) in self.words(slot).chunks(u8::BITS as usize).zip(bytes) {
            for (position, word) in words.iter().enumerate() {
                change(word, |word| {
                    word | u64::from(byte >> position & 1) << (slot % PERIODS_PER_BLOCK)
                });
            }
        }
        Ok(())
    }

    /// Sets every bit of a slot's filter, so that it rules out no key.
    fn fill(&self, slot: usize) {
        self.words(slot).iter().for_each(|word| change(word, |word| word | bit(slot)));
    }

    fn words(&self, slot: usize) -> &[AtomicU64] {
        self.blocks[slot / PERIODS_PER_BLOCK].get().expect("an occupied slot has a block")
    }
}

/// Changes a word. A load and a store suffice, because only the committer's thread writes.
fn change(word: &AtomicU64, change: impl Fn(u64) -> u64) {
    word.store(change(word.load(Ordering::Relaxed)), Ordering::Relaxed);
}

fn bit(slot: usize) -> u64 {
    1 << (slot % PERIODS_PER_BLOCK)
}

/// The bit positions of a key. A key is a hash, so its bytes are used as they are.
fn positions(hash: &[u8; 16]) -> impl Iterator<Item = usize> {
    let (first, step) = hash.split_at(8);
    let [first, step] = [first, step]
        .map(|half| u64::from_le_bytes(half.try_into().expect("half of sixteen bytes")));
    // The step is made odd: a step of zero would repeat one position.
    (0..PROBES).map(move |probe| {
        (first.wrapping_add(probe.wrapping_mul(step | 1)) >> (u64::BITS - POSITION_BITS)) as usize
    })
}

#[cfg(test)]
mod tests;
