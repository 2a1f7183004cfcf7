//! Replays of a small rule under policies: what quiet hours defer, and what becomes of it.

use std::io::Write;

use serde_json::{Value, json};

use super::*;
use crate::engine::{Campaign, CampaignSpec, Limits, fixture, verify};
use crate::event::Customer;
use crate::policies::{Channels, ImportedConsent, Policies};
use crate::recording::Origin;

/// The most calls of one crossing.
const CALLS_MAX: usize = 32;
const LINE_BYTES_MAX: usize = 1 << 16;
const NIGHT: &str = r#"
time_zone = "Europe/Moscow"

[[quiet_hours]]
name = "night"
from = "22:00"
to = "09:00"
then = "defer"

[deferral]
discard_after = "14h"

[campaigns.thanks]
cancel_on = ["OnEndRegistration"]
"#;

/// The bytes of a short text in MessagePack.
fn text(text: &str) -> Vec<u8> {
    [&[0xa0 | text.len() as u8], text.as_bytes()].concat()
}

/// A rule set with one campaign, `thanks`, that sends a push at each purchase.
fn trial(policies: Option<&str>, per_hour_max: Option<u32>) -> Trial {
    const MANIFEST: &str = r#"{ "abi": 1, "sdk": "0.1.0", "name": "thanks", "version": "0.1.0",
        "description": "", "params": [],
        "handlers": [{ "name": "purchase", "events": ["OnPurchaseConfirm"] }] }"#;
    // The answer [nil, nil, [[send, push, "thank-you", {}]]].
    let answer = [&[0x93, 0xc0, 0xc0, 0x91, 0x94, 1, 1][..], &text("thank-you"), &[0x80]].concat();
    let handle = format!(
        r#"(data (i32.const 16384) "{}")
        (func (export "hailer_handle") (param i32 i32 i32) (result i64)
          (i64.or (i64.const {})
            (i64.extend_i32_u (i32.mul (local.get 1) (i32.const {})))))"#,
        fixture::escape(&answer.repeat(CALLS_MAX)),
        16_384_u64 << 32,
        answer.len(),
    );
    let configure = format!(
        r#"(data (i32.const 8192) "\91\c0")
        (func (export "hailer_configure") (param i32) (result i64) (i64.const {}))"#,
        8192_u64 << 32 | 2
    );
    let parts = [fixture::MEMORY, fixture::INPUT, &configure, &handle, &fixture::custom(MANIFEST)];
    let limits = Limits::default();
    let module = verify(fixture::module(&parts), &limits).unwrap();
    let sandbox = Sandbox::metered(limits).unwrap();
    let spec = CampaignSpec { per_hour_max, ..CampaignSpec::of("thanks", &module, vec![0x90]) };
    let compiled = sandbox.compile_here(&module.bytes).unwrap();
    let campaign = Campaign::started(&sandbox, spec, compiled, 1).unwrap();
    let policies = policies.map(|text| Arc::new(Policies::parse(text.as_bytes()).unwrap()));
    let rules = RuleSet::build(vec![campaign], 1).with_policies(policies);
    Trial { rules: Arc::new(rules), sandbox, consents: Arc::default() }
}

fn purchase(customer: u32, utc: &str) -> Value {
    json!({
        "eventCode": "OnPurchaseConfirm",
        "customerInfo": { "customerId": customer },
        "purchaseOperationInfo": { "dateTime": format!("2026-03-{utc}:00Z") },
    })
}

/// Purchases at 15:00, 23:30, 23:31 and 23:32 in Moscow. The third customer's registration ends
/// after that.
fn evening() -> Vec<Value> {
    let ended = json!({ "eventCode": "OnEndRegistration", "customerInfo": { "customerId": 3 } });
    vec![
        purchase(1, "01T12:00"),
        purchase(2, "01T20:30"),
        purchase(3, "01T20:31"),
        purchase(4, "01T20:32"),
        ended,
    ]
}

/// Replays events, and two days after them. Returns the report and the written rows.
fn replayed(events: &[Value], trial: &Trial, other: Option<&Trial>) -> (Report, Vec<Value>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    events.iter().for_each(|event| writeln!(file, "{event}").unwrap());
    let run = |threads: usize| {
        let origin = Origin::from(file.path().to_owned());
        let options = Options {
            environment: "test".into(),
            event_bytes_max: LINE_BYTES_MAX,
            recheck_one_in: 0,
            threads,
            begins: None,
            since: None,
            until: None,
            warm_up_ms: 0,
            run_on_ms: 2 * STEP_MS,
            machine_ms: Millis::MAX,
            is_strict: true,
        };
        let archive = Archive::open(&[origin], LINE_BYTES_MAX).unwrap();
        let mut rows = Vec::new();
        let report = replay(archive, trial, other, &options, Some(&mut rows), |_| {}).unwrap();
        (report, rows)
    };
    let (report, rows) = run(1);
    assert_eq!(run(3), (report.clone(), rows.clone()), "on any number of threads");
    let rows = rows.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    (report, rows.map(|line| serde_json::from_slice(line).unwrap()).collect())
}

/// The rows with only what says what became of a message: the time, the decision and the verdicts.
fn verdicts(rows: &[Value]) -> Vec<String> {
    let of = |row: &Value| {
        let messages = row["communications"].as_array().unwrap().iter();
        let verdicts: Vec<&str> =
            messages.map(|message| message["verdict"].as_str().unwrap()).collect();
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        format!("{} {} {}", text("at"), text("decision"), verdicts.join(", "))
    };
    rows.iter().map(of).collect()
}

#[test]
fn deferred_messages_are_counted_and_written_with_their_releases() {
    let (report, rows) = replayed(&evening(), &trial(Some(NIGHT), None), None);
    let campaign = &report.campaigns[0];
    let expected =
        DeferralCounts { deferred: 3, released: 2, stale: 0, cancelled: 1, suppressed: 0 };
    assert_eq!(campaign.deferred, expected);
    assert_eq!(campaign.suppressed, [("cancelled".to_owned(), 1)].into());
    assert_eq!(campaign.publishes, [("push".to_owned(), 3)].into());
    assert_eq!((campaign.seen, campaign.called, campaign.customers), (4, 4, 3));
    assert_eq!(
        verdicts(&rows),
        [
            "2026-03-01T12:00:00Z answered passed",
            "2026-03-01T20:30:00Z answered deferred",
            "2026-03-01T20:31:00Z answered deferred",
            "2026-03-01T20:32:00Z answered deferred",
            "2026-03-01T20:32:00Z released cancelled",
            "2026-03-02T06:00:00Z released passed",
            "2026-03-02T06:00:00Z released passed",
        ]
    );
    let deferred = &rows[1]["communications"][0];
    assert_eq!(
        (&deferred["policy"], &deferred["until"]),
        (&json!("night"), &json!("2026-03-02T06:00:00Z"))
    );
    let released = rows
        .iter()
        .skip(5)
        .find(|row| row["customer"] == rows[1]["customer"])
        .map(|row| &row["communications"][0])
        .unwrap();
    assert_eq!(
        (&released["eventId"], &released["decided"]),
        (&rows[1]["eventId"], &json!("2026-03-01T20:30:00Z"))
    );
    assert_eq!(released["message"]["recipient"]["customerId"], "2");
}

#[test]
fn a_deferred_message_takes_its_place_in_the_hour_in_which_it_is_deferred() {
    let (report, rows) = replayed(&evening(), &trial(Some(NIGHT), Some(2)), None);
    let campaign = &report.campaigns[0];
    assert_eq!((campaign.deferred.deferred, campaign.deferred.released), (2, 1));
    assert_eq!(
        campaign.suppressed,
        [("cancelled".to_owned(), 1), ("per-hour-max".to_owned(), 1)].into()
    );
    assert_eq!(campaign.publishes, [("push".to_owned(), 2)].into());
    assert_eq!(
        verdicts(&rows)[3..],
        [
            "2026-03-01T20:32:00Z answered per-hour-max",
            "2026-03-01T20:32:00Z released cancelled",
            // The message beyond the limit is not released.
            "2026-03-02T06:00:00Z released passed",
        ]
    );
    assert_eq!(rows[3]["communications"][0].get("until"), None);
    // Releases take no place: more of them than the limit leave at nine o'clock.
    let evening: Vec<Value> =
        (0..4).map(|number| purchase(number, &format!("01T{}:59", 19 + number / 2))).collect();
    let (report, _) = replayed(&evening, &trial(Some(NIGHT), Some(2)), None);
    let campaign = &report.campaigns[0];
    assert_eq!((campaign.deferred.released, campaign.suspended_at), (4, None));
}

#[test]
fn a_comparison_finds_each_message_that_only_one_rule_set_defers() {
    let (before, after) = (trial(Some(NIGHT), None), trial(None, None));
    let (report, _) = replayed(&evening(), &before, Some(&after));
    let changes = report.changes.unwrap();
    // Three are deferred, and one of them is cancelled. Their releases are no further changes.
    assert_eq!((changes.count, changes.customers.len()), (4, 3));
    let change = &changes.customers[0].changes[0];
    let deferred =
        "would send push `thank-you`, deferred until 2026-03-02T06:00:00Z (quiet-hours night) (0.1";
    assert!(change.before.starts_with(deferred), "{}", change.before);
    assert!(change.after.starts_with("sends push `thank-you` with {} (0.1"), "{}", change.after);
    let cancelled = changes.customers.iter().find(|customer| customer.count == 2).unwrap();
    assert_eq!(
        (&*cancelled.changes[1].before, &*cancelled.changes[1].after),
        ("deferred push `thank-you`, suppressed (cancelled)", "was not called")
    );
    let (report, _) = replayed(&evening(), &before, Some(&trial(Some(NIGHT), None)));
    assert_eq!(report.changes.unwrap().count, 0, "a message that both defer is no change");
}

#[test]
fn a_comparison_finds_another_end_of_quiet_hours_and_another_verdict_at_the_release() {
    let before = trial(Some(NIGHT), None);
    let events = [purchase(2, "01T20:30"), purchase(2, "01T20:31")];
    let changed = |other: &str| {
        let (report, _) = replayed(&events, &before, Some(&trial(Some(other), None)));
        let changes = report.changes.unwrap();
        assert_eq!(changes.customers.len(), 1);
        changes.customers[0].changes.clone()
    };
    let later = changed(&NIGHT.replace("09:00", "10:00"));
    assert!(later.len() == 2 && later[0].after.contains("T07:00:00Z"), "{later:?}");
    let capped = changed(&format!("{NIGHT}\n[[cap]]\nname = \"day\"\nmax = 1\nper = \"day\"\n"));
    let [Change { cause: WhatHappened::Release, before, after, .. }] = &capped[..] else {
        panic!("{capped:?}");
    };
    assert_eq!(before.matches("releases push `thank-you` with {}").count(), 2, "{before}");
    assert_eq!(after.matches("releases push `thank-you` with {}").count(), 1, "{after}");
    let cap =
        "deferred push `thank-you`, suppressed (cap day: 1 of 1 since 2026-03-02 00:00 +03:00";
    assert!(after.contains(cap), "{after}");
}

/// Policies that ask for a consent to pushes.
fn asking(unknown: &str) -> String {
    let channels = ["mail", "push", "sms", "viber", "chatBot", "socialNetworks"];
    let unknown = channels.map(|channel| format!("{channel} = \"{unknown}\"\n")).concat();
    format!(
        "time_zone = \"Europe/Moscow\"\n[consent]\nsubscription = \"Mailings\"\nyes = \
         [\"Enabled\"]\n[consent.unknown]\n{unknown}"
    )
}

/// A statement about the consent to pushes of the customer with this id.
fn said(customer: u32, is_yes: bool) -> Statement {
    let customer =
        Customer { customer_id: Some(customer.to_string().into()), ..Customer::default() };
    let channels = Channels::from_iter([hailer_abi::wire::Channel::Push]);
    let consent = ImportedConsent {
        subscription: "Mailings".into(),
        channels,
        agreed: if is_yes { channels } else { Channels::default() },
        at: Millis::MAX,
    };
    Statement { customer: customer.key().unwrap(), consent: Some(consent), time_zone: None }
}

#[test]
fn consents_are_known_before_the_first_event_on_any_number_of_threads() {
    let consents: Arc<[Statement]> = [said(1, true), said(2, false), said(99, true)].into();
    let refusing =
        Trial { consents: Arc::clone(&consents), ..trial(Some(&asking("refuse")), None) };
    let (report, rows) = replayed(&evening(), &refusing, None);
    let verdicts = verdicts(&rows);
    let ends: Vec<&str> = verdicts.iter().filter_map(|one| one.split(' ').nth(2)).collect();
    assert_eq!(ends, ["passed", "consent-off", "consent-unknown", "consent-unknown"]);
    let expected = UnknownConsent { proposed: 4, allowed: 0, refused: 2 };
    assert_eq!(report.campaigns[0].unknown_consent, Some(expected));
    assert_eq!(report.consents, Some(ConsentsReport { customers: 3, in_events: 2 }));

    let night = NIGHT.replace("time_zone = \"Europe/Moscow\"", "");
    let deferring = asking("allow") + &night;
    let allowing = Trial { consents, ..trial(Some(&deferring), None) };
    let (report, _) = replayed(&evening(), &allowing, None);
    let campaign = &report.campaigns[0];
    // A message that is deferred, and released or cancelled later, counts once.
    let expected = UnknownConsent { proposed: 4, allowed: 2, refused: 0 };
    assert_eq!(campaign.unknown_consent, Some(expected));
    assert_eq!((campaign.deferred.deferred, campaign.deferred.cancelled), (2, 1));
}

#[test]
fn what_an_hourly_limit_suppresses_is_not_allowed_on_an_unknown_consent() {
    // Three of the four purchases are in one hour.
    let limited = trial(Some(&asking("allow")), Some(2));
    let (report, _) = replayed(&evening(), &limited, None);
    let campaign = &report.campaigns[0];
    assert_eq!(campaign.suppressed.get("per-hour-max"), Some(&1));
    let expected = UnknownConsent { proposed: 4, allowed: 3, refused: 0 };
    assert_eq!(campaign.unknown_consent, Some(expected));
}

#[test]
fn a_time_zone_that_is_imported_moves_the_quiet_hours() {
    let mut zoned = said(2, true);
    (zoned.consent, zoned.time_zone) = (None, Some("Asia/Omsk".into()));
    let known = Trial { consents: [zoned].into(), ..trial(Some(NIGHT), None) };
    let (_, rows) = replayed(&evening()[1..2], &known, None);
    assert_eq!(rows[0]["communications"][0]["until"], "2026-03-02T03:00:00Z");
}
