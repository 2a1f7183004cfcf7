//! Limits that depend on each other. The store, a recording and a dead letter accept everything
//! that the configuration allows, and it never makes the engine end.

use std::fs;

use hailer_tests::built::example_module;
use hailer_tests::site::{Site, campaign, lines};
use hailer_tests::wait;
use serde_json::{Value, json};

use crate::failures::{bought, line, merged, site};

const EVENT_BYTES_MAX: usize = 64 << 20;
/// Slightly less than the largest state.
const STATE_BYTES: usize = 0x000f_ff00;

/// A purchase on which the rule faults, padded to one byte less than `bytes_max`.
fn large_purchase(bytes_max: usize) -> String {
    let body = |padding: &str| {
        json!({
            "eventCode": "OnPurchaseConfirm", "customerInfo": { "customerId": 1 },
            "padding": padding,
            "purchaseOperationInfo": { "purchaseData": { "purchaseId": 5, "amount": 5 } },
        })
        .to_string()
    };
    let around = body("").len();
    body(&"x".repeat(bytes_max - around - 1))
}

/// A rule that keeps a state of slightly less than 1 MiB for every call.
fn hoarder(code: &str) -> Vec<u8> {
    keeper(&format!(r#"{{"name":"h","events":["{code}"],"fields":[]}}"#), STATE_BYTES)
}

/// A rule with a small state for each customer, and a large state for two merged customers.
fn uniter() -> Vec<u8> {
    let event = r#"{"name":"h","events":["OnBeginRegistration"],"fields":[]}"#;
    keeper(&format!(r#"{event},{{"name":"m","merge":true,"fields":[]}}"#), 1)
}

/// A rule whose first handler returns a state of `first_bytes`, and whose other handlers return a
/// state of [`STATE_BYTES`].
fn keeper(handlers: &str, first_bytes: usize) -> Vec<u8> {
    let manifest = format!(
        "{{\"abi\":1,\"name\":\"hoarder\",\"version\":\"1.0.0\",\"stateVersion\":1,\"params\":[],\
         \"handlers\":[{handlers}]}}"
    );
    let text = format!(
        r#"(module (@custom "hailer.manifest" "{}") (memory (export "memory") 1024)
        (data (i32.const 16) "\91\c0")
        (func (export "hailer_input") (param i32) (result i32) (i32.const {input}))
        (func (export "hailer_configure") (param i32) (result i64) (i64.const {configured}))
        (func (export "hailer_handle") (param i32 i32 i32) (result i64)
          (local $i i32) (local $at i32) (local $size i32)
          (local.set $at (i32.const 65536))
          (local.set $size
            (select (i32.const {STATE_BYTES}) (i32.const {first_bytes}) (local.get 0)))
          (block $done (loop $next
            (br_if $done (i32.ge_u (local.get $i) (local.get 1)))
            (i32.store (local.get $at) (i32.const 0x00c6c093))
            (i32.store8 offset=4 (local.get $at) (i32.shr_u (local.get $size) (i32.const 16)))
            (i32.store8 offset=5 (local.get $at) (i32.shr_u (local.get $size) (i32.const 8)))
            (i32.store8 offset=6 (local.get $at) (local.get $size))
            (memory.fill (i32.add (local.get $at) (i32.const 7)) (i32.const 0) (local.get $size))
            (local.set $at (i32.add (local.get $at) (i32.add (local.get $size) (i32.const 7))))
            (i32.store8 (local.get $at) (i32.const 0x90))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next)))
          (i64.or (i64.const {place})
            (i64.extend_i32_u (i32.sub (local.get $at) (i32.const 65536))))))"#,
        manifest.replace('"', "\\\""),
        input = 40 << 20,
        configured = 16_u64 << 32 | 2,
        place = 65536_u64 << 32,
    );
    wat::parse_str(text).unwrap()
}

fn listed(site: &Site, store: &str) -> Vec<Value> {
    let listed = site.command(&["failures", "list", "--all", "--json", "--store", store]).expect(0);
    listed.json().as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_largest_event_on_which_a_rule_faults_is_kept_and_retried() {
    let site = site("");
    let store = site.path("store").display().to_string();
    let event = large_purchase(EVENT_BYTES_MAX);
    assert_eq!(event.len(), EVENT_BYTES_MAX - 1);
    let source = format!("file:{}", site.write("events.jsonl", event).display());
    let largest = ["--set", "event.bytes_max=67108864", "--sink", "-", "--store", &store];
    // The second run treats the event as a copy. It also shows that the engine starts with what the
    // store kept.
    for _ in 0..2 {
        let _ = site.run(&[&["--source", &source], &largest[..]].concat()).expect(0);
        assert_eq!(listed(&site, &store).len(), 1);
    }
    let number = listed(&site, &store)[0]["number"].to_string();
    let shown =
        site.command(&["failures", "show", &number, "--json", "--store", &store]).expect(0).json();
    assert_eq!(shown["body"].as_str().map(str::len), Some(EVENT_BYTES_MAX - 1));

    site.put("tally.toml", campaign("tally", "[params]\nwait_seconds = 1"));
    let engine = site.start(&[&["--source", "-"], &largest[..]].concat());
    engine.ready().await;
    let over_the_socket = site.command(&["failures", "show", &number, "--json"]).expect(0).json();
    assert_eq!(over_the_socket["body"].as_str().map(str::len), Some(EVENT_BYTES_MAX - 1));
    let _ = site.command(&["failures", "retry", "--all"]).expect(0);
    assert_eq!(engine.prints(1).await[0]["data"]["number"], 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_state_or_a_merge_that_overflows_a_customers_row_is_refused() {
    // The campaigns for each kind of event. All states of one kind fit into a customer's row, but
    // not those of both.
    const CAMPAIGNS: usize = 12;
    const TOO_MANY: usize = 2 * CAMPAIGNS - 16;
    let site = Site::empty();
    for (kind, code) in [("bought", "OnPurchaseConfirm"), ("began", "OnBeginRegistration")] {
        site.put(&format!("modules/{kind}.wasm"), hoarder(code));
        for number in 0..CAMPAIGNS {
            site.put(&format!("{kind}-{number:02}.toml"), campaign(kind, "on_fault = \"skip\""));
        }
    }
    let store = site.path("store").display().to_string();
    let sizes = [
        "limits.state_bytes_max=1048576",
        "limits.output_bytes_max=8388608",
        "limits.memory_bytes_max=67108864",
        "breaker.call_mean_us_max=0",
    ];
    let settings: Vec<&str> = sizes.iter().flat_map(|size| ["--set", size]).collect();
    let start = || {
        site.start(
            &[&["--source", "-", "--sink", "-", "--store", &store][..], settings.as_slice()]
                .concat(),
        )
    };
    let mut engine = start();
    engine.ready().await;
    let began = |customer: u32| {
        let customer_info = json!({ "customerId": customer });
        let body = json!({ "eventCode": "OnBeginRegistration", "customerInfo": customer_info });
        line(&format!("began-{customer}"), &body)
    };
    engine.write([bought(1, 1), began(2), bought(3, 3), began(3)].concat());
    engine.metric_is("hailer_events_total{outcome=\"decided\"}", 4.0).await;
    let faults = || async {
        let metrics = engine.metrics().await;
        let of = |line: &&str| {
            line.starts_with("hailer_calls_total{") && line.contains("outcome=\"output\"")
        };
        metrics
            .lines()
            .filter(of)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>()
    };
    wait::until("calls whose state does not fit fault", async || faults().await >= TOO_MANY as f64)
        .await;
    engine.write(merged(2, 1));
    engine.metric_is("hailer_customers_full_total{refused=\"merge\"}", 1.0).await;
    engine.stop().await;
    let kept = listed(&site, &store);
    assert_eq!(kept.len(), TOO_MANY, "{kept:?}");
    assert!(
        kept[0]["failed"]["error"].as_str().unwrap().contains("states and timers of the customer"),
        "{}",
        kept[0]
    );

    // Both customers are still there, unmerged, and the engine continues with them.
    let mut engine = start();
    engine.ready().await;
    engine.write(bought(4, 3));
    engine.metric_is("hailer_events_total{outcome=\"decided\"}", 1.0).await;
    engine.stop().await;
    let _ = site.command(&["store", "verify", "--store", &store]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_merge_handler_that_overflows_the_customers_row_faults_and_is_kept() {
    // The states of 16 campaigns fit into a customer's row.
    const CAMPAIGNS: usize = 18;
    let site = Site::empty();
    site.put("modules/uniter.wasm", uniter());
    for number in 0..CAMPAIGNS {
        site.put(&format!("uniter-{number:02}.toml"), campaign("uniter", ""));
    }
    let store = site.path("store").display().to_string();
    let sizes = [
        "limits.state_bytes_max=1048576",
        "limits.output_bytes_max=8388608",
        "limits.memory_bytes_max=67108864",
        "breaker.call_mean_us_max=0",
    ];
    let settings: Vec<&str> = sizes.iter().flat_map(|size| ["--set", size]).collect();
    let mut engine = site.start(
        &[&["--source", "-", "--sink", "-", "--store", &store][..], settings.as_slice()].concat(),
    );
    engine.ready().await;
    let began = |number: u32, customer: u32| {
        let customer_info = json!({ "customerId": customer });
        let body = json!({ "eventCode": "OnBeginRegistration", "customerInfo": customer_info });
        line(&format!("began-{number}"), &body)
    };
    engine.write([began(1, 1), began(2, 2), merged(2, 1), began(3, 1)].concat());
    // The merge event itself has no subscriber.
    engine.metric_is("hailer_events_total{outcome=\"decided\"}", 3.0).await;
    assert_eq!(
        engine.metric("hailer_customers_full_total{refused=\"merge\"}").await.to_bits(),
        0_f64.to_bits()
    );
    engine.stop().await;
    let kept = listed(&site, &store);
    let failed: Vec<&Value> = kept.iter().filter(|one| !one["failed"].is_null()).collect();
    assert_eq!(failed.len(), CAMPAIGNS - 16, "{kept:?}");
    for one in failed {
        assert!(
            one["failed"]["error"].as_str().unwrap().contains("states and timers of the customer"),
            "{one}"
        );
    }
    let _ = site.command(&["store", "verify", "--store", &store]).expect(0);
}

#[test]
fn an_event_of_the_largest_size_can_be_recorded_and_replayed() {
    let site = Site::empty();
    site.put("modules/tally.wasm", example_module("tally"));
    site.put("tally.toml", campaign("tally", "[params]\nwait_seconds = 1"));
    let events = site.write("events.jsonl", large_purchase(1 << 20));
    let recording = site.path("recording").display().to_string();
    let source = format!("file:{}", events.display());
    let run = site
        .run(&["--source", &source, "--sink", "-", "--set", &format!("record.dir={recording}")])
        .expect(0);
    assert_eq!(run.stdout.lines().count(), 1, "{run:?}");
    let rules = site.rules().display().to_string();
    let replayed =
        site.command_without_data(&["replay", &recording, "--rules", &rules, "--json"]).expect(0);
    assert_eq!(replayed.json()["events"], 1, "{replayed:?}");
}

#[test]
fn a_dead_letter_of_the_largest_size_can_be_read_from_its_file_again() {
    let site = Site::with_basket();
    // The body is not UTF-8, so the file holds it in hexadecimal, at twice its length.
    let mut bytes = large_purchase(1 << 20).into_bytes();
    bytes[20] = 0xff;
    let events = site.write("events.jsonl", &bytes);
    let _ = site.run(&["--source", &format!("file:{}", events.display()), "--sink", "-"]).expect(0);
    let letters = site.path("events.jsonl.deadletters.jsonl");
    let first = lines(&letters);
    assert_eq!(first[0]["bodyHex"].as_str().map(str::len), Some(2 * bytes.len()));
    let _ =
        site.run(&["--source", &format!("file:{}", letters.display()), "--sink", "-"]).expect(0);
    let again = lines(&site.path("events.jsonl.deadletters.jsonl.deadletters.jsonl"));
    assert_eq!(
        again[0]["bodyHex"],
        first[0]["bodyHex"],
        "{}",
        fs::metadata(&letters).unwrap().len()
    );
}
