//! What tells, without a look at the store, that an event was not seen before; and in which periods to look if it may have been.
//!
//! What was seen is kept by period: see [`SeenKey`]. A period has a Bloom filter, and the filters of 64 periods lie side by side, a word with a bit for
//! each at every position: a few words tell of all of them. What was not seen, which is nearly everything, is known by that alone. **A key that
//! was added is never denied (G4)** for as long as its period is kept. A key that was not is taken for another's once in two thousand times for each full
//! period, and then costs a look.
//!
//! The committer alone adds, to the periods that it begins and closes; the shards look, and wait for nothing. A key is in its filter before the store
//! shows its row, and until then the shard that decided it knows of it.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::clock::Millis;
use crate::store::records::{ClosedPeriod, Partition, Progress, SeenKey, SeenPeriod};
use crate::store::{Changes, Snapshot, Store, StoreError, Table};

/// With so many rows a period is over: few enough for some pages of each partition. Tests go through many periods, and so does a debug build.
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
    has_said_full: bool,
}

/// A filter that was kept, and says nothing of its keys: it is none, or of another kind.
#[derive(Debug, PartialEq, Eq)]
struct Unknown;

/// Finds what the store has.
pub(super) fn open(
    store: &dyn Store,
    progress: &Progress,
    kept_ms: Millis,
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
    let writer = SeenWriter { filters: Arc::clone(&filters), kept_ms, current, closed, has_said_full: false };
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
mod tests {
    use super::*;
    use crate::pipeline::sweep::{Retention, Sweep};
    use crate::store::MemoryStore;
    use crate::store::records::encode;

    const HOUR_MS: Millis = 3_600_000;
    const KEPT_MS: Millis = 24 * HOUR_MS;

    /// An engine that sees keys, a commit at a time, and removes what is too old.
    struct Engine {
        store: MemoryStore,
        progress: Progress,
        filters: Arc<SeenFilters>,
        writer: SeenWriter,
    }

    impl Engine {
        fn new() -> Engine {
            Engine::open(MemoryStore::new("test"), Progress::default(), KEPT_MS)
        }

        fn open(store: MemoryStore, progress: Progress, kept_ms: Millis) -> Engine {
            store.set_upkeep(Box::new(Sweep::new(Retention { seen_ms: kept_ms, ..Retention::default() })));
            let (filters, writer) = open(&store, &progress, kept_ms).unwrap();
            Engine { store, progress, filters, writer }
        }

        fn restart(self) -> Engine {
            self.restart_keeping(KEPT_MS)
        }

        fn restart_keeping(self, kept_ms: Millis) -> Engine {
            Engine::open(self.store, self.progress, kept_ms)
        }

        fn sees(&mut self, numbers: impl IntoIterator<Item = u64>) {
            let mut changes = Changes::new();
            self.progress.commit += 1;
            let commit = self.progress.commit;
            let pieces = numbers.into_iter().map(|number| {
                let (partition, hash) = (partition(number), hash(number));
                SeenPiece { partition, hash, bytes: commit.to_be_bytes().to_vec() }
            });
            self.writer.add(pieces.collect(), &mut self.progress, &mut changes);
            changes.put(Table::Meta, Progress::KEY, encode(&self.progress));
            self.store.append(changes).unwrap();
        }

        fn passes(&mut self, time: Millis) {
            self.progress.connected_ms += time;
        }

        /// The commit that saw a key last.
        fn seen_by(&self, number: u64) -> Option<u64> {
            let snapshot = self.store.snapshot().unwrap();
            let row = self.filters.periods_of(&hash(number)).into_iter().find_map(|period| {
                let key = SeenKey { partition: partition(number), period, hash: hash(number) };
                snapshot.get(Table::Seen, &key.encode()).unwrap()
            });
            row.map(|row| u64::from_be_bytes(row.try_into().unwrap()))
        }

        fn knows(&self, number: u64) -> bool {
            self.seen_by(number).is_some()
        }

        fn count(&self, table: Table, (from, to): (Vec<u8>, Vec<u8>)) -> usize {
            let mut count = 0;
            let visit = |_: &[u8], _: &[u8]| {
                count += 1;
                Ok(())
            };
            for_each(&*self.store.snapshot().unwrap(), table, (from, to), visit).unwrap();
            count
        }

        fn closed(&self) -> usize {
            self.count(Table::Meta, ClosedPeriod::from(0))
        }

        fn rows(&self) -> usize {
            self.count(Table::Seen, (Vec::new(), vec![Partition::COUNT]))
        }
    }

    fn partition(number: u64) -> Partition {
        Partition::of_key(&[(number % 64) as u8]).unwrap()
    }

    fn hash(number: u64) -> [u8; 16] {
        *blake3::hash(&number.to_be_bytes()).as_bytes().first_chunk().unwrap()
    }

    #[test]
    fn a_key_that_was_added_is_never_denied_also_after_restarts() {
        let mut engine = Engine::new();
        let count = 50 * ROWS_MAX;
        for first in (0..count).step_by(10) {
            engine.sees(first..first + 10);
            if first % 70 == 0 {
                engine = engine.restart();
            }
        }
        assert!((40..=50).contains(&engine.closed()), "{} periods are closed", engine.closed());
        let denied: Vec<_> = (0..count).filter(|number| !engine.knows(*number)).collect();
        assert!(denied.is_empty(), "{denied:?}");
        assert!(!engine.knows(1 << 40));
    }

    #[test]
    fn what_is_too_old_goes_and_nothing_younger_also_when_the_time_is_set_anew() {
        for per_hour in [1, 5, ROWS_MAX, 3 * ROWS_MAX] {
            let mut engine = Engine::new();
            let mut kept_hours = 24;
            let mut kept_since = 0;
            for hour in 0..200 {
                engine.passes(HOUR_MS);
                engine.sees(hour * per_hour..(hour + 1) * per_hour);
                match hour {
                    60 => kept_hours = 6,
                    120 => kept_hours = 48,
                    _ => {}
                }
                // What was too old once is not expected to be there when the time is longer again.
                kept_since = kept_since.max((hour + 1).saturating_sub(kept_hours));
                if hour % 5 == 0 {
                    engine = engine.restart_keeping(kept_hours as Millis * HOUR_MS);
                }
                if hour % 5 < 2 {
                    let denied = (kept_since * per_hour..(hour + 1) * per_hour).find(|number| !engine.knows(*number));
                    assert_eq!(denied, None, "{per_hour} an hour, after {hour} hours");
                }
                let hours = 48_u64.min(hour + 1) + 48 / 8 + 5;
                assert!(engine.rows() as u64 <= hours * per_hour, "{} rows of {per_hour} an hour", engine.rows());
            }
        }
    }

    #[test]
    fn of_several_rows_of_a_key_the_last_holds() {
        let mut engine = Engine::new();
        for commit in 1..=20 {
            engine.sees([7]);
            engine.passes(KEPT_MS / 10);
            if commit % 3 == 0 {
                engine = engine.restart();
            }
            assert_eq!(engine.seen_by(7), Some(commit));
        }
    }

    #[test]
    fn few_keys_are_taken_for_others() {
        let filters = SeenFilters::new(1);
        filters.occupy(0, 1);
        filters.occupy(1, 2);
        for number in 0..ROWS_MAX {
            filters.mark(0, &hash(number));
        }
        let taken: usize = (0..100_000).map(|number| filters.periods_of(&hash(1 << 40 | number)).len()).sum();
        assert!((1..100).contains(&taken), "{taken} of 100,000");
    }

    #[test]
    fn a_filter_that_was_kept_is_the_same_and_no_other_slots() {
        let filters = SeenFilters::new(1);
        for slot in [0, 7, 63] {
            filters.occupy(slot, slot as u64);
            (0..40).for_each(|number| filters.mark(slot, &hash(slot as u64 * 1000 + number)));
        }
        let kept = filters.kept(7);
        filters.free(7);
        assert!(filters.kept(7)[1..].iter().all(|byte| *byte == 0));
        assert!(filters.periods_of(&hash(7001)).is_empty());
        filters.occupy(9, 9);
        filters.load(9, &kept).unwrap();
        assert_eq!(filters.kept(9), kept);
        assert_eq!(filters.periods_of(&hash(7001)), [9]);
        assert_eq!(filters.periods_of(&hash(63_001)), [63]);
        let other_kind = [&[KIND + 1], &kept[1..]].concat();
        for kept in [&[][..], &kept[..kept.len() - 1], &other_kind] {
            filters.free(9);
            filters.occupy(9, 9);
            assert_eq!(filters.load(9, kept), Err(Unknown));
            assert_eq!(filters.periods_of(&hash(1 << 40)), [9], "any key may be in it");
        }
    }

    #[test]
    fn the_last_period_comes_first() {
        let mut engine = Engine::new();
        for _ in 0..4 {
            engine.sees([1]);
            engine.passes(KEPT_MS / 4);
        }
        engine = engine.restart();
        assert_eq!(engine.filters.periods_of(&hash(1)), [4, 3, 2, 1]);
    }

    #[test]
    fn a_key_is_known_for_its_time_and_not_for_much_longer() {
        for restarts in [false, true] {
            let mut engine = Engine::new();
            engine.sees([0]);
            let mut known_for = 0;
            while !engine.filters.periods_of(&hash(0)).is_empty() {
                known_for += HOUR_MS / 2;
                engine.passes(HOUR_MS / 2);
                engine.sees([known_for as u64]);
                if restarts {
                    engine = engine.restart();
                }
            }
            let longest = KEPT_MS + 2 * (KEPT_MS / PERIODS_IN_TIME) + HOUR_MS;
            assert!((KEPT_MS..longest).contains(&known_for), "for {} hours", known_for / HOUR_MS);
        }
    }

    #[test]
    fn the_room_of_what_is_forgotten_is_used_again() {
        let mut engine = Engine::new();
        for half_day in 0..300 {
            engine.sees([half_day]);
            engine.passes(KEPT_MS / 2);
        }
        assert_eq!(engine.filters.blocks.iter().filter_map(OnceLock::get).count(), 1);
        let occupied = engine.filters.periods.iter().filter(|period| period.load(Ordering::Relaxed) > 0).count();
        assert!(occupied <= 4, "{occupied} periods");
    }

    #[test]
    fn a_period_without_a_filter_is_always_looked_at() {
        let mut engine = Engine::new();
        let partition = Partition::of_key(&[5]).unwrap();
        let mut changes = Changes::new();
        changes.put(Table::Seen, SeenKey { partition, period: 0, hash: hash(5) }.encode(), [0; 8]);
        let closed = ClosedPeriod { period: 0, ended_ms: 0, filter: Vec::new() };
        changes.put(Table::Meta, ClosedPeriod::key(0), closed.encode());
        engine.store.commit(&changes).unwrap();
        engine = engine.restart();
        engine.sees([6]);
        assert!(engine.knows(5) && engine.knows(6) && !engine.knows(7));
        assert_eq!(engine.filters.periods_of(&hash(7)), [0]);
    }

    #[test]
    fn without_room_for_full_periods_they_are_over_by_time() {
        let mut engine = Engine::new();
        engine.sees([0]);
        // As if so many were full.
        for slot in 1..engine.filters.periods.len() - SLOTS_FOR_TIME {
            engine.filters.periods[slot].store(1 << 40, Ordering::Relaxed);
            engine.writer.closed.push_back((slot, Millis::MAX));
        }
        let count = 2 * OVERFULL * ROWS_MAX;
        for first in (1..count).step_by(64) {
            engine.sees(first..first + 64);
        }
        assert!(engine.progress.seen.unwrap().rows >= count && engine.closed() == 0);
        assert!((0..count).all(|number| engine.knows(number)));
        engine = engine.restart();
        assert!((0..count).all(|number| engine.knows(number)), "what is overfull is looked at for every event");
        for hour in 0..100 {
            engine.sees([1 << 40 | hour]);
            engine.passes(HOUR_MS);
        }
        assert!(!engine.knows(0) && engine.rows() < 40, "and goes when it is too old");
    }

    #[test]
    fn a_store_with_more_periods_than_are_made_is_read_all_the_same() {
        let mut engine = Engine::new();
        let mut changes = Changes::new();
        let periods = (BLOCKS_MAX * SIDE_BY_SIDE) as u64 + 100;
        for period in 0..periods {
            let key = SeenKey { partition: partition(period), period, hash: hash(period) };
            changes.put(Table::Seen, key.encode(), period.to_be_bytes());
            let closed = ClosedPeriod { period, ended_ms: 0, filter: Vec::new() };
            changes.put(Table::Meta, ClosedPeriod::key(period), closed.encode());
        }
        engine.store.commit(&changes).unwrap();
        engine.progress.commit = periods;
        engine = engine.restart();
        engine.sees([1 << 40]);
        assert!((0..periods).all(|number| engine.seen_by(number) == Some(number)) && engine.knows(1 << 40));
    }

    #[test]
    fn shards_that_look_while_keys_are_added_find_all_that_are_shown() {
        const KEYS: u64 = 100_000;
        let filters = SeenFilters::new(1);
        filters.occupy(0, 1);
        let shown = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..KEYS {
                    filters.mark(0, &hash(number));
                    shown.store(number + 1, Ordering::Release);
                }
            });
            scope.spawn(|| {
                while shown.load(Ordering::Relaxed) < KEYS {
                    if let Some(number) = shown.load(Ordering::Acquire).checked_sub(1) {
                        assert_eq!(filters.periods_of(&hash(number)), [1]);
                    }
                }
            });
        });
    }
}
