//! Policies through the real engine: the verdicts do not depend on batches and threads, and nothing
//! that is published breaks a policy. The checks see only what was published.

use std::collections::{BTreeMap, BTreeSet};

use hailer_tests::built::example_module;
use hailer_tests::site::{Site, campaign, lines};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Campaigns that send often enough for every policy to matter.
const NAMES: [&str; 7] = [
    "abandoned-registration",
    "big-basket",
    "last-channel-lost",
    "merge-notice",
    "nth-purchase",
    "welcome",
    "win-back",
];
const ZONE: &str = "Europe/Moscow";
const BEGIN: &str = "2026-03-02T00:00:00Z";
const SECONDS_APART: i64 = 180;
const CAP_MAX: usize = 2;
/// A night, a cap and consent.
const SHARED: &str = include_str!("../fixtures/policies.toml");
/// In addition to [`SHARED`].
const MORE: &str = r#"
[control.holdout]
percent = 5
salt = "2026"

[per_event]
campaigns_max = 1

[campaigns.win-back]
priority = -10
"#;
/// Policies that follow the customers' zones, with more caps and windows.
const WITH_ZONES: &str = r#"
time_zone = "Europe/Berlin"
time_zone_attribute = "TimeZone"

[consent]
subscription = "Promo"
yes = ["Enabled"]

[consent.unknown]
mail = "allow"
push = "allow"
sms = "refuse"
viber = "refuse"
chatBot = "refuse"
socialNetworks = "refuse"

[[quiet_hours]]
name = "night"
from = "21:30"
to = "08:00"
then = "defer"

[[quiet_hours]]
name = "sunday"
from = "08:00"
to = "12:00"
days = ["sun"]
then = "drop"

[deferral]
discard_after = "12h"
spread = "2h"

[[cap]]
name = "gap"
max = 1
per = "1h"
campaigns = ["big-basket"]

[[cap]]
name = "three"
max = 3
per = "24h"

[[cap]]
name = "week"
max = 10
per = "week"
channels = ["push"]

[campaigns.big-basket]
priority = 5
cancel_on = ["OnPurchaseRefund"]
"#;

fn policies() -> String {
    let spread = "discard_after = \"14h\"\nspread = \"30m\"";
    SHARED.replace("discard_after = \"14h\"", spread) + MORE
}

/// A site with the campaigns, under policies.
fn site(policies: &str) -> Site {
    let site = Site::empty();
    for name in NAMES {
        site.put(&format!("modules/{name}.wasm"), example_module(name));
        site.put(&format!("{name}.toml"), campaign(name, ""));
    }
    site.put("policies.toml", policies);
    site
}

/// Generated events, one a line, over some eight days.
fn generated(without_merges: bool) -> Vec<Value> {
    let generate =
        ["events", "--generate", "4000", "--seed", "11", "--customers", "60", "--envelope"];
    let events = Site::empty().command_without_data(&generate).expect(0).stdout;
    let begin: Timestamp = BEGIN.parse().unwrap();
    let event = |(number, line): (i64, &str)| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        let time = begin + SignedDuration::from_secs(number * SECONDS_APART);
        event["timestamp"] = time.to_string().into();
        event
    };
    let keeps = |line: &&str| !(without_merges && line.contains("MergeCustomersProfiles"));
    (0..).zip(events.lines().filter(keeps)).map(event).collect()
}

/// What an engine or a replay made of events, one a line.
struct Run {
    published: BTreeSet<String>,
    /// What became of each message that a rule proposed, or that was deferred before.
    verdicts: BTreeSet<String>,
}

/// What an engine makes of these events.
fn decided(policies: &str, events: &[Value], settings: &[&str]) -> Run {
    let site = site(policies);
    let store = site.path("store").display().to_string();
    let events: String = events.iter().map(|event| format!("{event}\n")).collect();
    let source = format!("file:{}", site.write("events.jsonl", events).display());
    let minutes = (100 * 24 * 60).to_string();
    let flags = [
        "--source",
        &source,
        "--sink",
        "-",
        "--store",
        &store,
        "--clock",
        "events",
        "--run-on-minutes",
        &minutes,
        // The journal of the first day must be there after a hundred days.
        "--set",
        "store.journal_days=365",
    ];
    let sent = site.run(&[&flags[..], settings].concat()).expect(0).stdout;
    // The order of the members is not what a replay writes.
    let parsed = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let export = ["decisions", "export", "--json", "--store", &store];
    let rows = site.command(&export).expect(0).stdout;
    let rows: Vec<Value> = rows.lines().map(parsed).collect();
    Run {
        published: sent.lines().map(|line| parsed(line).to_string()).collect(),
        verdicts: verdicts(&rows),
    }
}

/// The verdicts in rows of decisions.
fn verdicts(rows: &[Value]) -> BTreeSet<String> {
    let of_row = |row: &Value| {
        let messages = row["communications"].as_array().cloned().unwrap_or_default();
        let verdict = |(place, one): (usize, &Value)| {
            let [at, event, campaign] = ["at", "eventId", "campaign"].map(|name| &row[name]);
            let names = ["channel", "template", "verdict", "policy", "detail", "until"];
            json!([at, event, campaign, place, names.map(|name| &one[name])]).to_string()
        };
        messages.iter().enumerate().map(verdict).collect::<Vec<_>>()
    };
    rows.iter().flat_map(of_row).collect()
}

/// What a replay makes of these events.
fn replayed(policies: &str, events: &[Value], threads: &str) -> Run {
    let site = site(policies);
    let events: String = events.iter().map(|event| format!("{event}\n")).collect();
    let (events, out) = (site.write("events.jsonl", events), site.path("decisions.jsonl"));
    let (events, rules) = (events.display().to_string(), site.rules().display().to_string());
    let out_path = out.display().to_string();
    let arguments = [
        "replay",
        &events,
        "--rules",
        &rules,
        "--run-on",
        "100d",
        "--threads",
        threads,
        "--out",
        &out_path,
        // All tests run at once, so the machine cannot measure how long a call takes.
        "--set",
        "limits.call_deadline_ms=2000",
    ];
    let _ = site.command(&arguments).expect(0);
    let rows = lines(&out);
    let messages = rows.iter().filter_map(|row| row["communications"].as_array()).flatten();
    let published = messages.map(|one| &one["message"]).filter(|message| message.is_object());
    Run { published: published.map(Value::to_string).collect(), verdicts: verdicts(&rows) }
}

/// Purchases every seven minutes for three days around the change of the clock, and between them
/// statements about consents and zones, refunds and merges.
fn around_a_change_of_the_clock() -> Vec<Value> {
    let begin: Timestamp = "2026-03-28T06:00:00Z".parse().unwrap();
    let zones = ["Asia/Omsk", "America/New_York", "nowhere"];
    let values = ["Enabled", "Disabled"];
    let event = |number: i64| {
        let customer = json!({ "customerId": number * number * 7 % 13 });
        let purchase = json!({ "purchaseId": number, "amount": 500 });
        let mut body = match number % 53 {
            11 => json!({
                "eventCode": "OnCustomerSubscriptionChange",
                "subscriptionTypeCode": "Promo",
                "subscriptionInfo": { "push": values[number as usize % values.len()] },
            }),
            17 | 37 => json!({
                "eventCode": "OnCustomerAttributeUpdate",
                "attributeCode": "TimeZone",
                "newValue": zones[number as usize % zones.len()],
            }),
            23 => json!({
                "eventCode": "OnPurchaseRefund",
                "refundOperationInfo": { "purchaseData": { "amount": 1 } },
            }),
            41 if number > 200 => json!({
                "eventCode": "MergeCustomersProfiles",
                "fromCustomerInfo": { "customerId": number / 53 % 13 },
                "toCustomerInfo": { "customerId": number / 53 % 13 + 1 },
            }),
            _ => json!({
                "eventCode": "OnPurchaseConfirm",
                "purchaseOperationInfo": { "purchaseData": purchase },
            }),
        };
        if body["eventCode"] != "MergeCustomersProfiles" {
            body["customerInfo"] = customer;
        }
        let time = begin + SignedDuration::from_mins(number * 7);
        json!({ "messageId": number.to_string(), "timestamp": time.to_string(), "body": body })
    };
    (0..600).map(event).collect()
}

#[test]
fn the_verdicts_do_not_depend_on_batches_and_threads_and_a_replay_has_the_same() {
    for (what, policies, events, at_least) in [
        ("generated events", &*policies(), generated(false), 300),
        ("three days with zones", WITH_ZONES, around_a_change_of_the_clock(), 40),
    ] {
        let one_by_one =
            decided(policies, &events, &["--set", "event.batch_max=1", "--set", "shards=1"]);
        let count = one_by_one.published.len();
        assert!(count > at_least, "{what}: {count}");
        assert!(one_by_one.verdicts.len() > 2 * count, "{what}: many are suppressed or deferred");
        let others = [
            decided(policies, &events, &["--set", "event.batch_max=256", "--set", "shards=8"]),
            decided(policies, &events, &["--set", "event.batch_max=256", "--set", "shards=1"]),
            replayed(policies, &events, "1"),
            replayed(policies, &events, "8"),
        ];
        for (run, other) in others.iter().enumerate() {
            for (first, other) in
                [(&one_by_one.published, &other.published), (&one_by_one.verdicts, &other.verdicts)]
            {
                let differ: Vec<_> = first.symmetric_difference(other).take(5).collect();
                assert!(differ.is_empty(), "{what}, run {run}: {differ:#?}");
            }
        }
    }
}

#[test]
fn nothing_published_breaks_a_policy() {
    let events = generated(true);
    let free = decided("time_zone = \"Europe/Moscow\"", &events, &[]).published;
    let held = decided(&policies(), &events, &[]).published;
    assert!(held.len() > 300 && free.len() > held.len() + 300, "{} {}", free.len(), held.len());
    let refusals = statements(&events);
    let mut refused_before = 0;
    let zone = TimeZone::get(ZONE).unwrap();
    let (night, morning) = (Time::constant(22, 0, 0, 0), Time::constant(9, 0, 0, 0));
    let mut speaks: BTreeMap<(String, Date), BTreeSet<(String, String)>> = BTreeMap::new();
    for line in &held {
        let sent: Value = serde_json::from_str(line).unwrap();
        let text = |path: &str| sent.pointer(path).and_then(Value::as_str).unwrap().to_owned();
        let created: Timestamp = text("/createdAt").parse().unwrap();
        let local = zone.to_datetime(created);
        assert!(local.time() >= morning && local.time() < night, "at night: {line}");
        let customer = text("/recipient/customerId");
        let channel = text("/channel");
        let said = refusals.get(&(customer.clone(), channel.clone()));
        let last = said.and_then(|said| said.range(..created).next_back());
        assert!(last.is_none_or(|(_, is_yes)| *is_yes), "refused: {line}");
        refused_before += usize::from(said.is_some());
        // Everything that one campaign sends on one event counts once.
        let dispatch = (text("/cause/eventId"), text("/campaign"));
        speaks.entry((customer, local.date())).or_default().insert(dispatch);
    }
    for (day, dispatches) in &speaks {
        assert!(dispatches.len() <= CAP_MAX, "{day:?} {dispatches:?}");
    }
    let full = speaks.values().filter(|dispatches| dispatches.len() == CAP_MAX).count();
    assert!(full > 20, "the cap is reached on {full} days");
    assert!(refused_before > 20, "{refused_before} messages to customers who said yes or no");
}

/// By customer and channel, when the customer agreed or refused.
fn statements(events: &[Value]) -> BTreeMap<(String, String), BTreeMap<Timestamp, bool>> {
    let mut statements: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for event in events {
        let body = &event["body"];
        let is_meant = body["eventCode"] == "OnCustomerSubscriptionChange"
            && body["subscriptionTypeCode"] == "Promo";
        let Some(channels) = body["subscriptionInfo"].as_object().filter(|_| is_meant) else {
            continue;
        };
        let customer = body["customerInfo"]["customerId"].to_string();
        let time: Timestamp = event["timestamp"].as_str().unwrap().parse().unwrap();
        for (channel, value) in channels {
            let said = statements.entry((customer.clone(), channel.clone())).or_default();
            said.insert(time, value == "Enabled");
        }
    }
    statements
}
