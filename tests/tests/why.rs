//! `hailer why` on what an engine really did: while it runs, and when it is stopped.

use hailer::event::Customer;
use hailer_tests::built::example_module;
use hailer_tests::site::{Outcome, Site, campaign};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;

use crate::edges::shared_broker;
use crate::hostile_guests::fixtures;
use crate::swaps::purchase;

/// What the lines of a story end in, in their order.
fn endings(outcome: &Outcome) -> Vec<&str> {
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
fn a_stopped_engines_store_tells_what_became_of_each_event() {
    let site = site();
    let shadow = campaign("big-basket", "").replace("live", "shadow");
    site.put("shadow.toml", shadow);
    let without_amount = r#"{"eventCode":"OnPurchaseConfirm","customerInfo":{"customerId":7},"purchaseOperationInfo":{"purchaseData":{}}}"#;
    let events = [purchase(500, 7), purchase(500, 8), purchase(5, 7), without_amount.to_owned()];
    let events = format!("file:{}", site.write("events.jsonl", events.join("\n")).display());
    let store = site.path("store").display().to_string();
    let _ = site.run(&["--source", &events, "--store", &store]).expect(0);

    let story = why(&site, &["7", "--store", &store]);
    assert!(story.stdout.starts_with("customer 7, known by customerId; times in UTC\n"), "{}", story.stdout);
    assert_eq!(story.stdout.matches(" UTC  OnPurchaseConfirm (event ").count(), 3);
    let (below, not_called) = (
        "rule chose nothing (not sent: below the threshold)",
        "rule chose nothing (not called: the event has no `amount`, which it requires)",
    );
    // The campaigns of one event come in no promised order.
    let mut told = endings(&story);
    told[..2].sort_unstable();
    assert_eq!(told, ["published", "suppressed (shadow)", below, below, not_called, not_called]);

    let missing = why(&site, &["7", "--store", &store, "--campaign", "missing"]);
    assert_eq!(endings(&missing), ["campaign not loaded, off or not started, or its condition did not match"; 3]);
    let since = why(&site, &["7", "--store", &store, "--campaign", "basket", "--since", "1h", "--json"]).json();
    let sent = &since["events"][0]["lines"][0];
    assert_eq!((since["events"].as_array().unwrap().len(), &sent["ending"]), (3, &"published".into()));
    assert_eq!(sent["subject"]["communication"]["channel"], "push");
    assert_eq!(why(&site, &["7", "--store", &store, "--by", "uid"]).stdout, "no event seen\n");
    assert_eq!(why(&site, &["nobody", "--store", &store]).stdout, "no event seen\n");
    let wrong = site.command(&["why", "7", "--store", &store, "--since", "yesterday"]).expect(2);
    assert!(wrong.stderr.contains("`--since yesterday` is no time: write a span back"), "{}", wrong.stderr);
}

#[test]
fn a_field_that_cannot_be_used_is_named_and_nothing_is_sent() {
    let site = site();
    let refund = purchase(500, 7);
    assert!(refund.contains(r#""purchaseData":{"#), "{refund}");
    let refund = refund.replace(r#""purchaseData":{"#, r#""purchaseData":{"isRefund":"true","#);
    let events = format!("file:{}", site.write("events.jsonl", refund).display());
    let store = site.path("store").display().to_string();
    let run = site.run(&["--source", &events, "--sink", "-", "--store", &store]).expect(0);
    assert_eq!(run.stdout, "", "it may be a refund");
    let story = why(&site, &["7", "--store", &store]);
    assert_eq!(endings(&story), ["rule chose nothing (not called: `is_refund` is there, and of another type)"]);
    // A copy of the event with the field as it should be is another event.
    let good = format!("file:{}", site.write("good.jsonl", purchase(500, 7)).display());
    assert!(site.run(&["--source", &good, "--sink", "-", "--store", &store]).expect(0).stdout.contains("big-basket"));
}

/// A zone's file that says the same offset for ever.
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
fn local_times_name_their_zone_and_have_its_bundled_rules() {
    let site = site();
    let events = format!("file:{}", site.write("events.jsonl", purchase(500, 7)).display());
    let store = site.path("store").display().to_string();
    let _ = site.run(&["--source", &events, "--store", &store]).expect(0);
    std::fs::create_dir_all(site.path("zones/Europe")).unwrap();
    let zones = site.write("zones/Europe/Moscow", zone_file(7)).parent().unwrap().parent().unwrap().to_owned();
    site.environment(&[("TZ", "Europe/Moscow"), ("TZDIR", zones.to_str().unwrap())]);
    let story = site.command(&["why", "7", "--store", &store]).expect(0).stdout;
    assert!(story.contains("times in Europe/Moscow\n"), "{story}");
    assert!(story.contains(" +03:00  OnPurchaseConfirm") && !story.contains("+07:00"), "{story}");
    let utc = site.command(&["why", "7", "--store", &store, "--utc"]).expect(0).stdout;
    assert!(utc.contains("times in UTC\n") && utc.contains(" UTC  OnPurchaseConfirm"), "{utc}");
}

#[test]
fn a_rule_that_failed_is_told_with_what_it_said() {
    let site = Site::empty();
    site.put("modules/errs.wasm", fixtures::module("errs"));
    site.put("errs.toml", campaign("errs", ""));
    let event =
        |id: usize| format!(r#"{{"eventCode":"{}","customerInfo":{{"customerId":{id}}}}}"#, fixtures::EVENT_CODE);
    let events = (0..1000).map(|id| event(id) + "\n").collect::<String>();
    let events = format!("file:{}", site.write("events.jsonl", events).display());
    let store = site.path("store").display().to_string();
    let _ = site.run(&["--source", &events, "--store", &store]).expect(0);

    // It fails for some customers only; the journal knows them by their keys.
    let all = site.command(&["decisions", "export", "--format", "jsonl", "--store", &store]).expect(0);
    let failed = all.stdout.lines().find(|line| line.contains(r#""decision":"failed""#)).expect(&all.stdout);
    let failed: serde_json::Value = serde_json::from_str(failed).unwrap();
    let key = |id: &str| {
        let key = Customer { customer_id: Some(id.into()), ..Customer::default() }.key().unwrap();
        key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let id = (0..1000).map(|id| id.to_string()).find(|id| failed["customer"] == *key(id)).unwrap();
    let story = why(&site, &[&id, "--store", &store]);
    assert_eq!(endings(&story), [format!("failed ({})", failed["reason"].as_str().unwrap())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_running_engine_tells_what_waits_and_what_was_not_asked() {
    let wiring = Wiring::new(shared_broker(), "why").await;
    let site = site();
    site.put("off.toml", campaign("big-basket", "").replace("live", "off"));
    let flags = wiring.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let engine = site.start(&flags);
    engine.ready().await;
    assert_eq!(why(&site, &["7"]).stdout, "no event seen\n");
    // Nobody takes what is sent, so it stays in the outbox.
    wiring.client.delete_queue(&wiring.out).await;
    wiring.send([purchase(500, 7)]).await;
    let not_asked = "campaign not loaded, off or not started";
    let is_told = async |expected: &[&str]| {
        wait::until(&format!("{expected:?}"), async || endings(&why(&site, &["7"])) == *expected).await;
    };
    is_told(&["deferred until the sink takes it", not_asked]).await;
    assert_eq!(site.command(&["store", "show", "--json"]).expect(0).json()["outboxWaiting"], 1);
    wiring.bind_out().await;
    is_told(&["published", not_asked]).await;
    // Of a campaign that is loaded, and takes no such event, there is nothing to tell.
    wiring.send([r#"{"eventCode":"Another","customerInfo":{"customerId":7}}"#]).await;
    let about = |name| why(&site, &["7", "--campaign", name, "--json"]).json();
    wait::until("the other event is there", async || about("basket")["others"] == 1).await;
    assert_eq!(about("nowhere")["events"].as_array().unwrap().len(), 2);
    engine.stop().await;
    // The store of a stopped engine is found where an engine of RabbitMQ has it.
    assert_eq!(endings(&why(&site, &["7"])), ["published"]);
}
