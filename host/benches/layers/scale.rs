//! The cost of many rules, and the gain from more cores.
//!
//! *A call beside many modules.* A thousand campaigns, each with its own module, take every
//! purchase. So the code of the next call is never in a cache. The events come in batches of 32,
//! and the calls of one campaign in a batch cross together. For comparison, the same with ten
//! campaigns.
//!
//! *Loaded and subscribed.* Ten campaigns take purchases, alone and beside 990 that take other
//! events.
//!
//! *Conditions.* Campaigns take the purchases of one brand each, and five of them those of every
//! brand. These five send: ten thousand loaded, compared with a hundred.
//!
//! *Shards.* Two threads that decide for different customers, compared with one. Each has the same
//! work.
//!
//! `BENCH_RULES` names a directory with the modules of the example rules.

use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use crate::campaigns::{campaign_with, campaigns_of};
use crate::marks::{Against, mark};
use crate::timing::{ROUNDS, Spread, time, turns_of};
use hailer::dry_run::{Arrived, DryRun, Redirects, Settings};
use hailer::engine::{Batch, BatchResult, Campaign, Guests, Limits, RuleSet, Sandbox};
use hailer::event::{Event, Projection};
use hailer_abi::catalogue::event_named;
use wasm_encoder::{CustomSection, Section as _};

/// The number of calls in a crossing of a busy engine.
const TOGETHER: usize = 32;
const MODULES: usize = 1000;
const FEW: usize = 10;
const CALL_NS_MAX: f64 = 300.0;
const LOADED_MAX: f64 = 1.2;
/// The campaigns whose condition holds, and those of which they are a part.
const FIRING: usize = 5;
const CONDITIONS_FEW: usize = 100;
const CONDITIONS_MANY: usize = 10_000;
const CONDITIONS_MAX: f64 = 1.3;
const SHARDS_LEAST: f64 = 1.7;
const SHARD_ROUNDS: usize = 15;
const SHARD_ROUND: Duration = Duration::from_millis(300);
/// 2025-12-01.
const BEGINS: i64 = 1_764_547_200_000;
/// The time between two events in milliseconds. It is long, so that deduplication keeps few
/// entries.
const STEP_MS: i64 = 10_000;
const CUSTOMERS: usize = 4096;

/// A rule to copy modules from, with parameters, and a text about what it does with them.
struct Example {
    name: &'static str,
    params: &'static str,
    does: &'static str,
}

const WATCHES: Example =
    Example { name: "event-watch", params: "", does: "reads one field, and answers with a note" };
const DECLINES: Example = Example {
    name: "big-basket",
    params: "threshold = '1000000'",
    does: "reads lists, and answers with a note",
};
const SENDS: Example =
    Example { name: "big-basket", params: "threshold = '0'", does: "reads lists, and sends" };

pub(crate) fn run() {
    let Some(directory) = std::env::var_os("BENCH_RULES") else {
        println!("no rules: name a directory of modules in BENCH_RULES");
        return;
    };
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let load = |example: &Example, count| distinct(&sandbox, Path::new(&directory), example, count);
    for example in [WATCHES, DECLINES, SENDS] {
        let all = load(&example, MODULES);
        let few = call_ns(&sandbox, &all[..FEW]);
        let many = call_ns(&sandbox, &all);
        let beside = format!("{}; {few} with {FEW} modules, {many} with {MODULES}", example.does);
        let name = format!("a call beside {MODULES} modules, {}", example.name);
        mark(&name, many.median(), Against::AtMost(CALL_NS_MAX), " ns", &beside);
    }
    let takes = load(&DECLINES, FEW);
    let others = Example { name: "card-security", params: "", does: "" };
    let all: Vec<_> = takes.iter().cloned().chain(load(&others, MODULES - FEW)).collect();
    loaded_and_subscribed(&sandbox, &takes, &all);
    conditions(&sandbox, Path::new(&directory));
    shards(&sandbox, &takes);
}

/// Makes campaigns of one rule, each with its own module. A different custom section makes each
/// module different.
fn distinct(
    sandbox: &Arc<Sandbox>,
    directory: &Path,
    example: &Example,
    count: usize,
) -> Vec<Arc<Campaign>> {
    let wasm = std::fs::read(directory.join(format!("{}.wasm", example.name))).unwrap();
    let one = |number: usize| {
        let mut wasm = wasm.clone();
        let data = number.to_string().into_bytes().into();
        CustomSection { name: "own".into(), data }.append_to(&mut wasm);
        campaign_with(&format!("{}-{number}", example.name), sandbox, &wasm, example.params)
    };
    let halves = [0..count / 2, count / 2..count];
    std::thread::scope(|scope| {
        let compiling = halves.map(|half| scope.spawn(|| half.map(one).collect::<Vec<_>>()));
        compiling.into_iter().flat_map(|half| half.join().unwrap()).collect()
    })
}

/// Measures the nanoseconds of one call: writing its input, its share of a crossing with the calls
/// for the other events of the batch, and reading its answer.
fn call_ns(sandbox: &Arc<Sandbox>, campaigns: &[Arc<Campaign>]) -> Spread {
    let event = Event::read(event_named("Purchase").unwrap().sample.into()).unwrap();
    let rules = Arc::new(RuleSet::build(campaigns.to_vec(), 1));
    let reading = rules.reading(event.code());
    assert_eq!(reading.subscriptions.len(), campaigns.len());
    let mut projection = Projection::new();
    reading.plan.project(&event, &mut projection);
    let mut guests = Guests::new(Arc::clone(sandbox), 0);
    guests.adopt(&rules);
    let (mut batch, mut decided) = (Batch::default(), BatchResult::default());
    let mut decide = || {
        batch.open(&rules);
        for event in 0..TOGETHER {
            for subscription in &reading.subscriptions {
                batch
                    .add(subscription, event, BEGINS, event as u64, None, black_box(&projection))
                    .unwrap();
            }
        }
        guests.decide(&batch, &mut decided);
        black_box(&decided);
    };
    let turns = turns_of(&mut decide);
    let calls = TOGETHER * campaigns.len();
    let spread = Spread::of((0..ROUNDS).map(|_| time(&mut decide, turns) / calls as f64).collect());
    assert!(
        decided.results.len() == calls && decided.results.iter().all(|call| call.result.is_ok())
    );
    spread
}

/// A shard that decides events of many customers in batches.
struct Shard {
    dry_run: DryRun,
    bodies: Vec<Vec<u8>>,
    count: u64,
}

impl Shard {
    fn new(sandbox: &Arc<Sandbox>, campaigns: &[Arc<Campaign>]) -> Shard {
        let rules = Arc::new(RuleSet::build(campaigns.to_vec(), 1));
        let settings = Settings {
            environment: "bench".into(),
            recheck_one_in: 1000,
            begins: BEGINS,
            gives_up: None,
            are_distinct: false,
        };
        let dry_run = DryRun::new(&rules, sandbox, &settings, Redirects::in_memory()).unwrap();
        let sample = event_named("Purchase").unwrap().sample;
        let customer = r#""customerId":107"#;
        assert_eq!(sample.matches(customer).count(), 1);
        let body =
            |number| sample.replace(customer, &format!(r#""customerId":{number}"#)).into_bytes();
        Shard { dry_run, bodies: (0..CUSTOMERS).map(body).collect(), count: 0 }
    }

    /// Decides one batch.
    fn decide(&mut self) {
        let arrived: Vec<Arrived> = (0..TOGETHER).map(|_| self.arrived()).collect();
        let decisions = self.dry_run.decide(arrived, self.now()).unwrap();
        assert_eq!(black_box(decisions).len(), TOGETHER);
    }

    fn arrived(&mut self) -> Arrived {
        self.count += 1;
        let body = self.bodies[self.count as usize % CUSTOMERS].clone();
        let id = format!("m-{:012}", self.count);
        Arrived::new(Event::read(body.into()).unwrap(), Some(&id), None, self.now(), self.count)
    }

    fn now(&self) -> i64 {
        BEGINS + self.count as i64 * STEP_MS
    }
}

/// Compares the cost of an event in a shard with few rules, and in one with the same rules and many
/// for other events.
fn loaded_and_subscribed(sandbox: &Arc<Sandbox>, few: &[Arc<Campaign>], all: &[Arc<Campaign>]) {
    let (mut few, mut all) = (Shard::new(sandbox, few), Shard::new(sandbox, all));
    let turns = turns_of(&mut || few.decide()).max(turns_of(&mut || all.decide()));
    let (mut ratios, mut of_few) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let ns = time(&mut || few.decide(), turns) / TOGETHER as f64;
        ratios.push(time(&mut || all.decide(), turns) / TOGETHER as f64 / ns);
        of_few.push(ns);
    }
    let beside = format!("of an event's {} ns with {FEW} loaded", Spread::of(of_few));
    let name = format!("{MODULES} rules loaded, {FEW} subscribed");
    mark(&name, Spread::of(ratios).median(), Against::AtMost(LOADED_MAX), " ×", &beside);
}

/// Compares the cost of an event in a shard with a hundred campaigns whose conditions are tested,
/// and in one with ten thousand. Five of either match, and send.
fn conditions(sandbox: &Arc<Sandbox>, directory: &Path) {
    let wasm = std::fs::read(directory.join("big-basket.wasm")).unwrap();
    let all = campaigns_of("big-basket", sandbox, &wasm, CONDITIONS_MANY, |number| {
        let brand = if number < FIRING { String::new() } else { format!("brand-{number}") };
        format!("threshold = '0'\nbrand = '{brand}'")
    });
    let mut few = Shard::new(sandbox, &all[..CONDITIONS_FEW]);
    let mut many = Shard::new(sandbox, &all);
    let turns = turns_of(&mut || few.decide()).max(turns_of(&mut || many.decide()));
    let (mut ratios, mut of_few) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let ns = time(&mut || few.decide(), turns) / TOGETHER as f64;
        ratios.push(time(&mut || many.decide(), turns) / TOGETHER as f64 / ns);
        of_few.push(ns);
    }
    let beside = format!("of an event's {} ns with {CONDITIONS_FEW} loaded", Spread::of(of_few));
    let name = format!("{CONDITIONS_MANY} conditions, {FIRING} hold");
    mark(&name, Spread::of(ratios).median(), Against::AtMost(CONDITIONS_MAX), " ×", &beside);
}

/// Measures how many more events two shards decide than one.
fn shards(sandbox: &Arc<Sandbox>, campaigns: &[Arc<Campaign>]) {
    let mut pair = [Shard::new(sandbox, campaigns), Shard::new(sandbox, campaigns)];
    let mut gains = Vec::new();
    let mut rate_of_one = Vec::new();
    for _ in 0..SHARD_ROUNDS {
        let one = rate(&mut pair[..1]);
        gains.push(rate(&mut pair) / one);
        rate_of_one.push(one);
    }
    let gains = Spread::of(gains);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let beside = format!(
        "{gains} of one, which decides {} events a second; {cores} cores",
        Spread::of(rate_of_one)
    );
    mark("two shards", gains.median(), Against::AtLeast(SHARDS_LEAST), " ×", &beside);
}

/// Measures the events a second of shards that run in parallel.
fn rate(shards: &mut [Shard]) -> f64 {
    let start = Barrier::new(shards.len());
    std::thread::scope(|scope| {
        let working: Vec<_> =
            shards.iter_mut().map(|shard| scope.spawn(|| rate_of(shard, &start))).collect();
        working.into_iter().map(|shard| shard.join().unwrap()).sum()
    })
}

fn rate_of(shard: &mut Shard, start: &Barrier) -> f64 {
    start.wait();
    let (began, before) = (Instant::now(), shard.count);
    while began.elapsed() < SHARD_ROUND {
        shard.decide();
    }
    (shard.count - before) as f64 / began.elapsed().as_secs_f64()
}
