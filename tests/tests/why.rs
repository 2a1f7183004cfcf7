//! `hailer why` about a real engine, while it runs and after it has stopped.

use hailer::event::Customer;
use hailer_tests::built::example_module;
use hailer_tests::site::{Outcome, Site, campaign};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;

use crate::hostile_guests::fixtures;
use crate::support::shared_broker;
use crate::swaps::purchase;

/// The ends of the lines that `why` prints, in order.
fn results(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stdout.lines().filter(|line| line.starts_with("  "));
    lines.filter_map(|line| line.split_once(": ")).map(|(_, ending)| ending).collect()
}

fn site() -> Site {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    site.put("basket.toml", campaign("big-basket", ""));
    site
}

fn why(site: &Site, arguments: &[&str]) -> Outcome {
    site.command(&[&["why", "--utc"], arguments].concat()).expect(0)
}

#[test]
fn why_explains_each_event_from_the_store_of_a_stopped_engine() {
    let site = site();
    let shadow = campaign("big-basket", "").replace("live", "shadow");
    site.put("shadow.toml", shadow);
    let without_amount = "{\"eventCode\":\"OnPurchaseConfirm\",\"customerInfo\":{\"customerId\":7},\
         \"purchaseOperationInfo\":{\"purchaseData\":{}}}";
    let events = [purchase(500, 7), purchase(500, 8), purchase(5, 7), without_amount.to_owned()];
    let events = format!("file:{}", site.write("events.jsonl", events.join("\n")).display());
    let store = site.path("store").display().to_string();
    let _ = site.run(&["--source", &events, "--store", &store]).expect(0);

    let story = why(&site, &["7", "--store", &store]);
    assert!(
        story.stdout.starts_with("customer 7, known by customerId; times in UTC\n"),
        "{}",
        story.stdout
    );
    assert_eq!(story.stdout.matches(" UTC  OnPurchaseConfirm (event ").count(), 3);
    let (below, not_called) = (
        "rule chose nothing (not sent: below the threshold)",
        "rule chose nothing (not called: the event has no `amount`, which it requires)",
    );
    // The order of the campaigns of one event is not defined.
    let mut found = results(&story);
    found[..2].sort_unstable();
    assert_eq!(found, ["published", "suppressed (shadow)", below, below, not_called, not_called]);

    let missing = why(&site, &["7", "--store", &store, "--campaign", "missing"]);
    assert_eq!(
        results(&missing),
        ["campaign not loaded, off or not started, or its condition did not match"; 3]
    );
    let since =
        why(&site, &["7", "--store", &store, "--campaign", "basket", "--since", "1h", "--json"])
            .json();
    let sent = &since["events"][0]["lines"][0];
    assert_eq!(
        (since["events"].as_array().unwrap().len(), &sent["ending"]),
        (3, &"published".into())
    );
    assert_eq!(sent["subject"]["communication"]["channel"], "push");
    assert_eq!(why(&site, &["7", "--store", &store, "--by", "uid"]).stdout, "no event seen\n");
    assert_eq!(why(&site, &["unknown", "--store", &store]).stdout, "no event seen\n");
    let wrong = site.command(&["why", "7", "--store", &store, "--since", "yesterday"]).expect(2);
    assert!(
        wrong.stderr.contains("`--since yesterday` is not a time: write a span back"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn why_names_an_unusable_field_and_nothing_is_sent() {
    let site = site();
    let refund = purchase(500, 7);
    assert!(refund.contains(r#""purchaseData":{"#), "{refund}");
    let refund = refund.replace(r#""purchaseData":{"#, r#""purchaseData":{"isRefund":"true","#);
    let events = format!("file:{}", site.write("events.jsonl", refund).display());
    let store = site.path("store").display().to_string();
    let run = site.run(&["--source", &events, "--sink", "-", "--store", &store]).expect(0);
    assert_eq!(run.stdout, "", "the event may be a refund");
    let story = why(&site, &["7", "--store", &store]);
    assert_eq!(
        results(&story),
        ["rule chose nothing (not called: `is_refund` has the wrong type)"]
    );
    // The same event with a correct field is another event.
    let good = format!("file:{}", site.write("good.jsonl", purchase(500, 7)).display());
    assert!(
        site.run(&["--source", &good, "--sink", "-", "--store", &store])
            .expect(0)
            .stdout
            .contains("big-basket")
    );
}

/// A time zone file with one offset for ever.
fn zone_file(hours: i32) -> Vec<u8> {
    let mut block = b"TZif2".to_vec();
    block.extend([0; 15]);
    [0_u32, 0, 0, 0, 1, 4].iter().for_each(|count| block.extend(count.to_be_bytes()));
    block.extend((hours * 3600).to_be_bytes());
    block.extend([0, 0]);
    block.extend(b"+07\0");
    [&block[..], &block, format!("\n<+07>-{hours}\n").as_bytes()].concat()
}

#[test]
fn local_times_name_their_zone_and_use_the_bundled_rules() {
    let site = site();
    let events = format!("file:{}", site.write("events.jsonl", purchase(500, 7)).display());
    let store = site.path("store").display().to_string();
    let _ = site.run(&["--source", &events, "--store", &store]).expect(0);
    std::fs::create_dir_all(site.path("zones/Europe")).unwrap();
    let zones = site
        .write("zones/Europe/Moscow", zone_file(7))
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    site.environment(&[("TZ", "Europe/Moscow"), ("TZDIR", zones.to_str().unwrap())]);
    let story = site.command(&["why", "7", "--store", &store]).expect(0).stdout;
    assert!(story.contains("times in Europe/Moscow\n"), "{story}");
    assert!(story.contains(" +03:00  OnPurchaseConfirm") && !story.contains("+07:00"), "{story}");
    let utc = site.command(&["why", "7", "--store", &store, "--utc"]).expect(0).stdout;
    assert!(utc.contains("times in UTC\n") && utc.contains(" UTC  OnPurchaseConfirm"), "{utc}");
}

#[test]
fn why_shows_the_error_of_a_failed_rule() {
    let site = Site::empty();
    site.put("modules/errs.wasm", fixtures::module("errs"));
    site.put("errs.toml", campaign("errs", ""));
    let event = |id: usize| {
        format!(
            r#"{{"eventCode":"{}","customerInfo":{{"customerId":{id}}}}}"#,
            fixtures::EVENT_CODE
        )
    };
    let events = (0..1000).map(|id| event(id) + "\n").collect::<String>();
    let events = format!("file:{}", site.write("events.jsonl", events).display());
    let store = site.path("store").display().to_string();
    let _ = site.run(&["--source", &events, "--store", &store]).expect(0);

    // The rule fails for some customers only; the journal knows them by their keys.
    let all =
        site.command(&["decisions", "export", "--format", "jsonl", "--store", &store]).expect(0);
    let failed =
        all.stdout.lines().find(|line| line.contains(r#""decision":"failed""#)).expect(&all.stdout);
    let failed: serde_json::Value = serde_json::from_str(failed).unwrap();
    let key = |id: &str| {
        let key = Customer { customer_id: Some(id.into()), ..Customer::default() }.key().unwrap();
        hex::encode(key.as_bytes())
    };
    let id = (0..1000).map(|id| id.to_string()).find(|id| failed["customer"] == *key(id)).unwrap();
    let story = why(&site, &[&id, "--store", &store]);
    assert_eq!(results(&story), [format!("failed ({})", failed["reason"].as_str().unwrap())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn why_shows_waiting_communications_and_campaigns_that_were_not_called() {
    let wiring = Wiring::new(shared_broker(), "why").await;
    let site = site();
    site.put("off.toml", campaign("big-basket", "").replace("live", "off"));
    let flags = wiring.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let engine = site.start(&flags);
    engine.ready().await;
    assert_eq!(why(&site, &["7"]).stdout, "no event seen\n");
    // No queue receives the communications, so they stay in the outbox.
    wiring.client.delete_queue(&wiring.out).await;
    wiring.send([purchase(500, 7)]).await;
    let not_asked = "campaign not loaded, off or not started";
    let is_reported = async |expected: &[&str]| {
        wait::until(&format!("{expected:?}"), async || results(&why(&site, &["7"])) == *expected)
            .await;
    };
    is_reported(&["deferred until the sink takes it", not_asked]).await;
    assert_eq!(site.command(&["store", "show", "--json"]).expect(0).json()["outboxWaiting"], 1);
    wiring.bind_out().await;
    is_reported(&["published", not_asked]).await;
    // `why` does not list a loaded campaign that does not handle the event.
    wiring.send([r#"{"eventCode":"Another","customerInfo":{"customerId":7}}"#]).await;
    let about = |name| why(&site, &["7", "--campaign", name, "--json"]).json();
    wait::until("the other event is decided", async || about("basket")["others"] == 1).await;
    assert_eq!(about("nowhere")["events"].as_array().unwrap().len(), 2);
    engine.stop().await;
    // The store of a stopped engine is found where an engine with RabbitMQ puts it.
    assert_eq!(results(&why(&site, &["7"])), ["published"]);
}
