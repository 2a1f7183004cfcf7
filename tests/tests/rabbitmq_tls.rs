//! TLS, with a temporary authority and a broker that demands a client certificate.

use hailer::address::BrokerAddress;
use hailer::config::RabbitMqConfig;
use hailer::health::Health;
use hailer::sinks::rabbitmq::RabbitMqSink;
use hailer_tests::broker::{Authority, Broker, Client, Options};
use hailer_tests::wait;

use crate::support::{communication, problem, publish, way_out};

fn config(ca: Option<&Authority>, identity: Option<&Authority>) -> RabbitMqConfig {
    let files = identity.map(Authority::client_files);
    RabbitMqConfig {
        exchange: "out".to_owned(),
        ca_file: ca.map(Authority::ca_file),
        cert_file: files.as_ref().map(|(certificate, _)| certificate.clone()),
        key_file: files.map(|(_, key)| key),
        ..RabbitMqConfig::default()
    }
}

fn sink(broker: &Broker, config: &RabbitMqConfig, health: &Health) -> RabbitMqSink {
    let address: BrokerAddress = broker.tls_address().parse().unwrap();
    RabbitMqSink::new(address.with_files(config).unwrap(), config, health.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_and_client_must_trust_each_other() {
    let broker = Broker::start_with(Options { tls: true });
    let client = Client::connect(&broker).await;
    way_out(&client).await;
    let known = broker.authority();
    let directory = tempfile::tempdir().unwrap();
    let stranger = Authority::new(directory.path());

    let mut good = sink(&broker, &config(Some(known), Some(known)), &Health::default());
    publish(&mut good, &[communication("x", "k")]).await.unwrap();
    assert_eq!(client.counts("out.q").await.0, 1);

    let wrong = [
        ("no authority of ours", config(None, Some(known)), "certificate"),
        ("another authority", config(Some(&stranger), Some(known)), "certificate"),
        ("no certificate of ours", config(Some(known), None), ""),
        ("a stranger's certificate", config(Some(known), Some(&stranger)), ""),
    ];
    for (what, config, told) in wrong {
        let health = Health::default();
        let mut sink = sink(&broker, &config, &health);
        let batch = [communication("y", "k")];
        tokio::select! {
            _ = publish(&mut sink, &batch) => panic!("connected with {what}"),
            () = problem(&health, "sink", told) => {}
        }
        wait::until("the attempt has ended", async || {
            !health.problems()["sink"].starts_with("connecting")
        })
        .await;
    }
    assert_eq!(client.counts("out.q").await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_certificates_are_reported_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, "not PEM").unwrap();
    let config = RabbitMqConfig { ca_file: Some(path), ..RabbitMqConfig::default() };
    let address: BrokerAddress = "amqps://localhost".parse().unwrap();
    let error = RabbitMqSink::new(address.with_files(&config).unwrap(), &config, Health::default())
        .unwrap_err();
    assert!(error.to_string().contains("ca.pem"), "{error}");
}
