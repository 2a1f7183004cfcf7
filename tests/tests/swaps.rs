//! Campaigns are swapped under full load: no event is lost, none is decided twice, and one version
//! decides each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use hailer_tests::built::example_module;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wait::{self, LONG_ENOUGH};
use hailer_tests::wiring::Wiring;
use lapin::options::{BasicAckOptions, BasicQosOptions};
use serde_json::Value;

use crate::support::shared_broker;

const SWAPS: usize = 200;
const EVENTS_MIN: usize = 20_000;
const CUSTOMERS: usize = 97;
/// The largest number of waiting events: enough that the engine never waits for one.
const AHEAD: u32 = 2000;

/// A purchase whose amount is its number.
pub(crate) fn purchase(number: usize, customer: usize) -> String {
    format!(
        "{{\"eventCode\":\"OnPurchaseConfirm\",\"customerInfo\":{{\"customerId\":{customer}}},\
         \"purchaseOperationInfo\":{{\"purchaseData\":{{\"amount\":{number}}}}}}}"
    )
}

fn version(number: usize) -> String {
    campaign("big-basket", &format!("[params]\nthreshold = \"0\"\ntemplate = \"version-{number}\""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_swaps_under_load_lose_nothing_and_repeat_nothing() {
    let wiring = Wiring::new(shared_broker(), "swaps").await;
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    site.put("basket.toml", version(0));
    let flags = wiring.flags();
    // Only requested reloads: then their number is known.
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["--set", "reload.debounce_ms=60000", "--set", "reload.poll_ms=3600000"]);
    let engine = site.start(&flags);
    engine.ready().await;

    let is_swapped = AtomicBool::new(false);
    let publishing = async {
        let mut sent = 0;
        while sent < EVENTS_MIN || !is_swapped.load(Ordering::Relaxed) {
            wait::until("the engine keeps up", async || {
                wiring.client.counts(&wiring.events).await.0 < AHEAD
            })
            .await;
            wiring
                .send((sent..sent + 500).map(|number| purchase(number, number % CUSTOMERS)))
                .await;
            sent += 500;
        }
        sent
    };
    let swapping = async {
        let mut rule_set = engine.reload().await.rule_set;
        for number in 1..=SWAPS {
            site.put("basket.toml", version(number));
            let report = engine.reload().await;
            assert_eq!(report.changed, ["basket"], "{report:?}");
            assert!(report.rule_set > rule_set, "{report:?}");
            rule_set = report.rule_set;
        }
        is_swapped.store(true, Ordering::Relaxed);
    };
    let (sent, ()) = tokio::join!(publishing, swapping);
    engine.metric_is("hailer_source_acknowledged_total", sent as f64).await;
    engine.stop().await;
    wiring.is_drained().await;

    let communications = all(&wiring, sent).await;
    assert_eq!(wiring.client.counts(&wiring.out).await.0, 0, "no more communications than events");
    let mut last: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut by_version: BTreeMap<usize, usize> = BTreeMap::new();
    for communication in &communications {
        let number = communication["data"]["amount"].as_u64().unwrap() as usize;
        let template = communication["template"].as_str().unwrap();
        let version: usize = template.strip_prefix("version-").unwrap().parse().unwrap();
        let customer = number % CUSTOMERS;
        assert_eq!(communication["recipient"]["customerId"], customer.to_string());
        let is_next = match last.insert(customer, (number, version)) {
            // All are there, in order and once: each comes right after the one before.
            Some((before, version_before)) => {
                number == before + CUSTOMERS && version >= version_before
            }
            None => number == customer,
        };
        assert!(
            is_next,
            "event {number}, decided by version {version}, is out of its customer's order"
        );
        *by_version.entry(version).or_default() += 1;
    }
    assert_eq!(communications.len(), sent);
    assert!(by_version.len() > SWAPS / 2, "the swaps were not under load: {by_version:?}");
}

/// Takes `count` communications with a consumer, because taking them one by one is too slow.
async fn all(wiring: &Wiring, count: usize) -> Vec<Value> {
    wiring.client.channel.basic_qos(1000, BasicQosOptions::default()).await.unwrap();
    let mut consumer = wiring.client.consume(&wiring.out).await;
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let next = tokio::time::timeout(LONG_ENOUGH, consumer.next()).await;
        let delivery = next
            .unwrap_or_else(|_| panic!("{} communications of {count}", found.len()))
            .unwrap()
            .unwrap();
        found.push(serde_json::from_slice(&delivery.data).unwrap());
        if found.len() % 100 == 0 || found.len() == count {
            delivery.ack(BasicAckOptions { multiple: true }).await.unwrap();
        }
    }
    found
}
