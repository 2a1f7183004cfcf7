//! The cost of a committed event in a store of a million customers, for four layouts of its rows.
//! They are compared with the minimum: the update of the customer's row alone.
//!
//! An event updates 150 bytes of one customer. It adds 17 + 16 bytes to `Seen`, 25 to `Trail`, and
//! 800 to `Outbox` and `Journal`. The layouts are:
//!
//! - *Scattered*: `Seen` and `Trail` get a row for each event, in the order of hashes. The other
//!   tables get a row for each partition.
//! - *By period*, which the engine uses: the same, but the keys of `Seen` and `Trail` begin with a
//!   period of 65,536 and 16,384 rows.
//! - *By partition*: each of the four tables gets a row for each partition and group.
//! - *By group*: each of the four tables gets one row for each group.

use std::error::Error;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use crate::marks::{Against, mark};
use hailer::store::{Changes, FileStore, Opening, Store, Table, file_bytes};
use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CUSTOMERS: u64 = 1_000_000;
const PARTITIONS: u64 = 64;
/// The last period. The next two constants are its number of rows in each table before the first
/// event.
const PERIOD: [u8; 8] = [0; 8];
const PERIOD_SEEN: u64 = 1 << 16;
const PERIOD_TRAIL: u64 = 1 << 14;
const ROUNDS: usize = 15;
const LOOKS: u64 = 20_000;
const BESIDE_ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(4);
/// The interval of commits in an engine with two thousand events a second.
const COMMITS_EVERY: Duration = Duration::from_millis(5);
const EVENTS_A_COMMIT: u64 = 10;
const BESIDE_MAX: f64 = 3.0;

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
        let store =
            FileStore::open(directory.path(), Opening { create: true, ..Opening::of("bench") })?;
        fill(&store)?;
        println!("{CUSTOMERS} customers: {} MB", file_bytes(directory.path()) >> 20);
        for group in [1, 100, 1000] {
            let layouts = [
                Layout::CustomersOnly,
                Layout::Scattered,
                Layout::ByPeriod,
                Layout::ByPartition,
                Layout::ByGroup,
            ];
            compare(&store, group, &layouts, &mut numbers)?;
        }
    }
    let started = Instant::now();
    let store = FileStore::open(directory.path(), Opening::of("bench"))?;
    println!("open: {:.1?}", started.elapsed());
    looks(&store, &mut numbers)?;
    beside_flushes(&store, &mut numbers)
}

/// Measures a lookup of a key that does not exist, as for a new event. The store's own filters
/// answer it. The engine uses its own filters first, which cover all periods at once.
fn looks(store: &FileStore, numbers: &mut Numbers) -> Outcome<()> {
    let snapshot = store.snapshot()?;
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let keys: Vec<_> = (0..LOOKS)
            .map(|_| customer(CUSTOMERS + PERIOD_SEEN + numbers.next() % (1 << 40)))
            .collect();
        costs.push(measure(|| {
            let found = keys
                .iter()
                .map(|key| snapshot.get(Table::Dedup, key))
                .filter(|found| !matches!(found, Ok(None)));
            if found.count() > 0 { Err("a key that is not there was found".into()) } else { Ok(()) }
        })?);
    }
    let (wall, _) = median(costs, LOOKS);
    println!("a lookup of a key that does not exist: {wall:.2} µs");
    Ok(())
}

/// Measures commits while other threads flush memory and merge tables, as in a busy engine. They
/// are compared with a plain write and sync of as many bytes. Commits come at a fixed rate, as
/// events do. A commit that waits also delays the ones after it, and each is measured from its due
/// time.
fn beside_flushes(store: &FileStore, numbers: &mut Numbers) -> Outcome<()> {
    let mut bare = tempfile::tempfile()?;
    let [mut commits, mut syncs] = [const { Vec::new() }; 2];
    for _ in 0..BESIDE_ROUNDS {
        let [mut of_store, mut of_file] = [const { Vec::new() }; 2];
        // Large enough that a flush happens in every round.
        at_a_rate(&mut of_store, || {
            Ok(store.commit(changes(Layout::ByGroup, EVENTS_A_COMMIT, numbers))?)
        })?;
        at_a_rate(&mut of_file, || {
            bare.seek(SeekFrom::Start(0))?;
            bare.write_all(&vec![7; EVENTS_A_COMMIT as usize * 1000])?;
            Ok(bare.sync_data()?)
        })?;
        commits.push(p99(of_store)?);
        syncs.push(p99(of_file)?);
    }
    // The figures are medians of the rounds. The disk of a virtual machine may stop once, and then
    // all commits of a tenth of a second wait.
    let (commit, sync) = (middle(&mut commits), middle(&mut syncs));
    let rate = 1.0 / COMMITS_EVERY.as_secs_f64();
    let beside = format!(
        "{commit:.2} ms, at {rate:.0} commits a second of {EVENTS_A_COMMIT} events; {sync:.2} ms \
         a bare write; medians of {BESIDE_ROUNDS} rounds"
    );
    mark(
        "a commit while tables are written, p99",
        commit / sync,
        Against::AtMost(BESIDE_MAX),
        " ×",
        &beside,
    );
    Ok(())
}

fn at_a_rate(milliseconds: &mut Vec<f64>, mut commit: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    let (since, mut due) = (Instant::now(), Duration::ZERO);
    while due < ROUND {
        due += COMMITS_EVERY;
        std::thread::sleep(due.saturating_sub(since.elapsed()));
        // A sleep that was too long is not counted, but a delay by the commit before is.
        let is_late = since.elapsed() > due + COMMITS_EVERY;
        let began = if is_late { due } else { since.elapsed() };
        commit()?;
        milliseconds.push((since.elapsed() - began).as_secs_f64() * 1e3);
    }
    Ok(())
}

fn p99(mut figures: Vec<f64>) -> Outcome<f64> {
    figures.sort_by(f64::total_cmp);
    Ok(*figures.get(figures.len() * 99 / 100).ok_or("no commits")?)
}

fn middle(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Compares the layouts. They take turns, so that anything that slows the machine slows all of
/// them.
fn compare(
    store: &FileStore,
    group: u64,
    layouts: &[Layout],
    numbers: &mut Numbers,
) -> Outcome<()> {
    let mut costs = vec![Vec::new(); layouts.len()];
    for _ in 0..ROUNDS {
        for (layout, costs) in layouts.iter().zip(&mut costs) {
            let changes = changes(*layout, group, numbers);
            costs.push(measure(|| Ok(store.commit(changes)?))?);
        }
    }
    let mut floor = None;
    for (layout, costs) in layouts.iter().zip(costs) {
        let (wall, cpu) = median(costs, group);
        let floor = floor.get_or_insert(wall);
        let (a_second, ratio) = (1e6 / wall, wall / *floor);
        println!(
            "groups of {group:4}, {layout:?}: {wall:.1} µs an event ({cpu:.1} of CPU), \
             {a_second:.0}/s, {ratio:.2} of the floor"
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
            // These rows make the other tables large, too.
            changes.put(Table::Dedup, &**key, [7; 16]);
            changes.put(Table::Trail, [&**key, &[7; 8]].concat(), []);
        }
        store.commit(changes)?;
    }
    let mut changes = Changes::new();
    for number in 0..PERIOD_SEEN {
        let key = customer(CUSTOMERS + number);
        let (partition, rest) = key.split_at(1);
        changes.put(Table::Dedup, [partition, &PERIOD, rest].concat(), [7; 16]);
        if number < PERIOD_TRAIL {
            changes.put(Table::Trail, [partition, &PERIOD, rest, &[7; 8]].concat(), []);
        }
    }
    Ok(store.commit(changes)?)
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
    for (table, rows) in [(Table::Dedup, seen), (Table::Trail, trail)] {
        match layout {
            Layout::CustomersOnly => {}
            Layout::Scattered => {
                rows.into_iter().for_each(|(key, value)| changes.put(table, key, value))
            }
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
                for (part, rows) in
                    together.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty())
                {
                    changes.put(table, grouped(part as u8, sequence), rows);
                }
            }
        }
    }
    if layout != Layout::CustomersOnly {
        for (table, part) in [Table::Outbox, Table::Journal]
            .into_iter()
            .flat_map(|table| (0..parts).map(move |p| (table, p)))
        {
            changes.put(
                table,
                grouped(part as u8, sequence),
                vec![3; (400 * group / parts) as usize],
            );
        }
    }
    changes
}

fn grouped(part: u8, sequence: u64) -> Vec<u8> {
    [&[part][..], &sequence.to_be_bytes()].concat()
}

/// The key of a customer: its partition and 16 bytes of hash.
fn customer(number: u64) -> Vec<u8> {
    let first = scattered(number);
    [&[(first % PARTITIONS) as u8][..], &first.to_be_bytes(), &scattered(first).to_be_bytes()]
        .concat()
}

fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Pseudo-random numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        scattered(self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Measures the elapsed time and the CPU time of `work`.
fn measure(work: impl FnOnce() -> Outcome<()>) -> Outcome<(Duration, Duration)> {
    let (started, cpu) = (Instant::now(), cpu_time());
    work()?;
    Ok((started.elapsed(), cpu_time().saturating_sub(cpu)))
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The median microseconds of an event: elapsed time and CPU time.
fn median(mut costs: Vec<(Duration, Duration)>, group: u64) -> (f64, f64) {
    costs.sort_unstable();
    let (wall, cpu) = costs[costs.len() / 2];
    (wall.as_secs_f64() * 1e6 / group as f64, cpu.as_secs_f64() * 1e6 / group as f64)
}
