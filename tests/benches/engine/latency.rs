//! Latency from the publication of an event to the arrival of its communication, at a thousand
//! events a second. The engine changes a row of its store for every event; beside it, a bare client
//! program only passes messages on, in the same run, on the same broker. Also measured: a sync of
//! the store's file system, on a disk that the broker writes to as well.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::measure::bare::{Route, move_messages};
use crate::measure::events::purchase_of;
use crate::measure::{Against, Outcome, campaigns, listed, mark, median, percentile, sync_ms};
use futures_util::StreamExt;
use hailer_tests::broker::Broker;
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;

const RATES: Rates = Rates { a_second: 1000, warm_seconds: 2 };
const SECONDS: usize = 8;
/// Events continue for this time while the disk is measured.
const PROBE_SECONDS: usize = 3;
const ROUNDS: usize = 5;
const CUSTOMERS: usize = 5000;
/// A communication that is missing for this time after the last event is lost.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

/// The rate of events, and the time before anything is measured.
#[derive(Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) a_second: usize,
    pub(crate) warm_seconds: usize,
}

/// A percentile, and the allowed difference to the bare program, in syncs.
struct Percentile {
    name: &'static str,
    share: f64,
    syncs_max: f64,
}

const PERCENTILES: [Percentile; 2] = [
    Percentile { name: "p50", share: 0.5, syncs_max: 2.0 },
    Percentile { name: "p99", share: 0.99, syncs_max: 4.0 },
];

/// The figures of all rounds for a percentile.
#[derive(Default)]
struct Rounds {
    bares: Vec<f64>,
    engines: Vec<f64>,
    more: Vec<f64>,
}

impl Rates {
    /// The number of measured events in this many seconds.
    fn count(self, seconds: usize) -> usize {
        self.a_second * (self.warm_seconds + seconds)
    }
}

pub(crate) async fn run() -> Outcome<()> {
    let broker = Broker::start();
    let wiring = Wiring::new(&broker, "bench").await;
    let [mut syncs, mut commits] = [const { Vec::new() }; 2];
    let mut percentiles = PERCENTILES.map(|_| Rounds::default());
    for round in 1..=ROUNDS {
        let program = tokio::spawn(move_messages(
            Route::of(&wiring),
            RATES.count(SECONDS) + RATES.count(PROBE_SECONDS),
        ));
        let bare = latencies(&wiring, RATES, SECONDS).await?;
        // The disk is as busy as for the engine, except for the engine's own writes.
        let probe = tokio::task::spawn_blocking(|| {
            std::thread::sleep(Duration::from_secs(RATES.warm_seconds as u64));
            sync_ms(&std::env::temp_dir(), Duration::from_secs(2))
                .map_err(|error| error.to_string())
        });
        latencies(&wiring, RATES, PROBE_SECONDS).await?;
        let sync = probe.await??;
        program.abort();
        let _ = program.await;
        // Messages that the bare program had not acknowledged return when its connection is gone.
        // They are not for the engine.
        wait::until("the bare program is gone", async || {
            wiring.client.counts(&wiring.events).await.1 == 0
        })
        .await;
        wiring.client.purge(&wiring.events).await;

        let site = campaigns::stateful();
        let engine = site.start(&wiring.flags());
        engine.ready().await;
        // The broker may return them even after the purge. Then they are answered before anything
        // is measured.
        wait::until("nothing is under way", async || {
            wiring.client.counts(&wiring.events).await.0 == 0
                && engine.metric("hailer_in_flight").await == 0.0
                && engine.metric("hailer_outbox").await == 0.0
        })
        .await;
        let of_engine = latencies(&wiring, RATES, SECONDS).await?;
        let (sum, count) = ("hailer_commit_seconds_sum", "hailer_commit_seconds_count");
        commits.push(engine.metric(sum).await / engine.metric(count).await * 1e3);
        engine.stop().await;
        syncs.push(sync);
        print!("round {round}: a sync {sync:.1} ms");
        for (at, of) in PERCENTILES.iter().zip(&mut percentiles) {
            let (bare, engine) = (percentile(&bare, at.share), percentile(&of_engine, at.share));
            print!("; {}: bare {bare:.1} ms, engine {engine:.1} ms", at.name);
            of.bares.push(bare);
            of.engines.push(engine);
            of.more.push((engine - bare) / sync);
        }
        println!();
    }
    let (sync, commit) = (median(syncs), median(commits));
    for (at, of) in PERCENTILES.iter().zip(percentiles) {
        let beside = format!(
            "more than the bare program's: {:.1} ms beside {:.1} ms, a sync of one page {sync:.1} \
             ms, a commit {commit:.1} ms; rounds {}",
            median(of.engines),
            median(of.bares),
            listed(&of.more, 2)
        );
        let name = format!("publication to communication at {}/s, {}", RATES.a_second, at.name);
        mark(&name, median(of.more), Against::AtMost(at.syncs_max), " syncs", &beside);
    }
    Ok(())
}

/// The publication times of each customer's events in flight, the oldest first: a customer's
/// communications come in order.
type UnderWay = Arc<Mutex<HashMap<String, VecDeque<(usize, Instant)>>>>;

/// Publishes at the given rate and waits for the communications. Returns sorted milliseconds,
/// without the events of the first seconds.
pub(crate) async fn latencies(wiring: &Wiring, rates: Rates, seconds: usize) -> Outcome<Vec<f64>> {
    let count = rates.count(seconds);
    wiring.client.purge(&wiring.out).await;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let channel = &wiring.client.channel;
    let tag = "latency".into();
    let consumed =
        channel.basic_consume(wiring.out.as_str().into(), tag, options, FieldTable::default());
    let mut out = consumed.await?;
    let under_way = UnderWay::default();
    let publishing = publish(wiring, rates.a_second, count, &under_way);
    let receiving = async {
        let mut taken = Vec::with_capacity(count);
        let (mut left, mut strays) = (count, 0);
        while left > 0 {
            let message = out.next().await.ok_or("the output queue is gone")??;
            let now = Instant::now();
            let customer = match message.properties.correlation_id() {
                Some(id) => id.as_str().to_owned(),
                None => {
                    let body: serde_json::Value = serde_json::from_slice(&message.data)?;
                    body["recipient"]["customerId"].as_str().ok_or("a recipient")?.to_owned()
                }
            };
            let mut under_way = under_way.lock().map_err(|_| "poisoned")?;
            let Some((number, sent)) = under_way.get_mut(&customer).and_then(VecDeque::pop_front)
            else {
                strays += 1;
                continue;
            };
            left -= 1;
            if number >= rates.count(0) {
                taken.push((now - sent).as_secs_f64() * 1e3);
            }
        }
        if strays > 0 {
            println!("{strays} messages of another round came");
        }
        Ok(taken)
    };
    let ends_within = Duration::from_secs((rates.warm_seconds + seconds) as u64) + LONG_ENOUGH;
    let both = tokio::time::timeout(ends_within, async { tokio::try_join!(publishing, receiving) });
    let ((), mut taken) = both.await.map_err(|_| "what was published did not come back")??;
    channel.basic_cancel("latency".into(), lapin::options::BasicCancelOptions::default()).await?;
    taken.sort_by(f64::total_cmp);
    Ok(taken)
}

/// Publishes on a schedule: a late publisher catches up.
async fn publish(
    wiring: &Wiring,
    a_second: usize,
    count: usize,
    under_way: &UnderWay,
) -> Outcome<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let since = Instant::now();
    let mut confirms = Vec::new();
    let mut number = 0;
    while number < count {
        ticks.tick().await;
        let due = (since.elapsed().as_secs_f64() * a_second as f64) as usize;
        while number < due.min(count) {
            let customer = number % CUSTOMERS + 1;
            let event = purchase_of(customer as u64, number);
            let properties = BasicProperties::default().with_delivery_mode(2);
            let properties = properties.with_correlation_id(customer.to_string().into());
            let sent = (number, Instant::now());
            under_way
                .lock()
                .map_err(|_| "poisoned")?
                .entry(customer.to_string())
                .or_default()
                .push_back(sent);
            let options = BasicPublishOptions::default();
            let queue = wiring.events.as_str().into();
            confirms.push(
                wiring
                    .client
                    .channel
                    .basic_publish("".into(), queue, options, event.as_bytes(), properties)
                    .await?,
            );
            number += 1;
        }
    }
    for confirm in confirms {
        confirm.await?;
    }
    Ok(())
}
