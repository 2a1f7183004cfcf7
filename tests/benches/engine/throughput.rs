//! RabbitMQ to RabbitMQ with durable commits: the engine beside a bare client program, in one run, on one broker, with the same messages.
//! Once with ten campaigns that remember nothing, and once with five that each keep something of every event.
//!
//! The three take turns. Each is timed by the output queue alone: from its 2000th message to its last.

use std::time::{Duration, Instant};

use crate::measure::bare::{Route, move_messages};
use crate::measure::events::{mean_bytes, purchases};
use crate::measure::{Against, Outcome, campaigns, listed, mark, median, sync_ms};
use hailer_tests::broker::Broker;
use hailer_tests::engine::Engine;
use hailer_tests::site::Site;
use hailer_tests::wiring::Wiring;

const EVENTS: usize = 30_000;
const CUSTOMERS: u32 = 10_000;
/// Messages before the clock starts: connections, first calls and caches are warm then.
const WARM: u32 = 2000;
const ROUNDS: usize = 5;
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) async fn run() -> Outcome<()> {
    let broker = Broker::start();
    let wiring = Wiring::new(&broker, "bench").await;
    let events: Vec<_> = purchases(CUSTOMERS).take(EVENTS).collect();
    println!("{EVENTS} events a round, {} bytes each on average", mean_bytes(&events));
    let (mut ten, mut five) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let bare = of_bare(&wiring, &events).await?;
        let stateless = of_engine(&wiring, &events, &campaigns::stateless(10)).await?;
        let stateful = of_engine(&wiring, &events, &campaigns::stateful()).await?;
        ten.push(stateless / bare);
        five.push(stateful / bare);
        println!("round {round}: bare {bare:.0}/s, ten rules {stateless:.0}/s, five with state {stateful:.0}/s");
    }
    let sync = sync_ms(&std::env::temp_dir(), Duration::from_secs(1))?;
    for (name, ratios, least) in [
        ("RabbitMQ to RabbitMQ, durable, ten rules", ten, 0.7),
        ("RabbitMQ to RabbitMQ, durable, five rules with state", five, 0.6),
    ] {
        let beside = format!("of the bare program; rounds {}; a sync takes {sync:.1} ms", listed(&ratios, 2));
        mark(name, median(ratios), Against::AtLeast(least), "", &beside);
    }
    Ok(())
}

async fn of_bare(wiring: &Wiring, events: &[Vec<u8>]) -> Outcome<f64> {
    fill(wiring, events).await;
    let program = tokio::spawn(move_messages(Route::of(wiring), events.len()));
    let rate = rate(wiring, events.len()).await;
    program.abort();
    Ok(rate)
}

async fn of_engine(wiring: &Wiring, events: &[Vec<u8>], site: &Site) -> Outcome<f64> {
    fill(wiring, events).await;
    let engine: Engine = site.start(&wiring.flags());
    let rate = rate(wiring, events.len()).await;
    engine.stop().await;
    Ok(rate)
}

async fn fill(wiring: &Wiring, events: &[Vec<u8>]) {
    wiring.client.purge(&wiring.out).await;
    wiring.client.purge(&wiring.events).await;
    wiring.send(events).await;
}

/// Messages a second, from the output queue's 2000th to its last.
async fn rate(wiring: &Wiring, last: usize) -> f64 {
    let mut started = None;
    loop {
        let (messages, _) = wiring.client.counts(&wiring.out).await;
        match started {
            None if messages >= WARM => started = Some((Instant::now(), messages)),
            Some((since, first)) if messages as usize >= last => {
                return f64::from(messages - first) / Instant::elapsed(&since).as_secs_f64();
            }
            _ => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
