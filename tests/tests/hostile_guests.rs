//! Misbehaving rules in a running engine, beside a well-behaved rule: that one sends everything
//! that it should, and the engine keeps running.

#[path = "../fixtures/hostile/mod.rs"]
pub(crate) mod fixtures;

use std::collections::BTreeSet;

use hailer::reload::CampaignState;
use hailer_tests::built::example_module;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wait;

/// Enough customers that the hostile rules misbehave for some: they do so for one in 256.
const CUSTOMERS: usize = 1000;

fn registrations() -> String {
    let event = |customer: usize| {
        format!(
            "{{\"eventCode\":\"{}\",\"customerInfo\":{{\"customerId\":{customer}}}}}\n",
            fixtures::EVENT_CODE
        )
    };
    (0..CUSTOMERS).map(event).collect()
}

fn site(hostile: &[&str]) -> Site {
    let site = Site::empty();
    site.put("modules/registration-help.wasm", example_module("registration-help"));
    site.put("good.toml", campaign("registration-help", ""));
    for name in hostile {
        site.put(&format!("modules/{name}.wasm"), fixtures::module(name));
        site.put(&format!("{name}.toml"), campaign(name, ""));
    }
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rules_that_fault_lose_only_their_own_calls() {
    // A rule, and the outcome of its misbehaving calls in the metrics.
    let hostile = [
        ("trap", "trap"),
        ("endless-loop", "deadline"),
        ("recursion", "stack"),
        ("memory-bomb", "memory"),
        ("flood-of-one", "output"),
        ("panic", "panic"),
        ("errs", "error"),
        ("log-flood", "ok"),
    ];
    let site = site(&hostile.map(|(name, _)| name));
    let deadline = "limits.call_deadline_ms=200";
    // Three missed deadlines in some hundred calls give a long mean time, which would suspend the
    // campaign. Here all calls must be counted.
    let never = "breaker.call_mean_us_max=0";
    let mut engine =
        site.start(&["--source", "-", "--sink", "-", "--set", deadline, "--set", never]);
    engine.ready().await;
    engine.write(registrations());
    let printed = engine.prints(CUSTOMERS).await;
    let customers: BTreeSet<&str> =
        printed.iter().map(|one| one["recipient"]["customerId"].as_str().unwrap()).collect();
    assert_eq!((printed.len(), customers.len()), (CUSTOMERS, CUSTOMERS));
    assert!(printed.iter().all(|communication| communication["campaign"] == "good"));

    let calls = async |name: &str, outcome: &str| {
        engine
            .metric(&format!("hailer_calls_total{{campaign=\"{name}\",outcome=\"{outcome}\"}}"))
            .await
    };
    let guilty = calls("trap", "trap").await;
    assert!(guilty >= 1.0, "no call misbehaved");
    for (name, outcome) in hostile {
        let (faults, rest) = (calls(name, outcome).await, calls(name, "ok").await);
        let expected = if outcome == "ok" {
            (CUSTOMERS as f64, CUSTOMERS as f64)
        } else {
            (guilty, CUSTOMERS as f64 - guilty)
        };
        assert_eq!((faults, rest), expected, "{name}");
    }
    assert_eq!(calls("good", "ok").await.to_bits(), (CUSTOMERS as f64).to_bits());
    // Long log lines of a rule are cut, and lines above the limit are dropped.
    assert!(engine.metric("hailer_log_bytes_cut_total").await > 0.0);
    let dropped = engine.metric("hailer_log_lines_dropped_total{campaign=\"log-flood\"}").await;
    assert!(dropped > 0.0, "every call logs a line");
    assert!(engine.stderr().len() < 1 << 20, "{} bytes of log", engine.stderr().len());
    engine.ready().await;
    engine.close_input();
    assert_eq!(engine.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_rule_that_does_not_load_is_refused_and_the_others_run() {
    let refused = [
        ("counter", "not a pure function"),
        ("loop-in-start", "does not start"),
        ("trap-in-configure", "does not start"),
    ];
    let site = site(&refused.map(|(name, _)| name));
    site.put("modules/garbage.wasm", b"no module at all");
    site.put("garbage.toml", campaign("garbage", ""));
    let deadline = "limits.call_deadline_ms=200";
    let mut engine = site.start(&["--source", "-", "--sink", "-", "--set", deadline]);
    wait::until("the socket answers", async || engine.client.campaigns().await.is_ok()).await;
    for (name, reason) in refused {
        let status = engine.campaign(name).await.unwrap();
        assert_eq!(status.state, CampaignState::Failed, "{status:?}");
        assert!(status.problem.as_ref().unwrap().reason.contains(reason), "{status:?}");
    }
    assert_eq!(engine.campaign("garbage").await.unwrap().state, CampaignState::Failed);
    assert_eq!(engine.campaign("good").await.unwrap().state, CampaignState::Running);
    engine.write(registrations());
    assert_eq!(engine.prints(CUSTOMERS).await.len(), CUSTOMERS);
    engine.close_input();
    assert_eq!(engine.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_rule_that_faults_on_every_sample_is_refused() {
    let site = site(&["honest"]);
    let rules = site.rules().display().to_string();
    let mut engine = site.start(&["--source", "-", "--sink", "-"]);
    engine.ready().await;
    let good = engine.campaign("honest").await.unwrap().version;
    site.put("modules/honest.wasm", fixtures::module("trap-always"));
    let report = engine.reload().await;
    assert!(
        report.changed.is_empty() && report.problems[0].reason.contains("faulted on every sample"),
        "{report:?}"
    );
    let status = engine.campaign("honest").await.unwrap();
    assert_eq!((status.state, status.version), (CampaignState::Running, good));
    engine.close_input();
    assert_eq!(engine.ended().await, Some(0));
    let checked = site.command_without_data(&["check", "--no-broker", "--rules", &rules]);
    assert!(
        checked.code == Some(1) && checked.stdout.contains("faulted on every sample"),
        "{checked:?}"
    );

    // A new module at a first start.
    let fresh = Site::empty();
    fresh.put("modules/trap-always.wasm", fixtures::module("trap-always"));
    fresh.put("trap-always.toml", campaign("trap-always", ""));
    let engine = fresh.start(&["--source", "-", "--sink", "-"]);
    wait::until("the socket answers", async || engine.client.campaigns().await.is_ok()).await;
    assert_eq!(engine.campaign("trap-always").await.unwrap().state, CampaignState::Failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_rule_that_proves_impure_while_running_is_suspended() {
    let site = site(&["counter-of-others"]);
    let always = "purity.recheck_one_in=1";
    let mut engine =
        site.start(&["--source", "-", "--sink", "-", "--shards", "1", "--set", always]);
    engine.ready().await;
    engine.write(registrations());
    wait::until("the campaign is suspended", async || {
        engine.campaign("counter-of-others").await.unwrap().state == CampaignState::Suspended
    })
    .await;
    let status = engine.campaign("counter-of-others").await.unwrap();
    assert!(status.suspended.unwrap().contains("not a pure function"));
    assert_eq!(engine.prints(CUSTOMERS).await.len(), CUSTOMERS);
    assert_eq!(engine.campaign("good").await.unwrap().state, CampaignState::Running);
    engine.close_input();
    assert_eq!(engine.ended().await, Some(0));
}
