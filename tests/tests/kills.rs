//! Killed again and again while events come in: nothing is lost, nothing is decided twice, and what goes out again is byte for byte
//! what went out before.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use hailer_tests::built::example_module;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wait::LONG_ENOUGH;
use hailer_tests::wiring::Wiring;
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicQosOptions};
use serde_json::Value;

use crate::edges::shared_broker;
use crate::swaps::purchase;

const EVENTS: usize = 6000;
const CUSTOMERS: usize = 61;
const KILLS: usize = 12;
/// Chooses the moments; the same again for the same seed.
const SEED: u64 = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_it_loses_nothing_and_repeats_only_the_same_bytes() {
    killed_at_random("kills-with-ids", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_without_message_ids_it_loses_nothing_and_repeats_only_the_same_bytes() {
    killed_at_random("kills-without-ids", false).await;
}

async fn killed_at_random(name: &str, with_ids: bool) {
    let wiring = Wiring::new(shared_broker(), name).await;
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    site.put("basket.toml", campaign("big-basket", "[params]\nthreshold = \"0\""));
    let flags = wiring.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();

    let publishing = async {
        for number in 0..EVENTS {
            let properties = BasicProperties::default().with_delivery_mode(2);
            let properties =
                if with_ids { properties.with_message_id(format!("event-{number}").into()) } else { properties };
            let body = purchase(number, number % CUSTOMERS);
            let confirm = wiring.client.send("", &wiring.events, body.as_bytes(), properties).await;
            if number % 100 == 99 {
                confirm.await.unwrap();
            }
        }
    };
    let killing = async {
        let mut random = SEED;
        for _ in 0..KILLS {
            let engine = site.start(&flags);
            engine.ready().await;
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            tokio::time::sleep(Duration::from_millis(random >> 57)).await;
            engine.kill();
        }
    };
    tokio::join!(publishing, killing);
    let engine = site.start(&flags);
    engine.ready().await;

    let mut bodies: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut of_event: BTreeMap<u64, String> = BTreeMap::new();
    wiring.client.channel.basic_qos(1000, BasicQosOptions::default()).await.unwrap();
    let mut consumer = wiring.client.consume(&wiring.out).await;
    while of_event.len() < EVENTS {
        let next = tokio::time::timeout(LONG_ENOUGH, consumer.next()).await;
        let delivery = next.unwrap_or_else(|_| panic!("{} events of {EVENTS}", of_event.len())).unwrap().unwrap();
        let communication: Value = serde_json::from_slice(&delivery.data).unwrap();
        let id = communication["id"].as_str().unwrap().to_owned();
        let before = bodies.entry(id.clone()).or_insert_with(|| delivery.data.clone());
        assert_eq!(*before, delivery.data, "a repeat is the same byte for byte");
        let number = communication["data"]["amount"].as_u64().unwrap();
        let first = of_event.entry(number).or_insert_with(|| id.clone());
        assert_eq!(*first, id, "event {number} was decided twice");
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    engine.stop().await;
    wiring.is_drained().await;
    assert_eq!(wiring.client.counts(&wiring.letters).await.0, 0, "no event is to blame");
}
