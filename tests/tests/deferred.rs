//! Messages that wait for the end of quiet hours: they are listed and dropped in a running engine
//! and read from the store of a stopped one, and the policies are explained.

use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wait;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::swaps::purchase;

/// Policies whose quiet hours hold during the whole test.
fn quiet_now() -> String {
    let clock = |hours| {
        let at = Timestamp::now() + SignedDuration::from_hours(hours);
        at.to_zoned_datetime(TimeZone::UTC).strftime("%H:%M").to_string()
    };
    format!(
        "time_zone = \"UTC\"\n\n[[quiet_hours]]\nname = \"now\"\nfrom = \"{}\"\nto = \
         \"{}\"\nthen = \"defer\"\n\n[deferral]\ndiscard_after = \"20h\"\n\n[campaigns.loud]\nkind \
         = \"transactional\"\n",
        clock(-1),
        clock(12)
    )
}

/// A site with the campaigns `basket` and `other`, which send a push message for every purchase.
fn site() -> Site {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    for name in ["basket", "other"] {
        site.put(&format!("{name}.toml"), campaign("big-basket", "[params]\nthreshold = \"0\""));
    }
    site.put("policies.toml", quiet_now());
    site
}

async fn start(site: &Site) -> Engine {
    let store = site.path("store").display().to_string();
    site.start_ready(&["--source", "-", "--sink", "-", "--store", &store]).await
}

fn deferred(site: &Site, more: &[&str]) -> Vec<Value> {
    let listed = site.command(&[&["deferred", "list", "--json"], more].concat()).expect(0);
    listed.json().as_array().unwrap().clone()
}

fn campaigns(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["campaign"].as_str().unwrap()).collect()
}

/// Writes one purchase of each customer, and waits until both messages of each are deferred.
async fn purchases(site: &Site, engine: &mut Engine, customers: &[usize]) {
    for customer in customers {
        engine.write(purchase(*customer, *customer) + "\n");
    }
    wait::until("the messages are deferred", async || {
        deferred(site, &[]).len() == 2 * customers.len()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_messages_are_never_sent_and_the_others_stay() {
    let site = site();
    let mut engine = start(&site).await;
    purchases(&site, &mut engine, &[1, 2]).await;
    engine.metric_is("hailer_deferred", 4.0).await;
    let unsure = site.command(&["deferred", "drop", "--campaign", "basket"]);
    assert!(unsure.code == Some(1) && unsure.stderr.contains("--yes"), "{unsure:?}");
    let none = site.command(&["deferred", "drop", "--campaign", "bsket", "--yes"]);
    assert!(none.code == Some(1) && none.stderr.contains("no such message"), "{none:?}");

    let drop = ["deferred", "drop", "--yes", "--json"];
    let dropped = site.command(&[&drop[..], &["--campaign", "basket"]].concat()).expect(0);
    assert_eq!(dropped.json()["dropped"], 2);
    assert_eq!(campaigns(&deferred(&site, &[])), ["other", "other"]);
    engine.metric_is("hailer_deferred", 2.0).await;
    let cancelled = "hailer_communications_total{campaign=\"basket\",channel=\"push\",\
                     verdict=\"cancelled\",policy=\"\"}";
    engine.metric_is(cancelled, 2.0).await;
    let why = site.command(&["why", "1"]).expect(0).stdout;
    assert!(why.contains("suppressed (cancelled by an operator)"), "{why}");

    // What was dropped is gone after a restart, too, and the room is free again.
    engine.stop().await;
    let store = site.path("store").display().to_string();
    let stopped = deferred(&site, &["--store", &store]);
    assert_eq!(campaigns(&stopped), ["other", "other"]);
    let mut engine = start(&site).await;
    let of_one = site.command(&[&drop[..], &["--customer", "1"]].concat()).expect(0);
    assert_eq!(of_one.json()["dropped"], 1);
    let sms = site.command(&[&drop[..], &["--all", "--channel", "sms"]].concat());
    assert_eq!(sms.code, Some(1), "{sms:?}");
    assert_eq!(deferred(&site, &["--customer", "1"]), [] as [Value; 0]);
    let rest = site.command(&[&drop[..], &["--all"]].concat()).expect(0);
    assert_eq!(rest.json()["dropped"], 1);
    purchases(&site, &mut engine, &[3]).await;
    engine.metric_is("hailer_deferred", 2.0).await;
    assert_eq!(engine.printed(), [] as [Value; 0]);
    engine.stop().await;
    let _ = site.command(&["store", "verify", "--store", &store]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_explained_alike_by_an_engine_and_from_its_store() {
    let site = site();
    let mut engine = start(&site).await;
    purchases(&site, &mut engine, &[1]).await;
    let rules = site.rules().display().to_string();
    let shown = site.command(&["policies", "show", "--rules", &rules, "--json"]).expect(0).json();
    assert_eq!(shown["isEngines"], true);
    let names: Vec<_> = shown["campaigns"].as_array().unwrap().iter().collect();
    let names: Vec<_> = names.iter().map(|campaign| campaign["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["basket", "loud", "other"]);
    assert!(shown["warnings"][0]["reason"].as_str().unwrap().contains("`loud`"), "{shown}");

    let explain = ["policies", "explain", "1", "--channel", "push", "--json"];
    let at = Timestamp::now().to_string();
    let of_basket = [&explain[..], &["--campaign", "basket", "--at", &at]].concat();
    let by_engine = site.command(&of_basket).expect(0).json();
    assert_eq!((&by_engine["verdict"], &by_engine["policy"]), (&"deferred".into(), &"now".into()));
    assert!(by_engine["caution"].as_str().unwrap().contains("are those of today"), "{by_engine}");
    let now = site.command(&[&explain[..], &["--campaign", "basket"]].concat()).expect(0).json();
    assert_eq!((&now["verdict"], now.get("caution")), (&by_engine["verdict"], None));
    let typo = site.command(&[&explain[..], &["--campaign", "baskett"]].concat());
    assert!(typo.code == Some(1) && typo.stderr.contains("did you mean `basket`?"), "{typo:?}");
    engine.stop().await;
    let store = site.path("store").display().to_string();
    let stopped = ["--store", &store, "--rules", &rules];
    let from_store = site.command(&[&of_basket[..], &stopped].concat()).expect(0).json();
    assert_eq!(from_store, by_engine);
    let shown = site.command(&["policies", "show", "--rules", &rules, "--json"]).expect(0).json();
    assert_eq!(shown.get("isEngines"), None, "no engine answers");

    // A broken file is named with its line, in the place of an answer.
    site.put("policies.toml", quiet_now() + "\n[campaigns.other]\nprioritt = 3\n");
    let show = vec!["policies", "show", "--rules", &rules];
    for command in [show, [&of_basket[..], &stopped].concat()] {
        let broken = site.command(&command);
        assert_eq!(broken.code, Some(2), "{broken:?}");
        assert!(broken.stderr.contains("did you mean `priority`?"), "{broken:?}");
    }
    site.remove("policies.toml");
    let without = site.command(&["policies", "show", "--rules", &rules]).expect(0);
    assert!(without.stderr.contains("nothing is restricted"), "{without:?}");
}

/// Policies that write nobody an SMS who has not agreed.
const REFUSING: &str = r#"
time_zone = "UTC"

[consent]
subscription = "Mailings"
yes = ["Enabled"]

[consent.unknown]
mail = "allow"
push = "allow"
sms = "refuse"
viber = "allow"
chatBot = "allow"
socialNetworks = "allow"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_warns_while_no_consent_is_known_on_a_refused_channel() {
    let site = site();
    site.put("policies.toml", REFUSING);
    let rules = site.rules().display().to_string();
    let store = site.path("store").display().to_string();
    let finding = || {
        let doctor = site.command(&["doctor", "--rules", &rules, "--store", &store, "--json"]);
        let findings = doctor.json().as_array().unwrap().clone();
        findings.into_iter().find(|one| one["subject"] == "policies policies.toml")
    };
    assert_eq!(finding(), None, "there is no store yet");
    let mut engine = start(&site).await;
    let warning = finding().unwrap();
    assert_eq!(warning["level"], "warning", "{warning}");
    assert!(warning["detail"].as_str().unwrap().contains("for sms, and"), "{warning}");
    let next_step = warning["nextStep"].as_str().unwrap();
    assert!(next_step.contains("hailer consent import"), "{warning}");
    engine.write(
        "{\"eventCode\":\"OnCustomerSubscriptionChange\",\"subscriptionTypeCode\":\"Mailings\",\
         \"subscriptionInfo\":{\"sms\":\"Disabled\"},\"customerInfo\":{\"customerId\":7}}\n",
    );
    wait::until("the consent is known", async || finding().unwrap()["level"] == "ok").await;
    engine.stop().await;
    assert_eq!(finding().unwrap()["level"], "ok", "also from the store of the stopped engine");
}
