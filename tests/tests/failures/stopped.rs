//! Stopped campaigns: suspended by the breaker or the hourly maximum, rolled back, or paused; and
//! the events that they miss.

use hailer::reload::CampaignState;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wait;
use serde_json::{Value, json};

use super::{bought, failures, faulty, mend, sent, settle, site, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_campaign_that_faults_too_often_is_suspended_and_can_be_resumed() {
    let site = site("on_fault = \"skip\"");
    let mut engine = start(&site, &["--shards", "1"]).await;
    engine.write((1..=20).map(|number| bought(number * 5, number)).collect::<String>());
    let suspended =
        wait::until_some("the suspension", async || engine.campaign("tally").await?.suspended)
            .await;
    assert!(suspended.contains("20 times in a row"), "{suspended}");
    engine.write(bought(3, 1));
    mend(&site, &engine, "on_fault = \"skip\"").await;
    let _ = site.command(&["resume", "tally"]).expect(0);
    engine.write(bought(4, 1));
    assert_eq!(
        sent(&engine.prints(1).await),
        [("1".into(), json!([4, 1, 4]))],
        "the events in between were missed"
    );
    let _ = settle(&site, &["retry", "--all"]).expect(0);
    assert_eq!(engine.prints(21).await.len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_version_that_faults_right_after_its_swap_is_rolled_back() {
    let site = site("");
    site.put("tally.toml", campaign("tally", "on_fault = \"skip\"\n"));
    let mut engine = start(&site, &["--shards", "1"]).await;
    engine.write(bought(1, 1));
    engine.prints(1).await;
    faulty(&site, "on_fault = \"skip\"");
    assert_eq!(engine.reload().await.changed, ["tally"]);
    engine.write((1..=20).map(|number| bought(number * 5, number)).collect::<String>());
    let why =
        wait::until_some("the rollback", async || engine.campaign("tally").await?.rolled_back)
            .await;
    assert!(why.contains("20 times in a row"), "{why}");
    engine.metric_is("hailer_rollbacks_total{campaign=\"tally\",cause=\"engine\"}", 1.0).await;
    let log = engine.stderr();
    let next_step = "`hailer failures retry --campaign tally`, and those that came while it was \
                     suspended: the same with --missed";
    assert!(log.contains(next_step), "{log}");
    engine.write(bought(200, 30));
    assert_eq!(engine.prints(2).await.len(), 2, "the previous version decides");
    // The rollback survives a crash, and the good version decides the failures of the bad one.
    engine.kill();
    let engine = start(&site, &["--shards", "1"]).await;
    assert!(engine.campaign("tally").await.unwrap().rolled_back.is_some());
    let tried = settle(&site, &["retry", "--all"]).expect(0).json();
    assert_eq!(tried["settled"], 20, "{tried}");
    engine.prints(20).await;
    let listed = site.command(&["campaigns"]).expect(0).stdout;
    assert!(listed.contains("hailer rollback --undo tally"), "{listed}");
    let missed =
        "hailer failures retry --campaign tally; add --missed for the events that it missed";
    assert!(listed.contains(missed), "{listed}");
    let _ = site.command(&["rollback", "--undo", "tally"]).expect(0);
    assert_eq!(engine.campaign("tally").await.unwrap().rolled_back, None);
}

fn missed(site: &Site) -> Vec<Value> {
    let listed = site.command(&["failures", "list", "--missed", "--json"]).expect(0);
    listed.json().as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn events_missed_in_a_pause_are_kept_and_decided_later_in_order() {
    let site = site("");
    site.put("tally.toml", campaign("tally", ""));
    let mut engine = start(&site, &[]).await;
    engine.write(bought(1, 1));
    engine.prints(1).await;
    let _ = site.command(&["pause", "tally"]).expect(0);
    engine.write([bought(2, 1), bought(3, 2), bought(4, 1)].concat());
    engine.metric_is("hailer_missed_total{campaign=\"tally\",reason=\"paused\"}", 3.0).await;
    wait::until("the missed events are kept", async || missed(&site).len() == 3).await;
    let kept = missed(&site);
    assert!(
        kept.iter().all(|one| one["missed"] == "paused" && one["isQueued"] == false),
        "{kept:?}"
    );
    assert_eq!(failures(&site, &[]), [] as [Value; 0], "nothing failed");
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("missed (paused), and kept to be decided later"), "{story}");
    // The campaign does not run, so a retry fails. The missed events survive a crash.
    let _ = settle(&site, &["retry", "--missed", "--campaign", "tally"]).expect(1);
    engine.kill();
    let engine = start(&site, &[]).await;
    assert_eq!(missed(&site).len(), 3);
    let _ = site.command(&["resume", "tally"]).expect(0);
    let nothing = settle(&site, &["retry", "--all"]);
    assert_eq!(nothing.code, Some(1), "missed events are not failures: {nothing:?}");
    let tried = settle(&site, &["retry", "--missed", "--campaign", "tally"]).expect(0).json();
    assert_eq!(tried["settled"], 3, "{tried}");
    let mut printed = sent(&engine.prints(3).await);
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
    assert!(
        story.contains("missed (paused), and decided later") && !story.contains("dropped"),
        "{story}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn events_missed_in_a_suspension_are_kept_up_to_a_limit() {
    let site = site("on_fault = \"skip\"");
    let mut engine = start(&site, &["--shards", "1", "--set", "store.missed_bytes_max=1"]).await;
    engine.write((1..=20).map(|number| bought(number * 5, number)).collect::<String>());
    wait::until_some("the suspension", async || engine.campaign("tally").await?.suspended).await;
    for number in 101..=103 {
        engine.write(bought(number, 1));
        let name = "hailer_missed_total{campaign=\"tally\",reason=\"suspended\"}";
        engine.metric_is(name, f64::from(number - 100)).await;
        wait::until("the event is committed", async || {
            engine.metric("hailer_in_flight").await == 0.0
        })
        .await;
    }
    assert_eq!(missed(&site).len(), 1);
    engine.metric_is("hailer_missed_not_kept_total{campaign=\"tally\"}", 2.0).await;
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("missed (suspended), and not kept"), "{story}");
    let _ = site.command(&["failures", "drop", "--missed", "--all", "--yes"]).expect(0);
    assert_eq!((missed(&site).len(), failures(&site, &[]).len()), (0, 20));
    let story = site.command(&["why", "1"]).expect(0).stdout;
    assert!(story.contains("dropped by an operator; it was missed (suspended)"), "{story}");
    assert!(
        story.contains("missed (suspended), and not kept") && !story.contains("and kept"),
        "{story}"
    );
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
fn the_summary_of_a_run_counts_missed_events() {
    let site = site("on_fault = \"skip\"");
    let run = |name: &str, events: String| {
        let source = format!("file:{}", site.write(name, events).display());
        site.run(&["--source", &source, "--sink", "-", "--shards", "1"]).expect(0).stderr
    };
    let faults: String = (1..=20).map(|number| bought(number * 5, number)).collect();
    let summary = run("first.jsonl", faults);
    assert!(summary.contains("20 faulted"), "{summary}");
    // The suspension is stored in the data directory.
    let summary = run("second.jsonl", bought(103, 1));
    assert!(summary.contains("0 decided, 1 missed while suspended"), "{summary}");
    let suspended =
        "the campaign is suspended and is not called; to lift that: `hailer resume tally`";
    assert!(summary.contains(suspended) && summary.contains("20 times in a row"), "{summary}");
    // `resume` ends it without a running engine.
    let refused = site.command(&["resume", "tall"]).expect(1).stderr;
    assert!(refused.contains("did you mean `tally`?"), "{refused}");
    let elsewhere = site.command_at(site.path("elsewhere"), &["resume", "tally"]).expect(1).stderr;
    assert!(
        elsewhere.contains("holds no campaigns of a stopped engine")
            && elsewhere.contains("--data"),
        "{elsewhere}"
    );
    assert!(!site.path("elsewhere").exists(), "no directory is created");
    let resumed = site.command(&["resume", "tally"]).expect(0);
    assert!(
        resumed.stdout.contains("resumed: tally") && resumed.stderr.contains("next start"),
        "{resumed:?}"
    );
    let summary = run("third.jsonl", bought(104, 1));
    assert!(summary.contains("1 decided") && !summary.contains("missed"), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn resume_of_a_stopped_engine_changes_its_data_and_its_stores_copy() {
    let site = site("");
    let store = site.path("store").display().to_string();
    let engine = start(&site, &[]).await;
    let _ = site.command(&["pause", "tally"]).expect(0);
    engine.stop().await;
    let resumed =
        site.command(&["resume", "--all", "--set", &format!("store.dir={store}")]).expect(0);
    assert!(resumed.stdout.contains("resumed: tally"), "{resumed:?}");
    assert!(resumed.stderr.contains("it calls them after its next start"), "{resumed:?}");
    // A lost data directory starts with the store's copy.
    std::fs::remove_dir_all(site.data()).unwrap();
    let engine = start(&site, &[]).await;
    assert_eq!(engine.campaign("tally").await.unwrap().state, CampaignState::Running);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn resume_of_a_stopped_engine_resets_the_maximum_per_hour() {
    let site = site("");
    site.put("tally.toml", campaign("tally", "per_hour_max = 2\n[params]\nwait_seconds = 1"));
    let store = format!("store.dir={}", site.path("store").display());
    let suspended = async |engine: &Engine| {
        wait::until_some("the suspension", async || engine.campaign("tally").await?.suspended)
            .await;
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
async fn a_campaign_above_its_maximum_per_hour_is_suspended() {
    let site = site("");
    site.put("tally.toml", campaign("tally", "per_hour_max = 3"));
    let mut engine = start(&site, &[]).await;
    engine.write((1..=5).map(|number| bought(number, number)).collect::<String>());
    let suspended =
        wait::until_some("the suspension", async || engine.campaign("tally").await?.suspended)
            .await;
    assert!(suspended.contains("more than 3 communications an hour (per_hour_max)"), "{suspended}");
    assert_eq!(engine.prints(3).await.len(), 3);
    let _ = site.command(&["resume", "tally"]).expect(0);
    engine.write(bought(6, 6));
    assert_eq!(engine.prints(4).await.len(), 4, "a resume resets the maximum");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_retry_respects_the_maximum_per_hour_and_keeps_the_rest() {
    let site = site("per_hour_max = 3");
    let mut engine = start(&site, &["--shards", "1"]).await;
    let _ = site.command(&["pause", "tally"]).expect(0);
    // Multiples of five would fault.
    engine.write([1, 2, 3, 4, 6, 7, 8, 9].map(|number| bought(number, number)).concat());
    wait::until("the missed events are kept", async || missed(&site).len() == 8).await;
    let resumed = site.command(&["resume", "tally"]).expect(0);
    assert!(
        resumed.stderr.contains("hailer failures retry --missed --campaign tally"),
        "{resumed:?}"
    );
    let tried = settle(&site, &["retry", "--missed", "--campaign", "tally"]).expect(1).json();
    assert_eq!((&tried["settled"], &tried["notCalled"]), (&json!(3), &json!(5)), "{tried}");
    assert!(
        tried["told"][0]["reason"].as_str().unwrap().contains("as many this hour as it may"),
        "{tried}"
    );
    assert_eq!(engine.prints(3).await.len(), 3);
    assert_eq!(missed(&site).len(), 5, "the rest stays kept");
    assert_eq!(engine.campaign("tally").await.unwrap().suspended, None);
}
