//! A broker that never answers one kind of request, but everything else, heartbeats included.

use hailer::config::RabbitMqConfig;
use hailer::health::Health;
use hailer::topology::{OwnQueue, Topology};
use hailer_tests::broker::Client;
use hailer_tests::proxy::{Method, Proxy};
use hailer_tests::wait;

use crate::support::{
    Running, dead_letters, exchange, problem, queue, ready, shared_broker, sink, way_out,
};

const CHANNEL_OPEN: Method = (20, 10);
const EXCHANGE_DECLARE: Method = (40, 10);
const QUEUE_DECLARE: Method = (50, 10);
const QUEUE_BIND: Method = (50, 20);
const BASIC_QOS: Method = (60, 10);
const BASIC_CONSUME: Method = (60, 20);
const CONFIRM_SELECT: Method = (85, 10);

/// The text of the problem for an unanswered request.
fn unanswered(request: &str) -> String {
    format!("does not answer a request ({request})")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_does_not_wait_for_ever_for_an_answer() {
    let client = Client::connect(shared_broker()).await;
    let requests = [
        (CHANNEL_OPEN, "channel.open"),
        (QUEUE_DECLARE, "queue.declare"),
        (BASIC_QOS, "basic.qos"),
        (BASIC_CONSUME, "basic.consume"),
    ];
    let mut waiting = Vec::new();
    for (method, request) in requests {
        let name = format!("unanswered.{request}");
        client.queue(&name).await;
        let proxy = Proxy::before(shared_broker().port()).await;
        proxy.drop_requests(Some(method));
        let running = Running::start(&proxy.patient_address(), &queue(&name));
        waiting.push((proxy, running, request));
    }
    for (proxy, running, request) in waiting {
        running.problem(&unanswered(request)).await;
        proxy.drop_requests(None);
        running.ready().await;
        running.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_answers_is_opened_again() {
    let client = Client::connect(shared_broker()).await;
    client.queue("unanswered.later").await;
    let proxy = Proxy::before(shared_broker().port()).await;
    let running = Running::start(&proxy.patient_address(), &queue("unanswered.later"));
    running.ready().await;
    proxy.drop_requests(Some(QUEUE_DECLARE));
    running.problem(&unanswered("queue.declare")).await;
    proxy.drop_requests(None);
    running.ready().await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_does_not_wait_for_ever_for_an_answer() {
    let client = Client::connect(shared_broker()).await;
    way_out(&client).await;
    client.queue("unanswered.letters").await;
    let requests = [
        (CHANNEL_OPEN, "channel.open"),
        (EXCHANGE_DECLARE, "exchange.declare"),
        (CONFIRM_SELECT, "confirm.select"),
    ];
    let mut waiting = Vec::new();
    for (method, request) in requests {
        let proxy = Proxy::before(shared_broker().port()).await;
        proxy.drop_requests(Some(method));
        let health = Health::default();
        let sink = sink(&proxy.patient_address(), &exchange("out"), &health);
        waiting.push((proxy, sink, health, request));
    }
    let (letters_health, letters_proxy) =
        (Health::default(), Proxy::before(shared_broker().port()).await);
    letters_proxy.drop_requests(Some(QUEUE_DECLARE));
    let _letters =
        dead_letters(&letters_proxy.patient_address(), "unanswered.letters", &letters_health);
    for (proxy, _sink, health, request) in waiting {
        problem(&health, "sink", &unanswered(request)).await;
        proxy.drop_requests(None);
        ready(&health).await;
    }
    problem(&letters_health, "deadletters", &unanswered("queue.declare")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_a_topology_does_not_wait_for_ever_for_an_answer() {
    let client = Client::connect(shared_broker()).await;
    client.exchange("unanswered.source", &[]).await;
    let proxy = Proxy::before(shared_broker().port()).await;
    proxy.drop_requests(Some(QUEUE_BIND));
    let own =
        OwnQueue { exchange: "unanswered.source".to_owned(), routing_keys: vec!["k".to_owned()] };
    let config = RabbitMqConfig { exchange: "unanswered.out".to_owned(), ..queue("unanswered.in") };
    let topology = Topology::of_source(&config, Some(&own));
    let address = proxy.patient_address().parse().unwrap();
    let applied = wait::end_of("applying", topology.apply(&address)).await.unwrap();
    assert!(
        applied.failed.iter().any(|failed| failed.contains(&unanswered("queue.bind"))),
        "{applied:?}"
    );
}
