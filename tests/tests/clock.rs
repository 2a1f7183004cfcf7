//! A machine clock that is wrong by more than a few minutes: what the engine does not do, what it
//! reports, and how an operator resolves it.

use hailer_tests::built::example_module;
use hailer_tests::site::{Outcome, Site, campaign};
use hailer_tests::wiring::Wiring;
use serde_json::{Value, json};

use crate::support::shared_broker;
use crate::swaps::purchase;

const DAY_MS: i64 = 86_400_000;

/// Sends a communication for every purchase, and a nudge one minute after a registration that was
/// not finished.
fn site() -> Site {
    let site = Site::with_basket();
    site.put("modules/abandoned-registration.wasm", example_module("abandoned-registration"));
    site.put(
        "nudge.toml",
        campaign("abandoned-registration", "[params]\nwait_minutes = 1\nlate_hours_max = 0"),
    );
    site
}

/// Sets the clock of every process that is started from now on `ms` ahead.
fn ahead(site: &Site, ms: i64) {
    let shift = format!("clock-ms={ms}");
    let armed = [("HAILER_FAILPOINTS", &*shift)];
    site.environment(if ms == 0 { &[] } else { &armed });
}

fn store(site: &Site) -> String {
    site.path("store").display().to_string()
}

/// Runs an engine over one event until it ends.
fn run(site: &Site, name: &str, event: &str) -> Outcome {
    let source = format!("file:{}", site.write(name, format!("{event}\n")).display());
    site.run(&["--source", &source, "--sink", "-", "--store", &store(site)])
}

fn clock(site: &Site, flags: &[&str]) -> Outcome {
    site.command(&[&["store", "clock", "--store", &store(site)], flags].concat())
}

fn registration(customer: u64) -> String {
    json!({ "eventCode": "OnBeginRegistration", "customerInfo": { "customerId": customer } })
        .to_string()
}

fn days_from_now(outcome: &Outcome) -> i64 {
    let printed: Value =
        serde_json::from_str(outcome.stdout.lines().next().expect("a communication")).unwrap();
    let at: jiff::Timestamp = printed["createdAt"].as_str().unwrap().parse().unwrap();
    (at.as_millisecond() - jiff::Timestamp::now().as_millisecond()) / DAY_MS
}

#[test]
fn after_an_event_with_a_future_clock_nothing_is_decided_until_a_reset() {
    let site = site();
    ahead(&site, 3650 * DAY_MS);
    assert_eq!(days_from_now(&run(&site, "future.jsonl", &purchase(1, 1)).expect(0)), 3649);
    ahead(&site, 0);

    let refused = run(&site, "now.jsonl", &purchase(2, 2)).expect(1);
    assert!(
        refused.stderr.contains("hailer store clock") && refused.stdout.is_empty(),
        "{}",
        refused.stderr
    );
    let shown = site.command(&["store", "show", "--store", &store(&site)]).expect(0).stdout;
    assert!(shown.contains("in doubt: the machine's clock says"), "{shown}");
    let doctor = site.command(&["doctor", "--store", &store(&site), "--json"]);
    assert!(
        doctor.stdout.contains("the engine's time was") || doctor.stdout.contains("engine's time"),
        "{}",
        doctor.stdout
    );

    let asked = clock(&site, &[]).expect(1).stdout;
    assert!(
        asked.contains("--accept: the engine's time goes back to the machine's clock"),
        "{asked}"
    );
    let unsaid = clock(&site, &["--accept"]).expect(1).stderr;
    assert!(unsaid.contains("--yes"), "{unsaid}");
    let _ = run(&site, "now.jsonl", &purchase(2, 2)).expect(1);
    assert_eq!(clock(&site, &["--accept", "--yes", "--json"]).expect(0).json()["isAccepted"], true);
    assert!(clock(&site, &[]).expect(0).stdout.contains("is not in doubt"));

    assert_eq!(days_from_now(&run(&site, "now.jsonl", &purchase(2, 2)).expect(0)), 0);
    let why = site.command(&["why", "1", "--store", &store(&site)]).expect(0).stdout;
    assert!(why.contains("OnPurchaseConfirm"), "the journal is complete: {why}");
}

#[test]
fn a_clock_that_goes_back_two_minutes_is_accepted() {
    let site = site();
    for (number, shift_ms) in [(1, 0), (2, -120_000), (3, 120_000), (4, 0)] {
        ahead(&site, shift_ms);
        let _ = run(&site, &format!("{number}.jsonl"), &purchase(number, 1)).expect(0);
    }
}

#[test]
fn a_start_with_a_clock_far_ahead_is_refused_and_expires_nothing() {
    let site = site();
    let _ = run(&site, "first.jsonl", &purchase(1, 1)).expect(0);
    for days in [1, 40, 3650] {
        ahead(&site, days * DAY_MS);
        let refused = run(&site, "second.jsonl", &purchase(2, 2)).expect(1);
        assert!(refused.stderr.contains("the machine's clock leapt to"), "{}", refused.stderr);
    }
    ahead(&site, 0);
    let _ = run(&site, "second.jsonl", &purchase(2, 2)).expect(0);
    let why = site.command(&["why", "1", "--store", &store(&site)]).expect(0).stdout;
    assert!(why.contains("OnPurchaseConfirm"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn with_a_clock_far_ahead_nothing_fires_until_an_operator_accepts_it() {
    let wiring = Wiring::new(shared_broker(), "clock").await;
    let site = site();
    let engine = site.start(&wiring.flags());
    engine.ready().await;
    wiring.send((1..=20).map(registration)).await;
    engine.metric_is("hailer_source_acknowledged_total", 20.0).await;
    engine.stop().await;

    ahead(&site, 200 * DAY_MS);
    let engine = site.start(&wiring.flags());
    hailer_tests::wait::until("it is unready", async || {
        engine.readyz().await.1.contains("the machine's clock leapt")
    })
    .await;
    engine.metric_is("hailer_clock_in_doubt", 1.0).await;
    wiring.send([purchase(1, 90)]).await;
    let asked = site.command(&["store", "clock", "--json"]).expect(1).json();
    assert_eq!(
        (&asked["timersDue"]["nudge"], &asked["decisionsTooOld"]),
        (&20.into(), &20.into()),
        "{asked}"
    );
    assert_eq!(engine.metric("hailer_timers_fired_total").await, 0.0);
    assert_eq!(wiring.client.counts(&wiring.out).await.0, 0);
    assert_eq!(
        site.command(&["failures", "list"]).expect(0).code,
        Some(0),
        "commands work meanwhile"
    );

    let accepted = site.command(&["store", "clock", "--accept", "--yes"]).expect(0).stdout;
    assert!(accepted.contains("20 timers are due and fire (nudge 20)"), "{accepted}");
    engine.metric_is("hailer_timers_fired_total", 20.0).await;
    engine.metric_is("hailer_clock_in_doubt", 0.0).await;
    engine.ready().await;
    assert_eq!(wiring.communications(21).await.len(), 21);
    engine.stop().await;
    // The acceptance is stored: the next start needs none.
    let engine = site.start(&wiring.flags());
    engine.ready().await;
    engine.stop().await;
}

#[test]
fn a_restart_does_not_reset_the_maximum_per_hour() {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    site.put(
        "basket.toml",
        campaign("big-basket", "per_hour_max = 4\n[params]\nthreshold = \"0\""),
    );
    // The clock is set to the middle of an hour, so that all runs are in one hour.
    let into_hour_ms = jiff::Timestamp::now().as_millisecond().rem_euclid(3_600_000);
    let shift_ms = 1_800_000 - into_hour_ms;
    ahead(&site, shift_ms);
    let sent: Vec<_> = (0..3)
        .map(|run_number| {
            let events: Vec<_> =
                (0..3).map(|event| purchase(run_number * 3 + event + 1, 10 + event)).collect();
            run(&site, &format!("{run_number}.jsonl"), &events.join("\n"))
                .expect(0)
                .stdout
                .lines()
                .count()
        })
        .collect();
    assert_eq!(sent, [3, 1, 0]);
}
