//! The objects that `hailer topology --apply` declares, and the permissions that it prints: they
//! are enough, and no more.

use hailer::config::RabbitMqConfig;
use hailer::connection::single_active_mark;
use hailer::health::Health;
use hailer::sinks::DeadLetterSink;
use hailer::topology::{OwnQueue, Topology};
use hailer_tests::broker::{Broker, Client};
use hailer_tests::wait;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

use crate::support::{
    Running, communication, dead_letters, letter, problem, publish, queue, shared_broker, sink,
};

/// The routing keys of the examples, byte for byte.
fn seed_keys() -> Vec<String> {
    let index = include_str!("../../guest-sdk/abi/events/index.tsv");
    index.lines().skip(1).filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_declares_everything_once_and_binds_every_routing_key() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.exchange("loymax", &[]).await;
    let config = RabbitMqConfig {
        exchange: "topology.out".to_owned(),
        deadletter_queue: "topology.dead".to_owned(),
        ..queue("topology.in")
    };
    let own = OwnQueue { exchange: "loymax".to_owned(), routing_keys: seed_keys() };
    let topology = Topology::new(&config, Some(&own));
    let address = broker.address().parse().unwrap();
    for _ in 0..2 {
        let applied = topology.apply(&address).await.unwrap();
        assert!(applied.left_alone.is_empty() && applied.failed.is_empty(), "{applied:?}");
    }
    let keys = seed_keys();
    assert!(keys.len() == 12 && keys.iter().any(|key| key.starts_with('\u{441}')));
    for key in &keys {
        client.publish("loymax", key, [key]).await;
    }
    assert_eq!(client.take_many("topology.in", 12).await.len(), 12);
    let mut sink = sink(&broker.address(), &config, &Health::default());
    publish(&mut sink, &[communication("x", "communication.sms.unbound")]).await.unwrap();
    assert_eq!(client.take_many("topology.out.unrouted", 1).await.len(), 1);
    assert_eq!(client.counts("topology.dead").await, (0, 0));
}

/// A name, the object that exists already, and its arguments.
type Variant = (&'static str, &'static str, Vec<(&'static str, AMQPValue)>);

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_different_object_is_reported_and_left_unchanged() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    let long = |text: &str| AMQPValue::LongString(text.into());
    // Each queue and exchange, with each set of properties that an operator may have chosen.
    let variants: [Variant; 7] = [
        ("events-quorum", "in", vec![("x-queue-type", long("quorum"))]),
        ("events-classic", "in", vec![]),
        ("events-elsewhere", "in", vec![("x-dead-letter-exchange", long("elsewhere"))]),
        ("letters-bounded", "dead", vec![("x-max-length", AMQPValue::LongInt(10))]),
        ("letters-quorum", "dead", vec![("x-queue-type", long("quorum"))]),
        ("unrouted-expiring", "out.unrouted", vec![("x-message-ttl", AMQPValue::LongInt(60_000))]),
        ("plain-exchange", "out", vec![]),
    ];
    for (name, what, arguments) in &variants {
        let (name, what) = (*name, *what);
        let named = |what: &str| format!("{name}.{what}");
        let source = named("source");
        client.exchange(&source, &[]).await;
        match what {
            "out" => client.exchange(&named(what), arguments).await,
            _ => client.queue_with(&named(what), arguments).await,
        }
        let config = RabbitMqConfig {
            exchange: named("out"),
            deadletter_queue: named("dead"),
            ..queue(&named("in"))
        };
        let own = OwnQueue { exchange: source.clone(), routing_keys: seed_keys() };
        let topology = Topology::new(&config, Some(&own));
        let address = broker.address().parse().unwrap();
        for _ in 0..2 {
            let applied = topology.apply(&address).await.unwrap();
            let [left_alone] = &applied.left_alone[..] else { panic!("{name}: {applied:?}") };
            assert!(
                left_alone.contains(&format!("`{}` exists with other", named(what))),
                "{left_alone}"
            );
            assert!(
                left_alone.contains("inequivalent arg") && applied.failed.is_empty(),
                "{applied:?}"
            );
        }
        // The other objects exist, with all bindings.
        for key in seed_keys() {
            client.publish(&source, &key, [key.as_bytes()]).await;
        }
        assert_eq!(client.take_many(&named("in"), 12).await.len(), 12);
        assert_eq!(client.counts(&named("dead")).await, (0, 0));
        client.publish(&named("out"), "communication.sms.unbound", ["x"]).await;
        let unrouted = if what == "out" { 0 } else { 1 };
        assert_eq!(
            client.take_many(&named("out.unrouted"), unrouted).await.len(),
            unrouted,
            "{name}"
        );
    }
    // Only a queue with a single active consumer is marked.
    let exchanges = broker.ctl(&["list_exchanges", "name"]);
    for (name, what, _) in variants {
        let mark = single_active_mark(&format!("{name}.in"));
        assert_eq!(exchanges.lines().any(|exchange| exchange == mark), what != "in", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_queue_of_another_connection_is_left_unchanged() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let declared =
        client.channel.queue_declare("locked.dead".into(), options, FieldTable::default());
    wait::end_of("declaring a queue", declared).await.unwrap();
    client.exchange("locked.source", &[]).await;
    let config = RabbitMqConfig {
        exchange: "locked.out".to_owned(),
        deadletter_queue: "locked.dead".to_owned(),
        ..queue("locked.in")
    };
    let own = OwnQueue { exchange: "locked.source".to_owned(), routing_keys: seed_keys() };
    let applied =
        Topology::new(&config, Some(&own)).apply(&broker.address().parse().unwrap()).await.unwrap();
    assert!(applied.left_alone.len() == 1 && applied.failed.is_empty(), "{applied:?}");
    assert!(applied.left_alone[0].contains("`locked.dead` exists with other"), "{applied:?}");
    client.publish("locked.source", &seed_keys()[0], ["x"]).await;
    assert_eq!(client.take_many("locked.in", 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_to_a_missing_exchange_fails_and_the_rest_is_declared() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    let own = OwnQueue { exchange: "nowhere".to_owned(), routing_keys: seed_keys() };
    let config = RabbitMqConfig { exchange: "missing.out".to_owned(), ..queue("missing.in") };
    let applied =
        Topology::new(&config, Some(&own)).apply(&broker.address().parse().unwrap()).await.unwrap();
    assert_eq!(applied.failed.len(), 12, "{applied:?}");
    assert!(
        applied.failed[0].contains("nowhere") && applied.failed[0].contains("create that first"),
        "{applied:?}"
    );
    assert_eq!(client.counts("missing.in").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_events_has_a_single_active_consumer_and_no_limit() {
    let broker = Broker::start();
    // A classic queue has no delivery limit; a quorum queue may have one.
    let _ = broker.ctl(&["add_vhost", "quorum", "--default-queue-type", "quorum"]);
    let _ = broker.ctl(&["set_permissions", "-p", "quorum", "guest", ".*", ".*", ".*"]);
    for (virtual_host, path, kind) in [("/", "?", "classic"), ("quorum", "/quorum?", "quorum")] {
        let address = broker.address().replace('?', path);
        let own = OwnQueue { exchange: "amq.topic".to_owned(), routing_keys: seed_keys() };
        let applied =
            Topology::new(&queue("in"), Some(&own)).apply(&address.parse().unwrap()).await.unwrap();
        assert!(applied.left_alone.is_empty() && applied.failed.is_empty(), "{applied:?}");
        let queues = broker.ctl(&["list_queues", "-p", virtual_host, "name", "type", "arguments"]);
        let line = queues.lines().find(|line| line.starts_with("in\t")).unwrap();
        assert!(line.contains(kind), "{line}");
        assert!(
            line.contains("x-single-active-consumer") && line.contains("x-dead-letter-routing-key"),
            "{line}"
        );
        assert!(
            !line.contains("x-delivery-limit"),
            "3.10 takes -1 for a limit that is always exceeded: {line}"
        );
        assert!(
            broker
                .ctl(&["list_exchanges", "-p", virtual_host, "name"])
                .contains("in.single-active-consumer")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_permissions_are_enough_and_no_more() {
    let broker = Broker::start();
    let config = queue("in");
    let client = Client::connect(&broker).await;
    client.queue("in").await;
    client.queue("other").await;
    let topology = Topology::new(&config, None);
    let _ = topology.apply(&broker.address().parse().unwrap()).await.unwrap();
    broker.ctl(&["add_user", "engine", "secret"]);
    let command = topology.to_permissions("engine", "/");
    let arguments: Vec<_> =
        command.split(' ').skip(1).map(|argument| argument.trim_matches('\'')).collect();
    broker.ctl(&arguments);
    let address = broker.address().replace("guest:guest", "engine:secret");

    client.publish("", "in", ["event"]).await;
    let running = Running::start(&address, &config);
    running.pipeline.take_many(1).await.remove(0).receipt.settle();
    let health = Health::default();
    publish(&mut sink(&address, &config, &health), &[communication("x", "k")]).await.unwrap();
    dead_letters(&address, &config.deadletter_queue, &health)
        .dead_letter(&[letter(b"1")])
        .await
        .unwrap();
    running.finish().await;
    assert!(health.problems().is_empty());

    let elsewhere = Running::start(&address, &queue("other"));
    problem(&elsewhere.health, "source", "ACCESS_REFUSED").await;
    let refused = topology.apply(&address.parse().unwrap()).await.unwrap();
    assert!(refused.failed.iter().any(|failed| failed.contains("ACCESS_REFUSED")), "{refused:?}");
    elsewhere.finish().await;
}
