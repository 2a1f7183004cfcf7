//! The source's report of its handled backlog: it may be late, but never early (G6).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use hailer::clock::{Millis, now_ms};
use hailer::config::RabbitMqConfig;
use hailer_tests::broker::Client;
use hailer_tests::proxy::{Method, Proxy};
use hailer_tests::wait;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicQosOptions};
use lapin::types::AMQPValue;

use crate::support::{Running, body, numbered, queue, shared_broker};

const QUEUE_DECLARE: Method = (50, 10);

/// Waits until the source has looked at its queue and used what it found. A source that reports too
/// early has reported by then.
///
/// The source looks with a passive queue.declare, one at a time. The first that passes may have
/// been on its way before. The answer to the second is used before the third is sent; if the queue
/// was empty, the source then asks which delivery was the last, and has that answer before the
/// fourth.
async fn looks_are_used(proxy: &Proxy) {
    let looks = proxy.passed(QUEUE_DECLARE);
    wait::until("the source looks at its queue", async || proxy.passed(QUEUE_DECLARE) >= looks + 4)
        .await;
}

/// Runs a test for a queue of each type, at the same time.
async fn for_each_queue(queues: [String; 2], test: impl AsyncFn(String)) {
    let [classic, quorum] = queues;
    tokio::join!(test(classic), test(quorum));
}

/// Declares a classic and a quorum queue.
async fn queues(client: &Client, name: &str) -> [String; 2] {
    let [classic, quorum] = [name.to_owned(), format!("{name}.quorum")];
    client.queue(&classic).await;
    client.queue_with(&quorum, &[("x-queue-type", AMQPValue::LongString("quorum".into()))]).await;
    [classic, quorum]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_handled_before_everything_that_waited_is_settled() {
    let client = Client::connect(shared_broker()).await;
    for_each_queue(queues(&client, "backlog").await, async |name| {
        client.publish("", &name, numbered(0..3000)).await;
        let all_waited = now_ms();
        let proxy = Proxy::before(shared_broker().port()).await;
        let running = Running::start(&proxy.patient_address(), &queue(&name));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.drain(..).for_each(settle);
            held = running.pipeline.take_many(1000).await;
            looks_are_used(&proxy).await;
            assert_eq!(running.pipeline.handled(), None);
        }
        let last = held.pop().unwrap();
        held.into_iter().for_each(settle);
        looks_are_used(&proxy).await;
        assert_eq!(running.pipeline.handled(), None, "one delivery is not settled");
        settle(last);
        running.pipeline.handled_after(all_waited).await;
        // Without further messages the source keeps reporting later moments.
        running.pipeline.handled_after(now_ms()).await;
        running.finish().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn later_messages_do_not_delay_the_report_of_earlier_ones_for_ever() {
    let broker = shared_broker();
    for_each_queue(queues(&Client::connect(broker).await, "endless").await, async |name| {
        // The moment at which each message was certainly in the queue.
        let confirmed: Arc<Mutex<Vec<Millis>>> = Arc::default();
        let client = Client::connect(broker).await;
        let publishing = tokio::spawn({
            let (name, confirmed) = (name.clone(), Arc::clone(&confirmed));
            async move {
                for first in (0..).step_by(100) {
                    client.publish("", &name, numbered(first..first + 100)).await;
                    let now = now_ms();
                    confirmed.lock().unwrap().extend([now; 100]);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        let config = RabbitMqConfig { prefetch: 10, ..queue(&name) };
        let running = Running::start(&broker.patient_address(), &config);
        let mut settled = 0;
        let mut moved_on = 0;
        let mut goal = now_ms();
        while moved_on < 5 {
            wait::until("the queue is never empty", async || {
                confirmed.lock().unwrap().len() > settled + 200
            })
            .await;
            for delivery in running.pipeline.take() {
                let handled = running.pipeline.handled();
                let waits_since =
                    confirmed.lock().unwrap()[body(&delivery).parse::<usize>().unwrap()];
                assert!(
                    handled <= Some(waits_since),
                    "{handled:?}, but this has waited since {waits_since}"
                );
                settle(delivery);
                settled += 1;
            }
            if running.pipeline.handled() > Some(goal) {
                goal = now_ms();
                moved_on += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(now_ms() - goal < 60_000, "the report is delayed");
        }
        publishing.abort();
        // End without waiting for held deliveries.
        running.trigger.end();
        running.finish().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_does_not_wait_for_messages_that_were_purged() {
    let client = Client::connect(shared_broker()).await;
    for_each_queue(queues(&client, "purged").await, async |name| {
        client.publish("", &name, numbered(0..1000)).await;
        let proxy = Proxy::before(shared_broker().port()).await;
        let running = Running::start(
            &proxy.patient_address(),
            &RabbitMqConfig { prefetch: 10, ..queue(&name) },
        );
        let held = running.pipeline.take_many(10).await;
        looks_are_used(&proxy).await;
        client.purge(&name).await;
        let purged = now_ms();
        looks_are_used(&proxy).await;
        assert_eq!(running.pipeline.handled(), None);
        held.into_iter().for_each(settle);
        running.pipeline.handled_after(purged).await;
        running.finish().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_a_lost_session_do_not_count_as_handled() {
    let client = Client::connect(shared_broker()).await;
    for_each_queue(queues(&client, "lost").await, async |name| {
        client.publish("", &name, numbered(0..20)).await;
        let proxy = Proxy::before(shared_broker().port()).await;
        let running = Running::start(&proxy.patient_address(), &queue(&name));
        let of_the_lost = running.pipeline.take_many(20).await;
        looks_are_used(&proxy).await;
        proxy.reset();
        let again = running.pipeline.take_many(20).await;
        assert!(again.iter().all(|delivery| delivery.redelivered));
        of_the_lost.into_iter().for_each(settle);
        looks_are_used(&proxy).await;
        assert_eq!(running.pipeline.handled(), None);
        let before = now_ms();
        again.into_iter().for_each(settle);
        running.pipeline.handled_after(before).await;
        running.finish().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_ends_the_reports_and_a_new_queue_restarts_them() {
    let client = Client::connect(shared_broker()).await;
    client.queue("renewed").await;
    let proxy = Proxy::before(shared_broker().port()).await;
    let running = Running::start(&proxy.patient_address(), &queue("renewed"));
    running.pipeline.handled_after(now_ms()).await;
    client.delete_queue("renewed").await;
    running.problem("queue `renewed` does not exist").await;
    let missing = now_ms();
    looks_are_used(&proxy).await;
    assert!(running.pipeline.handled() <= Some(missing), "nothing is known of a missing queue");
    client.queue("renewed").await;
    running.pipeline.handled_after(missing).await;
    running.finish().await;
}

/// The behaviour of the broker that the source relies on: a message that a queue has already handed
/// to the channel may arrive after an answer that did not count it, but not after the answer to the
/// next request.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_an_answer_missed_arrives_before_the_next_answer() {
    const COUNT: u32 = 500;
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    for name in queues(&client, "handed").await {
        client.publish("", &name, numbered(0..COUNT)).await;
        client.channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
        let mut consumer = client.consume(&name).await;
        let mut came = 0;
        let mut message = wait::end_of("a message", consumer.next()).await;
        while let Some(Ok(held)) = message {
            came += 1;
            held.acker.ack(BasicAckOptions::default()).await.unwrap();
            let (ready, _) = client.counts(&name).await;
            // At most the prefetch is on its way, and the ready messages come next.
            assert!(COUNT <= came + 1 + ready, "{came} are acknowledged, {ready} are ready");
            let early = consumer.next().now_or_never().flatten();
            client.counts(&name).await;
            message = early.or_else(|| consumer.next().now_or_never().flatten());
            assert!(
                COUNT <= came + u32::from(message.is_some()) + ready,
                "{came} came, {ready} are ready"
            );
            if message.is_none() && came < COUNT {
                message = wait::end_of("a message", consumer.next()).await;
            }
        }
        assert_eq!(came, COUNT);
        client.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await.unwrap();
    }
}

fn settle(delivery: hailer::delivery::Delivery) {
    delivery.receipt.settle();
}
