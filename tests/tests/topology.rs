//! What `hailer topology --apply` makes, and that the permissions it names are enough and no more.

use hailer::config::RabbitMqConfig;
use hailer::health::Health;
use hailer::sinks::DeadLetters;
use hailer::topology::{OwnQueue, Topology};
use hailer_tests::broker::{Broker, Client};

use crate::edges::{Running, communication, dead_letters, letter, problem, publish, queue, shared_broker, sink};

/// The routing keys of the examples, to the letter.
fn seed_keys() -> Vec<String> {
    let index = include_str!("../../guest-sdk/abi/events/index.tsv");
    index.lines().skip(1).filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_makes_everything_once_and_binds_every_key_to_the_letter() {
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
    topology.apply(&address).await.unwrap();
    topology.apply(&address).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_and_different_is_told_and_left_alone() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.exchange("different", &[]).await;
    let config = RabbitMqConfig { exchange: "different".to_owned(), ..RabbitMqConfig::default() };
    let address = broker.address().parse().unwrap();
    let error = Topology::new(&config, None).apply(&address).await.unwrap_err().to_string();
    assert!(error.contains("exchange `different` is there already") && error.contains("alternate"), "{error}");
    let own = OwnQueue { exchange: "nowhere".to_owned(), routing_keys: seed_keys() };
    let config = RabbitMqConfig { exchange: "missing.out".to_owned(), ..queue("missing.in") };
    let error = Topology::new(&config, Some(&own)).apply(&address).await.unwrap_err().to_string();
    assert!(error.contains("nowhere") && error.contains("make that first"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permissions_it_names_are_enough_and_no_more() {
    let broker = Broker::start();
    let config = queue("in");
    let client = Client::connect(&broker).await;
    client.queue("in").await;
    client.queue("other").await;
    let topology = Topology::new(&config, None);
    topology.apply(&broker.address().parse().unwrap()).await.unwrap();
    broker.ctl(&["add_user", "engine", "secret"]);
    let command = topology.to_permissions("engine", "/");
    let arguments: Vec<_> = command.split(' ').skip(1).map(|argument| argument.trim_matches('\'')).collect();
    broker.ctl(&arguments);
    let address = broker.address().replace("guest:guest", "engine:secret");

    client.publish("", "in", ["event"]).await;
    let running = Running::start(&address, &config);
    running.pipeline.take_many(1).await.remove(0).receipt.settle();
    let health = Health::default();
    publish(&mut sink(&address, &config, &health), &[communication("x", "k")]).await.unwrap();
    dead_letters(&address, &config.deadletter_queue, &health).bury(&[letter(b"1")]).await.unwrap();
    running.finish().await;
    assert!(health.problems().is_empty());

    let elsewhere = Running::start(&address, &queue("other"));
    problem(&elsewhere.health, "source", "ACCESS_REFUSED").await;
    let refused = topology.apply(&address.parse().unwrap()).await.unwrap_err().to_string();
    assert!(refused.contains("ACCESS_REFUSED"), "{refused}");
    elsewhere.finish().await;
}
