//! States and timers of rules through the whole engine, mostly on the event clock.

use hailer_tests::built::example_module;
use hailer_tests::site::{Outcome, Site, campaign};
use hailer_tests::wiring::Wiring;
use serde_json::{Value, json};

use crate::support::shared_broker;
use crate::swaps::purchase;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2026-03-01T00:00:00Z.
const START: i64 = 1_772_323_200_000;

fn site_with(rule: &str, rest: &str) -> Site {
    let site = Site::empty();
    site.put(&format!("modules/{rule}.wasm"), example_module(rule));
    site.put(&format!("{rule}.toml"), campaign(rule, rest));
    site
}

/// A line of input: an event that was received `after` ms after the start.
fn at(after: i64, body: &str) -> String {
    format!("{}\n", json!({ "timestamp": START + after, "body": body }))
}

fn of_customer(code: &str, customer: u64) -> String {
    json!({ "eventCode": code, "customerInfo": { "customerId": customer } }).to_string()
}

/// A purchase with an id, as the rule `tally` needs it.
fn bought(customer: u64, number: u64) -> String {
    let mut event: Value =
        serde_json::from_str(&purchase(number as usize, customer as usize)).unwrap();
    event["externalId"] = format!("purchase {number}").into();
    event["purchaseOperationInfo"]["purchaseData"]["purchaseId"] = number.into();
    event.to_string()
}

fn merged(from: u64, to: u64) -> String {
    let customer = |id: u64| json!({ "customerId": id });
    let (from, to) = (customer(from), customer(to));
    json!({
        "eventCode": "MergeCustomersProfiles", "fromCustomerInfo": from, "toCustomerInfo": to,
    })
    .to_string()
}

/// Runs an engine on the event clock over these lines, with a run-on of `run_on` ms.
fn run(site: &Site, name: &str, lines: &str, run_on: i64, more: &[&str]) -> (Vec<Value>, Outcome) {
    let source = format!("file:{}", site.write(name, lines).display());
    let minutes = (run_on / MINUTE).to_string();
    let flags =
        ["--source", &source, "--sink", "-", "--clock", "events", "--run-on-minutes", &minutes];
    let outcome = site.run(&[&flags[..], more].concat()).expect(0);
    let printed = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (printed, outcome)
}

fn customers(communications: &[Value]) -> Vec<&str> {
    communications.iter().map(|one| one["recipient"]["customerId"].as_str().unwrap()).collect()
}

#[test]
fn only_an_unfinished_registration_gets_a_nudge_at_its_time() {
    let site = site_with("abandoned-registration", "[params]\nwait_minutes = 60");
    let lines = [
        at(0, &of_customer("OnBeginRegistration", 1)),
        at(MINUTE, &of_customer("OnBeginRegistration", 2)),
        at(30 * MINUTE, &of_customer("OnEndRegistration", 2)),
        // The customer begins again, so the wait starts again.
        at(40 * MINUTE, &of_customer("OnBeginRegistration", 3)),
        at(50 * MINUTE, &of_customer("OnBeginRegistration", 3)),
    ];
    let (printed, outcome) = run(&site, "events.jsonl", &lines.concat(), 2 * HOUR, &[]);
    assert_eq!(customers(&printed), ["1", "3"], "{}", outcome.stderr);
    assert_eq!(printed[0]["cause"]["timer"], "nudge");
    assert_eq!(printed[0]["createdAt"], "2026-03-01T01:00:00Z");
    assert_eq!(printed[1]["createdAt"], "2026-03-01T01:50:00Z");
    let (again, _) = run(&site, "again.jsonl", &lines.concat(), 2 * HOUR, &[]);
    assert_eq!(again.len(), 2);
}

#[test]
fn an_event_without_an_envelope_has_the_time_of_its_body() {
    let site = site_with("nth-purchase", "[params]\npurchases = 2");
    let purchase = |time: &str| {
        let purchase = json!({ "purchaseId": time, "amount": 10 });
        let info = json!({ "dateTime": time, "purchaseData": purchase });
        let body = json!({
            "eventCode": "OnPurchaseConfirm", "customerInfo": { "customerId": 7 },
            "purchaseOperationInfo": info,
        });
        format!("{body}\n")
    };
    let lines = [purchase("2026-03-01T10:00:00Z"), purchase("2026-03-02T11:00:00Z")];
    let (printed, outcome) = run(&site, "own.jsonl", &lines.concat(), 0, &[]);
    assert_eq!(printed[0]["createdAt"], "2026-03-02T11:00:00Z", "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("no event has had a time"), "{}", outcome.stderr);
    // The engine reports an input that starts with an event without a time.
    let untold = of_customer("OnBeginRegistration", 1) + "\n";
    let (_, outcome) = run(&site, "untold.jsonl", &untold, 0, &[]);
    assert!(outcome.stderr.contains("no event has had a time yet"), "{}", outcome.stderr);
}

#[test]
fn a_timer_fires_before_an_event_with_a_later_time() {
    let site = site_with("abandoned-registration", "[params]\nwait_minutes = 60");
    let lines = [
        at(0, &of_customer("OnBeginRegistration", 1)),
        at(2 * HOUR, &of_customer("OnEndRegistration", 1)),
    ];
    let (printed, _) = run(&site, "events.jsonl", &lines.concat(), 0, &[]);
    assert_eq!(printed.len(), 1, "the timer was due an hour before the registration was finished");
}

#[test]
fn state_and_timers_survive_a_restart_and_a_second_read_changes_nothing() {
    let site = site_with("nth-purchase", "[params]\npurchases = 3");
    site.put("modules/abandoned-registration.wasm", example_module("abandoned-registration"));
    site.put("nudge.toml", campaign("abandoned-registration", ""));
    let store = site.path("store").display().to_string();
    let kept = ["--store", &store];
    let first = [
        at(0, &purchase(1, 7)),
        at(MINUTE, &purchase(2, 7)),
        at(2 * MINUTE, &of_customer("OnBeginRegistration", 8)),
    ];
    let (printed, _) = run(&site, "first.jsonl", &first.concat(), 0, &kept);
    assert_eq!(printed.len(), 0);
    let (printed, outcome) = run(&site, "first.jsonl", &first.concat(), 0, &kept);
    assert_eq!(printed.len(), 0);
    assert!(
        outcome.stderr.contains("3 copies of events that had been decided"),
        "{}",
        outcome.stderr
    );
    let (printed, _) = run(&site, "second.jsonl", &at(DAY, &purchase(3, 7)), 0, &kept);
    assert_eq!(customers(&printed), ["8", "7"], "the nudge was due before the third purchase");
    assert_eq!(printed[1]["campaign"], "nth-purchase");
    let (printed, _) = run(&site, "third.jsonl", &at(2 * DAY, &purchase(4, 7)), 0, &kept);
    assert_eq!(printed.len(), 0, "the count has started again");
}

#[test]
fn a_batch_of_one_customers_events_is_decided_in_order() {
    const PURCHASES: u64 = 30;
    let site = site_with("tally", "");
    let lines: String = (1..=PURCHASES).map(|number| at(1, &bought(5, number))).collect();
    let (printed, _) = run(&site, "events.jsonl", &lines, 0, &[]);
    let sent = printed.iter().map(|one| one["data"].clone());
    // The chain of a purchase contains all purchases that the rule has seen before it.
    let mut chain = 0;
    let expected = (1..=PURCHASES).map(|number| {
        chain = (chain * 31 + number) % (1 << 32);
        json!({ "number": number, "count": number, "chain": chain })
    });
    assert_eq!(sent.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// The shortest wait that the rule accepts.
const A_MINUTE: &str = "[params]\nwait_minutes = 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_timer_survives_a_kill_and_fires_on_the_clock_of_the_machine() {
    let wiring = Wiring::new(shared_broker(), "timers").await;
    let site = site_with("abandoned-registration", A_MINUTE);
    let engine = site.start(&wiring.flags());
    engine.ready().await;
    wiring
        .send([of_customer("OnBeginRegistration", 1), of_customer("OnBeginRegistration", 2)])
        .await;
    engine.metric_is("hailer_source_acknowledged_total", 2.0).await;
    engine.kill();
    // A waiting event is handled before the timer fires, however late the engine is.
    wiring.send([of_customer("OnEndRegistration", 2)]).await;
    // The next engine's clock is past the time of both timers.
    site.environment(&[(hailer::failpoint::VARIABLE, &format!("clock-ms={}", 2 * MINUTE))]);
    let engine = site.start(&wiring.flags());
    engine.metric_is("hailer_timers_fired_total", 1.0).await;
    let communications = wiring.communications(1).await;
    assert_eq!(communications[0].1["recipient"]["customerId"], "1");
    engine.stop().await;
    wiring.is_drained().await;
    assert_eq!(
        wiring.client.counts(&wiring.out).await.0,
        0,
        "a customer who finished during the outage gets no nudge"
    );
}

#[test]
fn a_merge_unites_states_moves_timers_and_redirects_the_old_id() {
    let site = site_with("nth-purchase", "[params]\npurchases = 3");
    site.put("modules/abandoned-registration.wasm", example_module("abandoned-registration"));
    site.put("nudge.toml", campaign("abandoned-registration", ""));
    let lines = [
        at(0, &purchase(1, 1)),
        at(MINUTE, &purchase(2, 2)),
        at(2 * MINUTE, &of_customer("OnBeginRegistration", 1)),
        at(3 * MINUTE, &merged(1, 2)),
        // With the old id, which now means the other customer.
        at(4 * MINUTE, &purchase(3, 1)),
    ];
    let (printed, outcome) = run(&site, "events.jsonl", &lines.concat(), 2 * HOUR, &[]);
    let campaigns: Vec<_> = printed.iter().map(|one| one["campaign"].as_str().unwrap()).collect();
    assert_eq!(campaigns, ["nth-purchase", "nudge"], "{}", outcome.stderr);
    assert_eq!(
        printed[1]["recipient"]["customerId"], "2",
        "the timer belongs to the remaining customer"
    );
}

/// Runs an engine over `lines`, and returns the template and the recipient of each communication.
fn run_answering(
    name: &str,
    lines: &str,
    run_on: i64,
    site: &Site,
    more: &[&str],
) -> Vec<(String, String)> {
    let (printed, _) = run(site, name, lines, run_on, more);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    printed
        .iter()
        .map(|one| (text(&one["template"]), text(&one["recipient"]["customerId"])))
        .collect()
}

#[test]
fn an_old_id_means_the_remaining_customer_even_after_a_restart() {
    let site = site_with("big-basket", "[params]\nthreshold = \"0\"");
    site.put("modules/win-back.wasm", example_module("win-back"));
    site.put("win-back.toml", campaign("win-back", ""));
    let store = site.path("store").display().to_string();
    let kept = ["--store", &store];
    let to = |template: &str, customer: &str| (template.to_owned(), customer.to_owned());
    let lines = [
        at(0, &purchase(1, 6)),
        at(MINUTE, &merged(5, 6)),
        at(2 * MINUTE, &purchase(2, 5)),
        at(3 * MINUTE, &merged(6, 7)),
    ];
    let sent = run_answering("first.jsonl", &lines.concat(), 0, &site, &kept);
    assert_eq!(sent, [to("big-basket", "6"), to("big-basket", "6")]);
    // Two merges came in between, and only the store knows them.
    let sent = run_answering("second.jsonl", &at(HOUR, &purchase(3, 5)), 100 * DAY, &site, &kept);
    assert_eq!(sent, [to("big-basket", "7"), to("we-miss-you", "7"), to("come-back", "7")]);
}

#[test]
fn after_a_merge_the_last_purchase_of_both_customers_counts() {
    for (from, to) in [(1, 2), (2, 1)] {
        let site = site_with("win-back", "");
        let lines = [
            at(0, &purchase(1, 1)),
            at(57 * DAY, &purchase(2, 2)),
            at(59 * DAY, &merged(from, to)),
        ];
        let (printed, outcome) = run(&site, "events.jsonl", &lines.concat(), 400 * DAY, &[]);
        let sent: Vec<_> =
            printed.iter().map(|one| (&one["template"], &one["createdAt"])).collect();
        let after = |days: i64| START / 1000 + (57 + days) * 24 * 3600;
        assert_eq!(sent.len(), 2, "{from} into {to}: {sent:?} {}", outcome.stderr);
        for ((template, moment), (expected, days)) in
            sent.into_iter().zip([("we-miss-you", 60), ("come-back", 90)])
        {
            assert_eq!(template, expected);
            let moment: jiff::Timestamp = moment.as_str().unwrap().parse().unwrap();
            let late = moment.as_second() - after(days);
            assert!(
                (0..24 * 3600).contains(&late),
                "{from} into {to}: {template} {late} s after the day began"
            );
        }
        let to = to.to_string();
        assert_eq!(customers(&printed), [&*to, &*to]);
    }
}

/// The dedup key of a copy does not change when a merge changes the customer of the event.
#[test]
fn a_second_read_after_a_merge_changes_nothing() {
    let site = site_with("nth-purchase", "[params]\npurchases = 3");
    let store = site.path("store").display().to_string();
    let kept = ["--store", &store];
    let lines =
        [at(0, &purchase(1, 1)), at(1, &purchase(2, 1)), at(MINUTE, &merged(1, 2))].concat();
    let (printed, _) = run(&site, "events.jsonl", &lines, 0, &kept);
    assert_eq!(printed.len(), 0);
    let (printed, outcome) = run(&site, "events.jsonl", &lines, 0, &kept);
    assert_eq!(printed.len(), 0, "two purchases are not four");
    assert!(
        outcome.stderr.contains("3 copies of events that had been decided"),
        "{}",
        outcome.stderr
    );
}

/// On the machine's clock a merge does not wait until the store shows earlier decisions: it finds
/// what it needs in the overlay of whichever shard has it.
#[test]
fn merges_that_follow_each_other_see_each_other() {
    const PAIRS: u64 = 100;
    let site = site_with("tally", "");
    let mut lines = String::new();
    for pair in 0..PAIRS {
        let [from, to, last] = [1, 2, 3].map(|one| 10 * pair + one);
        let events = [
            bought(from, from),
            bought(to, to),
            merged(from, to),
            // A copy, whose original another shard may have decided.
            bought(from, from),
            bought(from, 10 * pair + 3),
            merged(to, last),
            bought(from, from),
            bought(from, 10 * pair + 4),
            // The first customer is the remaining one now, and the others are merged into it.
            merged(last, from),
            bought(to, to),
            bought(to, 10 * pair + 5),
        ];
        events.iter().for_each(|event| lines += &format!("{event}\n"));
    }
    let source = format!("file:{}", site.write("merges.jsonl", &lines).display());
    let store = site.path("store").display().to_string();
    let flags = ["--source", &source, "--sink", "-", "--shards", "4", "--store", &store];
    let outcome = site.run(&flags).expect(0);
    let mut told: Vec<_> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"].clone())
        .map(|data| (data["number"].as_u64().unwrap(), data["count"].as_u64().unwrap()))
        .collect();
    told.sort_unstable();
    let expected = (0..PAIRS)
        .flat_map(|pair| [(1, 1), (2, 1), (3, 3), (4, 4), (5, 5)].map(|(n, c)| (10 * pair + n, c)));
    assert_eq!(told, expected.collect::<Vec<_>>(), "{}", outcome.stderr);
    let copies = |count: u64| format!("{count} copies of events that had been decided");
    assert!(outcome.stderr.contains(&copies(3 * PAIRS)), "{}", outcome.stderr);
    let again = site.run(&flags).expect(0);
    assert_eq!(again.stdout, "");
    assert!(again.stderr.contains(&copies(11 * PAIRS)), "{}", again.stderr);
}

/// A run over a file may end before the engine first looks for due timers.
#[test]
fn a_short_run_over_a_file_fires_the_timers_due_at_its_start() {
    let site = site_with("abandoned-registration", "[params]\nwait_minutes = 1");
    let store = site.path("store").display().to_string();
    let run = |name: &str, lines: &str, shift_ms: i64| {
        site.environment(&[(hailer::failpoint::VARIABLE, &format!("clock-ms={shift_ms}"))]);
        let source = format!("file:{}", site.write(name, lines).display());
        let flags = ["--source", &source, "--sink", "-", "--store", &store];
        site.run(&flags).expect(0).stdout.lines().count()
    };
    let line = |code: &str, customer: u64| format!("{}\n", of_customer(code, customer));
    assert_eq!(run("first.jsonl", &line("OnBeginRegistration", 1), 0), 0);
    assert_eq!(run("second.jsonl", &line("OnEndRegistration", 2), 2 * MINUTE), 1);
    assert_eq!(run("third.jsonl", &line("OnEndRegistration", 3), 3 * MINUTE), 0, "it fires once");
}
