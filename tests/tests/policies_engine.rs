//! Policies in the real engine, where a broker, a kill or a retry comes between a decision and its
//! message.

use hailer::failpoint::VARIABLE;
use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{RELOADS_ON_REQUEST, Site, campaign};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;
use jiff::civil::time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::failures::{bought, line};
use crate::support::shared_broker;
use crate::swaps::purchase;

const SHARED: &str = include_str!("../fixtures/policies.toml");

/// Policies with one cap, by the last 24 hours, so that no midnight ends it during a test.
const ONCE: &str = "time_zone = \"UTC\"\n[[cap]]\nname = \"once\"\nmax = 1\nper = \"24h\"\n";

async fn outbox_is_empty(engine: &Engine) {
    wait::until("the outbox is empty", async || engine.metric("hailer_outbox").await == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_message_counts_once_although_its_sink_is_down_and_it_is_published_twice() {
    let wiring = Wiring::named(shared_broker(), "policies-sink").await;
    for queue in [&wiring.events, &wiring.letters] {
        wiring.client.queue(queue).await;
    }
    wiring.client.exchange(&wiring.exchange, &[]).await;
    let site = Site::with_basket();
    site.put("policies.toml", ONCE);
    let passed = "hailer_communications_total{campaign=\"basket\",channel=\"push\",\
                  verdict=\"passed\",policy=\"\"}";
    let capped = "hailer_communications_total{campaign=\"basket\",channel=\"push\",\
                  verdict=\"cap\",policy=\"once\"}";
    // Nothing is bound to the exchange, so the broker returns what is published.
    let engine = site.start_ready(&wiring.flags()).await;
    wiring.send([purchase(1, 1), purchase(2, 1)]).await;
    engine.metric_is(capped, 1.0).await;
    engine.metric_is(passed, 1.0).await;
    engine.metric_is("hailer_outbox", 1.0).await;
    engine.kill();

    wiring.bind_out().await;
    site.environment(&[(VARIABLE, "before-removal=1")]);
    let mut engine = site.start(&wiring.flags());
    assert_eq!(engine.ended().await, None, "it ends between the confirm and the removal");
    site.environment(&[]);
    let engine = site.start_ready(&wiring.flags()).await;
    let sent = wiring.communications(2).await;
    assert_eq!(sent[0].0.body, sent[1].0.body, "the same message again");
    wiring.send([purchase(3, 1)]).await;
    engine.metric_is(capped, 1.0).await;
    outbox_is_empty(&engine).await;
    let why = site.command(&["why", "1"]).expect(0).stdout;
    engine.stop().await;
    assert!(why.contains("cap once: 1 of 1"), "{why}");
    assert_eq!(wiring.client.counts(&wiring.out).await.0, 0, "nothing else is published");
}

/// A site under the shared policies with a rule that faults on purchases whose number is a multiple
/// of five.
fn faulty(rest: &str) -> Site {
    let site = Site::empty();
    site.put("modules/tally.wasm", example_module("tally"));
    site.put("tally.toml", tally(rest, 5));
    site.put("policies.toml", SHARED);
    site
}

fn tally(rest: &str, fault_every: u32) -> String {
    campaign("tally", &format!("{rest}\n[params]\nfault_every = {fault_every}"))
}

/// The flags of an engine on standard streams, with a store.
fn on_streams(site: &Site) -> Vec<String> {
    let store = site.path("store").display().to_string();
    let flags = RELOADS_ON_REQUEST.map(str::to_owned).into_iter();
    flags.chain(["--store".to_owned(), store]).collect()
}

/// Starts an engine whose clock shows ten past this hour in Moscow, so many days from today. Its
/// store accepts the clock.
async fn start_at(site: &Site, flags: &[String], days: i64, hour: i8) -> Engine {
    let zone = TimeZone::get("Europe/Moscow").unwrap();
    let now = Timestamp::now();
    let day = zone.to_datetime(now).date() + days.days();
    let then = zone.to_timestamp(day.to_datetime(time(hour, 10, 0, 0))).unwrap();
    let shift_ms = then.as_millisecond() - now.as_millisecond();
    site.environment(&[(VARIABLE, &format!("clock-ms={shift_ms}"))]);
    for store in [site.path("store"), site.data().join("store")] {
        if store.exists() {
            let store = store.display().to_string();
            let accept = ["store", "clock", "--accept", "--yes", "--store", &store];
            let _ = site.command(&accept).expect(0);
        }
    }
    site.start_ready(flags).await
}

async fn has_failures(site: &Site, count: usize) {
    wait::until("the failures are kept", async || {
        let listed = site.command(&["failures", "list", "--all", "--json"]).expect(0).json();
        listed.as_array().unwrap().len() == count
    })
    .await;
}

fn statement(customer: u32, value: &Value) -> Value {
    json!({
        "eventCode": "OnCustomerSubscriptionChange",
        "subscriptionTypeCode": "Promo",
        "subscriptionInfo": { "push": value },
        "customerInfo": { "customerId": customer },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_opt_out_that_waits_in_the_queue_when_a_release_falls_due_wins() {
    let wiring = Wiring::new(shared_broker(), "policies-opt-out").await;
    let site = Site::with_basket();
    site.put("policies.toml", SHARED);
    let engine = start_at(&site, &wiring.flags(), 1, 23).await;
    wiring.send([purchase(1, 1), purchase(2, 2)]).await;
    engine.metric_is("hailer_deferred", 2.0).await;
    engine.stop().await;
    wiring.send([statement(1, &json!("Disabled")).to_string()]).await;
    let engine = start_at(&site, &wiring.flags(), 2, 9).await;
    let refused = "hailer_communications_total{campaign=\"basket\",channel=\"push\",\
                   verdict=\"consent-off\",policy=\"\"}";
    engine.metric_is(refused, 1.0).await;
    let sent = wiring.communications(1).await;
    assert_eq!(sent[0].1["recipient"]["customerId"], "2");
    outbox_is_empty(&engine).await;
    assert_eq!(engine.metric("hailer_deferred").await, 0.0);
    engine.stop().await;
    assert_eq!(wiring.client.counts(&wiring.out).await.0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failure_of_the_night_that_is_retried_at_noon_is_sent_at_once() {
    let site = faulty("");
    let mut engine = start_at(&site, &on_streams(&site), 1, 3).await;
    // The other customer's message shows that it is night.
    engine.write(bought(5, 1) + &bought(6, 2));
    has_failures(&site, 1).await;
    engine.metric_is("hailer_deferred", 1.0).await;
    engine.stop().await;
    site.put("tally.toml", tally("", 0));
    let engine = start_at(&site, &on_streams(&site), 1, 12).await;
    let retried = site.command(&["failures", "retry", "--all", "--json"]).expect(0).json();
    assert_eq!(retried["settled"], 1, "{retried}");
    let printed = engine.prints(2).await;
    let mut numbers: Vec<_> = printed.iter().map(|one| one["data"]["number"].clone()).collect();
    numbers.sort_by_key(Value::to_string);
    assert_eq!(numbers, [5, 6]);
    let deferred = "hailer_communications_total{campaign=\"tally\",channel=\"push\",\
                    verdict=\"deferred\",policy=\"night\"}";
    assert_eq!(engine.metric(deferred).await, 0.0, "the retry is not deferred at first");
    assert_eq!(engine.metric("hailer_deferred").await, 0.0);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_retry_whose_message_is_not_sent_leaves_its_place_in_the_hour_to_another() {
    let site = faulty("per_hour_max = 1");
    let mut engine = start_at(&site, &on_streams(&site), 1, 12).await;
    engine.write(bought(5, 1));
    has_failures(&site, 1).await;
    engine.write(line("statement", &statement(1, &json!("Disabled"))));
    engine.metric_is("hailer_consent_changes_total{source=\"event\"}", 1.0).await;
    site.put("tally.toml", tally("per_hour_max = 1", 0));
    assert!(engine.reload().await.problems.is_empty());
    let retried = site.command(&["failures", "retry", "--all", "--json"]).expect(0).json();
    assert_eq!(retried["settled"], 1, "{retried}");
    engine.write(bought(6, 2));
    let printed = engine.prints(1).await;
    assert_eq!(printed[0]["data"]["number"], 6, "{printed:?}");
    engine.write(bought(7, 3));
    let suppressed = "hailer_communications_total{campaign=\"tally\",channel=\"push\",\
                      verdict=\"per-hour-max\",policy=\"\"}";
    engine.metric_is(suppressed, 1.0).await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_consent_that_is_no_text_is_a_refusal_and_is_reported() {
    let site = faulty("");
    let mut engine = start_at(&site, &on_streams(&site), 1, 12).await;
    engine.write(line("statement", &statement(1, &json!(1))) + &bought(1, 1) + &bought(2, 2));
    let printed = engine.prints(1).await;
    assert_eq!(printed[0]["data"]["number"], 2, "{printed:?}");
    engine.metric_is("hailer_statements_unusable_total{about=\"consent\"}", 1.0).await;
    let log = engine.stderr();
    assert!(log.contains("`push` cannot be used"), "{log}");
    engine.stop().await;
}
