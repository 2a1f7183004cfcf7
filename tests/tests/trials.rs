//! Trials of new campaign versions in a running engine: shadows that are compared, canaries that
//! decide for some customers, and how a trial ends.

use std::collections::{BTreeMap, BTreeSet};

use hailer::reload::CampaignState;
use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{RELOADS_ON_REQUEST, Site, campaign, lines};
use hailer_tests::wait;
use serde_json::Value;

use crate::swaps::purchase;

fn site() -> Site {
    let site = Site::empty();
    for module in ["big-basket", "nth-purchase"] {
        site.put(&format!("modules/{module}.wasm"), example_module(module));
    }
    site
}

fn basket(rest: &str, threshold: u32) -> String {
    campaign("big-basket", &format!("{rest}\n[params]\nthreshold = \"{threshold}.00\""))
}

fn nth(rest: &str, purchases: u32, template: &str) -> String {
    campaign(
        "nth-purchase",
        &format!("{rest}\n[params]\npurchases = {purchases}\ntemplate = \"{template}\""),
    )
}

fn in_shadow(text: &str, of: &str) -> String {
    text.replacen("mode = \"live\"", &format!("mode = \"shadow\"\nshadow_of = \"{of}\""), 1)
}

/// Decides all events on the event clock, and returns the communications ordered by id.
fn decide(site: &Site, events: &std::path::Path, store: &str) -> Vec<Value> {
    let (store, sent) = (site.path(store), site.path(&format!("{store}.jsonl")));
    let (source, sink) = (format!("file:{}", events.display()), format!("file:{}", sent.display()));
    let store = store.display().to_string();
    let clock = ["--clock", "events", "--run-on-minutes", "86400", "--store", &store];
    // The clock runs on for longer than the journal is kept by default.
    let streams = ["--source", &source, "--sink", &sink, "--set", "store.journal_days=365"];
    let _ = site.run(&[&clock[..], &streams].concat()).expect(0);
    let mut sent = lines(&sent);
    sent.sort_by_key(|line| line["id"].as_str().map(str::to_owned));
    sent
}

fn comparison(site: &Site, campaign: &str, store: &str) -> Value {
    let (rules, store) =
        (site.rules().display().to_string(), site.path(store).display().to_string());
    site.command(&[
        "shadow", campaign, "--rules", &rules, "--store", &store, "--limit", "1000000", "--json",
    ])
    .expect(0)
    .json()
}

#[test]
fn a_shadow_changes_no_communication_and_differs_by_its_parameters() {
    let site = site();
    let made = ["events", "--generate", "4000", "--seed", "7", "--customers", "300", "--envelope"];
    let events = site.write("events.jsonl", site.command_without_data(&made).expect(0).stdout);
    site.put("basket.toml", basket("", 500));
    site.put("nth.toml", nth("", 3, "thanks"));
    let alone = decide(&site, &events, "alone");
    site.put("basket-next.toml", in_shadow(&basket("", 300), "basket"));
    site.put("nth-next.toml", in_shadow(&nth("", 2, "thanks"), "nth"));
    let beside = decide(&site, &events, "beside");
    assert!(alone.len() > 100);
    assert!(alone == beside, "the shadows have changed the communications");

    // The expected difference of the two thresholds, from the events alone.
    let amount = |line: &Value| {
        let operation = &line["body"]["purchaseOperationInfo"]["purchaseData"];
        let counts =
            line["body"]["eventCode"] == "OnPurchaseConfirm" && operation["isRefund"] != true;
        counts.then(|| operation["amount"].as_f64().unwrap())
    };
    let amounts: Vec<f64> = lines(&events).iter().filter_map(amount).collect();
    let between = amounts.iter().filter(|amount| (300.0..500.0).contains(*amount)).count();
    let compared = comparison(&site, "basket", "beside");
    assert!(between > 20);
    assert_eq!(compared["onlyShadowSends"], between, "{compared:.300}");
    assert_eq!(
        (&compared["onlyCampaignSends"], &compared["sendOtherwise"]),
        (&0.into(), &0.into())
    );
    assert_eq!(
        compared["alike"].as_u64().unwrap() + between as u64,
        compared["compared"].as_u64().unwrap()
    );
    for difference in compared["differences"].as_array().unwrap() {
        assert_eq!(
            (&difference["how"], &difference["shadow"]["campaign"]),
            (&"only-shadow-sends".into(), &"basket-next".into())
        );
        assert_eq!(difference["campaign"]["notes"][0], "not sent: below the threshold");
    }

    // A shadow has a state of its own: it sends as often as it would live.
    let counted = comparison(&site, "nth", "beside");
    let journal = &counted["shadow"]["sends"];
    site.put("basket.toml", basket("", 1_000_000));
    site.remove("basket-next.toml");
    site.remove("nth-next.toml");
    site.put("nth.toml", nth("", 2, "thanks"));
    assert_eq!(*journal, decide(&site, &events, "live").len(), "{counted:.300}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_shadow_starts_with_a_copy_of_its_campaigns_state() {
    let site = site();
    site.put("nth.toml", nth("", 3, "thanks"));
    let store = site.path("store").display().to_string();
    let mut engine =
        site.start_ready(&[&RELOADS_ON_REQUEST[..], &["--store", &store]].concat()).await;
    buy(&mut engine, 2, 1..=10).await;
    site.put("nth-next.toml", in_shadow(&nth("", 3, "thanks"), "nth"));
    assert_eq!(engine.reload().await.added, ["nth-next"]);
    buy(&mut engine, 4, 1..=10).await;
    assert_eq!(engine.prints(20).await.len(), 20);
    // The journal shows a commit a little later.
    let shown = async || {
        let compared = site.command(&["shadow", "nth", "--json"]).expect(0).json();
        (compared["compared"] == 40).then_some(compared)
    };
    let compared = wait::until_some("all forty are compared", shown).await;
    assert_eq!(
        (&compared["alike"], &compared["shadow"]["sends"]),
        (&40.into(), &20.into()),
        "{compared:.600}"
    );
    engine.stop().await;
}

/// Pairs of customers with purchases 57 days apart, who are merged on day 59, in alternating
/// directions.
fn merging(site: &Site, pairs: usize) -> std::path::PathBuf {
    let at = |day: i64, body: &str| {
        let moment = 1_772_323_200_000 + day * 24 * 60 * 60 * 1000;
        format!("{}\n", serde_json::json!({ "timestamp": moment, "body": body }))
    };
    let mut days = [String::new(), String::new(), String::new()];
    for pair in 0..pairs {
        let (older, newer) = (2 * pair + 1, 2 * pair + 2);
        let (from, to) = if pair % 2 == 0 { (older, newer) } else { (newer, older) };
        let merged = format!(
            "{{\"eventCode\":\"MergeCustomersProfiles\",\
             \"fromCustomerInfo\":{{\"customerId\":{from}}},\
             \"toCustomerInfo\":{{\"customerId\":{to}}}}}"
        );
        days[0] += &at(0, &purchase(1, older));
        days[1] += &at(57, &purchase(1, newer));
        days[2] += &at(59, &merged);
    }
    site.write("merging.jsonl", days.concat())
}

#[test]
fn a_merge_gives_the_same_in_a_campaign_its_shadow_and_its_canary() {
    // Each pair gets one message 60 days after the last purchase, which is as far as the clock runs
    // on.
    const PAIRS: usize = 20;
    let site = site();
    site.put("modules/win-back.wasm", example_module("win-back"));
    site.put("win-back.toml", campaign("win-back", ""));
    let events = merging(&site, PAIRS);
    let told = |sent: &[Value]| -> Vec<(Value, Value)> {
        sent.iter().map(|one| (one["id"].clone(), one["recipient"].clone())).collect()
    };
    let alone = told(&decide(&site, &events, "alone"));
    assert_eq!(alone.len(), PAIRS);
    site.put("win-next.toml", in_shadow(&campaign("win-back", ""), "win-back"));
    assert_eq!(told(&decide(&site, &events, "shadow")), alone);
    let compared = comparison(&site, "win-back", "shadow");
    assert_eq!(
        (&compared["alike"], &compared["shadow"]["sends"]),
        (&compared["compared"], &PAIRS.into())
    );
    site.put(
        "win-next.toml",
        campaign("win-back", "shadow_of = \"win-back\"\nrollout_percent = 50"),
    );
    assert_eq!(told(&decide(&site, &events, "canary")), alone);
}

/// Writes `times` purchases of each customer; each round is decided before the next is written.
async fn buy(engine: &mut Engine, times: usize, customers: std::ops::RangeInclusive<usize>) {
    for _ in 0..times {
        let before = decided(engine).await;
        let text: String =
            customers.clone().map(|customer| purchase(600, customer) + "\n").collect();
        engine.write(text);
        let all = before + customers.clone().count() as f64;
        wait::until("all purchases are decided", async || decided(engine).await >= all).await;
    }
}

async fn decided(engine: &Engine) -> f64 {
    engine.metric("hailer_events_total{outcome=\"decided\"}").await
}

fn recipient(line: &Value) -> u64 {
    line["recipient"]["customerId"].as_str().unwrap().parse().unwrap()
}

/// The templates sent to each customer, in order.
fn sent_to(printed: &[Value]) -> BTreeMap<u64, Vec<String>> {
    let mut sent: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in printed {
        assert_eq!(line["campaign"], "nth", "a canary sends in the name of its campaign");
        sent.entry(recipient(line))
            .or_default()
            .push(line["template"].as_str().unwrap().to_owned());
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_canary_uses_its_campaigns_state_and_an_abort_returns_customers() {
    let site = site();
    site.put("nth.toml", nth("", 3, "first"));
    let mut engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    let canary = || nth("shadow_of = \"nth\"\nrollout_percent = 40", 3, "next");

    buy(&mut engine, 2, 1..=50).await;
    site.put("nth-next.toml", canary());
    assert_eq!(engine.reload().await.added, ["nth-next"]);
    buy(&mut engine, 1, 1..=50).await;
    let sent = sent_to(&engine.prints(50).await);
    assert!(
        sent.len() == 50 && sent.values().all(|templates| templates.len() == 1),
        "each customer gets one message"
    );
    let with_canary: BTreeSet<u64> =
        sent.iter().filter(|(_, sent)| sent[0] == "next").map(|(id, _)| *id).collect();
    assert!((5..40).contains(&with_canary.len()), "{}", with_canary.len());
    let listed = site.command(&["campaigns"]).expect(0).stdout;
    assert!(listed.contains("canary of nth, 40 %"), "{listed}");

    // Another version than for the first two decides the third purchase.
    buy(&mut engine, 2, 1..=50).await;
    let rules = site.rules();
    let aborted = site.command(&["abort", "nth"]).expect(0);
    assert!(aborted.stdout.contains("removed nth-next"), "{}", aborted.stdout);
    assert!(rules.join("nth-next.toml.aborted").exists());
    buy(&mut engine, 1, 1..=50).await;
    for (customer, sent) in sent_to(&engine.prints(100).await) {
        let first = if with_canary.contains(&customer) { "next" } else { "first" };
        assert_eq!(sent, [first, "first"], "{customer}");
    }

    // The canary decides for the same customers again, and then for all.
    site.put("nth-next.toml", canary());
    assert_eq!(engine.reload().await.added, ["nth-next"]);
    buy(&mut engine, 3, 1..=50).await;
    let sent = sent_to(&engine.prints(150).await);
    let again: BTreeSet<u64> =
        sent.iter().filter(|(_, sent)| sent[2] == "next").map(|(id, _)| *id).collect();
    assert_eq!(again, with_canary);
    let promoted = site.command(&["promote", "nth-next"]).expect(0);
    assert!(promoted.stdout.contains("changed nth; removed nth-next"), "{}", promoted.stdout);
    buy(&mut engine, 3, 1..=50).await;
    engine.stop().await;
    let sent = sent_to(&lines(&site.path("stdout")));
    assert!(
        sent.len() == 50 && sent.values().all(|sent| sent.len() == 4 && sent[3] == "next"),
        "{sent:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_canary_that_sends_far_more_often_is_suspended() {
    let site = site();
    site.put("basket.toml", basket("", 1000));
    site.put(
        "basket-next.toml",
        basket("shadow_of = \"basket\"\nrollout_percent = 50\ndrift_percent_max = 50", 500),
    );
    let mut engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    buy(&mut engine, 1, 1..=1000).await;
    let suspended = async || {
        engine.campaign("basket-next").await.filter(|next| next.state == CampaignState::Suspended)
    };
    let canary = wait::until_some("the canary is suspended", suspended).await;
    let reason = canary.suspended.unwrap();
    assert!(
        reason.contains("`basket` on 0.0 % of") && reason.contains("drift_percent_max"),
        "{reason}"
    );
    let refused = site.command(&["promote", "basket"]).expect(1);
    assert!(refused.stderr.contains("was suspended: it sends on"), "{}", refused.stderr);
    buy(&mut engine, 1, 2001..=2200).await;
    engine.stop().await;
    let sent = lines(&site.path("stdout"));
    assert!(!sent.is_empty() && sent.iter().all(|line| line["campaign"] == "basket"));
    assert!(
        sent.iter().all(|line| recipient(line) <= 1000),
        "600 is below the campaign's own threshold"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn why_says_outside_rollout_for_customers_outside_a_rollout() {
    let site = site();
    site.put("nth.toml", nth("rollout_percent = 30", 1, "thanks"));
    let store = site.path("store").display().to_string();
    let mut engine =
        site.start_ready(&[&RELOADS_ON_REQUEST[..], &["--store", &store]].concat()).await;
    buy(&mut engine, 1, 1..=60).await;
    engine.stop().await;
    let sent: BTreeSet<u64> = sent_to(&lines(&site.path("stdout"))).into_keys().collect();
    assert!((5..40).contains(&sent.len()), "{}", sent.len());
    let told = |customer: u64| {
        site.command(&["why", &customer.to_string(), "--store", &store]).expect(0).stdout
    };
    for customer in 1..=60 {
        let ending = if sent.contains(&customer) { ": published" } else { ": outside rollout" };
        assert!(told(customer).contains(ending), "{}", told(customer));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_invalid_trial_is_refused_with_its_line() {
    let site = site();
    site.put("nth.toml", nth("", 3, "first"));
    let engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    let canary = |of: &str| nth(&format!("shadow_of = \"{of}\"\nrollout_percent = 10"), 3, "next");
    let cases = [
        (canary("nht"), "there is no such campaign; did you mean `nth`?"),
        (
            nth("shadow_of = \"nth\"", 3, "next"),
            "next.toml:3: `shadow_of` with `mode = \"live\"` needs `rollout_percent`",
        ),
        (
            in_shadow(&nth("rollout_percent = 10", 3, "next"), "nth"),
            "next.toml:4: `rollout_percent` has no effect on a shadow",
        ),
        (canary("next"), "next.toml:3: `shadow_of` names this campaign itself"),
        (
            nth("drift_percent_max = 10", 3, "next"),
            "next.toml:3: `drift_percent_max` is for a canary",
        ),
    ];
    for (text, expected) in cases {
        site.put("next.toml", text);
        let report = engine.reload().await;
        let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{expected}: {problems:?}"
        );
        assert!(report.added.is_empty());
    }
    site.put("next.toml", canary("nth"));
    assert_eq!(engine.reload().await.added, ["next"]);
    site.put("third.toml", canary("nth"));
    let report = engine.reload().await;
    assert!(
        report.problems[0].reason.contains("`nth` has a canary already: `next`"),
        "{:?}",
        report.problems
    );
    site.put("third.toml", in_shadow(&nth("", 3, "next"), "next"));
    assert!(engine.reload().await.problems[0].reason.contains("which is itself on trial"));

    // Without its campaign a canary decides for no customer, and reports that.
    site.remove("third.toml");
    site.put("other.toml", nth("", 3, "other"));
    site.remove("nth.toml");
    assert_eq!(engine.reload().await.removed, ["nth"]);
    let problem = engine.campaign("next").await.unwrap().problem.unwrap();
    assert!(problem.reason.contains("it decides for no customer: `nth`"), "{problem}");
    engine.stop().await;
}
