//! One queue is for one engine at a time: two engines that start together, standbys, and all kinds
//! of queues.

use futures_util::StreamExt;
use hailer::config::RabbitMqConfig;
use hailer::connection::single_active_mark;
use hailer_tests::broker::{Client, Message};
use hailer_tests::engine::Engine;
use hailer_tests::proxy::{Method, Proxy};
use hailer_tests::site::Site;
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;
use lapin::ExchangeKind;
use lapin::options::{BasicQosOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Pipeline, Running, body, numbered, queue, shared_broker};
use crate::swaps::purchase;

const BASIC_QOS: Method = (60, 10);
const EVENTS: u32 = 20;
const ROUNDS: usize = 8;

pub(crate) fn quorum() -> (&'static str, AMQPValue) {
    ("x-queue-type", AMQPValue::LongString("quorum".into()))
}

pub(crate) fn single_active() -> (&'static str, AMQPValue) {
    ("x-single-active-consumer", AMQPValue::Boolean(true))
}

pub(crate) async fn marked(client: &Client, queue: &str) {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let (mark, arguments) = (single_active_mark(queue), FieldTable::default());
    let made = client.channel.exchange_declare(
        mark.as_str().into(),
        ExchangeKind::Fanout,
        options,
        arguments,
    );
    wait::end_of("a mark", made).await.unwrap();
}

pub(crate) async fn stands_by(running: &Running) {
    wait::until("the engine stands by", async || running.health.standbys().contains_key("source"))
        .await;
    assert!(running.health.problems().is_empty(), "a standby is ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_that_start_together_at_a_quorum_queue_never_split_its_events() {
    let client = Client::connect(shared_broker()).await;
    for (name, arguments) in
        [("pair.plain", vec![quorum()]), ("pair.single", vec![quorum(), single_active()])]
    {
        for round in 0..ROUNDS {
            let name = format!("{name}.{round}");
            client.queue_with(&name, &arguments).await;
            client.publish("", &name, numbered(0..EVENTS)).await;
            let pair = [(); 2].map(|()| Running::start(&shared_broker().address(), &queue(&name)));
            let all = || pair.iter().map(|running| running.pipeline.len()).sum::<usize>();
            wait::until("every event is taken", async || all() >= EVENTS as usize).await;
            let [one, other] = pair.map(|running| {
                running.trigger.end();
                running.pipeline.bodies()
            });
            let taken = if one.is_empty() {
                other
            } else {
                assert!(other.is_empty(), "{one:?} {other:?}");
                one
            };
            assert_eq!(taken, numbered(0..EVENTS));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_takes_nothing_if_another_consumer_came_first() {
    let client = Client::connect(shared_broker()).await;
    client.queue_with("between", &[quorum()]).await;
    client.publish("", "between", numbered(0..EVENTS)).await;
    let proxy = Proxy::before(shared_broker().port()).await;
    // The first basic.qos belongs to the check of the queue's kind. The second comes between the
    // check for consumers and the consume.
    proxy.hold(BASIC_QOS, 2);
    let running = Running::start(&proxy.patient_address(), &queue("between"));
    proxy.is_holding().await;
    let other = Client::connect(shared_broker()).await;
    wait::end_of("a prefetch", other.channel.basic_qos(1, BasicQosOptions::default()))
        .await
        .unwrap();
    let _consumer = other.consume("between").await;
    proxy.release();
    let waits = || {
        running
            .health
            .problems()
            .get("source")
            .is_some_and(|why| why.contains("shows when it is empty"))
    };
    let has_taken = || running.pipeline.len() > 0;
    wait::until("the engine waits, or takes events", async || waits() || has_taken()).await;
    assert_eq!(running.pipeline.bodies(), Vec::<String>::new());
    running.trigger.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_engine_at_a_plain_quorum_queue_is_refused_and_takes_nothing() {
    let client = Client::connect(shared_broker()).await;
    client.queue_with("second", &[quorum()]).await;
    let first = Running::start(&shared_broker().address(), &queue("second"));
    first.ready().await;
    let second = Running::start(&shared_broker().address(), &queue("second"));
    let error = wait::end_of("the source", second.ended).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("already has a consumer"), "{error}");
    client.publish("", "second", numbered(0..EVENTS)).await;
    let held = first.pipeline.take_many(EVENTS as usize).await;
    assert!(held.iter().all(|delivery| !delivery.redelivered));
    drop(held);
    first.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_single_active_consumer_a_second_engine_stands_by() {
    let client = Client::connect(shared_broker()).await;
    let variants = [
        ("single.quorum", vec![quorum(), single_active()]),
        ("single.classic", vec![single_active()]),
    ];
    for (name, arguments) in variants {
        client.queue_with(name, &arguments).await;
        // A quorum queue shows its single active consumer itself; a classic queue is marked by
        // `hailer topology`.
        if name == "single.classic" {
            marked(&client, name).await;
        }
        let active = Running::start(&shared_broker().address(), &queue(name));
        active.ready().await;
        let standby = Running::start(&shared_broker().address(), &queue(name));
        stands_by(&standby).await;
        client.publish("", name, numbered(0..EVENTS)).await;
        let mut held = active.pipeline.take_many(EVENTS as usize).await;
        assert_eq!(standby.pipeline.len(), 0);
        held.drain(..5).for_each(|delivery| delivery.receipt.settle());
        drop(held);
        // The standby gets the unsettled events, in order.
        active.finish().await;
        let rest = standby.pipeline.take_many(EVENTS as usize - 5).await;
        assert_eq!(rest.iter().map(body).collect::<Vec<_>>(), numbered(5..EVENTS), "{name}");
        standby.ready().await;
        assert!(standby.health.standbys().is_empty());
        rest.into_iter().for_each(|delivery| delivery.receipt.settle());
        standby.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_an_engine_returns_reach_a_waiting_consumer_in_order() {
    const EVENTS: u32 = 40;
    const PREFETCH: u16 = 10;
    let client = Client::connect(shared_broker()).await;
    client.queue_with("orderly", &[quorum(), single_active()]).await;
    client.publish("", "orderly", numbered(0..EVENTS)).await;
    let config = hailer::config::RabbitMqConfig { prefetch: PREFETCH, ..queue("orderly") };
    let engine = Running::start(&shared_broker().address(), &config);
    let mut held = engine.pipeline.take_many(PREFETCH.into()).await;
    // Another program's consumer waits. The broker activates it when the engine is gone.
    let mut waiting = Client::connect(shared_broker()).await.consume("orderly").await;
    held.drain(..5).for_each(|delivery| delivery.receipt.settle());
    wait::until("more deliveries arrive", async || engine.pipeline.len() == 5).await;
    drop((held, engine.pipeline.take()));
    engine.finish().await;
    let mut given = Vec::new();
    while given.len() < (EVENTS - 5) as usize {
        let delivery = wait::end_of("a delivery", waiting.next()).await.unwrap().unwrap();
        given.push(String::from_utf8(delivery.data).unwrap());
    }
    assert_eq!(given, numbered(5..EVENTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_engine_takes_nothing_from_a_busy_queue_with_a_backlog() {
    let client = Client::connect(shared_broker()).await;
    for (name, arguments, refused) in [
        ("busy.single", vec![quorum(), single_active()], false),
        ("busy.plain", vec![quorum()], true),
    ] {
        client.queue_with(name, &arguments).await;
        client.publish("", name, numbered(0..EVENTS)).await;
        let config = hailer::config::RabbitMqConfig { prefetch: 5, ..queue(name) };
        let active = Running::start(&shared_broker().address(), &config);
        let mut held = active.pipeline.take_many(5).await;
        let second = Running::start(&shared_broker().address(), &queue(name));
        second.problem("shows when it is empty").await;
        for _ in 0..EVENTS / 5 {
            held.drain(..).for_each(|delivery| delivery.receipt.settle());
            held = active.pipeline.take();
            wait::until("the active engine continues", async || {
                held.extend(active.pipeline.take());
                held.len() >= 5 || client.counts(name).await.0 == 0
            })
            .await;
            assert!(
                held.iter().all(|delivery| !delivery.redelivered),
                "no event was taken and returned"
            );
        }
        if refused {
            let error =
                wait::end_of("the source", second.ended).await.unwrap().unwrap_err().to_string();
            assert!(error.contains("already has a consumer"), "{error}");
        } else {
            stands_by(&second).await;
            second.finish().await;
        }
        drop(held);
        active.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_refused_with_a_next_step() {
    let client = Client::connect(shared_broker()).await;
    client
        .queue_with("a.stream", &[("x-queue-type", AMQPValue::LongString("stream".into()))])
        .await;
    let running = Running::start(&shared_broker().address(), &queue("a.stream"));
    let error = wait::end_of("the source", running.ended).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("`a.stream` is a stream") && error.contains("hailer replay"), "{error}");
}

/// The amounts of all communications that are there, at least one.
async fn amounts(wiring: &Wiring) -> Vec<u64> {
    let communications = wiring.communications(1).await;
    let amount = |(_, body): &(Message, Value)| body["data"]["amount"].as_u64().unwrap();
    communications.iter().map(amount).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_from_a_killed_engine_in_queue_order() {
    const PURCHASES: usize = 400;
    let wiring = Wiring::named(shared_broker(), "failover").await;
    wiring.client.queue_with(&wiring.events, &[quorum(), single_active()]).await;
    wiring.client.queue(&wiring.letters).await;
    wiring.client.exchange(&wiring.exchange, &[]).await;
    wiring.bind_out().await;
    let sites = [Site::with_basket(), Site::with_basket()];
    let flags =
        [wiring.flags(), ["--set", "rabbitmq.prefetch=20"].map(String::from).to_vec()].concat();
    let active = sites[0].start(&flags);
    active.ready().await;
    let standby = sites[1].start(&flags);
    standby.ready_with("\"standby\"").await;
    assert_eq!(standby.readyz().await.0, 200);
    assert_eq!(standby.metric("hailer_source_standby").await.to_bits(), 1_f64.to_bits());
    wiring.send((0..PURCHASES).map(|number| purchase(number, number % 10))).await;
    wait::until("some are published", async || wiring.client.counts(&wiring.out).await.0 > 20)
        .await;
    active.kill();
    wait::until("the standby decides", async || {
        standby.metric("hailer_events_total{outcome=\"decided\"}").await > 0.0
    })
    .await;
    standby.stop().await;
    let mut last = [None; 10];
    let mut numbers = std::collections::BTreeSet::new();
    for number in amounts(&wiring).await {
        // Events that the killed engine had published and not acknowledged are published again,
        // from the other engine's store.
        let before = &mut last[number as usize % 10];
        assert!(
            numbers.contains(&number) || before.is_none_or(|before| before < number),
            "{number} {before:?}"
        );
        *before = Some((*before).map_or(number, |before: u64| before.max(number)));
        numbers.insert(number);
    }
    // What the killed engine had acknowledged and not published waits in its own store.
    let again = sites[0].start(&flags);
    again.ready().await;
    while numbers.len() < PURCHASES {
        numbers.extend(amounts(&wiring).await);
    }
    again.stop().await;
    wiring.is_drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_engine_with_a_full_outbox_returns_events_and_waits_for_room() {
    const EVENTS: usize = 600;
    let wiring = Wiring::named(shared_broker(), "givenback").await;
    wiring.client.queue(&wiring.letters).await;
    let letters = AMQPValue::LongString(wiring.letters.as_str().into());
    let arguments = [
        quorum(),
        ("x-delivery-limit", AMQPValue::LongInt(3)),
        ("x-dead-letter-exchange", AMQPValue::LongString("".into())),
        ("x-dead-letter-routing-key", letters),
    ];
    wiring.client.queue_with(&wiring.events, &arguments).await;
    wiring.client.exchange(&wiring.exchange, &[]).await;
    wiring.send((0..EVENTS).map(|number| purchase(number, number % 10))).await;
    let site = Site::with_basket();
    let bounds = [
        "store.outbox_max=20",
        "event.batch_max=1",
        "event.in_flight_max=8",
        "rabbitmq.prefetch=20",
        "rabbitmq.paused_ms_max=300",
    ];
    let bounds = bounds.map(|bound| ["--set".to_owned(), bound.to_owned()]).concat();
    let engine = site.start(&[wiring.flags(), bounds].concat());
    engine.ready_with("back in the queue until there is room").await;
    engine.metric_is("hailer_source_given_back_total", 1.0).await;
    let ready_and_consumers = async || wiring.client.counts(&wiring.events).await;
    wait::until("the rest is in the queue, without a consumer", async || {
        ready_and_consumers().await.1 == 0
    })
    .await;
    let returned = ready_and_consumers().await.0;
    assert!(returned > 0, "the outbox has room for all events");
    // The engine does not consume without room, even after the sink has published again: the broker
    // counts no more deliveries.
    let retries = "hailer_sink_retries_total{room=\"sink\",reason=\"return\"}";
    let before = engine.metric(retries).await;
    wait::until("the sink tries again", async || engine.metric(retries).await > before).await;
    assert_eq!(ready_and_consumers().await, (returned, 0));
    engine.metric_is("hailer_source_given_back_total", 1.0).await;
    wiring.bind_out().await;
    assert_eq!(wiring.communications(EVENTS).await.len(), EVENTS);
    assert_eq!(wiring.client.counts(&wiring.letters).await.0, 0, "no valid event is a dead letter");
    engine.stop().await;
    wiring.is_drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn check_and_doctor_do_not_warn_about_the_running_engines_consumer() {
    let wiring = Wiring::new(shared_broker(), "ownconsumer").await;
    wiring.client.exchange("ownconsumer.communications.unrouted", &[]).await;
    wiring.client.queue("ownconsumer.communications.unrouted").await;
    let site = Site::with_basket();
    let engine = site.start(&wiring.flags());
    engine.ready().await;
    let rules = site.rules().display().to_string();
    let flags = [wiring.flags(), vec!["--rules".to_owned(), rules]].concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    for command in ["check", "doctor"] {
        let arguments = [&[command][..], &flags].concat();
        let asked = tokio::task::block_in_place(|| site.command(&arguments)).expect(0);
        assert!(asked.stdout.contains("the running engine's among them"), "{}", asked.stdout);
    }
    let other = Client::connect(shared_broker()).await;
    other.queue("ownconsumer.other").await;
    let _consumer = other.consume("ownconsumer.other").await;
    let elsewhere =
        [&["check"][..], &flags, &["--set", "rabbitmq.queue=ownconsumer.other"]].concat();
    // The running engine consumes another queue, and no engine runs with the other data directory.
    for site in [&site, &Site::with_basket()] {
        let asked = tokio::task::block_in_place(|| site.command(&elsewhere)).expect(1);
        assert!(asked.stdout.contains("events would be split"), "{}", asked.stdout);
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn signals_that_arrive_together_still_drain() {
    let wiring = Wiring::new(shared_broker(), "signals").await;
    wiring.send((0..300).map(|number| purchase(number, number % 10))).await;
    let site = Site::with_basket();
    let mut engine: Engine = site.start(&wiring.flags());
    wait::until("some are published", async || wiring.client.counts(&wiring.out).await.0 > 20)
        .await;
    for signal in [Signal::TERM, Signal::TERM, Signal::INT] {
        engine.signal(signal);
    }
    assert_eq!(engine.ended().await, Some(0), "the engine drains");
    assert!(!engine.stderr().contains("the engine ends at once"), "{}", engine.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_starts_paused_consumes_nothing_until_it_has_room() {
    let client = Client::connect(shared_broker()).await;
    client.queue_with("paused", &[quorum()]).await;
    client.publish("", "paused", numbered(0..EVENTS)).await;
    let pipeline = Pipeline::paused();
    pipeline.has_little_room(true);
    let running =
        Running::start_with(&shared_broker().address(), &queue("paused"), pipeline.clone());
    running.problem("intake is paused").await;
    assert_eq!(client.counts("paused").await, (EVENTS, 0));
    // The engine waits for room for many events, like one that has returned events.
    pipeline.refills_are_awaited(1).await;
    pipeline.resume();
    assert_eq!(client.counts("paused").await, (EVENTS, 0));
    pipeline.has_little_room(false);
    let taken = running.pipeline.take_many(EVENTS as usize).await;
    assert!(taken.iter().all(|delivery| !delivery.redelivered), "no delivery was used up");
    taken.into_iter().for_each(|delivery| delivery.receipt.settle());
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn take_over_still_stands_by_at_a_single_active_consumer() {
    let client = Client::connect(shared_broker()).await;
    for (name, arguments, is_marked) in [
        ("over.quorum", vec![quorum(), single_active()], false),
        ("over.classic", vec![single_active()], true),
    ] {
        client.queue_with(name, &arguments).await;
        if is_marked {
            marked(&client, name).await;
        }
        let active = Running::start(&shared_broker().address(), &queue(name));
        active.ready().await;
        let config = hailer::config::RabbitMqConfig { take_over: true, ..queue(name) };
        let second = Running::start(&shared_broker().address(), &config);
        stands_by(&second).await;
        active.finish().await;
        second.ready().await;
        second.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_is_unready_while_another_consumer_takes_its_events() {
    let client = Client::connect(shared_broker()).await;
    client.queue_with("joined", &[quorum()]).await;
    let running = Running::start(&shared_broker().address(), &queue("joined"));
    running.ready().await;
    let other = Client::connect(shared_broker()).await;
    let consumer = other.consume("joined").await;
    running.problem("has other consumers (1)").await;
    drop(consumer);
    drop(other);
    running.ready().await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_returned_if_intake_pauses_while_one_is_offered() {
    let client = Client::connect(shared_broker()).await;
    client.queue_with("pausing", &[quorum()]).await;
    client.publish("", "pausing", numbered(0..EVENTS)).await;
    let config = hailer::config::RabbitMqConfig { paused_ms_max: 300, ..queue("pausing") };
    // The source checks while there is still room, and the pause begins when the delivery is
    // offered.
    let running =
        Running::start_with(&shared_broker().address(), &config, Pipeline::pausing_in_accept());
    running.problem("intake is paused").await;
    assert_eq!(running.pipeline.len(), 0);
    running.pipeline.resume();
    let taken = running.pipeline.take_many(EVENTS as usize).await;
    taken.into_iter().for_each(|delivery| delivery.receipt.settle());
    running.finish().await;
}

/// The outbox frees whole batches, so a run of an engine rarely shows a state between full and half
/// full. Therefore this test uses the fake pipeline.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_returned_events_consumes_again_with_room_for_many() {
    let client = Client::connect(shared_broker()).await;
    client.queue("refilled").await;
    client.publish("", "refilled", numbered(0..EVENTS)).await;
    let config = RabbitMqConfig { paused_ms_max: 100, ..queue("refilled") };
    let pipeline = Pipeline::pausing_in_accept();
    pipeline.has_little_room(true);
    let running = Running::start_with(&shared_broker().address(), &config, pipeline.clone());
    running.problem("intake is paused").await;
    pipeline.refills_are_awaited(1).await;
    // There is room for some deliveries: a source that does not wait for more would consume now.
    pipeline.resume();
    wait::until("all events are back in the queue", async || {
        client.counts("refilled").await == (EVENTS, 0)
    })
    .await;
    assert_eq!(pipeline.len(), 0);
    pipeline.has_little_room(false);
    let taken = pipeline.take_many(EVENTS as usize).await;
    taken.into_iter().for_each(|delivery| delivery.receipt.settle());
    pipeline.refills_are_awaited(1).await;
    running.finish().await;
}
