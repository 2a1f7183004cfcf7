//! What the source says of its backlog: too late is allowed, too early never (G6).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use hailer::clock::{Millis, now_ms};
use hailer::config::RabbitMqConfig;
use hailer_tests::broker::Client;
use hailer_tests::wait;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicQosOptions};
use lapin::types::AMQPValue;

use crate::edges::{Running, body, close_consumers_of, numbered, queue, shared_broker};

/// Long enough that a source which says too much has said it.
const SEVERAL_LOOKS: Duration = Duration::from_secs(2);

/// A queue of each type, empty.
async fn queues(client: &Client, name: &str) -> [String; 2] {
    let [classic, quorum] = [name.to_owned(), format!("{name}.quorum")];
    client.queue(&classic).await;
    client.queue_with(&quorum, &[("x-queue-type", AMQPValue::LongString("quorum".into()))]).await;
    [classic, quorum]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_handled_before_everything_that_waited_is_settled() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    for name in queues(&client, "backlog").await {
        client.publish("", &name, numbered(0..3000)).await;
        let all_waited = now_ms();
        let running = Running::start(&broker.patient_address(), &queue(&name));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.drain(..).for_each(settle);
            held = running.pipeline.take_many(1000).await;
            tokio::time::sleep(SEVERAL_LOOKS).await;
            assert_eq!(running.pipeline.handled(), None);
        }
        let last = held.pop().unwrap();
        held.into_iter().for_each(settle);
        tokio::time::sleep(SEVERAL_LOOKS).await;
        assert_eq!(running.pipeline.handled(), None, "one is not settled");
        settle(last);
        running.pipeline.handled_after(all_waited).await;
        // And then it goes on, as nothing more comes.
        running.pipeline.handled_after(now_ms()).await;
        running.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_later_does_not_hold_back_for_ever_what_waited_earlier() {
    let broker = shared_broker();
    for name in queues(&Client::connect(broker).await, "endless").await {
        // When each message was in the queue for certain.
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
            wait::until("the queue is never empty", async || confirmed.lock().unwrap().len() > settled + 200).await;
            for delivery in running.pipeline.take() {
                let handled = running.pipeline.handled();
                let waits_since = confirmed.lock().unwrap()[body(&delivery).parse::<usize>().unwrap()];
                assert!(handled <= Some(waits_since), "{handled:?}, but this has waited since {waits_since}");
                settle(delivery);
                settled += 1;
            }
            if running.pipeline.handled() > Some(goal) {
                goal = now_ms();
                moved_on += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(now_ms() - goal < 60_000, "it is held back");
        }
        publishing.abort();
        // Without waiting for what is held.
        running.trigger.end();
        running.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_vanish_from_the_queue_are_not_waited_for() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    for name in queues(&client, "purged").await {
        client.publish("", &name, numbered(0..1000)).await;
        let running = Running::start(&broker.patient_address(), &RabbitMqConfig { prefetch: 10, ..queue(&name) });
        let held = running.pipeline.take_many(10).await;
        tokio::time::sleep(SEVERAL_LOOKS).await;
        client.purge(&name).await;
        let purged = now_ms();
        tokio::time::sleep(SEVERAL_LOOKS).await;
        assert_eq!(running.pipeline.handled(), None);
        held.into_iter().for_each(settle);
        running.pipeline.handled_after(purged).await;
        running.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_a_lost_session_handle_nothing() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    for name in queues(&client, "lost").await {
        client.publish("", &name, numbered(0..20)).await;
        let running = Running::start(&broker.patient_address(), &queue(&name));
        let of_the_lost = running.pipeline.take_many(20).await;
        tokio::time::sleep(SEVERAL_LOOKS).await;
        close_consumers_of(&name);
        let again = running.pipeline.take_many(20).await;
        assert!(again.iter().all(|delivery| delivery.redelivered));
        of_the_lost.into_iter().for_each(settle);
        tokio::time::sleep(SEVERAL_LOOKS).await;
        assert_eq!(running.pipeline.handled(), None);
        let before = now_ms();
        again.into_iter().for_each(settle);
        running.pipeline.handled_after(before).await;
        running.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_deleted_ends_the_watching_and_a_new_one_is_watched() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.queue("renewed").await;
    let running = Running::start(&broker.patient_address(), &queue("renewed"));
    running.pipeline.handled_after(now_ms()).await;
    client.delete_queue("renewed").await;
    running.problem("queue `renewed` does not exist").await;
    let missing = now_ms();
    tokio::time::sleep(SEVERAL_LOOKS).await;
    assert!(running.pipeline.handled() <= Some(missing), "of a queue that is not there nothing is known");
    client.queue("renewed").await;
    running.pipeline.handled_after(missing).await;
    running.finish().await;
}

/// The broker's behaviour that the source builds on. A message that a queue has handed to the channel already may come
/// after an answer that did not count it, but not after the answer to the next request.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_does_not_count_is_here_when_the_next_answer_is() {
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
            // No more than the prefetch is on its way, and what is ready comes next.
            assert!(COUNT <= came + 1 + ready, "{came} are acknowledged, {ready} are ready");
            let early = consumer.next().now_or_never().flatten();
            client.counts(&name).await;
            message = early.or_else(|| consumer.next().now_or_never().flatten());
            assert!(COUNT <= came + u32::from(message.is_some()) + ready, "{came} came, {ready} are ready");
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
