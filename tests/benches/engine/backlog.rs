//! Loads that differ from a steady flow, compared with it in one run: a backlog of a million
//! events, and one customer with half of all events. That customer's events are decided one after
//! another, and must not delay other customers more than usual.

use std::collections::HashMap;

use crate::measure::bare::{Route, move_messages};
use crate::measure::events::purchase_of;
use crate::measure::flow::{empty, of_bare, of_engine, rate};
use crate::measure::{Against, Outcome, campaigns, listed, mark, median};
use hailer_tests::broker::Broker;
use hailer_tests::wiring::Wiring;

const EVENTS: usize = 30_000;
const CUSTOMERS: u64 = 10_000;
const BACKLOG: usize = 1_000_000;
/// The number of backlog events that are published before their confirms are awaited.
const AT_ONCE: usize = 10_000;
const ROUNDS: usize = 3;
const HOT: u64 = 1;
const OF_STEADY_LEAST: f64 = 0.8;
/// The largest allowed delay, in events: the number of events that may be in flight at once.
const LATER_MAX: f64 = 2000.0;

pub(crate) async fn run() -> Outcome<()> {
    let broker = Broker::start();
    let wiring = Wiring::new(&broker, "bench").await;
    let of = |customer: fn(usize) -> u64| -> Vec<Vec<u8>> {
        (0..EVENTS).map(|number| purchase_of(customer(number), number).into_bytes()).collect()
    };
    let (events, with_hot) = (of(any_customer), of(customer_of));
    let [mut steady, mut ratios, mut later] = [const { Vec::new() }; 3];
    for round in 1..=ROUNDS {
        let usual = of_engine(&wiring, &events, &campaigns::ten()).await?;
        let hot = of_engine(&wiring, &with_hot, &campaigns::ten()).await?;
        let places = later_by(&wiring).await?;
        println!(
            "round {round}: steady {usual:.0}/s, half of one customer {hot:.0}/s, others at most \
             {places} later"
        );
        steady.push(usual);
        ratios.push(hot / usual);
        later.push(places as f64);
    }
    let beside = format!("of the steady rate; rounds {}", listed(&ratios, 2));
    mark(
        "one customer with half of all events",
        median(ratios),
        Against::AtLeast(OF_STEADY_LEAST),
        "",
        &beside,
    );
    let beside = "which another customer's communication comes later than in the order of the \
                  events, at most";
    mark("the same, for the others", median(later), Against::AtMost(LATER_MAX), " places", beside);

    let bare_steady = of_bare(&wiring, &events).await?;
    fill_with_backlog(&wiring).await;
    let program = tokio::spawn(move_messages(Route::of(&wiring), BACKLOG));
    let bare = rate(&wiring, BACKLOG).await;
    program.abort();
    println!("the bare program: steady {bare_steady:.0}/s, a backlog {bare:.0}/s");
    fill_with_backlog(&wiring).await;
    let site = campaigns::ten();
    let engine = site.start(&wiring.flags());
    let drained = rate(&wiring, BACKLOG).await;
    engine.stop().await;
    let steady = median(steady);
    let beside = format!(
        "{drained:.0} events a second, of the steady {steady:.0}; the bare program {bare:.0}, \
         {:.2} of its steady {bare_steady:.0}",
        bare / bare_steady
    );
    mark(
        "a backlog of a million events",
        drained / steady,
        Against::AtLeast(OF_STEADY_LEAST),
        "",
        &beside,
    );
    Ok(())
}

async fn fill_with_backlog(wiring: &Wiring) {
    empty(wiring).await;
    for first in (0..BACKLOG).step_by(AT_ONCE) {
        let bodies =
            (first..first + AT_ONCE).map(|number| purchase_of(any_customer(number), number));
        wiring.send(bodies).await;
    }
}

fn any_customer(number: usize) -> u64 {
    HOT + 1 + number as u64 * 7919 % CUSTOMERS
}

/// Half of all events belong to one customer, in bursts as a broken till sends them.
fn customer_of(number: usize) -> u64 {
    const BURST: usize = 500;
    if (number / BURST).is_multiple_of(2) { HOT } else { any_customer(number) }
}

/// The largest number of places by which another customer's communication came later than its
/// event. Only their order among each other counts.
async fn later_by(wiring: &Wiring) -> Outcome<usize> {
    let mut turn: HashMap<String, Vec<usize>> = HashMap::new();
    for number in (0..EVENTS).rev() {
        turn.entry(customer_of(number).to_string()).or_default().push(number);
    }
    let messages = wiring.client.take_many(&wiring.out, EVENTS).await;
    let mut most = 0;
    for (place, message) in messages.iter().enumerate() {
        let body: serde_json::Value = serde_json::from_slice(&message.body)?;
        let customer = body["recipient"]["customerId"].as_str().ok_or("a recipient")?;
        if customer == HOT.to_string() {
            continue;
        }
        // A customer's communications come in the order of the events.
        let number = turn.get_mut(customer).and_then(Vec::pop).ok_or("an event of theirs")?;
        most = most.max(place.saturating_sub(number));
    }
    Ok(most)
}
