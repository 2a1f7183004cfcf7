//! Poison events: the engine is killed whenever it decides such an event, as it would be without
//! memory, until the poison guard gives the event up. All other events are decided in order.

use std::collections::BTreeMap;

use hailer::event::Customer;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Site, campaign, lines};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;
use serde_json::{Value, json};

use crate::hostile_guests::fixtures::{self, EVENT_CODE, GUILTY};
use crate::support::shared_broker;
use crate::swaps::purchase;

const PURCHASES: usize = 200;
const CUSTOMERS: usize = 20;
const REASON: &str = "the engine ended 3 times while it decided this event alone";
/// The most kills: one in a batch, three alone, and some because the machine's other work
/// makes the engine look stuck.
const KILLS_MAX: usize = 12;
/// The engine hangs if nothing has changed at this many checks in a row.
const LOOKS: usize = 15;
/// A deadline so long that a looping rule hangs.
const FOR_LONG: [&str; 2] = ["--set", "limits.call_deadline_ms=60000"];

/// The first customer on whose events the fixtures misbehave.
fn guilty() -> usize {
    let seed = |id: usize| {
        Customer { customer_id: Some(id.to_string().into()), ..Customer::default() }
            .key()
            .unwrap()
            .seed()
    };
    (CUSTOMERS..).find(|id| seed(*id) & 0xff == GUILTY).unwrap()
}

fn killer() -> String {
    format!(r#"{{"eventCode":"{EVENT_CODE}","customerInfo":{{"customerId":{}}}}}"#, guilty())
}

/// Purchases of all customers. The customer of the poison event has purchases before and after it.
fn events() -> Vec<String> {
    let customer =
        |number: usize| if number.is_multiple_of(5) { guilty() } else { number % CUSTOMERS };
    let mut events: Vec<String> =
        (0..PURCHASES).map(|number| purchase(number, customer(number))).collect();
    events.insert(PURCHASES / 2, killer());
    events
}

fn site(hostile: &str) -> Site {
    let site = Site::with_basket();
    site.put("modules/hostile.wasm", fixtures::module(hostile));
    site.put("hostile.toml", campaign("hostile", ""));
    site
}

/// Waits until nothing changes while an event is in flight. Returns false if the engine ends or is
/// done before.
async fn hangs(engine: &mut Engine, is_done: &mut impl AsyncFnMut() -> bool) -> bool {
    let (mut last, mut looks) = (0.0, 0);
    wait::until_some("the engine hangs, or is done", async || {
        if engine.has_ended() || is_done().await {
            return Some(false);
        }
        let in_flight = engine.metric_if_alive("hailer_in_flight").await;
        looks = if in_flight > 0.0 && in_flight.to_bits() == f64::to_bits(last) {
            looks + 1
        } else {
            0
        };
        last = in_flight;
        (looks >= LOOKS).then_some(true)
    })
    .await
}

/// Starts the engine, and kills it whenever it hangs, until it is done. Returns the last engine.
async fn run_until(
    site: &Site,
    flags: &[&str],
    input: Option<&str>,
    mut is_done: impl AsyncFnMut() -> bool,
) -> Engine {
    for _ in 0..KILLS_MAX {
        let mut engine = site.start(&[flags, &FOR_LONG].concat());
        if let Some(input) = input {
            engine.write(input);
            engine.close_input();
        }
        if !hangs(&mut engine, &mut is_done).await {
            return engine;
        }
        engine.kill();
    }
    panic!("killed {KILLS_MAX} times, and the engine still hangs");
}

/// The amounts of each customer's communications, in order of their first appearance.
fn amounts(communications: impl IntoIterator<Item = Value>) -> BTreeMap<String, Vec<u64>> {
    let mut of: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for one in communications {
        let amounts =
            of.entry(one["recipient"]["customerId"].as_str().unwrap().to_owned()).or_default();
        let amount = one["data"]["amount"].as_u64().unwrap();
        if !amounts.contains(&amount) {
            amounts.push(amount);
        }
    }
    of
}

/// Checks that every purchase was decided, and each customer's in order.
fn is_whole(amounts: &BTreeMap<String, Vec<u64>>) {
    assert_eq!(amounts.values().map(Vec::len).sum::<usize>(), PURCHASES);
    assert!(amounts.values().all(|amounts| amounts.is_sorted()), "{amounts:?}");
    assert_eq!(amounts[&guilty().to_string()].len(), PURCHASES / 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_poison_event_becomes_a_dead_letter_and_others_are_decided() {
    let wiring = Wiring::new(shared_broker(), "suspects").await;
    let site = site("endless-loop");
    wiring.send(events()).await;
    let flags = wiring.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let is_dead_lettered = async || wiring.client.counts(&wiring.letters).await.0 > 0;
    let engine = run_until(&site, &flags, None, is_dead_lettered).await;
    engine.metric_is("hailer_given_up_total{kind=\"event\"}", 1.0).await;
    wait::until("nothing is in flight", async || engine.metric("hailer_in_flight").await == 0.0)
        .await;

    let waiting = wait::until_some("everything is published", async || {
        let waiting = wiring.client.counts(&wiring.out).await.0 as usize;
        (waiting >= PURCHASES && engine.metric("hailer_outbox").await == 0.0).then_some(waiting)
    })
    .await;
    let communications = wiring.communications(waiting).await;
    is_whole(&amounts(communications.into_iter().map(|(_, body)| body)));
    let letters = wiring.client.take_many(&wiring.letters, 1).await;
    assert_eq!(letters[0].header("x-hailer-reason").as_deref(), Some(REASON));
    assert_eq!(letters[0].body, killer().as_bytes());
    engine.stop().await;
    wiring.is_drained().await;
    assert_eq!(wiring.client.counts(&wiring.letters).await.0, 0, "no other event is a dead letter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_poison_line_of_a_file_becomes_a_dead_letter_beside_the_file() {
    let site = site("endless-loop");
    let source = format!("file:{}", site.write("events.jsonl", events().join("\n")).display());
    let sink = format!("file:{}", site.path("communications.jsonl").display());
    let store = site.path("store").display().to_string();
    let flags = ["--source", &source, "--sink", &sink, "--store", &store];
    let mut engine = run_until(&site, &flags, None, async || false).await;
    assert_eq!(engine.ended().await, Some(0));
    is_whole(&amounts(lines(&site.path("communications.jsonl"))));
    let letters = lines(&site.path("events.jsonl.deadletters.jsonl"));
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["headers"]["x-hailer-reason"], REASON);
    assert_eq!(letters[0]["body"], killer());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_poison_line_of_standard_input_is_recognised_at_the_next_run() {
    let site = site("endless-loop");
    let input = events().join("\n");
    let mut engine =
        run_until(&site, &["--source", "-", "--sink", "-"], Some(&input), async || false).await;
    assert_eq!(engine.ended().await, Some(0));
    is_whole(&amounts(engine.printed()));
    let letters = lines(&site.data().join("deadletters.jsonl"));
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["headers"]["x-hailer-reason"], REASON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_poison_timer_is_a_fault_of_its_rule_and_others_are_decided() {
    let site = site("loop-in-timer");
    let at = |minute: i64, body: &str| {
        json!({ "timestamp": 1_772_323_200_000 + minute * 60_000, "body": body }).to_string()
    };
    let events = [at(0, &killer()), at(1, &purchase(1, guilty())), at(2, &purchase(2, 1))];
    let source = format!("file:{}", site.write("events.jsonl", events.join("\n")).display());
    let sink = format!("file:{}", site.path("communications.jsonl").display());
    let store = site.path("store").display().to_string();
    let flags = ["--source", &source, "--sink", &sink, "--store", &store, "--clock", "events"];
    let mut engine = run_until(&site, &flags, None, async || false).await;
    assert_eq!(engine.ended().await, Some(0));
    let story = site.command(&["why", &guilty().to_string(), "--store", &store]).expect(0);
    let failed = "failed (was not called: the engine ended 3 times while it decided this alone)";
    assert!(story.stdout.contains(failed), "{}", story.stdout);
    assert_eq!(lines(&site.path("communications.jsonl")).len(), 2);
    assert!(!site.path("events.jsonl.deadletters.jsonl").exists());
}
