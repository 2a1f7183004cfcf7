//! Standbys of a queue with a single active consumer: standbys that lose the race for the queue,
//! and the reports of `doctor` and `check`.

use std::time::{Duration, Instant};

use hailer_tests::broker::Client;
use hailer_tests::proxy::{Method, Network, Proxy};
use hailer_tests::site::Site;
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;

use crate::rabbitmq_single::{marked, quorum, single_active, stands_by};
use crate::support::{Running, numbered, queue, shared_broker};

const BASIC_QOS: Method = (60, 10);
const QUEUE_DECLARE: Method = (50, 10);
const EVENTS: u32 = 20;
/// An engine that has never consumed ends if its queue stays taken for this time.
const TAKEN_FOR_GOOD: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_loses_two_races_for_the_queue_takes_over_later() {
    let client = Client::connect(shared_broker()).await;
    client.queue_with("races", &[single_active()]).await;
    marked(&client, "races").await;
    let proxy = Proxy::before(shared_broker().port()).await;
    // The first basic.qos belongs to the check of the queue's kind. The second comes between the
    // check for consumers and the consume.
    proxy.hold(BASIC_QOS, 2);
    let standby = Running::start(&proxy.patient_address(), &queue("races"));
    proxy.is_holding().await;
    let mut other = Running::start(&shared_broker().address(), &queue("races"));
    other.ready().await;
    proxy.release();
    stands_by(&standby).await;
    let lost_at = Instant::now();
    wait::until("the queue stays taken", async || lost_at.elapsed() > TAKEN_FOR_GOOD).await;
    proxy.hold(BASIC_QOS, 1);
    other.finish().await;
    proxy.is_holding().await;
    other = Running::start(&shared_broker().address(), &queue("races"));
    other.ready().await;
    let looks = proxy.passed(QUEUE_DECLARE);
    proxy.release();
    // The first queue.declare finds that the race is lost; the second is that of a standby.
    wait::until("the engine stands by, or ends", async || {
        standby.ended.is_finished() || proxy.passed(QUEUE_DECLARE) >= looks + 2
    })
    .await;
    assert!(!standby.ended.is_finished(), "the command would end with exit code 2");
    other.finish().await;
    client.publish("", "races", numbered(0..EVENTS)).await;
    let taken = standby.pipeline.take_many(EVENTS as usize).await;
    taken.into_iter().for_each(|delivery| delivery.receipt.settle());
    standby.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_standbys_that_consume_the_inactive_one_stands_by_again() {
    let client = Client::connect(shared_broker()).await;
    client.queue_with("together", &[single_active()]).await;
    marked(&client, "together").await;
    let proxy = Proxy::before(shared_broker().port()).await;
    // The third basic.qos comes between the second check, after an exclusive consumer was refused,
    // and the consume.
    proxy.hold(BASIC_QOS, 3);
    let slow = Running::start(&proxy.patient_address(), &queue("together"));
    proxy.is_holding().await;
    let fast = Running::start(&shared_broker().address(), &queue("together"));
    fast.ready().await;
    proxy.release();
    stands_by(&slow).await;
    client.publish("", "together", numbered(0..EVENTS)).await;
    let taken = fast.pipeline.take_many(EVENTS as usize).await;
    taken.into_iter().for_each(|delivery| delivery.receipt.settle());
    assert_eq!(slow.pipeline.len(), 0);
    fast.finish().await;
    slow.ready().await;
    slow.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_tolerates_a_queue_that_is_taken_again_for_a_while() {
    let client = Client::connect(shared_broker()).await;
    client.queue("taken").await;
    let consumer = client.consume("taken").await;
    let proxy = Proxy::before(shared_broker().port()).await;
    let engine = Running::start(&proxy.patient_address(), &queue("taken"));
    engine.problem("already has a consumer").await;
    client.delete_queue("taken").await;
    drop(consumer);
    engine.problem("does not exist").await;
    let gone_at = Instant::now();
    wait::until("the first time is long ago", async || gone_at.elapsed() > TAKEN_FOR_GOOD).await;
    // The engine sees the new queue only with its consumer.
    proxy.set_network(Network::Stalled);
    client.queue("taken").await;
    let _consumer = client.consume("taken").await;
    proxy.set_network(Network::Normal);
    wait::until("it is taken again, or the engine ends", async || {
        let is_taken = |why: &String| why.contains("already has a consumer");
        engine.ended.is_finished() || engine.health.problems().get("source").is_some_and(is_taken)
    })
    .await;
    assert!(!engine.ended.is_finished(), "the consumer may be that of a killed engine");
    engine.trigger.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_and_check_of_a_standby_recognise_the_active_engine() {
    let wiring = Wiring::named(shared_broker(), "standbydoctor").await;
    wiring.client.queue_with(&wiring.events, &[quorum(), single_active()]).await;
    marked(&wiring.client, &wiring.events).await;
    wiring.client.queue(&wiring.letters).await;
    wiring.client.exchange(&wiring.exchange, &[]).await;
    wiring.client.exchange("standbydoctor.communications.unrouted", &[]).await;
    wiring.client.queue("standbydoctor.communications.unrouted").await;
    let sites = [Site::with_basket(), Site::with_basket()];
    let active = sites[0].start(&wiring.flags());
    active.ready().await;
    let standby = sites[1].start(&wiring.flags());
    standby.ready_with("\"standby\"").await;
    for (site, expected, other) in [
        (&sites[0], "1 consumers, the running engine's among them", "would be a standby"),
        (&sites[1], "1 consumers, so an engine would be a standby", "the running engine's"),
    ] {
        let rules = site.rules().display().to_string();
        let flags = [wiring.flags(), vec!["--rules".to_owned(), rules]].concat();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        for command in ["doctor", "check"] {
            let arguments = [&[command][..], &flags].concat();
            let asked = tokio::task::block_in_place(|| site.command(&arguments)).expect(0).stdout;
            assert!(asked.contains(expected) && !asked.contains(other), "{command}: {asked}");
        }
    }
    active.stop().await;
    standby.ready().await;
    standby.stop().await;
}
