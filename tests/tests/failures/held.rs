//! Failures of single customers: held and skipped events, retries, drops, and bounds.

use hailer_tests::site::campaign;
use hailer_tests::wait;
use serde_json::{Value, json};

use super::{bought, failures, mend, of_customer, sent, settle, site, start, wait_for_failures};

/// The communications of an engine whose rule never fails.
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
async fn events_behind_a_failure_are_decided_in_order_after_a_retry() {
    let lines = [bought(3, 1), bought(5, 1), bought(6, 1), bought(7, 2), bought(8, 1)].concat();
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write(&lines);
    let kept = wait_for_failures(&site, 3).await;
    let numbers: Vec<_> = kept.iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted(), "{kept:?}");
    assert!(
        kept[0]["failed"]["error"].as_str().unwrap().contains("a fault on purpose"),
        "{kept:?}"
    );
    assert_eq!((&kept[1]["failed"], &kept[2]["failed"]), (&Value::Null, &Value::Null));
    assert_eq!(
        sent(&engine.prints(2).await),
        [("1".into(), json!([3, 1, 3])), ("2".into(), json!([7, 1, 7]))]
    );
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("failed (returned an error: a fault on purpose)"), "{story}");
    assert!(story.contains("deferred until an earlier failure is settled"), "{story}");
    let shown = site.command(&["failures", "show", &numbers[0].to_string()]).expect(0).stdout;
    assert!(shown.contains("are held behind it") && shown.contains(r#""purchaseId":5"#), "{shown}");

    // The rule still faults, so a retry settles nothing. The number of a held event retries its
    // whole queue.
    let tried = settle(&site, &["retry", &numbers[2].to_string()]).expect(1).json();
    assert_eq!((&tried["failedAgain"], &tried["notCalled"]), (&json!(1), &json!(2)), "{tried}");
    assert_eq!(failures(&site, &[])[0]["failed"]["tries"], 2);

    // The failures survive a crash.
    engine.kill();
    assert_eq!(failures(&site, &["--store", &site.path("store").display().to_string()]).len(), 3);
    let mut engine = start(&site, &[]).await;
    engine.write(bought(9, 1));
    wait_for_failures(&site, 4).await;
    mend(&site, &engine, "").await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 4, "{tried}");
    assert_eq!(failures(&site, &[]), [] as [Value; 0]);
    let after = engine.prints(4).await;
    engine.write(bought(11, 1));
    let printed = engine.prints(5).await;
    let clean = without_faults(&[lines, bought(9, 1), bought(11, 1)].concat(), 7).await;
    let all: Vec<Value> = clean
        .iter()
        .filter(|one| !["3", "7"].contains(&&*one["data"]["number"].to_string()))
        .cloned()
        .collect();
    assert_eq!(
        without_times(printed),
        without_times(all),
        "the same communications and ids as without the failures"
    );
    assert_eq!(after.len(), 4);
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("retried"), "{story}");
    assert!(!site.command(&["store", "show"]).expect(0).stdout.contains("bodies  1"));
    engine.stop().await;
    let store = site.path("store").display().to_string();
    let _ = site.command(&["store", "verify", "--store", &store]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn with_skip_a_failure_does_not_hold_later_events() {
    let site = site("on_fault = \"skip\"");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 1), bought(5, 1), bought(6, 1)].concat());
    let printed = engine.prints(2).await;
    assert_eq!(
        sent(&printed),
        [("1".into(), json!([3, 1, 3])), ("1".into(), json!([6, 2, 3 * 31 + 6]))]
    );
    let kept = wait_for_failures(&site, 1).await;
    assert_eq!((kept.len(), &kept[0]["isQueued"]), (1, &json!(false)));
    mend(&site, &engine, "on_fault = \"skip\"").await;
    let _ = settle(&site, &["retry", "--campaign", "tally"]).expect(0);
    assert_eq!(
        sent(&engine.prints(3).await)[2].1[1],
        3,
        "the failed event is decided after the others"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_held_timer_can_be_cancelled_by_a_held_event_before_it() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    let begin = |customer| of_customer("OnBeginRegistration", customer);
    engine.write(
        [begin(1), begin(2), bought(5, 1), bought(10, 2), of_customer("OnEndRegistration", 1)]
            .concat(),
    );
    let kept = wait_for_failures(&site, 5).await;
    let timers = kept.iter().filter(|one| one["timer"] == "reminder").count();
    assert_eq!(timers, 2, "{kept:?}");
    assert_eq!(engine.printed().len(), 0);
    mend(&site, &engine, "").await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 5, "{tried}");
    let mut printed = sent(&engine.prints(3).await);
    printed.sort_by_key(|(customer, what)| (customer.clone(), what.to_string()));
    let reminder = (String::from("2"), json!("reminder"));
    assert_eq!(
        printed,
        [("1".into(), json!([5, 1, 5])), reminder, ("2".into(), json!([10, 1, 10]))]
    );
    assert_eq!(failures(&site, &[]), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_drop_continues_the_queue_up_to_the_next_failure() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(5, 1), bought(6, 1), bought(10, 1), bought(11, 1)].concat());
    let kept = wait_for_failures(&site, 4).await;
    let first = kept[0]["number"].to_string();
    let dropped = settle(&site, &["drop", &first]).expect(0).json();
    assert_eq!(dropped["dropped"], 1, "{dropped}");
    assert_eq!(sent(&engine.prints(1).await), [("1".into(), json!([6, 1, 6]))]);
    wait::until("the next event has failed", async || failures(&site, &[]).len() == 2).await;
    let refused = site.command(&["failures", "drop", "--all"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("--yes"), "{refused:?}");
    let _ = site.command(&["failures", "drop", "--all", "--yes"]).expect(0);
    assert_eq!(failures(&site, &[]), [] as [Value; 0]);
    engine.write(bought(12, 1));
    assert_eq!(sent(&engine.prints(2).await)[1].1, json!([12, 2, 6 * 31 + 12]), "no event is held");
    let missing = site.command(&["failures", "retry", "77"]);
    assert!(
        missing.code == Some(1) && missing.stderr.contains("hailer failures list"),
        "{missing:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn failures_above_the_limit_are_counted_and_not_kept() {
    let site = site("on_fault = \"skip\"");
    let mut engine = start(&site, &["--set", "store.failures_bytes_max=1048576"]).await;
    for number in 1..=30 {
        let mut body: Value = serde_json::from_str(&bought(number * 5, number)).unwrap();
        let padded = body["body"].as_str().unwrap().replacen(
            '{',
            &format!("{{\"padding\":\"{}\",", "x".repeat(100_000)),
            1,
        );
        body["body"] = padded.into();
        engine.write(format!("{body}\n"));
        // One by one, because the engine knows the kept bytes as of the last commit.
        engine.metric_is("hailer_events_total{outcome=\"decided\"}", f64::from(number)).await;
        wait::until("the event is committed", async || {
            engine.metric("hailer_in_flight").await == 0.0
        })
        .await;
    }
    let lost = engine.metric("hailer_failures_not_kept_total{campaign=\"tally\"}").await;
    let kept = failures(&site, &[]).len();
    assert!((10..=13).contains(&kept), "{kept}");
    assert_eq!(kept + lost as usize, 30);
    assert!(engine.stderr().contains("store.failures_bytes_max"), "{}", engine.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_queue_is_dropped_completely_without_deciding_any_of_it() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write((0..300).map(|number| bought(5 + number, 1)).collect::<String>());
    engine.write(bought(1000, 2));
    wait_for_failures(&site, 301).await;
    let dropped = settle(&site, &["drop", "--campaign", "tally", "--yes"]).expect(0).json();
    assert_eq!(dropped["dropped"], 301, "{dropped}");
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("dropped by an operator; it was held behind"), "{story}");
    assert!(!story.contains("deferred until"), "{story}");
    engine.write([bought(3, 2), bought(4, 1)].concat());
    let mut printed = sent(&engine.prints(2).await);
    printed.sort_by_key(|(customer, _)| customer.clone());
    assert_eq!(printed, [("1".into(), json!([4, 1, 4])), ("2".into(), json!([3, 1, 3]))]);
    assert_eq!(failures(&site, &[]), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_queue_is_retried_in_order_over_many_rounds() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write((0..600).map(|number| bought(5 + number, 1)).collect::<String>());
    let kept = wait_for_failures(&site, 600).await;
    mend(&site, &engine, "").await;
    let tried = settle(&site, &["retry", &kept[300]["number"].to_string()]).expect(0).json();
    assert_eq!(tried["settled"], 600, "{tried}");
    let counts: Vec<_> = sent(&engine.prints(600).await)
        .into_iter()
        .map(|(_, what)| (what[0].clone(), what[1].clone()))
        .collect();
    let expected: Vec<_> = (0..600).map(|number| (json!(number + 5), json!(number + 1))).collect();
    assert_eq!(counts, expected);
}
