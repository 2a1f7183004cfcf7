//! The source against a broker that keeps running.

use hailer::address::BrokerAddress;
use hailer::config::RabbitMqConfig;
use hailer::health::Health;
use hailer::sources::rabbitmq::RabbitMqSource;
use hailer_tests::broker::Client;
use hailer_tests::wait;
use lapin::BasicProperties;
use lapin::types::AMQPValue;

use crate::support::{Running, body, close_consumers_of, numbered, queue, shared_broker};

#[tokio::test(flavor = "multi_thread")]
async fn only_the_contiguous_prefix_is_acknowledged() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.queue("prefix").await;
    client.publish("", "prefix", numbered(0..10)).await;
    let running = Running::start(&broker.address(), &queue("prefix"));
    let mut held = running.pipeline.take_many(10).await;
    // 0, 1, 2 and 5 are settled; 3 is not, so 5 must be delivered again.
    held.remove(5).receipt.settle();
    held.drain(..3).for_each(|delivery| delivery.receipt.settle());
    drop(held);
    running.finish().await;
    wait::until("the unacknowledged messages are back", async || {
        client.counts("prefix").await.0 == 7
    })
    .await;
    let back: Vec<_> = client.take_all("prefix").await;
    assert_eq!(
        back.iter().map(|message| message.body.clone()).collect::<Vec<_>>(),
        numbered(3..10).map_bytes()
    );
    assert!(back.iter().all(|message| message.redelivered));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_carries_the_properties_of_its_message() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.exchange("origin.exchange", &[]).await;
    client.queue("origin").await;
    client.bind("origin", "origin.exchange", "#").await;
    let properties =
        BasicProperties::default().with_message_id("m-7".into()).with_timestamp(1_764_000_000);
    client
        .send("origin.exchange", "сustomer.card.changeCategory", b"{}", properties)
        .await
        .await
        .unwrap();
    let vast = BasicProperties::default().with_timestamp(u64::MAX);
    client.send("origin.exchange", "k", b"", vast).await.await.unwrap();
    let running = Running::start(&broker.address(), &queue("origin"));
    let held = running.pipeline.take_many(2).await;
    assert_eq!(held[0].message_id.as_deref(), Some("m-7"));
    assert_eq!(held[0].routing_key.as_deref(), Some("сustomer.card.changeCategory"));
    assert_eq!(held[0].timestamp_ms, Some(1_764_000_000_000));
    assert_eq!((held[0].redelivered, &held[0].position, &held[0].defect), (false, &None, &None));
    // Code behind the source checks whether it is a valid time.
    assert_eq!((held[1].message_id.as_deref(), held[1].timestamp_ms), (None, Some(i64::MAX)));
    held.into_iter().for_each(|delivery| delivery.receipt.settle());
    running.finish().await;
    wait::until("all are acknowledged", async || client.counts("origin").await == (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_prefetch_is_unacknowledged() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.queue("bounded").await;
    client.publish("", "bounded", numbered(0..25)).await;
    let config = RabbitMqConfig { prefetch: 10, ..queue("bounded") };
    let running = Running::start(&broker.address(), &config);
    let mut seen = Vec::new();
    while seen.len() < 25 {
        wait::until("a delivery", async || running.pipeline.len() > 0).await;
        let held = running.pipeline.take();
        assert!(held.len() <= 10);
        seen.extend(held.iter().map(body));
        held.into_iter().for_each(|delivery| delivery.receipt.settle());
    }
    assert_eq!(seen, numbered(0..25));
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_has_a_consumer_is_refused() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.queue("contested").await;
    let _consumer = client.consume("contested").await;
    let running = Running::start(&broker.address(), &queue("contested"));
    let error = wait::end_of("the source", running.ended).await.unwrap().unwrap_err().to_string();
    for part in [
        "`contested`",
        "events would be split",
        "bind a queue of your own",
        "hailer topology",
        "--take-over",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(client.counts("contested").await.1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn take_over_consumes_beside_another_consumer() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.queue("taken").await;
    let _consumer = client.consume("taken").await;
    let config = RabbitMqConfig { take_over: true, ..queue("taken") };
    let running = Running::start(&broker.address(), &config);
    running.ready().await;
    wait::until("two consumers", async || client.counts("taken").await.1 == 2).await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumed_queue_refuses_a_second_consumer() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.queue("exclusive").await;
    let first = Running::start(&broker.address(), &queue("exclusive"));
    first.ready().await;
    let second = Running::start(
        &broker.address(),
        &RabbitMqConfig { take_over: true, ..queue("exclusive") },
    );
    let error = wait::end_of("the source", second.ended).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("already has a consumer"), "{error}");
    first.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_waits_for_a_missing_or_deleted_queue() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    let running = Running::start(&broker.address(), &queue("late"));
    running.problem("queue `late` does not exist").await;
    client.queue("late").await;
    client.publish("", "late", ["first"]).await;
    let first = running.pipeline.take_many(1).await;
    running.ready().await;
    client.delete_queue("late").await;
    running.problem("queue `late` does not exist").await;
    client.queue("late").await;
    client.publish("", "late", ["second"]).await;
    let second = running.pipeline.take_many(1).await;
    assert_eq!(body(&second[0]), "second");
    // A receipt of the lost session settles nothing in the new session.
    first.into_iter().for_each(|delivery| delivery.receipt.settle());
    drop(second);
    running.finish().await;
    wait::until("the second message is back", async || client.counts("late").await.0 == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unacknowledged_messages_come_again_in_order_after_a_lost_session() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    for (name, arguments) in [("again", vec![]), ("again.quorum", vec![("x-queue-type", "quorum")])]
    {
        let long =
            |(key, value): &(&'static str, &str)| (*key, AMQPValue::LongString((*value).into()));
        client.queue_with(name, &arguments.iter().map(long).collect::<Vec<_>>()).await;
        client.publish("", name, numbered(0..50)).await;
        let running = Running::start(&broker.address(), &queue(name));
        let held = running.pipeline.take_many(50).await;
        let mut held = held.into_iter();
        held.by_ref().take(20).for_each(|delivery| delivery.receipt.settle());
        let unsettled: Vec<_> = held.collect();
        wait::until("the first twenty are acknowledged", async || unacknowledged(name) == 30).await;
        close_consumers_of(name);
        let again = running.pipeline.take_many(30).await;
        assert_eq!(again.iter().map(body).collect::<Vec<_>>(), numbered(20..50));
        assert!(again.iter().all(|delivery| delivery.redelivered));
        drop(unsettled);
        again.into_iter().for_each(|delivery| delivery.receipt.settle());
        running.finish().await;
        wait::until("all are acknowledged", async || client.counts(name).await == (0, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_source_takes_nothing_new_and_acknowledges_late_receipts() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.queue("drained").await;
    client.publish("", "drained", numbered(0..5)).await;
    let running = Running::start(&broker.address(), &queue("drained"));
    let held = running.pipeline.take_many(5).await;
    // The source checks for a drain before it takes a delivery. Its consumer stays until the
    // session is closed.
    running.trigger.drain();
    client.publish("", "drained", ["new"]).await;
    assert!(!running.ended.is_finished());
    held.into_iter().for_each(|delivery| delivery.receipt.settle());
    wait::end_of("the source", running.ended).await.unwrap().unwrap();
    assert_eq!(running.pipeline.len(), 0);
    assert_eq!(client.take_all("drained").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_events_return_to_the_queue_when_the_drain_time_is_over() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.queue("cut").await;
    client.publish("", "cut", numbered(0..5)).await;
    let running = Running::start(&broker.address(), &queue("cut"));
    let mut held = running.pipeline.take_many(5).await;
    held.remove(0).receipt.settle();
    running.trigger.drain();
    running.trigger.end();
    wait::end_of("the source", running.ended).await.unwrap().unwrap();
    wait::until("four messages are back", async || client.counts("cut").await.0 == 4).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_broker_does_not_delay_a_stop() {
    let running = Running::start("amqp://127.0.0.1:1", &queue("any"));
    running.problem("refused").await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_reported_without_showing_it() {
    let broker = shared_broker();
    let address = broker.address().replace("guest:guest", "guest:wr0ng");
    let running = Running::start(&address, &queue("any"));
    running.problem("ACCESS_REFUSED").await;
    let problems = format!("{:?}", running.health.problems());
    assert!(!problems.contains("wr0ng"), "{problems}");
    running.finish().await;
}

#[test]
fn an_invalid_configuration_is_refused_before_connecting() {
    let refused = |config: RabbitMqConfig| {
        let address = "amqp://h".parse::<BrokerAddress>().unwrap().with_files(&config).unwrap();
        let source = RabbitMqSource::new(address, &config, Health::default());
        source.unwrap_err().to_string()
    };
    assert!(refused(RabbitMqConfig { prefetch: 0, ..queue("q") }).contains("prefetch"));
    assert!(refused(queue("")).contains("rabbitmq.queue"));
    assert!(refused(queue(&"q".repeat(256))).contains("255"));
    let config = RabbitMqConfig { password_file: Some("/nowhere/password".into()), ..queue("q") };
    assert!(refused(config).contains("/nowhere/password"));
}

/// The number of delivered, unacknowledged messages of a queue.
fn unacknowledged(queue: &str) -> u32 {
    let listed = shared_broker().ctl(&["list_queues", "name", "messages_unacknowledged"]);
    let counts = listed.lines().filter_map(|line| line.split_once('\t'));
    counts
        .filter(|(name, _)| *name == queue)
        .filter_map(|(_, count)| count.parse::<u32>().ok())
        .sum()
}

trait MapBytes {
    fn map_bytes(self) -> Vec<Vec<u8>>;
}

impl MapBytes for Vec<String> {
    fn map_bytes(self) -> Vec<Vec<u8>> {
        self.into_iter().map(String::into_bytes).collect()
    }
}
