//! What rules fail on: kept, held in order, tried again, dropped, bounded; and the brakes on campaigns that misbehave. Through the real binary.
//!
//! The rule is `tally`: what it sends tells of everything that it has decided before, so a lost, repeated or misplaced event shows.

use hailer::reload::CampaignState;
use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Outcome, Site, campaign};
use hailer_tests::wait;
use serde_json::{Value, json};

/// An event in the envelope of a file, with an id of its own.
pub(crate) fn line(id: &str, body: &Value) -> String {
    format!("{}\n", json!({ "messageId": id, "body": body.to_string() }))
}

pub(crate) fn bought(number: u32, customer: u32) -> String {
    let body = json!({
        "eventCode": "OnPurchaseConfirm",
        "customerInfo": { "customerId": customer },
        "purchaseOperationInfo": { "purchaseData": { "purchaseId": number, "amount": number } },
    });
    line(&format!("bought-{number}"), &body)
}

fn of_customer(code: &str, customer: u32) -> String {
    line(&format!("{code}-{customer}"), &json!({ "eventCode": code, "customerInfo": { "customerId": customer } }))
}

pub(crate) fn merged(from: u32, to: u32) -> String {
    let customer = |id: u32| json!({ "customerId": id });
    let (from_info, to_info) = (customer(from), customer(to));
    let body =
        json!({ "eventCode": "MergeCustomersProfiles", "fromCustomerInfo": from_info, "toCustomerInfo": to_info });
    line(&format!("merged-{from}-{to}"), &body)
}

/// A place where `tally` runs; purchases whose number is a multiple of five fault.
pub(crate) fn site(rest: &str) -> Site {
    let site = Site::empty();
    site.put("modules/tally.wasm", example_module("tally"));
    faulty(&site, rest);
    site
}

fn faulty(site: &Site, rest: &str) {
    site.put("tally.toml", campaign("tally", &format!("{rest}\n[params]\nfault_every = 5\nwait_seconds = 1")));
}

/// Mends the rule in the running engine.
async fn mend(site: &Site, engine: &Engine, rest: &str) {
    site.put("tally.toml", campaign("tally", &format!("{rest}\n[params]\nwait_seconds = 1")));
    let report = engine.reload().await;
    assert!(report.problems.is_empty(), "{report:?}");
}

pub(crate) async fn start(site: &Site, more: &[&str]) -> Engine {
    let store = site.path("store").display().to_string();
    let engine = site.start(&[&["--source", "-", "--sink", "-", "--store", &store], more].concat());
    engine.ready().await;
    engine
}

/// What was sent, in order: customer, number, count and chain, or the template alone.
fn told(communications: &[Value]) -> Vec<(String, Value)> {
    let told = |one: &Value| {
        let data = &one["data"];
        let what = match data["number"].is_null() {
            true => one["template"].clone(),
            false => json!([data["number"], data["count"], data["chain"]]),
        };
        (one["recipient"]["customerId"].as_str().unwrap().to_owned(), what)
    };
    communications.iter().map(told).collect()
}

fn failures(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let listed = site.command(&[&["failures", "list", "--all", "--json"], arguments].concat()).expect(0);
    listed.json().as_array().unwrap().clone()
}

fn settle(site: &Site, arguments: &[&str]) -> Outcome {
    site.command(&[&["failures"], arguments, &["--json"]].concat())
}

async fn are_kept(site: &Site, count: usize) -> Vec<Value> {
    wait::until_some(&format!("{count} failures"), async || {
        Some(failures(site, &[])).filter(|failures| failures.len() >= count)
    })
    .await
}

/// What an engine sends whose rule never fails.
async fn without_faults(lines: &str, count: usize) -> Vec<Value> {
    let site = site("");
    site.put("tally.toml", campaign("tally", "[params]\nwait_seconds = 1"));
    let mut engine = start(&site, &[]).await;
    engine.write(lines);
    engine.prints(count).await
}

fn without_times(communications: Vec<Value>) -> Vec<Value> {
    let mut communications = communications;
    for one in &mut communications {
        one["createdAt"] = Value::Null;
    }
    communications.sort_by_key(|one| one["id"].to_string());
    communications
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_waits_behind_a_failure_is_decided_in_order_once_the_rule_is_mended() {
    let lines = [bought(3, 1), bought(5, 1), bought(6, 1), bought(7, 2), bought(8, 1)].concat();
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write(&lines);
    let kept = are_kept(&site, 3).await;
    let numbers: Vec<_> = kept.iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted(), "{kept:?}");
    assert!(kept[0]["failed"]["error"].as_str().unwrap().contains("a fault on purpose"), "{kept:?}");
    assert_eq!((&kept[1]["failed"], &kept[2]["failed"]), (&Value::Null, &Value::Null));
    assert_eq!(told(&engine.prints(2).await), [("1".into(), json!([3, 1, 3])), ("2".into(), json!([7, 1, 7]))]);
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("failed (returned an error: a fault on purpose)"), "{story}");
    assert!(story.contains("deferred until an earlier failure is settled"), "{story}");
    let shown = site.command(&["failures", "show", &numbers[0].to_string()]).expect(0).stdout;
    assert!(shown.contains("wait behind it") && shown.contains(r#""purchaseId":5"#), "{shown}");

    // As it is still broken, nothing moves, and whoever names one that waits has its queue tried.
    let tried = settle(&site, &["retry", &numbers[2].to_string()]).expect(1).json();
    assert_eq!((&tried["failedAgain"], &tried["notCalled"]), (&json!(1), &json!(2)), "{tried}");
    assert_eq!(failures(&site, &[])[0]["failed"]["tries"], 2);

    // It outlives a crash.
    engine.kill();
    assert_eq!(failures(&site, &["--store", &site.path("store").display().to_string()]).len(), 3);
    let mut engine = start(&site, &[]).await;
    engine.write(bought(9, 1));
    are_kept(&site, 4).await;
    mend(&site, &engine, "").await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 4, "{tried}");
    assert_eq!(failures(&site, &[]), [] as [Value; 0]);
    let after = engine.prints(4).await;
    engine.write(bought(11, 1));
    let printed = engine.prints(5).await;
    let clean = without_faults(&[lines, bought(9, 1), bought(11, 1)].concat(), 7).await;
    let all: Vec<Value> =
        clean.iter().filter(|one| !["3", "7"].contains(&&*one["data"]["number"].to_string())).cloned().collect();
    let versions = |all: Vec<Value>| without_times(all);
    assert_eq!(versions(printed), versions(all), "the same communications, ids and all, as if it had never failed");
    assert_eq!(after.len(), 4);
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("tried again"), "{story}");
    assert!(!site.command(&["store", "show"]).expect(0).stdout.contains("bodies  1"));
    engine.stop().await;
    let store = site.path("store").display().to_string();
    let _ = site.command(&["store", "verify", "--store", &store]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn with_skip_a_failure_stands_in_nobodys_way() {
    let site = site("on_fault = \"skip\"");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 1), bought(5, 1), bought(6, 1)].concat());
    let printed = engine.prints(2).await;
    assert_eq!(told(&printed), [("1".into(), json!([3, 1, 3])), ("1".into(), json!([6, 2, 3 * 31 + 6]))]);
    let kept = are_kept(&site, 1).await;
    assert_eq!((kept.len(), &kept[0]["isQueued"]), (1, &json!(false)));
    mend(&site, &engine, "on_fault = \"skip\"").await;
    let _ = settle(&site, &["retry", "--campaign", "tally"]).expect(0);
    assert_eq!(told(&engine.prints(3).await)[2].1[1], 3, "decided after the others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_timer_waits_behind_a_failure_and_may_be_cancelled_by_what_waits_in_front_of_it() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    let begin = |customer| of_customer("OnBeginRegistration", customer);
    engine.write([begin(1), begin(2), bought(5, 1), bought(10, 2), of_customer("OnEndRegistration", 1)].concat());
    let kept = are_kept(&site, 5).await;
    let timers = kept.iter().filter(|one| one["timer"] == "reminder").count();
    assert_eq!(timers, 2, "{kept:?}");
    assert_eq!(engine.printed().len(), 0);
    mend(&site, &engine, "").await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 5, "{tried}");
    let mut printed = told(&engine.prints(3).await);
    printed.sort_by_key(|(customer, what)| (customer.clone(), what.to_string()));
    let reminder = (String::from("2"), json!("reminder"));
    assert_eq!(printed, [("1".into(), json!([5, 1, 5])), reminder, ("2".into(), json!([10, 1, 10]))]);
    assert_eq!(failures(&site, &[]), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_stands_behind_a_dropped_failure_goes_on_up_to_the_next_that_fails() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(5, 1), bought(6, 1), bought(10, 1), bought(11, 1)].concat());
    let kept = are_kept(&site, 4).await;
    let first = kept[0]["number"].to_string();
    let dropped = settle(&site, &["drop", &first]).expect(0).json();
    assert_eq!(dropped["dropped"], 1, "{dropped}");
    assert_eq!(told(&engine.prints(1).await), [("1".into(), json!([6, 1, 6]))]);
    wait::until("the next has failed", async || failures(&site, &[]).len() == 2).await;
    let refused = site.command(&["failures", "drop", "--all"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("--yes"), "{refused:?}");
    let _ = site.command(&["failures", "drop", "--all", "--yes"]).expect(0);
    assert_eq!(failures(&site, &[]), [] as [Value; 0]);
    engine.write(bought(12, 1));
    assert_eq!(told(&engine.prints(2).await)[1].1, json!([12, 2, 6 * 31 + 12]), "nothing is held any more");
    let missing = site.command(&["failures", "retry", "77"]);
    assert!(missing.code == Some(1) && missing.stderr.contains("hailer failures list"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_failures_of_a_merged_customer_are_those_of_whom_they_have_become() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 1), bought(4, 2), bought(5, 1), bought(6, 1)].concat());
    are_kept(&site, 2).await;
    engine.write([merged(1, 2), bought(7, 2), bought(8, 1)].concat());
    let kept = are_kept(&site, 4).await;
    assert!(kept.iter().all(|one| one["customer"] == kept[0]["customer"]), "{kept:?}");
    mend(&site, &engine, "").await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 4, "{tried}");
    let printed = told(&engine.prints(6).await);
    let counts: Vec<_> = printed[2..].iter().map(|(_, what)| (what[0].clone(), what[1].clone())).collect();
    assert_eq!(counts, [5, 6, 7, 8].map(|number| (json!(number), json!(number - 2))), "{printed:?}");
    assert_eq!((&*printed[2].0, &*printed[3].0), ("2", "2"), "sent to whom they have become");
}

/// What was settled is not in the store any more when the merge is decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_merge_right_behind_it_does_not_bring_a_settled_failure_back() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write(bought(5, 1));
    are_kept(&site, 1).await;
    mend(&site, &engine, "").await;
    let _ = settle(&site, &["retry", "--all"]).expect(0);
    engine.write([merged(1, 2), bought(6, 2)].concat());
    let printed = told(&engine.prints(2).await);
    assert_eq!(printed[0], ("1".into(), json!([5, 1, 5])));
    assert_eq!((&*printed[1].0, &printed[1].1[1]), ("2", &json!(2)));
    assert_eq!(failures(&site, &[]), [] as [Value; 0]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn more_failures_than_may_be_kept_are_counted_and_not_kept() {
    let site = site("on_fault = \"skip\"");
    let mut engine = start(&site, &["--set", "store.failures_bytes_max=1048576"]).await;
    for number in 1..=30 {
        let mut body: Value = serde_json::from_str(&bought(number * 5, number)).unwrap();
        let padded =
            body["body"].as_str().unwrap().replacen('{', &format!("{{\"padding\":\"{}\",", "x".repeat(100_000)), 1);
        body["body"] = padded.into();
        engine.write(format!("{body}\n"));
        // One by one, as what is kept is known as of the last commit.
        engine.metric_is("hailer_events_total{outcome=\"decided\"}", f64::from(number)).await;
        wait::until("it is committed", async || engine.metric("hailer_in_flight").await == 0.0).await;
    }
    let lost = engine.metric("hailer_failures_not_kept_total{campaign=\"tally\"}").await;
    let kept = failures(&site, &[]).len();
    assert!((10..=13).contains(&kept), "{kept}");
    assert_eq!(kept + lost as usize, 30);
    assert!(engine.stderr().contains("store.failures_bytes_max"), "{}", engine.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_campaign_that_faults_again_and_again_is_suspended_and_can_be_resumed() {
    let site = site("on_fault = \"skip\"");
    let mut engine = start(&site, &["--shards", "1"]).await;
    engine.write((1..=20).map(|number| bought(number * 5, number)).collect::<String>());
    let suspended = wait::until_some("the suspension", async || engine.campaign("tally").await?.suspended).await;
    assert!(suspended.contains("20 times in a row"), "{suspended}");
    engine.write(bought(3, 1));
    mend(&site, &engine, "on_fault = \"skip\"").await;
    let _ = site.command(&["resume", "tally"]).expect(0);
    engine.write(bought(4, 1));
    assert_eq!(told(&engine.prints(1).await), [("1".into(), json!([4, 1, 4]))], "what came meanwhile has gone by");
    let _ = settle(&site, &["retry", "--all"]).expect(0);
    assert_eq!(engine.prints(21).await.len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_version_that_faults_right_after_its_swap_gives_way_to_the_one_before() {
    let site = site("");
    site.put("tally.toml", campaign("tally", "on_fault = \"skip\"\n"));
    let mut engine = start(&site, &["--shards", "1"]).await;
    engine.write(bought(1, 1));
    engine.prints(1).await;
    faulty(&site, "on_fault = \"skip\"");
    assert_eq!(engine.reload().await.changed, ["tally"]);
    engine.write((1..=20).map(|number| bought(number * 5, number)).collect::<String>());
    let why = wait::until_some("the rollback", async || engine.campaign("tally").await?.rolled_back).await;
    assert!(why.contains("20 times in a row"), "{why}");
    engine.metric_is("hailer_rollbacks_total{campaign=\"tally\",cause=\"engine\"}", 1.0).await;
    let log = engine.stderr();
    let next_step =
        "`hailer failures retry --campaign tally`, and those that came while it was suspended: the same with --missed";
    assert!(log.contains(next_step), "{log}");
    engine.write(bought(200, 30));
    assert_eq!(engine.prints(2).await.len(), 2, "the version before decides");
    // It outlives a crash, and what the bad version owes is decided by the good one.
    engine.kill();
    let engine = start(&site, &["--shards", "1"]).await;
    assert!(engine.campaign("tally").await.unwrap().rolled_back.is_some());
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 20, "{tried}");
    engine.prints(20).await;
    let listed = site.command(&["campaigns"]).expect(0).stdout;
    assert!(listed.contains("hailer rollback --undo tally"), "{listed}");
    let missed = "hailer failures retry --campaign tally; and those that came meanwhile: the same with --missed";
    assert!(listed.contains(missed), "{listed}");
    let _ = site.command(&["rollback", "--undo", "tally"]).expect(0);
    assert_eq!(engine.campaign("tally").await.unwrap().rolled_back, None);
}

fn missed(site: &Site) -> Vec<Value> {
    let listed = site.command(&["failures", "list", "--missed", "--json"]).expect(0);
    listed.json().as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_campaign_misses_while_it_is_paused_is_told_and_can_be_decided_later_in_order() {
    let site = site("");
    site.put("tally.toml", campaign("tally", ""));
    let mut engine = start(&site, &[]).await;
    engine.write(bought(1, 1));
    engine.prints(1).await;
    let _ = site.command(&["pause", "tally"]).expect(0);
    engine.write([bought(2, 1), bought(3, 2), bought(4, 1)].concat());
    engine.metric_is("hailer_missed_total{campaign=\"tally\",reason=\"paused\"}", 3.0).await;
    wait::until("what was missed is kept", async || missed(&site).len() == 3).await;
    let kept = missed(&site);
    assert!(kept.iter().all(|one| one["missed"] == "paused" && one["isQueued"] == false), "{kept:?}");
    assert_eq!(failures(&site, &[]), [] as [Value; 0], "nothing failed");
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("missed (paused), and kept to be decided later"), "{story}");
    // It does not run, and outlives a crash.
    let _ = settle(&site, &["retry", "--missed", "--campaign", "tally"]).expect(1);
    engine.kill();
    let engine = start(&site, &[]).await;
    assert_eq!(missed(&site).len(), 3);
    let _ = site.command(&["resume", "tally"]).expect(0);
    let nothing = settle(&site, &["retry", "--all"]);
    assert_eq!(nothing.code, Some(1), "what was missed is no failure: {nothing:?}");
    let tried = settle(&site, &["retry", "--missed", "--campaign", "tally"]).expect(0).json();
    assert_eq!(tried["settled"], 3, "{tried}");
    let mut printed = told(&engine.prints(3).await);
    printed.sort_by_key(|(_, what)| what[0].as_u64());
    let first = 31 + 2;
    assert_eq!(
        printed,
        [
            ("1".into(), json!([2, 2, first])),
            ("2".into(), json!([3, 1, 3])),
            ("1".into(), json!([4, 3, first * 31 + 4])),
        ]
    );
    assert_eq!(missed(&site), [] as [Value; 0]);
    engine.metric_is("hailer_missed{campaign=\"tally\"}", 0.0).await;
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("missed (paused), and decided later") && !story.contains("dropped"), "{story}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_campaign_misses_while_it_is_suspended_is_kept_up_to_a_bound_or_not_at_all() {
    let site = site("on_fault = \"skip\"");
    let mut engine = start(&site, &["--shards", "1", "--set", "store.missed_bytes_max=1"]).await;
    engine.write((1..=20).map(|number| bought(number * 5, number)).collect::<String>());
    wait::until_some("the suspension", async || engine.campaign("tally").await?.suspended).await;
    for number in 101..=103 {
        engine.write(bought(number, 1));
        let name = "hailer_missed_total{campaign=\"tally\",reason=\"suspended\"}";
        engine.metric_is(name, f64::from(number - 100)).await;
        wait::until("it is committed", async || engine.metric("hailer_in_flight").await == 0.0).await;
    }
    assert_eq!(missed(&site).len(), 1);
    engine.metric_is("hailer_missed_not_kept_total{campaign=\"tally\"}", 2.0).await;
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("missed (suspended), and not kept"), "{story}");
    let _ = site.command(&["failures", "drop", "--missed", "--all", "--yes"]).expect(0);
    assert_eq!((missed(&site).len(), failures(&site, &[]).len()), (0, 20));
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("dropped by an operator; it was missed (suspended)"), "{story}");
    assert!(story.contains("missed (suspended), and not kept") && !story.contains("and kept"), "{story}");
    engine.stop().await;

    let site = self::site("on_pause = \"skip\"");
    let mut engine = start(&site, &[]).await;
    let _ = site.command(&["pause", "--all"]).expect(0);
    engine.write(bought(1, 1));
    engine.metric_is("hailer_missed_total{campaign=\"tally\",reason=\"paused\"}", 1.0).await;
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("missed (paused), and not kept") && missed(&site).is_empty(), "{story}");
}

#[test]
fn the_summary_of_a_run_counts_what_a_stopped_campaign_missed() {
    let site = site("on_fault = \"skip\"");
    let run = |name: &str, events: String| {
        let source = format!("file:{}", site.write(name, events).display());
        site.run(&["--source", &source, "--sink", "-", "--shards", "1"]).expect(0).stderr
    };
    let faults: String = (1..=20).map(|number| bought(number * 5, number)).collect();
    let summary = run("first.jsonl", faults);
    assert!(summary.contains("20 faulted"), "{summary}");
    // The suspension is kept in the data directory.
    let summary = run("second.jsonl", bought(103, 1));
    assert!(summary.contains("0 decided, 1 missed while suspended"), "{summary}");
    let suspended = "the campaign is suspended and is not called; to end that: `hailer resume tally`";
    assert!(summary.contains(suspended) && summary.contains("20 times in a row"), "{summary}");
    // It is lifted without a running engine.
    let refused = site.command(&["resume", "tall"]).expect(1).stderr;
    assert!(refused.contains("did you mean `tally`?"), "{refused}");
    let elsewhere = site.command_at(site.path("elsewhere"), &["resume", "tally"]).expect(1).stderr;
    assert!(elsewhere.contains("no engine has kept campaigns in") && elsewhere.contains("--data"), "{elsewhere}");
    assert!(!site.path("elsewhere").exists(), "nothing is made");
    let resumed = site.command(&["resume", "tally"]).expect(0);
    assert!(resumed.stdout.contains("resumed: tally") && resumed.stderr.contains("next start"), "{resumed:?}");
    let summary = run("third.jsonl", bought(104, 1));
    assert!(summary.contains("1 decided") && !summary.contains("missed"), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_brakes_of_a_stopped_engine_are_lifted_in_its_data_directory_and_in_its_stores_copy() {
    let site = site("");
    let store = site.path("store").display().to_string();
    let engine = start(&site, &[]).await;
    let _ = site.command(&["pause", "tally"]).expect(0);
    engine.stop().await;
    let resumed = site.command(&["resume", "--all", "--set", &format!("store.dir={store}")]).expect(0);
    assert!(resumed.stdout.contains("resumed: tally"), "{resumed:?}");
    assert!(resumed.stderr.contains("its next start calls"), "{resumed:?}");
    // A data directory that is lost begins with the store's copy.
    std::fs::remove_dir_all(site.data()).unwrap();
    let engine = start(&site, &[]).await;
    assert_eq!(engine.campaign("tally").await.unwrap().state, CampaignState::Running);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_campaign_that_sent_too_much_has_room_again_when_it_is_resumed_while_the_engine_is_stopped() {
    let site = site("");
    site.put("tally.toml", campaign("tally", "per_hour_max = 2\n[params]\nwait_seconds = 1"));
    let store = format!("store.dir={}", site.path("store").display());
    let suspended = async |engine: &Engine| {
        wait::until_some("the suspension", async || engine.campaign("tally").await?.suspended).await;
    };
    let mut engine = start(&site, &["--shards", "1"]).await;
    engine.write([bought(1, 1), bought(2, 2), bought(3, 3)].concat());
    suspended(&engine).await;
    engine.stop().await;
    let _ = site.command(&["resume", "tally", "--set", &store]).expect(0);
    let mut engine = start(&site, &["--shards", "1"]).await;
    engine.write([bought(4, 4), bought(6, 6), bought(7, 7)].concat());
    suspended(&engine).await;
    assert_eq!(engine.prints(2).await.len(), 2);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_campaign_sends_no_more_in_an_hour_than_it_may_and_is_suspended() {
    let site = site("");
    site.put("tally.toml", campaign("tally", "per_hour_max = 3"));
    let mut engine = start(&site, &[]).await;
    engine.write((1..=5).map(|number| bought(number, number)).collect::<String>());
    let suspended = wait::until_some("the suspension", async || engine.campaign("tally").await?.suspended).await;
    assert!(suspended.contains("more than 3 communications an hour (per_hour_max)"), "{suspended}");
    assert_eq!(engine.prints(3).await.len(), 3);
    let _ = site.command(&["resume", "tally"]).expect(0);
    engine.write(bought(6, 6));
    assert_eq!(engine.prints(4).await.len(), 4, "whoever resumes it means it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_queue_is_dropped_to_its_end_and_nothing_of_it_is_decided() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write((0..300).map(|number| bought(5 + number, 1)).collect::<String>());
    engine.write(bought(1000, 2));
    are_kept(&site, 301).await;
    let dropped = settle(&site, &["drop", "--campaign", "tally", "--yes"]).expect(0).json();
    assert_eq!(dropped["dropped"], 301, "{dropped}");
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("dropped by an operator; it was held behind"), "{story}");
    assert!(!story.contains("deferred until"), "{story}");
    engine.write([bought(3, 2), bought(4, 1)].concat());
    let mut printed = told(&engine.prints(2).await);
    printed.sort_by_key(|(customer, _)| customer.clone());
    assert_eq!(printed, [("1".into(), json!([4, 1, 4])), ("2".into(), json!([3, 1, 3]))]);
    assert_eq!(failures(&site, &[]), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_queue_is_tried_again_in_order_over_many_rounds() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write((0..600).map(|number| bought(5 + number, 1)).collect::<String>());
    let kept = are_kept(&site, 600).await;
    mend(&site, &engine, "").await;
    let tried = settle(&site, &["retry", &kept[300]["number"].to_string()]).expect(0).json();
    assert_eq!(tried["settled"], 600, "{tried}");
    let counts: Vec<_> =
        told(&engine.prints(600).await).into_iter().map(|(_, what)| (what[0].clone(), what[1].clone())).collect();
    let expected: Vec<_> = (0..600).map(|number| (json!(number + 5), json!(number + 1))).collect();
    assert_eq!(counts, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_merge_that_fails_in_two_campaigns_is_kept_with_their_words_and_unites_the_states_later() {
    let site = site("");
    let faulty = |name: &str| site.put(&format!("{name}.toml"), campaign("tally", "[params]\nmerge_faults = true"));
    faulty("tally");
    faulty("other");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 1), bought(4, 2), merged(1, 2), bought(6, 2)].concat());
    let kept = are_kept(&site, 4).await;
    let failed: Vec<_> = kept.iter().filter(|one| !one["failed"].is_null()).collect();
    assert_eq!(failed.len(), 2, "{kept:?}");
    for one in failed {
        assert_eq!(one["eventCode"], "MergeCustomersProfiles");
        let shown = site.command(&["failures", "show", &one["number"].to_string()]).expect(0).stdout;
        assert!(shown.contains("a merge on purpose"), "{shown}");
    }
    for name in ["tally", "other"] {
        site.put(&format!("{name}.toml"), campaign("tally", ""));
    }
    engine.reload().await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 4, "{tried}");
    let printed = told(&engine.prints(6).await);
    assert!(printed[4..].iter().all(|(_, what)| (&what[0], &what[1]) == (&json!(6), &json!(3))), "{printed:?}");
}

/// A purchase under an old id that fails is kept with the ids of who remains, and what waits behind it, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failure_under_an_old_id_is_tried_again_for_who_remains() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 2), merged(1, 2), bought(5, 1), bought(6, 1)].concat());
    are_kept(&site, 2).await;
    mend(&site, &engine, "").await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 2, "{tried}");
    let printed = told(&engine.prints(3).await);
    assert_eq!(printed.iter().map(|(customer, _)| &**customer).collect::<Vec<_>>(), ["2", "2", "2"], "{printed:?}");
    engine.stop().await;
}

/// The timer of a registration waits with the merge that failed, and fires for who remains when the merge is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_merge_that_fails_keeps_the_timers_of_who_goes_and_moves_them_later() {
    let site = site("");
    site.put("tally.toml", campaign("tally", "[params]\nmerge_faults = true\nwait_seconds = 5"));
    let mut engine = start(&site, &[]).await;
    let begun = |customer: u32| {
        let body = json!({ "eventCode": "OnBeginRegistration", "customerInfo": { "customerId": customer } });
        line(&format!("began-{customer}"), &body)
    };
    engine.write([bought(3, 2), begun(1), merged(1, 2)].concat());
    are_kept(&site, 1).await;
    site.put("tally.toml", campaign("tally", ""));
    engine.reload().await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 1, "{tried}");
    let printed = engine.prints(2).await;
    assert_eq!((&printed[1]["template"], &printed[1]["recipient"]["customerId"]), (&json!("reminder"), &json!("2")));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn states_of_a_paused_campaign_are_united_at_once_as_a_merge_sends_nothing() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 1), bought(4, 2)].concat());
    engine.prints(2).await;
    let _ = site.command(&["pause", "tally"]).expect(0);
    engine.write(merged(1, 2));
    wait::until("the merge is decided", async || {
        site.command(&["why", "2"]).expect(0).stdout.contains("merged into this customer")
    })
    .await;
    let resumed = site.command(&["resume", "tally"]).expect(0);
    assert!(!resumed.stderr.contains("failures"), "{resumed:?}");
    assert_eq!(failures(&site, &[]), [] as [Value; 0], "nothing holds the customer's later events back");
    engine.write(bought(6, 1));
    assert_eq!(told(&engine.prints(3).await)[2].1[1], 3, "the third of the two together");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn states_of_a_suspended_campaign_are_united_when_it_runs_again_and_resuming_it_says_so() {
    let site = site("per_hour_max = 2");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 1), bought(4, 2)].concat());
    engine.prints(2).await;
    engine.write(bought(6, 3));
    wait::until_some("the suspension", async || engine.campaign("tally").await?.suspended).await;
    engine.write(merged(1, 2));
    let kept = are_kept(&site, 1).await;
    assert_eq!((&kept[0]["eventCode"], &kept[0]["failed"]), (&json!("MergeCustomersProfiles"), &Value::Null));
    let heads = site.command(&["failures", "list"]).expect(0).stdout;
    assert!(heads.contains("waits"), "nothing stands in front of it, so it is listed: {heads}");
    let tried = settle(&site, &["retry", "--all"]).expect(1).json();
    assert!(tried["told"][0]["reason"].as_str().unwrap().contains("does not run now"), "{tried}");
    let resumed = site.command(&["resume", "tally"]).expect(0);
    assert!(resumed.stderr.contains("hailer failures retry --campaign tally"), "{resumed:?}");
    engine.write(bought(7, 1));
    are_kept(&site, 2).await;
    let _ = settle(&site, &["retry", "--all"]).expect(0);
    assert_eq!(told(&engine.prints(3).await)[2].1[1], 3, "the third of the two together");
    let missing = settle(&site, &["retry", "77"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_decided_later_keeps_to_the_hours_maximum_and_the_rest_stays_kept() {
    let site = site("per_hour_max = 3");
    let mut engine = start(&site, &["--shards", "1"]).await;
    let _ = site.command(&["pause", "tally"]).expect(0);
    // A multiple of five would fault.
    engine.write([1, 2, 3, 4, 6, 7, 8, 9].map(|number| bought(number, number)).concat());
    wait::until("what was missed is kept", async || missed(&site).len() == 8).await;
    let resumed = site.command(&["resume", "tally"]).expect(0);
    assert!(resumed.stderr.contains("hailer failures retry --missed --campaign tally"), "{resumed:?}");
    let tried = settle(&site, &["retry", "--missed", "--campaign", "tally"]).expect(1).json();
    assert_eq!((&tried["settled"], &tried["notCalled"]), (&json!(3), &json!(5)), "{tried}");
    assert!(tried["told"][0]["reason"].as_str().unwrap().contains("as many this hour as it may"), "{tried}");
    assert_eq!(engine.prints(3).await.len(), 3);
    assert_eq!(missed(&site).len(), 5, "what was not sent is kept");
    assert_eq!(engine.campaign("tally").await.unwrap().suspended, None);
}
