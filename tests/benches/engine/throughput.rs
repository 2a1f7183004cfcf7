//! Throughput from RabbitMQ to RabbitMQ with durable commits: the engine beside a bare client
//! program, in one run, on one broker, with the same messages. There are two sets of campaigns:
//! ten, two of which have state, with classic and with quorum queues; and five that all have state.
//!
//! All take turns. Each is timed only by the output queue.

use std::time::Duration;

use crate::measure::events::{mean_bytes, purchases};
use crate::measure::flow::{of_bare, of_engine};
use crate::measure::{Against, Outcome, campaigns, listed, mark, median, sync_ms};
use hailer_tests::broker::Broker;
use hailer_tests::wiring::Wiring;

const EVENTS: usize = 30_000;
const CUSTOMERS: u32 = 10_000;
const ROUNDS: usize = 5;

pub(crate) async fn run() -> Outcome<()> {
    let broker = Broker::start();
    let classic = Wiring::new(&broker, "classic").await;
    let quorum = Wiring::of_quorum_queues(&broker, "quorum").await;
    let events: Vec<_> = purchases(CUSTOMERS).take(EVENTS).collect();
    println!("{EVENTS} events a round, {} bytes each on average", mean_bytes(&events));
    let [mut ten, mut five, mut ten_of_quorum] = [const { Vec::new() }; 3];
    for round in 1..=ROUNDS {
        let bare = of_bare(&classic, &events).await?;
        let with_ten = of_engine(&classic, &events, &campaigns::ten()).await?;
        let with_five = of_engine(&classic, &events, &campaigns::stateful()).await?;
        ten.push(with_ten / bare);
        five.push(with_five / bare);
        println!(
            "round {round}, classic: bare {bare:.0}/s, ten rules {with_ten:.0}/s, five with state \
             {with_five:.0}/s"
        );
        let bare = of_bare(&quorum, &events).await?;
        let with_ten = of_engine(&quorum, &events, &campaigns::ten()).await?;
        ten_of_quorum.push(with_ten / bare);
        println!("round {round}, quorum: bare {bare:.0}/s, ten rules {with_ten:.0}/s");
    }
    let sync = sync_ms(&std::env::temp_dir(), Duration::from_secs(1))?;
    for (name, ratios, least) in [
        ("RabbitMQ to RabbitMQ, durable, ten rules, two with state", ten, 0.9),
        ("the same, quorum queues", ten_of_quorum, 0.8),
        ("RabbitMQ to RabbitMQ, durable, five rules with state", five, 0.6),
    ] {
        let beside = format!(
            "of the bare program; rounds {}; a sync takes {sync:.1} ms",
            listed(&ratios, 2)
        );
        mark(name, median(ratios), Against::AtLeast(least), "", &beside);
    }
    Ok(())
}
