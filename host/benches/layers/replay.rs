//! The cost of a replay of generated events with ten of the example rules. It is compared with the
//! same calls in the same process and on as many threads, but without identity, states, timers,
//! policies, counting and order.
//!
//! `BENCH_RULES` names a directory with the modules of the example rules. The first ten are used,
//! with their default parameters.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::campaigns::{campaign, modules};
use crate::marks::{Against, mark};
use crate::timing::Spread;
use hailer::engine::{Batch, BatchResult, Guests, Limits, RuleSet, Sandbox};
use hailer::event::{Event, Projection};
use hailer::generate::{Generator, Options as Generated};
use hailer::recording::{Archive, Origin};
use hailer::replay::{Options, Report, Trial, replay};

const EVENTS: usize = 1_000_000;
const SEED: u64 = 7;
const RULES: usize = 10;
const ROUNDS: usize = 3;
/// The number of calls in a crossing of a busy engine.
const TOGETHER: usize = 32;
const LINE_BYTES_MAX: usize = 1 << 20;
const RATIO_MAX: f64 = 1.3;

pub(crate) fn run() {
    let Some(directory) = std::env::var_os("BENCH_RULES") else {
        println!("no rules: name a directory of modules in BENCH_RULES");
        return;
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let rules = rules(&sandbox, Path::new(&directory));
    let trial = Trial { rules, sandbox, consents: Arc::default() };
    let aside = tempfile::tempdir().unwrap();
    let file = aside.path().join("events.jsonl");
    generate(&file);
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    let mut calls_beside = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        calls_beside = call_alone(&trial, &file, threads);
        let alone = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let report = replayed(&trial, &file, threads);
        let seconds = began.elapsed().as_secs_f64();
        assert_eq!(report.events, EVENTS as u64);
        ratios.push(seconds / alone);
        rates.push(EVENTS as f64 / seconds);
    }
    let (ratio, rate) = (Spread::of(ratios), Spread::of(rates));
    println!(
        "replay: {rate} events a second on {threads} threads; {ratio} of {calls_beside} calls alone"
    );
    let beside = format!(
        "{EVENTS} events, {RULES} rules, {:.0} events a second; of the calls alone",
        rate.median()
    );
    mark("a replay", ratio.median(), Against::AtMost(RATIO_MAX), "", &beside);
}

fn rules(sandbox: &Arc<Sandbox>, directory: &Path) -> Arc<RuleSet> {
    let of = |path: &PathBuf| {
        campaign(
            path.file_stem().unwrap().to_str().unwrap(),
            sandbox,
            &std::fs::read(path).unwrap(),
        )
    };
    Arc::new(RuleSet::build(modules(directory).iter().take(RULES).map(of).collect(), 1))
}

fn generate(path: &Path) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut line = Vec::new();
    let mut generator = Generator::new(SEED, &Generated::default());
    for _ in 0..EVENTS {
        line.clear();
        generator.append_next(&mut line);
        line.push(b'\n');
        file.write_all(&line).unwrap();
    }
    file.flush().unwrap();
}

/// Reads the file and makes the calls of each event, in crossings. Returns the number of calls.
fn call_alone(trial: &Trial, path: &Path, threads: usize) -> usize {
    let mut lines = BufReader::with_capacity(1 << 20, File::open(path).unwrap()).lines();
    let mut places: Vec<Caller> = (0..threads).map(|_| Caller::new(trial)).collect();
    loop {
        // The size of the chunks in a replay.
        let chunk: Vec<String> = lines.by_ref().take(16 << 10).map(Result::unwrap).collect();
        if chunk.is_empty() {
            return places.iter().map(|caller| caller.calls).sum();
        }
        let share = chunk.len().div_ceil(threads);
        std::thread::scope(|scope| {
            for (lines, caller) in chunk.chunks(share).zip(&mut places) {
                scope.spawn(move || lines.iter().for_each(|line| caller.take(line)));
            }
        });
        places.iter_mut().for_each(Caller::cross);
    }
}

struct Caller {
    rules: Arc<RuleSet>,
    guests: Guests,
    batch: Batch,
    decided: BatchResult,
    projection: Projection,
    waiting: usize,
    calls: usize,
}

impl Caller {
    fn new(trial: &Trial) -> Caller {
        let rules = Arc::clone(&trial.rules);
        let mut guests = Guests::new(Arc::clone(&trial.sandbox), 0);
        guests.adopt(&rules);
        let mut batch = Batch::default();
        batch.open(&rules);
        let (decided, projection) = (BatchResult::default(), Projection::new());
        Caller { rules, guests, batch, decided, projection, waiting: 0, calls: 0 }
    }

    fn take(&mut self, line: &str) {
        let event = Event::read(line.as_bytes().to_vec().into()).unwrap();
        let reading = self.rules.reading(event.code());
        reading.plan.project(&event, &mut self.projection);
        let mut was_asked = false;
        for subscription in reading.subscriptions.iter().filter(|one| one.matches(&self.projection))
        {
            let place = self.waiting as u64;
            // No call is made if a required field is absent.
            was_asked |= self
                .batch
                .add(subscription, self.waiting, 0, place, None, &self.projection)
                .is_ok();
        }
        self.waiting += usize::from(was_asked);
        if self.waiting == TOGETHER {
            self.cross();
        }
    }

    fn cross(&mut self) {
        self.guests.decide(&self.batch, &mut self.decided);
        self.calls += self.decided.results.len();
        self.batch.open(&self.rules);
        self.waiting = 0;
    }
}

fn replayed(trial: &Trial, path: &Path, threads: usize) -> Report {
    let archive = Archive::open(&[Origin::from(path.to_owned())], LINE_BYTES_MAX).unwrap();
    let options = Options {
        environment: "bench".into(),
        event_bytes_max: LINE_BYTES_MAX,
        recheck_one_in: 0,
        threads,
        begins: None,
        since: None,
        until: None,
        warm_up_ms: 0,
        run_on_ms: 0,
        machine_ms: i64::MAX,
        is_strict: true,
    };
    replay(archive, trial, None, &options, None, |_| {}).unwrap()
}
