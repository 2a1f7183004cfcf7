//! What a committed event costs in a file of a million customers, for four ways to lay its rows out, beside what cannot be
//! avoided: the update of its customer's row alone.
//!
//! An event updates one customer's 150 bytes and leaves 17 + 16 bytes in `Seen`, 25 in `Trail`, and 800 in `Outbox` and
//! `Journal`. *Scattered* gives `Seen` and `Trail` a row an event, in the order of hashes, and the others a row a partition;
//! *by period*, which is how the engine keeps them, the same, but that the keys of the first two begin with a period, to which 65,536 and 16,384 rows belong;
//! *by partition* gives each of the four a row a partition and group; *by group* gives each one row a group. The last lines
//! hand redb the same rows in the order of their keys and as they come.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::marks::{Against, mark};
use hailer::store::{Changes, FileStore, Opening, RedbStore, Store, Table};
use redb::{Database, Durability, TableDefinition};
use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CUSTOMERS: u64 = 1_000_000;
const PARTITIONS: u64 = 64;
/// The last period, and how many rows of each table it has when the first event comes.
const PERIOD: [u8; 8] = [0; 8];
const PERIOD_SEEN: u64 = 1 << 16;
const PERIOD_TRAIL: u64 = 1 << 14;
const ROUNDS: usize = 15;
/// Rounds of bringing much over. In each so many events are added at once: less than is brought over without waiting for more, so that it waits for about a
/// second, in which commits have nothing beside them, and then for nobody's sake.
const BRINGING_ROUNDS: usize = 15;
const EVENTS_AT_ONCE: u64 = 20_000;
const BRINGING_WAITS_LEAST: Duration = Duration::from_millis(900);
const BRINGING_WAITS_MOST: Duration = Duration::from_millis(1050);
/// Commits meanwhile, as those of an engine with two thousand events a second.
const COMMITS_EVERY: Duration = Duration::from_millis(5);
const EVENTS_A_COMMIT: u64 = 10;
const BRINGING_MAX: f64 = 3.0;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    CustomersOnly,
    Scattered,
    ByPeriod,
    ByPartition,
    ByGroup,
}

pub(crate) fn run() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let mut numbers = Numbers(1);
    {
        let store = RedbStore::open(directory.path(), Opening { create: true, ..Opening::of("bench") })?;
        fill(&store)?;
        println!("{CUSTOMERS} customers: {} MB", store.sizes()?.file_bytes >> 20);
        for group in [1, 100, 1000] {
            let layouts =
                [Layout::CustomersOnly, Layout::Scattered, Layout::ByPeriod, Layout::ByPartition, Layout::ByGroup];
            compare(&store, group, &layouts, &mut numbers)?;
        }
    }
    let started = Instant::now();
    let store = RedbStore::open(directory.path(), Opening { check_bytes_max: 0, ..Opening::of("bench") })?;
    let trusted = started.elapsed();
    drop(store);
    let started = Instant::now();
    let store = RedbStore::open(directory.path(), Opening { check_bytes_max: u64::MAX, ..Opening::of("bench") })?;
    println!("open: {trusted:.1?} trusted, {:.1?} checked page by page", started.elapsed());
    drop(store);
    in_and_out_of_order(&mut numbers)?;
    beside_bringing_over(&mut numbers)
}

/// How long a commit takes while another thread brings a large part of the log over to the tables, which is what goes on behind an engine all the time,
/// beside one that has the disk and the store to itself. Commits come at a rate, as events do: one that has to wait makes those behind it late, too,
/// and each counts from when it was due.
fn beside_bringing_over(numbers: &mut Numbers) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let store = FileStore::open(directory.path(), Opening { create: true, ..Opening::of("bench") })?;
    fill(&store)?;
    let [mut all_alone, mut all_beside] = [const { Vec::new() }; 2];
    for _ in 0..BRINGING_ROUNDS {
        store.catch_up()?;
        let [mut alone, mut beside] = [const { Vec::new() }; 2];
        let large = store.append(changes(Layout::CustomersOnly, EVENTS_AT_ONCE, numbers))?;
        let (since, mut due) = (Instant::now(), Duration::ZERO);
        while store.shown()? < large {
            due += COMMITS_EVERY;
            let changes = changes(Layout::ByGroup, EVENTS_A_COMMIT, numbers);
            std::thread::sleep(due.saturating_sub(since.elapsed()));
            // That the sleep was too long is not the store's doing; that the commit before was, is.
            let is_late = since.elapsed() > due + COMMITS_EVERY;
            let began = if is_late { due } else { since.elapsed() };
            store.append(changes)?;
            let milliseconds = (since.elapsed() - began).as_secs_f64() * 1e3;
            if due < BRINGING_WAITS_LEAST {
                alone.push(milliseconds);
            } else if due > BRINGING_WAITS_MOST {
                beside.push(milliseconds);
            }
        }
        all_alone.push(p99(alone)?);
        all_beside.push(p99(beside)?);
    }
    // Of each round: the disk of a virtual machine may stand still once, and then all commits of a tenth of a second wait.
    let (alone, beside) = (middle(&mut all_alone), middle(&mut all_beside));
    let rate = 1.0 / COMMITS_EVERY.as_secs_f64();
    let told = format!(
        "{beside:.2} ms, at {rate:.0} commits a second; {alone:.2} ms alone; medians of {BRINGING_ROUNDS} rounds"
    );
    mark("a commit while the log is brought over, p99", beside / alone, Against::AtMost(BRINGING_MAX), " ×", &told);
    Ok(())
}

fn p99(mut figures: Vec<f64>) -> Outcome<f64> {
    figures.sort_by(f64::total_cmp);
    Ok(*figures.get(figures.len() * 99 / 100).ok_or("nothing was brought over meanwhile")?)
}

fn middle(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The layouts take turns, so that whatever slows the machine slows all of them.
fn compare(store: &RedbStore, group: u64, layouts: &[Layout], numbers: &mut Numbers) -> Outcome<()> {
    let mut costs = vec![Vec::new(); layouts.len()];
    for _ in 0..ROUNDS {
        for (layout, costs) in layouts.iter().zip(&mut costs) {
            let changes = changes(*layout, group, numbers);
            costs.push(measure(|| Ok(store.commit(&changes)?))?);
        }
    }
    let mut floor = None;
    for (layout, costs) in layouts.iter().zip(costs) {
        let (wall, cpu) = median(costs, group);
        let floor = floor.get_or_insert(wall);
        let (a_second, ratio) = (1e6 / wall, wall / *floor);
        println!(
            "groups of {group:4}, {layout:?}: {wall:.1} µs an event ({cpu:.1} of CPU), {a_second:.0}/s, {ratio:.2} of the floor"
        );
    }
    Ok(())
}

fn fill(store: &dyn Store) -> Outcome<()> {
    let mut keys: Vec<Vec<u8>> = (0..CUSTOMERS).map(customer).collect();
    keys.sort_unstable();
    for keys in keys.chunks(50_000) {
        let mut changes = Changes::new();
        for key in keys {
            changes.put(Table::Customers, &**key, [7; 150]);
            // So that these rows too find a table that is large already.
            changes.put(Table::Seen, &**key, [7; 16]);
            changes.put(Table::Trail, [&**key, &[7; 8]].concat(), []);
        }
        store.commit(&changes)?;
    }
    let mut changes = Changes::new();
    for number in 0..PERIOD_SEEN {
        let key = customer(CUSTOMERS + number);
        let (partition, rest) = key.split_at(1);
        changes.put(Table::Seen, [partition, &PERIOD, rest].concat(), [7; 16]);
        if number < PERIOD_TRAIL {
            changes.put(Table::Trail, [partition, &PERIOD, rest, &[7; 8]].concat(), []);
        }
    }
    Ok(store.commit(&changes)?)
}

fn changes(layout: Layout, group: u64, numbers: &mut Numbers) -> Changes {
    let mut changes = Changes::new();
    let (mut seen, mut trail) = (Vec::new(), Vec::new());
    let sequence = numbers.next();
    for _ in 0..group {
        let (key, id) = (customer(numbers.next() % CUSTOMERS), customer(numbers.next()));
        changes.put(Table::Customers, &*key, [numbers.next() as u8; 150]);
        seen.push((id, vec![1; 16]));
        trail.push(([&*key, &numbers.next().to_be_bytes()].concat(), Vec::new()));
    }
    let parts = if layout == Layout::ByGroup { 1 } else { PARTITIONS };
    for (table, rows) in [(Table::Seen, seen), (Table::Trail, trail)] {
        match layout {
            Layout::CustomersOnly => {}
            Layout::Scattered => rows.into_iter().for_each(|(key, value)| changes.put(table, key, value)),
            Layout::ByPeriod => {
                for (key, value) in rows {
                    let (partition, rest) = key.split_at(1);
                    changes.put(table, [partition, &PERIOD, rest].concat(), value);
                }
            }
            Layout::ByPartition | Layout::ByGroup => {
                let mut together = vec![Vec::new(); parts as usize];
                for (key, value) in rows {
                    together[usize::from(key[0]) % parts as usize].extend([key, value].concat());
                }
                for (part, rows) in together.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
                    changes.put(table, grouped(part as u8, sequence), rows);
                }
            }
        }
    }
    if layout != Layout::CustomersOnly {
        for (table, part) in
            [Table::Outbox, Table::Journal].into_iter().flat_map(|table| (0..parts).map(move |p| (table, p)))
        {
            changes.put(table, grouped(part as u8, sequence), vec![3; (400 * group / parts) as usize]);
        }
    }
    changes
}

fn grouped(part: u8, sequence: u64) -> Vec<u8> {
    [&[part][..], &sequence.to_be_bytes()].concat()
}

/// The same rows for redb itself, in a table of as many customers, sorted and not, without a sync.
fn in_and_out_of_order(numbers: &mut Numbers) -> Outcome<()> {
    const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
    let directory = tempfile::tempdir()?;
    let database = Database::builder().set_cache_size(64 << 20).create(directory.path().join("rows"))?;
    let insert = |keys: &[Vec<u8>]| -> Outcome<()> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::None)?;
        let mut rows = transaction.open_table(ROWS)?;
        for key in keys {
            rows.insert(&**key, &[7; 158][..])?;
        }
        drop(rows);
        Ok(transaction.commit()?)
    };
    let mut all: Vec<Vec<u8>> = (0..CUSTOMERS).map(customer).collect();
    all.sort_unstable();
    all.chunks(50_000).try_for_each(insert)?;
    for group in [100, 1000, 10_000] {
        let (mut sorted, mut unsorted) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (costs, in_order) in [(&mut sorted, true), (&mut unsorted, false)] {
                let mut keys: Vec<Vec<u8>> = (0..group).map(|_| customer(numbers.next() % CUSTOMERS)).collect();
                if in_order {
                    keys.sort_unstable();
                }
                costs.push(measure(|| insert(&keys))?);
            }
        }
        let (sorted, unsorted) = (median(sorted, group).0, median(unsorted, group).0);
        println!("{group:5} updates in the order of their keys: {sorted:.1} µs each; as they come: {unsorted:.1} µs");
    }
    Ok(())
}

/// The key of a customer: its partition and 16 bytes of hash.
fn customer(number: u64) -> Vec<u8> {
    let first = scattered(number);
    [&[(first % PARTITIONS) as u8][..], &first.to_be_bytes(), &scattered(first).to_be_bytes()].concat()
}

fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Numbers that look random, and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        scattered(self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// What something takes by the clock, and of the processors.
fn measure(work: impl FnOnce() -> Outcome<()>) -> Outcome<(Duration, Duration)> {
    let (started, cpu) = (Instant::now(), cpu_time());
    work()?;
    Ok((started.elapsed(), cpu_time().saturating_sub(cpu)))
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Microseconds an event, by the clock and of the processors.
fn median(mut costs: Vec<(Duration, Duration)>, group: u64) -> (f64, f64) {
    costs.sort_unstable();
    let (wall, cpu) = costs[costs.len() / 2];
    (wall.as_secs_f64() * 1e6 / group as f64, cpu.as_secs_f64() * 1e6 / group as f64)
}
