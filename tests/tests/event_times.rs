//! Timestamps of events that cannot be right: how the event clock, a replay and an export handle
//! them.

use hailer_tests::built::example_module;
use hailer_tests::site::{Outcome, Site, campaign};
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;
const DAY: i64 = 1440 * MINUTE;
/// 2026-03-01T00:00:00Z.
const START: i64 = 1_772_323_200_000;
/// 2050-01-01T00:00:00Z.
const FAR: i64 = 2_524_608_000_000;

/// A site that sends a nudge one hour after a registration that is never finished.
fn site() -> Site {
    let site = Site::empty();
    site.put("modules/abandoned-registration.wasm", example_module("abandoned-registration"));
    site.put("nudge.toml", campaign("abandoned-registration", "[params]\nwait_minutes = 60"));
    site
}

fn registration(customer: usize) -> Value {
    json!({ "eventCode": "OnBeginRegistration", "customerInfo": { "customerId": customer } })
}

/// One registration for each time; customers are numbered from 1.
fn lines(times: &[Value]) -> String {
    let line = |(at, time): (usize, &Value)| {
        format!("{}\n", json!({ "timestamp": time, "body": registration(at + 1) }))
    };
    times.iter().enumerate().map(line).collect()
}

fn minute(number: i64) -> Value {
    (START + number * MINUTE).into()
}

/// Runs an engine on the event clock without a run-on. Returns the creation times of the
/// communications, and standard error.
fn made_at(site: &Site, text: &str) -> (Vec<String>, String) {
    let source = format!("file:{}", site.write("events.jsonl", text).display());
    let outcome = site.run(&["--source", &source, "--sink", "-", "--clock", "events"]).expect(0);
    let made = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["createdAt"].to_string());
    (made.collect(), outcome.stderr)
}

#[test]
fn a_wrong_timestamp_does_not_move_the_clock_and_is_reported_with_its_line() {
    let site = site();
    for wrong in [
        json!("9999-12-31T23:59:59.9999999Z"),
        json!(START * 1000),
        json!(i64::MAX),
        json!(1e300),
        json!(-62_135_596_800_000_i64),
        json!(FAR),
        json!(START + 3 * DAY),
    ] {
        for place in [0, 1, 3] {
            let mut times: Vec<_> = (0..5).map(minute).collect();
            times.insert(place, wrong.clone());
            let (made, stderr) = made_at(&site, &lines(&times));
            assert_eq!(made.len(), 0, "{wrong} at {place}: no hour has passed: {made:?}");
            let line = format!("events.jsonl:{}", place + 1);
            assert!(
                stderr.contains("1 times that are not believed") && stderr.contains(&line),
                "{stderr}"
            );
        }
    }
}

#[test]
fn days_without_events_are_accepted() {
    let site = site();
    let times: Vec<_> = [0, 3 * 1440, 3 * 1440 + 1, 90 * 1440].map(minute).to_vec();
    let (made, stderr) = made_at(&site, &lines(&times));
    assert_eq!(
        made,
        ["\"2026-03-01T01:00:00Z\"", "\"2026-03-04T01:00:00Z\"", "\"2026-03-04T01:01:00Z\""],
        "{stderr}"
    );
    assert!(!stderr.contains("not believed"), "{stderr}");
}

#[test]
fn a_replay_reports_the_same_on_any_number_of_threads() {
    let site = site();
    let mut times: Vec<_> = (0..40).map(minute).collect();
    times.insert(1, FAR.into());
    times.insert(20, json!(START * 1000));
    let events = site.write("events.jsonl", lines(&times));
    let [events, rules] = [&events, &site.rules()].map(|path| path.display().to_string());
    let replay = |threads: &str| {
        site.command_without_data(&[
            "replay",
            &events,
            "--rules",
            &rules,
            "--threads",
            threads,
            "--json",
        ])
        .expect(0)
        .stdout
    };
    let report: Value = serde_json::from_str(&replay("1")).unwrap();
    assert_eq!(
        (&report["events"], &report["timesNotBelieved"]["count"]),
        (&42.into(), &2.into()),
        "{report}"
    );
    let places = report["timesNotBelieved"]["shown"].to_string();
    assert!(
        places.contains("events.jsonl:2\"") && places.contains("events.jsonl:21\""),
        "{places}"
    );
    assert_eq!(report["until"], "2026-03-01T00:39:00Z");
    assert_eq!(report["campaigns"][0]["publishes"], json!({}), "{report}");
    assert_eq!(replay("4"), replay("1"));
    let text = site.command_without_data(&["replay", &events, "--rules", &rules]).expect(0).stdout;
    assert!(
        text.contains("2 times that are not believed") && text.contains("events.jsonl:21"),
        "{text}"
    );
}

#[test]
fn an_export_leaves_out_a_timestamp_that_is_not_a_date() {
    let site = site();
    let events = site.write("events.jsonl", lines(&[minute(0), json!(START * 1000), minute(1)]));
    let exported =
        site.command_without_data(&["record", "export", events.to_str().unwrap()]).expect(0);
    assert_eq!(exported.stdout.lines().count(), 3, "{exported:?}");
    assert!(exported.stderr.contains("1 events have a time out of range"), "{}", exported.stderr);
    assert!(exported.stderr.contains("events.jsonl:2"), "{}", exported.stderr);
}

/// Runs an engine over a file of events, with a store and the named clock.
fn with_store(site: &Site, name: &str, times: &[Value], clock: &str) -> Outcome {
    let source = format!("file:{}", site.write(name, lines(times)).display());
    let store = site.path("store").display().to_string();
    site.run(&["--source", &source, "--sink", "-", "--store", &store, "--clock", clock])
}

#[test]
fn a_stored_event_time_can_be_reset_to_the_machines_clock() {
    for (what, times) in [
        ("all of the future", [0, 1, 2].map(|minute| json!(FAR + minute * MINUTE))),
        ("long ago", [0, 1, 2].map(minute)),
    ] {
        let site = site();
        let store = site.path("store").display().to_string();
        let clock = |flags: &[&str]| {
            site.command(&[&["store", "clock", "--store", &store], flags].concat())
        };
        let _ = with_store(&site, "events.jsonl", &times, "events").expect(0);
        let is_future = times[0] == FAR;
        let again = with_store(&site, "later.jsonl", &times, "events").expect(0);
        assert_eq!(
            again.stderr.contains("is ahead of the machine's clock"),
            is_future,
            "{what}: {}",
            again.stderr
        );
        let shown = site.command(&["store", "show", "--store", &store]).expect(0).stdout;
        assert_eq!(shown.contains("in doubt"), is_future, "{what}: {shown}");

        let refused = with_store(&site, "now.jsonl", &[Value::Null], "wall").expect(1);
        assert!(refused.stderr.contains("`hailer store clock`"), "{what}: {}", refused.stderr);
        let asked = clock(&[]).expect(1).stdout;
        assert!(asked.contains("--accept: the engine's time "), "{what}: {asked}");
        let accepted = clock(&["--accept", "--yes", "--json"]).expect(0).json();
        assert_eq!(accepted["isAccepted"], true, "{what}: {accepted}");
        assert!(clock(&[]).expect(0).stdout.contains("is not in doubt"), "{what}");
        let _ = with_store(&site, "now.jsonl", &[Value::Null], "wall").expect(0);
    }
}
