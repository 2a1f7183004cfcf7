//! `hailer consent import` and `export`, with a running engine and on the store of a stopped one.

use std::collections::BTreeMap;

use hailer::consent::ImportPart;
use hailer::consents::ImportRequest;
use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Outcome, RELOADS_ON_REQUEST, Site, campaign};
use hailer_tests::wait;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::failures::line;

/// Ids that stand out in a log.
const ONE: &str = "70000164";
const OTHER: &str = "70000165";
const MERGED: &str = "70000166";
const LONG_AGO: &str = "2020-03-01T08:00:00Z";
const CHANGES: &str = "hailer_consent_changes_total";

/// A site whose campaign sends a text message when a card is blocked. Policies refuse one while the
/// consent is not known.
fn site() -> Site {
    let site = Site::empty();
    site.put("modules/card-security.wasm", example_module("card-security"));
    let personal = "personal = [\"card_number\", \"new_card_number\", \"old_card_number\"]";
    site.put("card.toml", campaign("card-security", personal));
    site.put("policies.toml", policies("refuse"));
    site
}

fn policies(unknown: &str) -> String {
    let channels = ["mail", "push", "sms", "viber", "chatBot", "socialNetworks"];
    let unknown = channels.map(|channel| format!("{channel} = \"{unknown}\"\n")).concat();
    format!(
        "time_zone = \"Europe/Moscow\"\n[consent]\nsubscription = \"Mailings\"\nyes = \
         [\"Enabled\"]\n[consent.unknown]\n{unknown}"
    )
}

async fn start(site: &Site) -> Engine {
    let store = store(site);
    site.start_ready(&[&RELOADS_ON_REQUEST[..], &["--store", &store]].concat()).await
}

fn store(site: &Site) -> String {
    site.path("store").display().to_string()
}

/// The event of a blocked card, whose number makes the event unique.
fn blocked(number: u32, customer: &str) -> String {
    let body = json!({
        "eventCode": "OnBlockCard",
        "targetBlockState": true,
        "cardInfo": { "cardId": number, "cardNumber": format!("02000000{number:02}") },
        "customerInfo": { "customerId": customer },
    });
    line(&format!("blocked-{number}"), &body)
}

fn refuses(customer: &str) -> String {
    let body = json!({
        "eventCode": "OnCustomerSubscriptionChange",
        "subscriptionTypeId": 1,
        "subscriptionTypeCode": "Mailings",
        "subscriptionInfo": { "sms": "Disabled" },
        "customerInfo": { "customerId": customer },
    });
    line(&format!("refuses-{customer}"), &body)
}

fn merges(from: &str, to: &str) -> String {
    let (from_info, to_info) = (json!({ "customerId": from }), json!({ "customerId": to }));
    let body = json!({
        "eventCode": "MergeCustomersProfiles",
        "fromCustomerInfo": from_info, "toCustomerInfo": to_info,
    });
    line(&format!("merges-{from}"), &body)
}

/// A line of an import: what a customer said about text messages.
fn said(customer: &str, value: &str, at: &str) -> String {
    let channels = json!({ "sms": value });
    format!(
        "{}\n",
        json!({
            "customerId": customer, "subscription": "Mailings", "channels": channels, "at": at,
        })
    )
}

fn import(site: &Site, lines: &str, arguments: &[&str]) -> Outcome {
    let file = site.write("consents.jsonl", lines).display().to_string();
    site.command(&[&["consent", "import", &file], arguments].concat())
}

/// The numbers of an import: changed, unchanged and older consents.
fn counts(imported: Outcome) -> [u64; 3] {
    let consents = imported.expect(0).json()["consents"].clone();
    ["changed", "unchanged", "older"].map(|name| consents[name].as_u64().unwrap())
}

fn exported(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let lines = site.command(&[&["consent", "export"], arguments].concat()).expect(0).stdout;
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until the story of a customer has so many messages, and returns the last verdict in it.
async fn verdict(site: &Site, customer: &str, messages: usize) -> String {
    wait::until_some("the message is decided", async || {
        let told = site.command(&["why", customer, "--utc"]).stdout;
        let verdicts: Vec<&str> =
            told.lines().filter(|line| line.contains("sms `card-blocked`")).collect();
        (verdicts.len() == messages).then(|| told.clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_running_engine_imports_consents_and_keeps_what_a_later_event_said() {
    let site = site();
    let mut engine = start(&site).await;
    engine.write(blocked(1, ONE));
    let story = verdict(&site, ONE, 1).await;
    assert!(story.contains("consent-unknown sms of Mailings"), "{story}");

    let yes = said(ONE, "Enabled", LONG_AGO);
    assert_eq!(counts(import(&site, &yes, &["--dry-run", "--json"])), [1, 0, 0]);
    assert_eq!(exported(&site, &[]), Vec::<Value>::new(), "a dry run changes nothing");
    assert_eq!(counts(import(&site, &yes, &["--json"])), [1, 0, 0]);
    assert_eq!(counts(import(&site, &yes, &["--json"])), [0, 1, 0], "repeated");
    engine.metric_is(&format!("{CHANGES}{{source=\"import\"}}"), 1.0).await;
    engine.write(blocked(2, ONE));
    assert_eq!(engine.prints(1).await[0]["recipient"]["customerId"], ONE);

    engine.write(refuses(ONE));
    engine.metric_is(&format!("{CHANGES}{{source=\"event\"}}"), 1.0).await;
    let older = said(ONE, "Enabled", "2021-03-01T08:00:00Z");
    assert_eq!(counts(import(&site, &older, &["--json"])), [0, 0, 1]);
    engine.write(blocked(3, ONE));
    let story = verdict(&site, ONE, 3).await;
    assert!(story.contains("consent-off sms of Mailings, since"), "{story}");
    assert_eq!(engine.printed().len(), 1);

    // An id that was merged means the customer who remains.
    engine.write(merges(MERGED, OTHER) + &blocked(4, OTHER));
    let _ = verdict(&site, OTHER, 1).await;
    let no = said(MERGED, "Disabled", &Timestamp::now().to_string());
    let told = import(&site, &no, &[]).expect(0).stdout;
    assert!(told.contains("changed 1, ") && told.contains("`Disabled` means no: 1"), "{told}");
    engine.write(blocked(5, OTHER));
    let story = verdict(&site, OTHER, 2).await;
    assert!(story.contains(", import"), "{story}");

    let while_running = exported(&site, &[]);
    assert_eq!(while_running.len(), 2);
    let log = engine.stderr();
    assert!(!log.contains("7000016"), "an id is in the log: {log}");
    engine.stop().await;
    assert_eq!(exported(&site, &["--store", &store(&site)]), while_running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_store_of_a_stopped_engine_takes_the_same_import() {
    let site = site();
    let mut engine = start(&site).await;
    engine.write(blocked(1, OTHER) + &refuses(ONE));
    engine.metric_is(&format!("{CHANGES}{{source=\"event\"}}"), 1.0).await;
    assert!(verdict(&site, OTHER, 1).await.contains("consent-unknown"));
    engine.stop().await;
    let store = store(&site);
    let lines = said(OTHER, "Enabled", LONG_AGO) + &said(ONE, "Enabled", LONG_AGO);
    let at_store = ["--store", &store, "--json"];
    assert_eq!(counts(import(&site, &lines, &[&at_store[..], &["--dry-run"]].concat())), [1, 0, 1]);
    assert_eq!(counts(import(&site, &lines, &at_store)), [1, 0, 1]);
    assert_eq!(counts(import(&site, &lines, &at_store)), [0, 1, 1]);
    let mut engine = start(&site).await;
    engine.write(blocked(2, ONE) + &blocked(3, OTHER));
    assert_eq!(engine.prints(1).await[0]["recipient"]["customerId"], OTHER);
    assert!(verdict(&site, ONE, 1).await.contains("consent-off sms of Mailings"));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_bad_line_keeps_the_whole_file_out_of_an_engine_and_of_a_store() {
    let site = site();
    let engine = start(&site).await;
    let good = said(ONE, "Enabled", LONG_AGO);
    let bad = good.clone() + &said(OTHER, "Enabled", "2020-03-01");
    let refused = |arguments: &[&str]| {
        let refused = import(&site, &bad, arguments).expect(1);
        assert!(refused.stderr.contains("consents.jsonl:2: `at`"), "{}", refused.stderr);
        assert!(!refused.stderr.contains(OTHER), "{}", refused.stderr);
        let mistakes = import(&site, &bad, &[arguments, &["--json"]].concat()).expect(1).json();
        assert_eq!(
            (&mistakes["mistakesCount"], &mistakes["mistakes"][0]["line"]),
            (&1.into(), &2.into())
        );
    };
    refused(&[]);
    assert_eq!(exported(&site, &[]), Vec::<Value>::new());
    engine.stop().await;
    let store = store(&site);
    refused(&["--store", &store]);
    assert_eq!(exported(&site, &["--store", &store]), Vec::<Value>::new());

    site.put("policies.toml", "time_zone = \"Europe/Moscow\"\n");
    let without = import(&site, &good, &["--store", &store]).expect(1);
    assert!(without.stderr.contains("the policies have no [consent]"), "{}", without.stderr);
    let answers = good.replace("\"Enabled\"", "true");
    assert_eq!(counts(import(&site, &answers, &["--store", &store, "--json"])), [1, 0, 0]);
    site.put("policies.toml", "time_zone = \"Nowhere\"\n");
    let broken = import(&site, &good, &["--store", &store]).expect(2);
    assert!(broken.stderr.contains("policies.toml:1"), "{}", broken.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_clock_that_made_a_file_may_be_a_little_ahead() {
    let site = site();
    let engine = start(&site).await;
    let ahead = |minutes: i64| (Timestamp::now() + minutes.minutes()).to_string();
    let refused = import(&site, &said(ONE, "Enabled", &ahead(30)), &[]).expect(1);
    assert!(refused.stderr.contains("is in the future"), "{}", refused.stderr);
    assert_eq!(counts(import(&site, &said(ONE, "Enabled", &ahead(5)), &["--json"])), [1, 0, 0]);
    engine.stop().await;
}

/// More lines than one request to the engine takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_kill_in_the_middle_of_an_import_leaves_whole_rows_and_a_repeat_completes_it() {
    const LINES: usize = 2000;
    let site = site();
    let lines: String = (0..LINES)
        .map(|number| {
            said(&format!("8{number:07}"), "Enabled", LONG_AGO)
                .replace("\"sms\":", "\"push\":\"Disabled\",\"sms\":")
        })
        .collect();
    // The start commits once, and each commit passes three times.
    site.environment(&[("HAILER_FAILPOINTS", "during-commit=8")]);
    let mut engine = start(&site).await;
    let cut = import(&site, &lines, &[]);
    assert_eq!((cut.code, engine.ended().await), (Some(1), None), "{cut:?}");
    drop(engine);
    site.environment(&[]);
    let engine = start(&site).await;
    let is_whole = |row: &Value| row["channels"] == json!({ "push": false, "sms": true });
    let before = exported(&site, &[]);
    assert!(!before.is_empty() && before.len() < LINES, "{}", before.len());
    assert!(before.iter().all(is_whole), "{before:?}");
    let [changed, unchanged, older] = counts(import(&site, &lines, &["--json"]));
    assert_eq!((changed + unchanged, older), (2 * LINES as u64, 0));
    assert_eq!(unchanged, 2 * before.len() as u64);
    let after = exported(&site, &[]);
    assert!(after.len() == LINES && after.iter().all(is_whole), "{}", after.len());
    engine.stop().await;
}

#[test]
fn an_import_of_an_export_into_an_empty_store_makes_an_equal_export() {
    let site = site();
    let begun = |store: &str| {
        let store = site.path(store).display().to_string();
        let _ = site.run(&["--source", "-", "--sink", "-", "--store", &store]).expect(0);
        store
    };
    let (first, second) = (begun("first"), begun("second"));
    let zone = |customer: &str| {
        format!("{}\n", json!({ "customerUid": customer, "timeZone": "Asia/Omsk" }))
    };
    let lines = said(ONE, "Enabled", LONG_AGO)
        + &said(ONE, "Disabled", "2021-03-01T08:00:00.007Z").replace("sms", "push")
        + &said(OTHER, "Disabled", LONG_AGO).replace("}\n", ",\"timeZone\":\"+03:00\"}\n")
        + &zone("u-1");
    let _ = import(&site, &lines, &["--store", &first]).expect(0);
    let text =
        |store: &str| site.command(&["consent", "export", "--store", store]).expect(0).stdout;
    assert_eq!(text(&first).lines().count(), 4);
    let _ = import(&site, &text(&first), &["--store", &second]).expect(0);
    assert_eq!(text(&second), text(&first));
}

/// The verdicts of a replay, by reason; a communication that passed is not in it.
fn suppressed(report: &Value) -> BTreeMap<String, u64> {
    serde_json::from_value(report["campaigns"][0]["suppressed"].clone()).unwrap()
}

#[test]
fn a_replay_takes_consents_and_other_policies_and_compares_them() {
    let site = site();
    let events: String = ["1", "2", "3"]
        .into_iter()
        .zip(1..)
        .map(|(customer, number)| {
            let mut event: Value = serde_json::from_str(&blocked(number, customer)).unwrap();
            event["timestamp"] = format!("2026-03-01T10:0{number}:00Z").into();
            format!("{event}\n")
        })
        .collect();
    let events = site.write("events.jsonl", events).display().to_string();
    let consents = said("1", "Enabled", LONG_AGO) + &said("2", "Disabled", LONG_AGO);
    let consents = site.write("consents.jsonl", consents).display().to_string();
    let lenient = site.write("lenient.toml", policies("allow")).display().to_string();
    let replay = |arguments: &[&str]| site.command(&[&["replay", &events], arguments].concat());
    let report = |arguments: &[&str]| replay(&[arguments, &["--json"]].concat()).expect(0).json();

    let nothing_known = report(&[]);
    assert_eq!(suppressed(&nothing_known), [("consent-unknown".to_owned(), 3)].into());
    let known = report(&["--consent", &consents]);
    let reasons = [("consent-off".to_owned(), 1), ("consent-unknown".to_owned(), 1)];
    assert_eq!(suppressed(&known), reasons.into());
    assert_eq!(known["consents"], json!({ "customers": 2, "inEvents": 2 }));
    let unknown = &known["campaigns"][0]["unknownConsent"];
    assert_eq!(*unknown, json!({ "proposed": 3, "allowed": 0, "refused": 1 }));
    let allowed = report(&["--consent", &consents, "--policies", &lenient]);
    let unknown = &allowed["campaigns"][0]["unknownConsent"];
    assert_eq!(*unknown, json!({ "proposed": 3, "allowed": 1, "refused": 0 }));
    let off = report(&["--consent", &consents, "--policies", "off"]);
    assert_eq!(
        (suppressed(&off), &off["campaigns"][0]["unknownConsent"]),
        ([].into(), &Value::Null)
    );

    let compared = replay(&["--consent", &consents, "--diff-policies", &lenient]).expect(0).stdout;
    let told = "1 of 3 messages depended on consent that is not known: 0 allowed, 1 refused";
    assert!(compared.contains(told) && compared.contains("1 allowed, 0 refused"), "{compared}");
    assert!(compared.contains("1 customers have another result (1 card)"), "{compared}");

    let strangers = said("4", "Enabled", LONG_AGO);
    let strangers = site.write("strangers.jsonl", strangers).display().to_string();
    let told = replay(&["--consent", &strangers]).expect(0).stdout;
    assert!(told.contains("in a pseudonymised recording, customers have other ids"), "{told}");
    let bad = site.write("bad.jsonl", "{}\n").display().to_string();
    assert!(replay(&["--consent", &bad]).expect(1).stderr.contains("bad.jsonl:1: "));
    assert!(replay(&["--consent", "-"]).expect(2).stderr.contains("needs a file"));
    assert!(replay(&["--policies", "none.toml"]).expect(2).stderr.contains("cannot read the"));
    let typo = site.write("typo.toml", policies("allow").replace("zone", "zoen"));
    let refused = replay(&["--policies", &typo.display().to_string()]).expect(2);
    assert!(refused.stderr.contains("typo.toml:1"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("policies.toml"), "{}", refused.stderr);
    let named = policies("allow") + "[campaigns.cards]\npriority = 1\n";
    let named = site.write("named.toml", named).display().to_string();
    let warned = replay(&["--policies", &named]).expect(0).stderr;
    assert!(warned.contains("named.toml") && warned.contains("`card`"), "{warned}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_import_ends_if_the_policies_would_read_its_file_differently() {
    let site = site();
    let engine = start(&site).await;
    let terms = engine.client.consent_terms().await.unwrap();
    let request = ImportRequest { statements: Vec::new(), replaces_zones: true, dry_run: false };
    let part = ImportPart { terms, request };
    assert!(engine.client.import_consents(&part).await.is_ok());
    site.put("policies.toml", policies("refuse").replace("\"Enabled\"", "\"Enabled\", \"On\""));
    let _ = site.command(&["reload"]).expect(0);
    let refused = engine.client.import_consents(&part).await.unwrap_err().to_string();
    assert!(refused.contains("the policies changed"), "{refused}");
    engine.stop().await;
}
