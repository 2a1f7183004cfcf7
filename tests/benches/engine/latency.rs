//! From an event's publication to its communication's arrival, at a thousand a second: the engine, whose every event changes a row of its
//! store, beside a bare client program that only passes messages on, in one run and on one broker. And what a sync of the store's file system takes
//! meanwhile, on a disk that the broker writes to as well.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::measure::bare::{Route, move_messages};
use crate::measure::events::purchase_of;
use crate::measure::{Against, Outcome, campaigns, listed, mark, median, sync_ms};
use futures_util::StreamExt;
use hailer_tests::broker::Broker;
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;

const RATE: usize = 1000;
const WARM_SECONDS: usize = 2;
const SECONDS: usize = 8;
/// For so long events go on coming while the disk is measured.
const PROBE_SECONDS: usize = 3;
const ROUNDS: usize = 5;
const CUSTOMERS: usize = 5000;
/// A round that takes longer has lost something.
const LONG_ENOUGH: Duration = Duration::from_secs(120);

pub(crate) async fn run() -> Outcome<()> {
    let broker = Broker::start();
    let wiring = Wiring::new(&broker, "bench").await;
    let [mut more, mut bares, mut engines, mut syncs, mut commits] = [const { Vec::new() }; 5];
    for round in 1..=ROUNDS {
        let program =
            tokio::spawn(move_messages(Route::of(&wiring), RATE * (2 * WARM_SECONDS + SECONDS + PROBE_SECONDS)));
        let bare = latencies(&wiring, SECONDS).await?;
        // The disk is as busy as it is for the engine, but for what the engine writes itself: some hundred pages a commit, and not one.
        let probe = tokio::task::spawn_blocking(|| {
            std::thread::sleep(Duration::from_secs(WARM_SECONDS as u64));
            sync_ms(&std::env::temp_dir(), Duration::from_secs(2)).map_err(|error| error.to_string())
        });
        latencies(&wiring, PROBE_SECONDS).await?;
        let sync = probe.await??;
        program.abort();
        let _ = program.await;
        // What it had not acknowledged comes back when its connection is gone, and is not the engine's to answer.
        wait::until("the bare program is gone", async || wiring.client.counts(&wiring.events).await.1 == 0).await;
        wiring.client.purge(&wiring.events).await;

        let site = campaigns::stateful();
        let engine = site.start(&wiring.flags());
        engine.ready().await;
        // The broker may bring it back after the purge all the same: then it is answered before anything is measured.
        wait::until("nothing is under way", async || {
            wiring.client.counts(&wiring.events).await.0 == 0
                && engine.metric("hailer_in_flight").await == 0.0
                && engine.metric("hailer_outbox").await == 0.0
        })
        .await;
        let of_engine = latencies(&wiring, SECONDS).await?;
        let (sum, count) = ("hailer_commit_seconds_sum", "hailer_commit_seconds_count");
        commits.push(engine.metric(sum).await / engine.metric(count).await * 1e3);
        engine.stop().await;
        let (p50, p99) = (|sorted: &[f64]| sorted[sorted.len() / 2], |sorted: &[f64]| sorted[sorted.len() * 99 / 100]);
        println!(
            "round {round}: bare p50 {:.1} ms, p99 {:.1} ms; engine p50 {:.1} ms, p99 {:.1} ms; a sync {sync:.1} ms",
            p50(&bare),
            p99(&bare),
            p50(&of_engine),
            p99(&of_engine)
        );
        more.push((p50(&of_engine) - p50(&bare)) / sync);
        bares.push(p50(&bare));
        engines.push(p50(&of_engine));
        syncs.push(sync);
    }
    let beside = format!(
        "more than the bare program's: p50 {:.1} ms beside {:.1} ms, a sync of one page {:.1} ms, a commit {:.1} ms; rounds {}",
        median(engines),
        median(bares),
        median(syncs),
        median(commits),
        listed(&more, 2)
    );
    mark("publication to communication at 1000/s, p50", median(more), Against::AtMost(2.0), " syncs", &beside);
    Ok(())
}

/// When each event of a customer that is under way was published, the oldest first: a customer's events come out in order.
type UnderWay = Arc<Mutex<HashMap<String, VecDeque<(usize, Instant)>>>>;

/// Publishes at the rate and waits for what comes of it: milliseconds, sorted, of the events after the first seconds.
async fn latencies(wiring: &Wiring, seconds: usize) -> Outcome<Vec<f64>> {
    let count = RATE * (WARM_SECONDS + seconds);
    wiring.client.purge(&wiring.out).await;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let channel = &wiring.client.channel;
    let tag = "latency".into();
    let consumed = channel.basic_consume(wiring.out.as_str().into(), tag, options, FieldTable::default());
    let mut out = consumed.await?;
    let under_way = UnderWay::default();
    let publishing = publish(wiring, count, &under_way);
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
            let Some((number, sent)) = under_way.get_mut(&customer).and_then(VecDeque::pop_front) else {
                strays += 1;
                continue;
            };
            left -= 1;
            if number >= RATE * WARM_SECONDS {
                taken.push((now - sent).as_secs_f64() * 1e3);
            }
        }
        if strays > 0 {
            println!("{strays} messages came that nobody had sent in this round");
        }
        Ok(taken)
    };
    let both = tokio::time::timeout(LONG_ENOUGH, async { tokio::try_join!(publishing, receiving) });
    let ((), mut taken) = both.await.map_err(|_| "what was published did not come back")??;
    channel.basic_cancel("latency".into(), lapin::options::BasicCancelOptions::default()).await?;
    taken.sort_by(f64::total_cmp);
    Ok(taken)
}

/// Publishes on a schedule: what the publisher is late with, it makes up for.
async fn publish(wiring: &Wiring, count: usize, under_way: &UnderWay) -> Outcome<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let since = Instant::now();
    let mut confirms = Vec::new();
    let mut number = 0;
    while number < count {
        ticks.tick().await;
        let due = (since.elapsed().as_secs_f64() * RATE as f64) as usize;
        while number < due.min(count) {
            let customer = number % CUSTOMERS + 1;
            let event = purchase_of(customer as u64, number);
            let properties = BasicProperties::default().with_delivery_mode(2);
            let properties = properties.with_correlation_id(customer.to_string().into());
            let sent = (number, Instant::now());
            under_way.lock().map_err(|_| "poisoned")?.entry(customer.to_string()).or_default().push_back(sent);
            let options = BasicPublishOptions::default();
            let queue = wiring.events.as_str().into();
            confirms.push(
                wiring.client.channel.basic_publish("".into(), queue, options, event.as_bytes(), properties).await?,
            );
            number += 1;
        }
    }
    for confirm in confirms {
        confirm.await?;
    }
    Ok(())
}
