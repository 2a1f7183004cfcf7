//! Compares this build of the engine with another one, that of an earlier commit. `BENCH_BESIDE`
//! names its binary, and `BENCH_BESIDE_CHECKOUT` the checkout with its rules. The two take turns in
//! one run, on one broker, with the same events. At the end both get `BENCH_BESIDE_EVENTS` events
//! (2,000,000), and the communications for each recipient are compared byte for byte.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::latency::{Rates, latencies};
use crate::measure::events::purchases;
use crate::measure::flow::of_engine;
use crate::measure::{Against, Outcome, campaigns, listed, mark, median, percentile};
use hailer::generate::{Generator, Options};
use hailer_tests::broker::Broker;
use hailer_tests::built;
use hailer_tests::engine::Engine;
use hailer_tests::site::Site;
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;

const ROUNDS: usize = 3;
const DRAINED: usize = 200_000;
const MOVED: usize = 30_000;
const CUSTOMERS: u32 = 10_000;
const RATES: Rates = Rates { a_second: 1000, warm_seconds: 2 };
const SECONDS: usize = 8;
/// The number of events in one write to standard input.
const AT_ONCE: usize = 1000;
const COMPARED: usize = 2_000_000;
/// 2026-03-01T00:00:00Z.
const START_MS: i64 = 1_772_323_200_000;
/// The step between events: two million events take more than two months, so timers fire and rows
/// expire.
const MS_AN_EVENT: i64 = 3_000;
const DECIDED: &str = "hailer_events_total{outcome=\"decided\"}";
const COMMIT: &str = "hailer_commit_seconds";

/// The figures of one build.
#[derive(Default)]
struct Measured {
    drained: Vec<f64>,
    written: Vec<f64>,
    slowest: Vec<f64>,
    moved: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

pub(crate) async fn run() -> Outcome<()> {
    let [Some(other), Some(_)] = ["BENCH_BESIDE", "BENCH_BESIDE_CHECKOUT"]
        .map(|name| std::env::var_os(name).map(PathBuf::from))
    else {
        return Err("name another build of hailer in BENCH_BESIDE, and its checkout in \
                    BENCH_BESIDE_CHECKOUT"
            .into());
    };
    let broker = Broker::start();
    let wiring = Wiring::new(&broker, "bench").await;
    let of_purchases: Vec<_> = purchases(CUSTOMERS).take(DRAINED).collect();
    let lines: Vec<Vec<u8>> = of_purchases
        .chunks(AT_ONCE)
        .map(|events| [events.join(&b'\n'), vec![b'\n']].concat())
        .collect();
    let [mut ours, mut theirs] = [(); 2].map(|()| Measured::default());
    for round in 1..=ROUNDS {
        for (name, program, measured) in
            [("this", built::hailer(), &mut ours), ("the other", other.as_path(), &mut theirs)]
        {
            drain(&campaigns::ten().of(program), &lines, measured).await?;
            measured.moved.push(
                of_engine(&wiring, &of_purchases[..MOVED], &campaigns::ten().of(program)).await?,
            );
            let taken = at_a_rate(&wiring, &campaigns::stateful().of(program)).await?;
            measured.p50.push(percentile(&taken, 0.5));
            measured.p99.push(percentile(&taken, 0.99));
            let last = |figures: &[f64]| figures.last().copied().unwrap_or_default();
            println!(
                "round {round}, {name}: a drain {:.0}/s, its commits p99 {:.1} ms, {:.0} bytes an \
                 event; RabbitMQ {:.0}/s; at {}/s p50 {:.2} ms, p99 {:.1} ms",
                last(&measured.drained),
                last(&measured.slowest),
                last(&measured.written),
                last(&measured.moved),
                RATES.a_second,
                last(&measured.p50),
                last(&measured.p99)
            );
        }
    }
    let ratio = |of: fn(&Measured) -> &Vec<f64>| -> Vec<f64> {
        of(&ours).iter().zip(of(&theirs)).map(|(ours, theirs)| ours / theirs).collect()
    };
    for (name, ratios, against) in [
        ("a backlog on standard input, ten rules", ratio(|of| &of.drained), Against::AtLeast(0.95)),
        ("commits of it, p99", ratio(|of| &of.slowest), Against::AtMost(1.1)),
        ("bytes written an event of it", ratio(|of| &of.written), Against::AtMost(1.05)),
        ("RabbitMQ to RabbitMQ, durable, ten rules", ratio(|of| &of.moved), Against::AtLeast(0.95)),
        ("at 1000/s, p99", ratio(|of| &of.p99), Against::AtMost(1.1)),
    ] {
        let beside = format!("rounds {}", listed(&ratios, 2));
        mark(name, median(ratios), against, " of the other build", &beside);
    }
    let (p50, others) = (median(ours.p50), median(theirs.p50));
    let beside = format!("more than the other build: {p50:.2} ms beside {others:.2} ms");
    mark("at 1000/s, p50", p50 - others, Against::AtMost(0.1), " ms", &beside);
    send_the_same(&other).await
}

/// Measures an engine with a backlog on standard input and a store of its own.
async fn drain(site: &Site, lines: &[Vec<u8>], measured: &mut Measured) -> Outcome<()> {
    let mut engine = start(site, &["--sink", "-"]).await;
    let pid = engine.client.status().await?.pid;
    let (began, written) = (Instant::now(), written_by(pid)?);
    lines.iter().for_each(|lines| engine.write(lines));
    settled(&engine, DRAINED).await;
    measured.drained.push(DRAINED as f64 / began.elapsed().as_secs_f64());
    measured.slowest.push(percentile_of(&engine.metrics().await, COMMIT, 0.99)? * 1e3);
    let sent = site.path("stdout").metadata()?.len();
    measured.written.push((written_by(pid)? - written - sent as f64) / DRAINED as f64);
    engine.close_input();
    engine.ended().await;
    Ok(())
}

async fn at_a_rate(wiring: &Wiring, site: &Site) -> Outcome<Vec<f64>> {
    wiring.client.purge(&wiring.events).await;
    let engine = site.start(&wiring.flags());
    engine.ready().await;
    let taken =
        latencies(wiring, RATES, SECONDS).await.inspect_err(|_| println!("{}", engine.stderr()))?;
    engine.stop().await;
    Ok(taken)
}

/// Both builds get the same events of all kinds on the event clock, with all example campaigns and
/// one that answers each purchase. Ten of the campaigns have state.
async fn send_the_same(other: &Path) -> Outcome<()> {
    let count = match std::env::var("BENCH_BESIDE_EVENTS") {
        Ok(count) => count.parse()?,
        Err(_) => COMPARED,
    };
    let sites = [built::hailer(), other].map(|program| {
        let site = Site::with_examples();
        campaigns::module(&site, "tally");
        site.put(campaigns::ANSWERS, hailer_tests::site::campaign("tally", ""));
        site.of(program)
    });
    // Both read the same file: events of standard input have different ids at each start.
    let directory = tempfile::tempdir()?;
    let backlog = directory.path().join("events.jsonl");
    write_events(&backlog, count)?;
    let source = format!("file:{}", backlog.display());
    let mut outputs = Vec::new();
    for site in &sites {
        let store = site.path("store").display().to_string();
        let began = Instant::now();
        let mut engine = site
            .start(&["--source", &source, "--sink", "-", "--clock", "events", "--store", &store]);
        while !engine.has_ended() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        println!("{count} events in {:.0?}", began.elapsed());
        outputs.push(by_recipient(&site.path("stdout"))?);
    }
    let (theirs, ours) = (outputs.pop().ok_or("an output")?, outputs.pop().ok_or("an output")?);
    let differ =
        ours.iter().filter(|(recipient, sent)| theirs.get(*recipient) != Some(sent)).count()
            + theirs.keys().filter(|recipient| !ours.contains_key(*recipient)).count();
    let sent: u64 = ours.values().map(|(sent, _)| sent).sum();
    let beside = format!("of {}; {sent} communications of {count} events", ours.len());
    mark("recipients with other communications", differ as f64, Against::AtMost(0.0), "", &beside);
    if sent == 0 { Err("nothing was sent".into()) } else { Ok(()) }
}

fn write_events(to: &Path, count: usize) -> Outcome<()> {
    let mut lines = BufWriter::new(File::create(to)?);
    for (number, event) in Generator::new(7, &Options::default()).take(count).enumerate() {
        // Several events have the same time: between two times the engine waits until everything
        // before is durable.
        let now = START_MS + (number / AT_ONCE * AT_ONCE) as i64 * MS_AN_EVENT;
        write!(lines, "{{\"timestamp\":{now},\"body\":")?;
        lines.write_all(&event)?;
        lines.write_all(b"}\n")?;
    }
    Ok(lines.flush()?)
}

/// The number of communications for each recipient, and a hash of all of them in order. The order
/// between recipients is not defined: it depends on the grouping of commits.
fn by_recipient(path: &Path) -> Outcome<HashMap<String, (u64, u64)>> {
    let mut sent: HashMap<String, (u64, u64)> = HashMap::new();
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        let line = line?;
        let communication: serde_json::Value = serde_json::from_slice(&line)?;
        let (count, hash) = sent.entry(communication["recipient"].to_string()).or_default();
        *count += 1;
        let mut next = DefaultHasher::new();
        (*hash, &line).hash(&mut next);
        *hash = next.finish();
    }
    Ok(sent)
}

async fn start(site: &Site, flags: &[&str]) -> Engine {
    let store = site.path("store").display().to_string();
    let engine = site.start(&[&["--source", "-", "--store", &store], flags].concat());
    engine.ready().await;
    engine
}

/// Waits until this many events are decided and all communications are sent.
async fn settled(engine: &Engine, events: usize) {
    wait::until("the backlog is decided and sent", async || {
        engine.metric(DECIDED).await >= events as f64 && engine.metric("hailer_outbox").await == 0.0
    })
    .await;
}

/// The bytes that a process has written to files and devices. Linux's count of bytes written to
/// disk is not usable: for a few blocks it counts the whole folio of the page cache, up to 2 MiB.
fn written_by(pid: u32) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: ")).ok_or("no wchar")?;
    Ok(line.parse()?)
}

/// A percentile of a histogram of `/metrics`, in its unit, interpolated linearly between two
/// bounds.
fn percentile_of(metrics: &str, name: &str, share: f64) -> Outcome<f64> {
    let mut buckets = Vec::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix(&format!("{name}_bucket{{le=\"")) else { continue };
        let (bound, count) = rest.split_once("\"} ").ok_or("a bucket")?;
        buckets.push((bound.parse::<f64>().unwrap_or(f64::INFINITY), count.parse::<f64>()?));
    }
    let wanted = buckets.last().ok_or("no histogram")?.1 * share;
    let (mut from, mut before) = (0.0, 0.0);
    for (bound, count) in buckets {
        if count >= wanted {
            return Ok(if bound.is_finite() {
                from + (bound - from) * (wanted - before) / (count - before)
            } else {
                from
            });
        }
        (from, before) = (bound, count);
    }
    Err("an empty histogram".into())
}
