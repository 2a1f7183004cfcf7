//! The output for a seed: the same bytes for ever, and consistent like the source's events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hailer_abi::wire::Channel;
use serde_json::Value;

use super::bodies::SUBSCRIPTION_CHANNELS;
use super::{Generator, Options};

fn events(count: usize) -> Vec<Value> {
    let options = Options { customers: 500, ..Options::default() };
    Generator::new(7, &options)
        .take(count)
        .map(|line| serde_json::from_slice(&line).unwrap())
        .collect()
}

fn hash(seed: u64, options: &Options, count: usize) -> String {
    let mut hasher = blake3::Hasher::new();
    for line in Generator::new(seed, options).take(count) {
        hasher.update(&line).update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

#[test]
fn a_seed_gives_the_same_bytes_for_ever() {
    let plain = Options::default();
    let envelope = Options { envelope: true, customers: 50, ..Options::default() };
    insta::assert_snapshot!("seed_1_plain", hash(1, &plain, 10_000));
    insta::assert_snapshot!("seed_2_in_envelopes", hash(2, &envelope, 10_000));
    assert_ne!(hash(1, &plain, 10), hash(2, &plain, 10));
}

#[test]
fn every_event_type_occurs_and_purchases_prevail() {
    let mut counts = BTreeMap::<String, usize>::new();
    for event in events(20_000) {
        *counts.entry(event["eventCode"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(counts.len(), 12, "{counts:?}");
    assert!(counts["OnPurchaseConfirm"] > 10_000, "{counts:?}");
    assert!(counts.values().all(|count| *count >= 5), "{counts:?}");
}

#[test]
fn refunds_refer_to_earlier_purchases_of_the_same_customer() {
    let mut purchases = HashMap::new();
    let (mut refunds, mut more_than_bought) = (0, 0);
    for event in events(20_000) {
        let customer = event["customerInfo"]["customerId"].clone();
        if event["eventCode"] == "OnPurchaseConfirm" {
            let data = &event["purchaseOperationInfo"]["purchaseData"];
            purchases.insert(data["purchaseId"].as_u64().unwrap(), (customer, data.clone()));
        } else if event["eventCode"] == "OnPurchaseRefund" {
            let id = event["refundedPurchaseViewModel"]["refundedPurchaseId"].as_u64().unwrap();
            let (buyer, bought) =
                purchases.remove(&id).expect("an earlier purchase without a refund");
            assert_eq!(buyer, customer);
            let external = &event["refundedPurchaseViewModel"]["refundedPurchaseExternalId"];
            assert_eq!(external, &bought["externalPurchaseId"]);
            let refunded = &event["refundOperationInfo"]["purchaseData"];
            refunds += 1;
            more_than_bought +=
                usize::from(refunded["amount"].as_f64() > bought["amount"].as_f64());
        }
    }
    assert!(
        refunds > 200 && more_than_bought > 0 && more_than_bought * 5 < refunds,
        "{more_than_bought} of {refunds}"
    );
}

#[test]
fn a_customers_life_is_in_order() {
    let mut steps = HashMap::<u64, u8>::new();
    let mut blocked = HashMap::<u64, bool>::new();
    let mut deleted = HashMap::<u64, bool>::new();
    let mut gone = BTreeSet::new();
    for event in events(20_000) {
        let code = event["eventCode"].as_str().unwrap();
        let Some(id) = event["customerInfo"]["customerId"].as_u64() else {
            assert_eq!(code, "MergeCustomersProfiles");
            gone.insert(event["fromCustomerInfo"]["customerId"].as_u64().unwrap());
            continue;
        };
        assert!(!gone.contains(&id), "{id} was merged into another customer");
        let step = steps.entry(id).or_default();
        let (before, after) = match code {
            "OnBeginRegistration" => (0..=1, 1),
            "OnEndRegistration" => (1..=1, 2),
            "OnCardReplace" if event["linkCardType"] == "SetCard" => (2..=2, 3),
            "OnCardActivation" => (3..=3, 4),
            _ => (4..=4, 4),
        };
        assert!(before.contains(step), "{code} at step {step}");
        *step = after;
        match code {
            "OnBlockCard" => {
                let card = event["cardInfo"]["cardId"].as_u64().unwrap();
                let target = event["targetBlockState"].as_bool().unwrap();
                assert_ne!(blocked.insert(card, target).unwrap_or(false), target);
            }
            "OnDeleteCard" => {
                let card = event["cardId"].as_u64().unwrap();
                let target = event["targetDeleteState"].as_bool().unwrap();
                assert_ne!(deleted.insert(card, target).unwrap_or(false), target);
            }
            _ => {}
        }
    }
    assert!(!gone.is_empty());
}

#[test]
fn customers_return_and_some_much_more_often_than_others() {
    let mut counts = HashMap::<u64, usize>::new();
    for event in events(20_000) {
        if let Some(id) = event["customerInfo"]["customerId"].as_u64() {
            *counts.entry(id).or_default() += 1;
        }
    }
    let (most, sum) = (counts.values().max().unwrap(), counts.values().sum::<usize>());
    assert!(counts.len() > 300 && counts.len() <= 500, "{}", counts.len());
    assert!(*most > 10 * sum / counts.len(), "{most}");
}

#[test]
fn every_event_has_the_fields_that_the_catalogue_requires() {
    for event in events(5000) {
        let code = event["eventCode"].as_str().unwrap();
        let known = hailer_abi::catalogue::event_of_code(code).unwrap();
        for field in known.fields.iter().filter(|field| field.required) {
            let found = field
                .paths
                .iter()
                .filter_map(|path| event.pointer(path))
                .any(|value| !value.is_null());
            assert!(found, "{code} without {}", field.name);
        }
    }
}

#[test]
fn subscriptions_name_the_first_channels_of_smc_in_their_order() {
    assert!(Channel::NAMES.starts_with(&SUBSCRIPTION_CHANNELS), "{SUBSCRIPTION_CHANNELS:?}");
}

#[test]
fn all_irregularities_of_the_source_occur() {
    let options = Options { envelope: true, ..Options::default() };
    let text: Vec<u8> = Generator::new(3, &options).take(5000).flatten().collect();
    let text = String::from_utf8(text).unwrap();
    for trap in [
        "\"accountfroupId\":\"",
        "\"customerCode\":",
        "\"customerUid\":",
        "\"currencyDeviceExternalId\":",
        "\"mobileDeviceId\":null",
        "\"mobileDeviceId\":\"\"",
        "\"routingKey\":\"\u{441}ustomer",
        "\"oldCard\":null",
        "\"toErrorQueue\":false",
        "\"cardNumber\":\"0",
        "\"deviceCode\":\"001010\"",
        "\"amount\":-",
        "{\"eventCode\":",
        "Вода",
        "\\u2116",
        "\\\"Российский\\\"",
    ] {
        assert!(text.contains(trap), "{trap}");
    }
}

#[test]
fn amounts_add_up_and_have_four_decimals() {
    let line = Generator::new(1, &Options::default())
        .find(|line| {
            line.windows(9).any(|bytes| bytes == b"withdraws")
                && line.windows(12).any(|bytes| bytes == b"\"rewardType\"")
        })
        .unwrap();
    let text = String::from_utf8(line).unwrap();
    let amounts = |name: &str| -> Vec<&str> {
        text.split(&format!("\"{name}\":"))
            .skip(1)
            .map(|rest| rest.split([',', '}']).next().unwrap())
            .collect()
    };
    for amount in amounts("amount").iter().chain(&amounts("quantity")) {
        assert_eq!(amount.split_once('.').unwrap().1.len(), 4, "{amount}");
    }
    let exact = |value: &str| value.parse::<rust_decimal::Decimal>().unwrap();
    let event: Value = serde_json::from_str(&text).unwrap();
    let data =
        ["purchaseOperationInfo", "refundOperationInfo"].map(|name| &event[name]["purchaseData"]);
    let data = data.into_iter().find(|data| data.is_object()).unwrap();
    let sum: f64 = data["chequeItems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["amount"].as_f64().unwrap())
        .sum();
    assert_eq!(
        exact(&format!("{sum:.4}")),
        exact(&format!("{:.4}", data["amount"].as_f64().unwrap()))
    );
    for reward in data["rewards"].as_array().unwrap() {
        let parts: f64 =
            reward["positionInfo"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
        assert_eq!(format!("{parts:.4}"), format!("{:.4}", reward["amount"].as_f64().unwrap()));
    }
}

#[test]
fn time_moves_forward_from_the_start() {
    let options = Options { start_ms: 1_000_000_000_000, envelope: true, ..Options::default() };
    let mut last = "2001-09-09T01:46:40Z".to_owned();
    for line in Generator::new(1, &options).take(500) {
        let event: Value = serde_json::from_slice(&line).unwrap();
        let time = event["timestamp"].as_str().unwrap().to_owned();
        assert!(time >= last, "{time} after {last}");
        last = time;
    }
}

#[test]
fn the_first_events_do_not_depend_on_the_number_or_the_method() {
    let mut generator = Generator::new(5, &Options::default());
    let mut text = Vec::new();
    for _ in 0..100 {
        generator.append_next(&mut text);
        text.push(b'\n');
    }
    let taken: Vec<u8> = Generator::new(5, &Options::default())
        .take(100)
        .flat_map(|mut line| {
            line.push(b'\n');
            line
        })
        .collect();
    assert_eq!(text, taken);
}
