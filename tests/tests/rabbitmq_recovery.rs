//! Source and sink against brokers that are killed, stop or raise an alarm. Each test has a broker
//! of its own.

use std::collections::BTreeSet;

use hailer::config::RabbitMqConfig;
use hailer::health::Health;
use hailer_tests::broker::{Broker, Client, Message};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;

use crate::support::{
    Running, body, communication, exchange, numbered, problem, publish, publishing, queue, ready,
    sink, way_out,
};

/// Waits for the messages in the output queue, and checks the number of different ids. Repeats do
/// not count.
async fn all_came_out(client: &Client, count: usize) {
    let id = |message: &Message| message.properties.message_id().as_ref().unwrap().to_string();
    let ids: BTreeSet<String> = client.take_many("out.q", count).await.iter().map(id).collect();
    assert_eq!(ids.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_remembers_its_queues_and_bindings() {
    let broker = Broker::start();
    let wiring = Wiring::new(&broker, "remembered").await;
    broker.kill();
    broker.restart();
    let client = Client::connect(&broker).await;
    client.publish(&wiring.exchange, "any", ["bound"]).await;
    assert_eq!(client.take_many(&wiring.out, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn source_and_sink_survive_a_killed_broker() {
    let broker = Broker::start();
    let client = Client::connect(&broker).await;
    client.queue("in").await;
    way_out(&client).await;
    client.publish("", "in", numbered(0..100)).await;
    let running = Running::start(&broker.address(), &queue("in"));
    let health = Health::default();
    let mut sink = sink(&broker.address(), &exchange("out"), &health);
    publish(&mut sink, &[communication("before", "k")]).await.unwrap();
    let mut held = running.pipeline.take_many(100).await.into_iter();
    held.by_ref().take(40).for_each(|delivery| delivery.receipt.settle());
    let unsettled: Vec<_> = held.collect();
    let (source_health, address) = (running.health.clone(), broker.address());
    broker.kill();
    // The remaining deliveries are settled while the broker is down.
    unsettled.into_iter().for_each(|delivery| delivery.receipt.settle());
    let batch: Vec<_> = (0..2000).map(|id| communication(id, "k")).collect();
    let published = publishing(sink, batch);
    wait::until("both report a problem", async || {
        !health.problems().is_empty() && !source_health.problems().is_empty()
    })
    .await;
    assert!(!published.is_finished());
    broker.restart();
    assert_eq!(address, broker.address());
    wait::end_of("publishing", published).await.unwrap().unwrap();
    ready(&health).await;
    running.ready().await;
    let client = Client::connect(&broker).await;
    // At least the unsettled messages are delivered again, in order, and those of the settled ones
    // whose acknowledgement was lost.
    let again = running.pipeline.take_many(60).await;
    let again_bodies: Vec<_> = again.iter().map(body).collect();
    assert_eq!(again_bodies, numbered(100 - u32::try_from(again.len()).unwrap()..100));
    again.into_iter().for_each(|delivery| delivery.receipt.settle());
    running.finish().await;
    wait::until("all are acknowledged", async || client.counts("in").await == (0, 0)).await;
    all_came_out(&client, 2001).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_in_the_middle_of_publishing_loses_nothing() {
    let broker = Broker::start();
    let client = Client::connect(&broker).await;
    way_out(&client).await;
    let health = Health::default();
    let batch: Vec<_> = (0..20_000).map(|id| communication(id, "k")).collect();
    let published = publishing(sink(&broker.address(), &exchange("out"), &health), batch);
    wait::until("some are there", async || client.counts("out.q").await.0 > 500).await;
    broker.kill();
    assert!(!published.is_finished());
    broker.restart();
    let published = tokio::time::timeout(wait::LONG_ENOUGH, published).await;
    let ended = published.unwrap_or_else(|_| panic!("it is still publishing: {health:?}"));
    ended.unwrap().unwrap();
    let client = Client::connect(&broker).await;
    all_came_out(&client, 20_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_stops_publishing_and_not_consuming() {
    let broker = Broker::start();
    let client = Client::connect(&broker).await;
    client.queue("in").await;
    way_out(&client).await;
    client.publish("", "in", numbered(0..200)).await;
    let health = Health::default();
    let mut sink = sink(&broker.address(), &exchange("out"), &health);
    publish(&mut sink, &[communication("before", "k")]).await.unwrap();
    broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let published = publishing(sink, vec![communication("during", "k")]);
    problem(&health, "sink", "blocks publishers").await;
    let running =
        Running::start(&broker.address(), &RabbitMqConfig { prefetch: 20, ..queue("in") });
    let mut consumed = 0;
    while consumed < 200 {
        wait::until("a delivery in spite of the alarm", async || running.pipeline.len() > 0).await;
        let held = running.pipeline.take();
        consumed += held.len();
        held.into_iter().for_each(|delivery| delivery.receipt.settle());
    }
    running.finish().await;
    assert!(!published.is_finished());
    broker.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    // The sink notices the end of the alarm between confirms, so it must still exist.
    let _sink = wait::end_of("publishing", published).await.unwrap().unwrap();
    ready(&health).await;
    wait::until("all are acknowledged", async || client.counts("in").await == (0, 0)).await;
    assert_eq!(client.take_many("out.q", 2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_broker_is_noticed_and_reconnected() {
    let broker = Broker::start();
    let client = Client::connect(&broker).await;
    client.queue("in").await;
    client.publish("", "in", ["before"]).await;
    let address = format!("{}&connection_timeout=500", broker.address());
    let running = Running::start(&address, &queue("in"));
    running.pipeline.take_many(1).await.remove(0).receipt.settle();
    running.ready().await;
    broker.freeze();
    running.problem("no heartbeat").await;
    running.problem("does not answer").await;
    broker.thaw();
    running.ready().await;
    let client = Client::connect(&broker).await;
    client.publish("", "in", ["after"]).await;
    wait::until("the new message", async || {
        running.pipeline.bodies().contains(&"after".to_owned())
    })
    .await;
    running.pipeline.take().into_iter().for_each(|delivery| delivery.receipt.settle());
    running.finish().await;
}
