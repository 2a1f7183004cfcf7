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

/// With so many rows a period is over: few enough for some pages of each partition. A build for tests goes through many periods.
const ROWS_MAX: u64 = if cfg!(debug_assertions) { 1 << 10 } else { 1 << 16 };
/// A period is over after this part of the time for which rows are kept, too: so much longer some of them are kept.
const PERIODS_IN_TIME: Millis = 8;
/// 16 for every row of a full period.
const POSITIONS: usize = 16 * ROWS_MAX as usize;
const POSITION_BITS: u32 = POSITIONS.trailing_zeros();
/// Of each key. With 16 positions a row, 11 take the fewest keys for others: one in 2,000. Part of the store's format.
const PROBES: u64 = 11;
/// Periods whose filters lie side by side, in 8 MiB.
const SIDE_BY_SIDE: usize = u64::BITS as usize;
/// More periods than fit are not begun: the last goes on, and more and more keys are taken for others.
const BLOCKS_MAX: usize = 64;

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
    blocks: Box<[OnceLock<Box<[AtomicU64]>>]>,
    /// For each slot its period and one; 0 if it is free, and then its filter is empty.
    periods: Box<[AtomicU64]>,
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

/// Finds what the store has.
pub(super) fn open(
    store: &dyn Store,
    progress: &Progress,
    kept_ms: Millis,
) -> Result<(Arc<SeenFilters>, SeenWriter), StoreError> {
    let snapshot = store.snapshot()?;
    let mut closed = Vec::new();
    for_each(&*snapshot, Table::Meta, ClosedPeriod::from(0), &mut |key, row| {
        let (period, ended_ms, filter) = ClosedPeriod::read(key, row)?;
        if ended_ms >= progress.connected_ms - kept_ms {
            closed.push((period, ended_ms, filter.to_vec()));
        }
        Ok(())
    })?;
    // One more for the current period, and one for the next.
    let blocks = BLOCKS_MAX.max((closed.len() + 2).div_ceil(SIDE_BY_SIDE));
    let filters = Arc::new(SeenFilters::new(blocks));
    let mut writer = SeenWriter { filters, kept_ms, current: None, closed: VecDeque::new(), has_said_full: false };
    for (period, ended_ms, filter) in closed {
        let slot = writer.filters.free_slot().expect("there are as many as periods");
        writer.filters.occupy(slot, period);
        if !writer.filters.load(slot, &filter) {
            tracing::info!(
                period,
                "a period of what was seen has no filter of this version, and is looked at for every event"
            );
        }
        writer.closed.push_back((slot, ended_ms));
    }
    if let Some(SeenPeriod { began, .. }) = progress.seen {
        let slot = writer.filters.free_slot().expect("there are as many as periods");
        writer.filters.occupy(slot, began);
        for partition in Partition::all() {
            for_each(&*snapshot, Table::Seen, SeenKey::of_period(partition, began), &mut |key, _| {
                writer.filters.mark(slot, &SeenKey::decode(key)?.hash);
                Ok(())
            })?;
        }
        writer.current = Some(slot);
    }
    Ok((Arc::clone(&writer.filters), writer))
}

/// Shows rows until one of them is an error.
fn for_each(
    snapshot: &dyn Snapshot,
    table: Table,
    (from, to): (Vec<u8>, Vec<u8>),
    visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
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
        self.forget_before(progress.connected_ms - self.kept_ms);
        let Some(slot) = self.filters.free_slot() else {
            return self.go_on();
        };
        if let Some((SeenPeriod { began, .. }, slot)) = last {
            let ended_ms = progress.connected_ms;
            let closed = ClosedPeriod { period: began, ended_ms, filter: self.filters.bits_of(slot) };
            changes.put(Table::Meta, ClosedPeriod::key(began), closed.encode());
            self.closed.push_back((slot, ended_ms));
        }
        self.filters.occupy(slot, progress.commit);
        self.current = Some(slot);
        progress.seen = Some(SeenPeriod { began: progress.commit, began_ms: progress.connected_ms, rows: 0 });
        slot
    }

    fn is_over(&self, period: SeenPeriod, connected_ms: Millis) -> bool {
        period.rows >= ROWS_MAX || connected_ms - period.began_ms >= self.kept_ms / PERIODS_IN_TIME
    }

    fn go_on(&mut self) -> usize {
        if !std::mem::replace(&mut self.has_said_full, true) {
            let periods = self.filters.periods.len();
            tracing::warn!(
                periods,
                "what was seen fills all its filters: more events than before are looked for in the store; a shorter store.deduplication_hours helps"
            );
        }
        self.current.expect("a slot that is not free has a period, and the last of them is the current one")
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
        SeenFilters {
            blocks: std::iter::repeat_with(OnceLock::new).take(blocks).collect(),
            periods: std::iter::repeat_with(AtomicU64::default).take(blocks * SIDE_BY_SIDE).collect(),
        }
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

    fn bits_of(&self, slot: usize) -> Vec<u8> {
        let is_set = |word: &AtomicU64| word.load(Ordering::Relaxed) & bit(slot) != 0;
        let byte = |words: &[AtomicU64]| words.iter().rev().fold(0, |byte, word| byte << 1 | u8::from(is_set(word)));
        self.words(slot).chunks(u8::BITS as usize).map(byte).collect()
    }

    /// Fills a slot's filter with bits that were kept. If there are none, or of filters with other positions, it may be every key; returns whether there are.
    fn load(&self, slot: usize, bits: &[u8]) -> bool {
        let is_filter = bits.len() * u8::BITS as usize == POSITIONS;
        let bytes = bits.iter().copied().filter(|_| is_filter).chain(std::iter::repeat(u8::MAX));
        for (words, byte) in self.words(slot).chunks(u8::BITS as usize).zip(bytes) {
            for (_, word) in words.iter().enumerate().filter(|(position, _)| byte >> position & 1 == 1) {
                change(word, |word| word | bit(slot));
            }
        }
        is_filter
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
    // An odd step meets no position twice.
    (0..PROBES)
        .map(move |probe| (first.wrapping_add(probe.wrapping_mul(step | 1)) >> (u64::BITS - POSITION_BITS)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    const HOUR_MS: Millis = 3_600_000;
    const KEPT_MS: Millis = 24 * HOUR_MS;

    /// An engine that sees keys, a commit at a time.
    struct Engine {
        store: MemoryStore,
        progress: Progress,
        filters: Arc<SeenFilters>,
        writer: SeenWriter,
    }

    impl Engine {
        fn new() -> Engine {
            Engine::open(MemoryStore::new("test"), Progress::default())
        }

        fn open(store: MemoryStore, progress: Progress) -> Engine {
            let (filters, writer) = open(&store, &progress, KEPT_MS).unwrap();
            Engine { store, progress, filters, writer }
        }

        fn restart(self) -> Engine {
            Engine::open(self.store, self.progress)
        }

        fn sees(&mut self, numbers: impl IntoIterator<Item = u64>) {
            let mut changes = Changes::new();
            self.progress.commit += 1;
            let pieces = numbers.into_iter().map(|number| {
                let (partition, hash) = (Partition::of_key(&[(number % 64) as u8]).unwrap(), hash(number));
                SeenPiece { partition, hash, bytes: number.to_be_bytes().to_vec() }
            });
            self.writer.add(pieces.collect(), &mut self.progress, &mut changes);
            self.store.commit(&changes).unwrap();
        }

        fn passes(&mut self, time: Millis) {
            self.progress.connected_ms += time;
        }

        /// Whether it finds the row of a key.
        fn knows(&self, number: u64) -> bool {
            let partition = Partition::of_key(&[(number % 64) as u8]).unwrap();
            let snapshot = self.store.snapshot().unwrap();
            self.filters.periods_of(&hash(number)).into_iter().any(|period| {
                let key = SeenKey { partition, period, hash: hash(number) }.encode();
                snapshot.get(Table::Seen, &key).unwrap().is_some()
            })
        }

        fn closed(&self) -> usize {
            let mut closed = 0;
            let snapshot = self.store.snapshot().unwrap();
            for_each(&*snapshot, Table::Meta, ClosedPeriod::from(0), &mut |_, _| {
                closed += 1;
                Ok(())
            })
            .unwrap();
            closed
        }
    }

    fn hash(number: u64) -> [u8; 16] {
        *blake3::hash(&number.to_be_bytes()).as_bytes().first_chunk().unwrap()
    }

    #[test]
    fn a_key_that_was_added_is_never_denied_also_after_restarts() {
        let mut engine = Engine::new();
        let count = 5 * ROWS_MAX;
        for first in (0..count).step_by(100) {
            engine.sees(first..first + 100);
            if first % 700 == 0 {
                engine = engine.restart();
            }
        }
        assert!((3..=5).contains(&engine.closed()), "{} periods are closed", engine.closed());
        let denied: Vec<_> = (0..count).filter(|number| !engine.knows(*number)).collect();
        assert!(denied.is_empty(), "{denied:?}");
        assert!(!engine.knows(1 << 40));
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
            (0..1000).for_each(|number| filters.mark(slot, &hash(slot as u64 * 1000 + number)));
        }
        let bits = filters.bits_of(7);
        filters.free(7);
        assert!(filters.bits_of(7).iter().all(|byte| *byte == 0));
        assert!(filters.periods_of(&hash(7001)).is_empty());
        filters.occupy(9, 9);
        assert!(filters.load(9, &bits));
        assert_eq!(filters.bits_of(9), bits);
        assert_eq!(filters.periods_of(&hash(7001)), [9]);
        assert_eq!(filters.periods_of(&hash(63_001)), [63]);
        assert!(!filters.load(9, &bits[1..]));
        assert_eq!(filters.periods_of(&hash(1 << 40)), [9], "any key may be in it");
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
        changes.put(Table::Seen, SeenKey { partition, period: 0, hash: hash(5) }.encode(), Vec::new());
        let closed = ClosedPeriod { period: 0, ended_ms: 0, filter: Vec::new() };
        changes.put(Table::Meta, ClosedPeriod::key(0), closed.encode());
        engine.store.commit(&changes).unwrap();
        engine = engine.restart();
        engine.sees([6]);
        assert!(engine.knows(5) && engine.knows(6) && !engine.knows(7));
        assert_eq!(engine.filters.periods_of(&hash(7)), [0]);
    }

    #[test]
    fn without_a_free_slot_the_last_period_goes_on() {
        let mut engine = Engine::new();
        engine.sees([0]);
        let slots = engine.filters.periods.len();
        (1..slots).for_each(|slot| engine.filters.periods[slot].store(1 << 40, Ordering::Relaxed));
        engine.passes(KEPT_MS / 4);
        engine.sees([1]);
        engine.sees([2]);
        assert_eq!((engine.progress.seen.unwrap().rows, engine.closed()), (3, 0));
        assert!((0..3).all(|number| engine.knows(number)));
        engine.filters.free(7);
        engine.sees([3]);
        assert_eq!((engine.progress.seen.unwrap().rows, engine.closed()), (1, 1));
        assert!((0..4).all(|number| engine.knows(number)));
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
