//! Failures and merges: the failures of merged customers, and merges that fail.

use hailer_tests::site::campaign;
use hailer_tests::wait;
use serde_json::{Value, json};

use super::{bought, failures, line, mend, merged, sent, settle, site, start, wait_for_failures};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_failures_of_a_merged_customer_belong_to_the_remaining_one() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 1), bought(4, 2), bought(5, 1), bought(6, 1)].concat());
    wait_for_failures(&site, 2).await;
    engine.write([merged(1, 2), bought(7, 2), bought(8, 1)].concat());
    let kept = wait_for_failures(&site, 4).await;
    assert!(kept.iter().all(|one| one["customer"] == kept[0]["customer"]), "{kept:?}");
    mend(&site, &engine, "").await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 4, "{tried}");
    let printed = sent(&engine.prints(6).await);
    let counts: Vec<_> =
        printed[2..].iter().map(|(_, what)| (what[0].clone(), what[1].clone())).collect();
    assert_eq!(
        counts,
        [5, 6, 7, 8].map(|number| (json!(number), json!(number - 2))),
        "{printed:?}"
    );
    assert_eq!((&*printed[2].0, &*printed[3].0), ("2", "2"), "sent to the remaining customer");
}

/// Settled failures are no longer in the store when the merge is decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_merge_does_not_bring_settled_failures_back() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write(bought(5, 1));
    wait_for_failures(&site, 1).await;
    mend(&site, &engine, "").await;
    let _ = settle(&site, &["retry", "--all"]).expect(0);
    engine.write([merged(1, 2), bought(6, 2)].concat());
    let printed = sent(&engine.prints(2).await);
    assert_eq!(printed[0], ("1".into(), json!([5, 1, 5])));
    assert_eq!((&*printed[1].0, &printed[1].1[1]), ("2", &json!(2)));
    assert_eq!(failures(&site, &[]), [] as [Value; 0]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failed_merge_is_kept_and_unites_the_states_at_a_retry() {
    let site = site("");
    let faulty = |name: &str| {
        site.put(&format!("{name}.toml"), campaign("tally", "[params]\nmerge_faults = true"))
    };
    faulty("tally");
    faulty("other");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 1), bought(4, 2), merged(1, 2), bought(6, 2)].concat());
    let kept = wait_for_failures(&site, 4).await;
    let failed: Vec<_> = kept.iter().filter(|one| !one["failed"].is_null()).collect();
    assert_eq!(failed.len(), 2, "{kept:?}");
    for one in failed {
        assert_eq!(one["eventCode"], "MergeCustomersProfiles");
        let shown =
            site.command(&["failures", "show", &one["number"].to_string()]).expect(0).stdout;
        assert!(shown.contains("a merge on purpose"), "{shown}");
    }
    for name in ["tally", "other"] {
        site.put(&format!("{name}.toml"), campaign("tally", ""));
    }
    engine.reload().await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 4, "{tried}");
    let printed = sent(&engine.prints(6).await);
    assert!(
        printed[4..].iter().all(|(_, what)| (&what[0], &what[1]) == (&json!(6), &json!(3))),
        "{printed:?}"
    );
}

/// A failed purchase with an old id is kept with the ids of the remaining customer, and so are the
/// events held behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failure_with_an_old_id_is_retried_for_the_remaining_customer() {
    let site = site("");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 2), merged(1, 2), bought(5, 1), bought(6, 1)].concat());
    wait_for_failures(&site, 2).await;
    mend(&site, &engine, "").await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 2, "{tried}");
    let printed = sent(&engine.prints(3).await);
    assert_eq!(
        printed.iter().map(|(customer, _)| &**customer).collect::<Vec<_>>(),
        ["2", "2", "2"],
        "{printed:?}"
    );
    engine.stop().await;
}

/// The timer of a registration is kept with the failed merge. It fires for the remaining customer
/// after a retry of the merge.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failed_merge_keeps_the_timers_and_moves_them_at_a_retry() {
    let site = site("");
    site.put("tally.toml", campaign("tally", "[params]\nmerge_faults = true\nwait_seconds = 5"));
    let mut engine = start(&site, &[]).await;
    let begun = |customer: u32| {
        let customer_info = json!({ "customerId": customer });
        let body = json!({ "eventCode": "OnBeginRegistration", "customerInfo": customer_info });
        line(&format!("began-{customer}"), &body)
    };
    engine.write([bought(3, 2), begun(1), merged(1, 2)].concat());
    wait_for_failures(&site, 1).await;
    site.put("tally.toml", campaign("tally", ""));
    engine.reload().await;
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 1, "{tried}");
    let printed = engine.prints(2).await;
    assert_eq!(
        (&printed[1]["template"], &printed[1]["recipient"]["customerId"]),
        (&json!("reminder"), &json!("2"))
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_merge_unites_the_states_of_a_paused_campaign_at_once() {
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
    assert_eq!(failures(&site, &[]), [] as [Value; 0], "no later event of the customer is held");
    engine.write(bought(6, 1));
    assert_eq!(
        sent(&engine.prints(3).await)[2].1[1],
        3,
        "the third purchase of both customers together"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_merge_waits_for_a_suspended_campaign_and_resume_reports_it() {
    let site = site("per_hour_max = 2");
    let mut engine = start(&site, &[]).await;
    engine.write([bought(3, 1), bought(4, 2)].concat());
    engine.prints(2).await;
    engine.write(bought(6, 3));
    wait::until_some("the suspension", async || engine.campaign("tally").await?.suspended).await;
    engine.write(merged(1, 2));
    let kept = wait_for_failures(&site, 1).await;
    assert_eq!(
        (&kept[0]["eventCode"], &kept[0]["failed"]),
        (&json!("MergeCustomersProfiles"), &Value::Null)
    );
    let heads = site.command(&["failures", "list"]).expect(0).stdout;
    assert!(heads.contains("waits"), "it is the first of its queue, so it is listed: {heads}");
    let tried = settle(&site, &["retry", "--all"]).expect(1).json();
    assert!(tried["told"][0]["reason"].as_str().unwrap().contains("does not run now"), "{tried}");
    let resumed = site.command(&["resume", "tally"]).expect(0);
    assert!(resumed.stderr.contains("hailer failures retry --campaign tally"), "{resumed:?}");
    engine.write(bought(7, 1));
    wait_for_failures(&site, 2).await;
    let _ = settle(&site, &["retry", "--all"]).expect(0);
    assert_eq!(
        sent(&engine.prints(3).await)[2].1[1],
        3,
        "the third purchase of both customers together"
    );
    let missing = settle(&site, &["retry", "77"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
}
