//! The whole engine against a broker that dies, lacks objects, or has other consumers; and the
//! engine's own end.

use std::collections::{BTreeMap, BTreeSet};

use hailer_tests::broker::{Broker, Client};
use hailer_tests::site::Site;
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;
use rustix::process::Signal;

use crate::support::shared_broker;
use crate::swaps::purchase;

fn purchases(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| purchase(number, number % 10))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_when_the_broker_is_killed_and_restarted() {
    const EVENTS: usize = 4000;
    let broker = Broker::start();
    let wiring = Wiring::new(&broker, "killed").await;
    let site = Site::with_basket();
    wiring.send(purchases(EVENTS)).await;
    // The batches are small, so that the broker is killed in the middle of them.
    let flags = [wiring.flags(), vec!["--set".into(), "rabbitmq.prefetch=50".into()]].concat();
    let engine = site.start(&flags);
    wait::until("some are published", async || wiring.client.counts(&wiring.out).await.0 > 200)
        .await;
    broker.kill();
    engine.ready_with("\"ready\":false").await;
    broker.restart();
    engine.ready().await;

    let client = Client::connect(&broker).await;
    // Unlike a client's count, this count includes messages that are delivered and not
    // acknowledged.
    let waiting = || broker.ctl(&["list_queues", "name", "messages"]);
    wait::until("every event is acknowledged", async || waiting().contains("killed.events\t0"))
        .await;
    engine.stop().await;
    assert_eq!(client.counts(&wiring.events).await, (0, 0));
    let mut by_id: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    for message in client.take_all(&wiring.out).await {
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        let id = message.properties.message_id().as_ref().unwrap().to_string();
        assert_eq!(body["id"], *id);
        let said = (body["data"]["amount"].as_u64().unwrap(), body["cause"]["eventId"].to_string());
        numbers.insert(said.0);
        // A repeat has the same cause, and two causes never share an id.
        assert_eq!(*by_id.entry(id).or_insert(said.clone()), said);
    }
    assert_eq!(numbers.len(), EVENTS, "every event has its communication");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_an_exchange_no_event_is_taken_and_the_outbox_keeps_its_rows() {
    let wiring = Wiring::named(shared_broker(), "wayless").await;
    for queue in [&wiring.events, &wiring.letters] {
        wiring.client.queue(queue).await;
    }
    wiring.send(purchases(10)).await;
    let site = Site::with_basket();
    let engine = site.start(&wiring.flags());
    engine.ready_with("exchange `wayless.communications` does not exist").await;
    assert_eq!(engine.readyz().await.0, 503);
    assert_eq!(
        wiring.client.counts(&wiring.events).await,
        (10, 0),
        "no event is taken before the exchange exists"
    );

    wiring.client.exchange(&wiring.exchange, &[]).await;
    engine.ready_with("no queue is bound to exchange").await;
    engine.metric_is("hailer_outbox", 10.0).await;
    engine.metric_is("hailer_source_acknowledged_total", 10.0).await;
    engine.metric_is("hailer_event_seconds_count", 10.0).await;
    assert_eq!(engine.metric("hailer_outbox_seconds_count").await, 0.0, "nothing is confirmed");
    assert_eq!(engine.readyz().await.0, 503);

    // The outbox survives the engine, however it ends.
    engine.kill();
    let engine = site.start(&wiring.flags());
    engine.ready_with("no queue is bound to exchange").await;
    engine.metric_is("hailer_outbox", 10.0).await;
    wiring.bind_out().await;
    engine.ready().await;
    assert_eq!(wiring.communications(10).await.len(), 10);
    wait::until("the outbox is empty", async || engine.metric("hailer_outbox").await == 0.0).await;
    assert!(engine.metric("hailer_outbox_seconds_count").await >= 1.0, "by commits");
    engine.stop().await;
    wiring.is_drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_full_outbox_stops_intake_until_there_is_room() {
    const EVENTS: usize = 3000;
    let wiring = Wiring::named(shared_broker(), "overfull").await;
    for queue in [&wiring.events, &wiring.letters] {
        wiring.client.queue(queue).await;
    }
    wiring.client.exchange(&wiring.exchange, &[]).await;
    wiring.send(purchases(EVENTS)).await;
    let site = Site::with_basket();
    let bounds = [
        "--set",
        "store.outbox_max=100",
        "--set",
        "rabbitmq.prefetch=50",
        "--set",
        "event.in_flight_max=300",
    ];
    let engine = site.start(&[wiring.flags(), bounds.map(String::from).to_vec()].concat());
    engine.ready_with("no queue is bound to exchange").await;
    wait::until("the outbox is full", async || engine.metric("hailer_outbox").await >= 100.0).await;
    // Decisions that were in flight when the outbox became full may be added.
    assert!(engine.metric("hailer_outbox").await <= 100.0 + 50.0);
    assert!(wiring.client.counts(&wiring.events).await.0 as usize > EVENTS / 2);
    wiring.bind_out().await;
    assert_eq!(wiring.communications(EVENTS).await.len(), EVENTS);
    wait::until("the outbox is empty", async || engine.metric("hailer_outbox").await == 0.0).await;
    engine.stop().await;
    wiring.is_drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sigterm_drains_returns_the_rest_to_the_queue_and_exits_0() {
    const EVENTS: usize = 5000;
    let wiring = Wiring::new(shared_broker(), "terminated").await;
    wiring.send(purchases(EVENTS)).await;
    let site = Site::with_basket();
    let mut engine =
        site.start(&[wiring.flags(), vec!["--set".into(), "rabbitmq.prefetch=20".into()]].concat());
    wait::until("some are published", async || wiring.client.counts(&wiring.out).await.0 > 20)
        .await;
    engine.signal(Signal::TERM);
    assert_eq!(engine.ended().await, Some(0));
    let (left, consumers) = wiring.client.counts(&wiring.events).await;
    assert_eq!(consumers, 0);
    assert!(left > 0, "SIGTERM came in the middle");
    let (published, _) = wiring.client.counts(&wiring.out).await;
    assert_eq!(
        (left + published) as usize,
        EVENTS,
        "each event is either published or returned to the queue"
    );
    assert!(
        engine.stderr().contains(&format!("{published} events, {published} communications")),
        "{}",
        engine.stderr()
    );

    // The next engine continues where this one ended.
    let engine = site.start(&wiring.flags());
    let communications = wiring.communications(EVENTS).await;
    engine.stop().await;
    wiring.is_drained().await;
    let mut last = [None; 10];
    for (_, body) in communications {
        let number = body["data"]["amount"].as_u64().unwrap();
        let before = last[number as usize % 10].replace(number);
        assert!(before.is_none_or(|before| before < number), "{number} came after {before:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_does_not_wait_for_a_broker_that_blocks_publishers() {
    const EVENTS: usize = 50;
    let broker = Broker::start();
    let wiring = Wiring::new(&broker, "alarm").await;
    wiring.send(purchases(EVENTS)).await;
    let _ = broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let site = Site::with_basket();
    // The drain time is much longer than a test waits.
    let flags = [wiring.flags(), ["--set", "drain_ms=3600000"].map(String::from).to_vec()].concat();
    let mut engine = site.start(&flags);
    engine.ready_with("short of memory").await;
    engine.metric_is("hailer_source_acknowledged_total", EVENTS as f64).await;
    engine.signal(Signal::TERM);
    assert_eq!(engine.ended().await, Some(0));
    let said = engine.stderr();
    assert!(
        said.contains("the next start publishes them") && !said.contains("the run has failed"),
        "{said}"
    );
    let _ = broker.ctl(&["set_vm_memory_high_watermark", "0.6"]);
    let engine = site.start(&flags);
    // A communication whose confirm was lost is published again with the same id.
    let mut ids = BTreeSet::new();
    while ids.len() < EVENTS {
        ids.extend(
            wiring.communications(1).await.into_iter().map(|(_, body)| body["id"].to_string()),
        );
    }
    engine.stop().await;
    wiring.is_drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_queue_with_another_consumer_is_refused_without_take_over() {
    let wiring = Wiring::new(shared_broker(), "contested").await;
    let other = Client::connect(shared_broker()).await;
    let _consumer = other.consume(&wiring.events).await;
    let site = Site::with_basket();
    let refused = site.run(&wiring.flags()).expect(2);
    assert!(refused.stderr.contains("already has a consumer"), "{}", refused.stderr);
    for remedy in ["hailer topology", "--take-over"] {
        assert!(refused.stderr.contains(remedy), "{}", refused.stderr);
    }
    let engine = site.start(&[wiring.flags(), vec!["--take-over".into()]].concat());
    engine.ready().await;
    assert_eq!(wiring.client.counts(&wiring.events).await.1, 2);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_data_directory_is_for_one_engine() {
    let site = Site::with_basket();
    let engine = site.start(&["--source", "-", "--sink", "-"]);
    engine.ready().await;
    let second = site.run(&["--source", "-", "--sink", "-"]);
    assert!(second.code != Some(0) && second.stderr.contains("another engine"), "{second:?}");
    engine.ready().await;
    engine.stop().await;
}
