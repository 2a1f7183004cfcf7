//! Rules that fail: their events are kept, held in order, retried, dropped and bounded, and a
//! misbehaving campaign is stopped. All tests use the real binary.
//!
//! The rule is `tally`: each communication depends on everything that the rule has decided before,
//! so a lost, repeated or misplaced event is visible.

mod held;
mod merges;
mod stopped;

use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Outcome, Site, campaign};
use hailer_tests::wait;
use serde_json::{Value, json};

/// An event in the envelope of a file, with a message id.
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
    line(
        &format!("{code}-{customer}"),
        &json!({ "eventCode": code, "customerInfo": { "customerId": customer } }),
    )
}

pub(crate) fn merged(from: u32, to: u32) -> String {
    let customer = |id: u32| json!({ "customerId": id });
    let (from_info, to_info) = (customer(from), customer(to));
    let body = json!({
        "eventCode": "MergeCustomersProfiles",
        "fromCustomerInfo": from_info, "toCustomerInfo": to_info,
    });
    line(&format!("merged-{from}-{to}"), &body)
}

/// A site with the campaign `tally`. Purchases whose number is a multiple of five fault.
pub(crate) fn site(rest: &str) -> Site {
    let site = Site::empty();
    site.put("modules/tally.wasm", example_module("tally"));
    faulty(&site, rest);
    site
}

fn faulty(site: &Site, rest: &str) {
    site.put(
        "tally.toml",
        campaign("tally", &format!("{rest}\n[params]\nfault_every = 5\nwait_seconds = 1")),
    );
}

/// Corrects the rule in the running engine: it faults no more.
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

/// The communications in order: the customer, and number, count and chain, or the template alone.
fn sent(communications: &[Value]) -> Vec<(String, Value)> {
    let sent = |one: &Value| {
        let data = &one["data"];
        let what = match data["number"].is_null() {
            true => one["template"].clone(),
            false => json!([data["number"], data["count"], data["chain"]]),
        };
        (one["recipient"]["customerId"].as_str().unwrap().to_owned(), what)
    };
    communications.iter().map(sent).collect()
}

fn failures(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let listed =
        site.command(&[&["failures", "list", "--all", "--json"], arguments].concat()).expect(0);
    listed.json().as_array().unwrap().clone()
}

fn settle(site: &Site, arguments: &[&str]) -> Outcome {
    site.command(&[&["failures"], arguments, &["--json"]].concat())
}

async fn wait_for_failures(site: &Site, count: usize) -> Vec<Value> {
    wait::until_some(&format!("{count} failures"), async || {
        Some(failures(site, &[])).filter(|failures| failures.len() >= count)
    })
    .await
}
