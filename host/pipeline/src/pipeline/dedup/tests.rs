//! Engines that add dedup keys, restart, and forget keys.

use super::*;
use crate::pipeline::retention::{Retention, RetentionUpkeep};
use crate::records::encode;
use hailer_store::MemoryStore;

const HOUR_MS: Millis = 3_600_000;
const KEPT_MS: Millis = 24 * HOUR_MS;

/// An engine that adds keys, one commit at a time, and deletes expired rows.
struct Engine {
    store: MemoryStore,
    progress: Progress,
    filters: Arc<DedupFilters>,
    writer: DedupWriter,
}

impl Engine {
    fn new() -> Engine {
        Engine::open(MemoryStore::new("test"), Progress::default(), (KEPT_MS, None))
    }

    fn open(store: MemoryStore, progress: Progress, kept: (Millis, Option<u64>)) -> Engine {
        let (filters, writer) = open(&store, &progress, kept).unwrap();
        let retention = Retention { dedup_ms: kept.0, ..Retention::default() };
        store.set_upkeep(Box::new(RetentionUpkeep::new(retention).with_floor(writer.floor())));
        Engine { store, progress, filters, writer }
    }

    fn restart(self) -> Engine {
        self.restart_keeping(KEPT_MS)
    }

    fn restart_keeping(self, kept_ms: Millis) -> Engine {
        Engine::open(self.store, self.progress, (kept_ms, None))
    }

    fn decides(&mut self, numbers: impl IntoIterator<Item = u64>) {
        let mut changes = Changes::new();
        self.progress.commit += 1;
        let commit = self.progress.commit;
        let entries = numbers.into_iter().map(|number| {
            let (partition, hash) = (partition(number), hash(number));
            EncodedDedupEntry { partition, hash, bytes: commit.to_be_bytes().to_vec() }
        });
        self.writer.add(entries.collect(), &mut self.progress, &mut changes);
        changes.put(Table::Meta, Progress::KEY, encode(&self.progress));
        self.store.commit(changes).unwrap();
    }

    fn advances(&mut self, time: Millis) {
        self.progress.connected_ms += time;
    }

    /// The last commit that added a key.
    fn added_by(&self, number: u64) -> Option<u64> {
        let snapshot = self.store.snapshot().unwrap();
        let row = self.filters.periods_of(&hash(number)).into_iter().find_map(|period| {
            let key = DedupEntryKey { partition: partition(number), period, hash: hash(number) };
            snapshot.get(Table::Dedup, &key.encode()).unwrap()
        });
        row.map(|row| u64::from_be_bytes(row.try_into().unwrap()))
    }

    fn knows(&self, number: u64) -> bool {
        self.added_by(number).is_some()
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
        self.count(Table::Meta, ClosedDedupPeriod::from(0))
    }

    fn rows(&self) -> usize {
        self.count(Table::Dedup, (Vec::new(), vec![Partition::COUNT]))
    }
}

fn partition(number: u64) -> Partition {
    Partition::of_key(&[(number % 64) as u8]).unwrap()
}

fn hash(number: u64) -> [u8; 16] {
    *blake3::hash(&number.to_be_bytes()).as_bytes().first_chunk().unwrap()
}

#[test]
fn an_added_key_is_never_denied_even_after_restarts() {
    let mut engine = Engine::new();
    let count = 50 * ROWS_MAX;
    for first in (0..count).step_by(10) {
        engine.decides(first..first + 10);
        if first % 70 == 0 {
            engine = engine.restart();
        }
    }
    assert!((40..=50).contains(&engine.closed()), "{} periods are closed", engine.closed());
    let missing: Vec<_> = (0..count).filter(|number| !engine.knows(*number)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!engine.knows(1 << 40));
}

/// No time passes in this test, so no key is too old.
#[test]
fn a_bound_on_entries_keeps_the_newest() {
    let bound = 4 * ROWS_MAX;
    let mut engine =
        Engine::open(MemoryStore::new("test"), Progress::default(), (KEPT_MS, Some(bound)));
    for first in (0..50 * ROWS_MAX).step_by(8) {
        engine.decides(first..first + 8);
        let kept_from = (first + 8).saturating_sub(bound);
        assert!(engine.knows(kept_from) && engine.knows(first), "{kept_from} of {first}");
        assert!(engine.rows() as u64 <= 2 * bound, "{} rows", engine.rows());
    }
    assert!(!engine.knows(0));
}

#[test]
fn only_expired_entries_are_deleted_when_the_retention_changes() {
    for per_hour in [1, 5, ROWS_MAX, 3 * ROWS_MAX] {
        let mut engine = Engine::new();
        let mut kept_hours = 24;
        let mut kept_since = 0;
        for hour in 0..200 {
            engine.advances(HOUR_MS);
            engine.decides(hour * per_hour..(hour + 1) * per_hour);
            match hour {
                60 => kept_hours = 6,
                120 => kept_hours = 48,
                _ => {}
            }
            // A longer retention time does not bring back rows that had expired before.
            kept_since = kept_since.max((hour + 1).saturating_sub(kept_hours));
            if hour % 5 == 0 {
                engine = engine.restart_keeping(kept_hours as Millis * HOUR_MS);
            }
            if hour % 5 < 2 {
                let missing = (kept_since * per_hour..(hour + 1) * per_hour)
                    .find(|number| !engine.knows(*number));
                assert_eq!(missing, None, "{per_hour} an hour, after {hour} hours");
            }
            let hours = 48_u64.min(hour + 1) + 48 / 8 + 5;
            assert!(
                engine.rows() as u64 <= hours * per_hour,
                "{} rows of {per_hour} an hour",
                engine.rows()
            );
        }
    }
}

#[test]
fn the_newest_of_several_rows_of_a_key_is_valid() {
    let mut engine = Engine::new();
    for commit in 1..=20 {
        engine.decides([7]);
        engine.advances(KEPT_MS / 10);
        if commit % 3 == 0 {
            engine = engine.restart();
        }
        assert_eq!(engine.added_by(7), Some(commit));
    }
}

#[test]
fn false_positives_are_rare() {
    let filters = DedupFilters::new(1);
    filters.occupy(0, 1);
    filters.occupy(1, 2);
    for number in 0..ROWS_MAX {
        filters.add(0, &hash(number));
    }
    let taken: usize =
        (0..100_000).map(|number| filters.periods_of(&hash(1 << 40 | number)).len()).sum();
    assert!((1..100).contains(&taken), "{taken} of 100,000");
}

#[test]
fn a_stored_filter_is_restored_without_touching_other_slots() {
    let filters = DedupFilters::new(1);
    for slot in [0, 7, 63] {
        filters.occupy(slot, slot as u64);
        (0..40).for_each(|number| filters.add(slot, &hash(slot as u64 * 1000 + number)));
    }
    let kept = filters.encoded(7);
    filters.free(7);
    assert!(filters.encoded(7)[1..].iter().all(|byte| *byte == 0));
    assert!(filters.periods_of(&hash(7001)).is_empty());
    filters.occupy(9, 9);
    filters.load(9, &kept).unwrap();
    assert_eq!(filters.encoded(9), kept);
    assert_eq!(filters.periods_of(&hash(7001)), [9]);
    assert_eq!(filters.periods_of(&hash(63_001)), [63]);
    let other_kind = [&[FILTER_FORMAT + 1], &kept[1..]].concat();
    for kept in [&[][..], &kept[..kept.len() - 1], &other_kind] {
        filters.free(9);
        filters.occupy(9, 9);
        assert_eq!(filters.load(9, kept), Err(UnusableFilter));
        assert_eq!(filters.periods_of(&hash(1 << 40)), [9], "any key may be in it");
    }
}

#[test]
fn the_newest_period_comes_first() {
    let mut engine = Engine::new();
    for _ in 0..4 {
        engine.decides([1]);
        engine.advances(KEPT_MS / 4);
    }
    engine = engine.restart();
    assert_eq!(engine.filters.periods_of(&hash(1)), [4, 3, 2, 1]);
}

#[test]
fn a_key_is_known_for_the_retention_time_and_little_longer() {
    for restarts in [false, true] {
        let mut engine = Engine::new();
        engine.decides([0]);
        let mut known_for = 0;
        while !engine.filters.periods_of(&hash(0)).is_empty() {
            known_for += HOUR_MS / 2;
            engine.advances(HOUR_MS / 2);
            engine.decides([known_for as u64]);
            if restarts {
                engine = engine.restart();
            }
        }
        let longest = KEPT_MS + 2 * (KEPT_MS / PERIODS_IN_TIME) + HOUR_MS;
        assert!((KEPT_MS..longest).contains(&known_for), "for {} hours", known_for / HOUR_MS);
    }
}

#[test]
fn the_slots_of_dropped_periods_are_reused() {
    let mut engine = Engine::new();
    for half_day in 0..300 {
        engine.decides([half_day]);
        engine.advances(KEPT_MS / 2);
    }
    assert_eq!(engine.filters.blocks.iter().filter_map(OnceLock::get).count(), 1);
    let occupied =
        engine.filters.periods.iter().filter(|period| period.load(Ordering::Relaxed) > 0).count();
    assert!(occupied <= 4, "{occupied} periods");
}

#[test]
fn a_period_without_a_filter_is_always_read() {
    let mut engine = Engine::new();
    let partition = Partition::of_key(&[5]).unwrap();
    let mut changes = Changes::new();
    changes.put(
        Table::Dedup,
        DedupEntryKey { partition, period: 0, hash: hash(5) }.encode(),
        [0; 8],
    );
    let closed = ClosedDedupPeriod { period: 0, ended_ms: 0, filter: Vec::new() };
    changes.put(Table::Meta, ClosedDedupPeriod::key(0), closed.encode());
    engine.store.commit(changes).unwrap();
    engine = engine.restart();
    engine.decides([6]);
    assert!(engine.knows(5) && engine.knows(6) && !engine.knows(7));
    assert_eq!(engine.filters.periods_of(&hash(7)), [0]);
}

#[test]
fn without_free_slots_periods_end_by_time_only() {
    let mut engine = Engine::new();
    engine.decides([0]);
    // Pretend that this many periods are full.
    for slot in 1..engine.filters.periods.len() - RESERVED_SLOTS {
        engine.filters.periods[slot].store(1 << 40, Ordering::Relaxed);
        engine.writer.closed.push_back((slot, Millis::MAX));
    }
    let count = 2 * OVERFULL_FACTOR * ROWS_MAX;
    for first in (1..count).step_by(64) {
        engine.decides(first..first + 64);
    }
    assert!(engine.progress.dedup.unwrap().rows >= count && engine.closed() == 0);
    assert!((0..count).all(|number| engine.knows(number)));
    engine = engine.restart();
    assert!((0..count).all(|number| engine.knows(number)), "an overfull filter rules out no key");
    for hour in 0..100 {
        engine.decides([1 << 40 | hour]);
        engine.advances(HOUR_MS);
    }
    assert!(!engine.knows(0) && engine.rows() < 40, "the rows expire");
}

#[test]
fn a_store_with_too_many_periods_is_read_completely() {
    let mut engine = Engine::new();
    let mut changes = Changes::new();
    let periods = (BLOCKS_MAX * PERIODS_PER_BLOCK) as u64 + 100;
    for period in 0..periods {
        let key = DedupEntryKey { partition: partition(period), period, hash: hash(period) };
        changes.put(Table::Dedup, key.encode(), period.to_be_bytes());
        let closed = ClosedDedupPeriod { period, ended_ms: 0, filter: Vec::new() };
        changes.put(Table::Meta, ClosedDedupPeriod::key(period), closed.encode());
    }
    engine.store.commit(changes).unwrap();
    engine.progress.commit = periods;
    engine = engine.restart();
    engine.decides([1 << 40]);
    assert!(
        // Each key is looked up in every period.
        (0..periods).step_by(101).all(|number| engine.added_by(number) == Some(number))
            && engine.knows(1 << 40)
    );
}

#[test]
fn concurrent_readers_find_every_key_that_was_added() {
    const KEYS: u64 = 100_000;
    let filters = DedupFilters::new(1);
    filters.occupy(0, 1);
    let shown = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..KEYS {
                filters.add(0, &hash(number));
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
