//! Events that a handler's condition does not match: the campaign does not take them, and they
//! leave nothing but a count.

use metrics_exporter_prometheus::PrometheusBuilder;
use std::ops::ControlFlow;

use super::*;
use crate::pipeline::notice::Misses;
use crate::records::{Decided, JournalRow, Key, Outcome, Partition, decode};
use hailer_engine::OnFault;

/// A rule that takes purchases of 100 and more; `handle` is the body of its handler.
fn choosy(sandbox: &Arc<Sandbox>, name: &str, handle: &str, on_fault: OnFault) -> Arc<Campaign> {
    from_on(sandbox, name, 100, handle, on_fault)
}

/// A rule that takes purchases of this amount and more.
fn from_on(
    sandbox: &Arc<Sandbox>,
    name: &str,
    least: u32,
    handle: &str,
    on_fault: OnFault,
) -> Arc<Campaign> {
    let manifest = r#"{ "abi": 1, "name": "choosy", "version": "0.1.0", "params": [],
        "handlers": [{ "name": "h", "events": ["OnPurchaseConfirm"],
            "when": { "ge": [{ "field": "amount" }, { "int": LEAST }] },
            "fields": [{ "name": "amount", "type": "decimal",
                "paths": ["/purchaseOperationInfo/purchaseData/amount"] }] }] }"#;
    let manifest = &manifest.replace("LEAST", &least.to_string());
    admitted(sandbox, name, manifest, handle, on_fault)
}

/// The campaign of a rule with this manifest; `handle` is the body of its handlers.
fn admitted(
    sandbox: &Arc<Sandbox>,
    name: &str,
    manifest: &str,
    handle: &str,
    on_fault: OnFault,
) -> Arc<Campaign> {
    let configure = format!(
        r#"(data (i32.const 16) "\91\c0")
        (func (export "hailer_configure") (param i32) (result i64) (i64.const {}))"#,
        16_u64 << 32 | 2
    );
    let handle =
        format!(r#"(func (export "hailer_handle") (param i32 i32 i32) (result i64) {handle})"#);
    let wasm = fixture::module(&[
        fixture::MEMORY,
        fixture::INPUT,
        &configure,
        &handle,
        &fixture::custom(manifest),
    ]);
    let module = verify(wasm, sandbox.limits()).unwrap();
    let spec = CampaignSpec { on_fault, ..CampaignSpec::of(name, &module, vec![0x90]) };
    Campaign::started(sandbox, spec, sandbox.compile_here(&module.bytes).unwrap(), 1).unwrap()
}

/// A rule set of campaigns that take purchases and refunds from some amount on, by two handlers.
fn of_two_codes(sandbox: &Arc<Sandbox>, campaigns: u32, number: u64) -> RuleSet {
    let campaign = |least: u32| {
        let handler = |name, code| {
            format!(
                r#"{{ "name": "{name}", "events": ["{code}"],
                "when": {{ "ge": [{{ "field": "amount" }}, {{ "int": {least} }}] }},
                "fields": [{{ "name": "amount", "type": "decimal", "paths": ["/amount"] }}] }}"#
            )
        };
        let manifest = format!(
            r#"{{ "abi": 1, "name": "two", "version": "0.1.0", "params": [],
            "handlers": [{}, {}] }}"#,
            handler("bought", "OnPurchaseConfirm"),
            handler("returned", "OnRefundConfirm")
        );
        let name = format!("from-{least}");
        admitted(sandbox, &name, &manifest, "(i64.const 0)", OnFault::Skip)
    };
    RuleSet::build((0..campaigns).map(campaign).collect(), number)
}

#[test]
fn misses_of_two_event_codes_are_added_for_the_campaigns_that_run_and_taken_once() {
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let rules = of_two_codes(&sandbox, 10, 1);
    let [bought, returned] =
        ["OnPurchaseConfirm", "OnRefundConfirm"].map(|code| rules.reading(code).number);
    let mut misses = Misses::default();
    misses.adopt(&rules);
    for (reading, events, candidates) in [(bought, 2, &[3, 3, 4][..]), (returned, 5, &[3, 3, 3, 9])]
    {
        (0..events).for_each(|_| misses.passed(reading));
        candidates.iter().for_each(|campaign| misses.candidate(*campaign));
    }
    misses.count(0);
    assert_eq!(misses.all_passed(), 7);
    // Campaign 5 is stopped.
    misses.settle(&rules, |campaign| campaign != 5);
    let mut counts: Vec<_> = misses.drain().collect();
    counts.sort_unstable();
    assert_eq!(counts, [(0, 8), (1, 7), (2, 7), (3, 2), (4, 6), (6, 7), (7, 7), (8, 7), (9, 6)]);
    // Another rule set of the same size begins with nothing.
    let next = of_two_codes(&sandbox, 10, 2);
    misses.adopt(&next);
    misses.settle(&next, |_| true);
    assert_eq!((misses.all_passed(), misses.drain().count()), (0, 0));
    misses.passed(bought);
    misses.settle(&next, |_| true);
    assert_eq!(misses.drain().collect::<Vec<_>>(), (0..10).map(|at| (at, 1)).collect::<Vec<_>>());
}

/// The body of a handler that answers every call without an action.
fn content() -> String {
    let answers = r"\93\c0\c0\90".repeat(8);
    let place = 32_u64 << 32;
    format!(
        "(i64.or (i64.const {place}) (i64.extend_i32_u (i32.mul (local.get 1) (i32.const 4))))) \
         (data (i32.const 32) \"{answers}\""
    )
}

/// The tally after purchases of these amounts by customer 7, in this order, and the outcomes of
/// each in the journal.
async fn tally_of(
    campaigns: Vec<Arc<Campaign>>,
    sandbox: Arc<Sandbox>,
    amounts: &[&str],
) -> (Tally, Vec<Vec<Outcome>>) {
    let owner = Arc::new(NothingStops);
    let rules = RuleSet::build(campaigns, 1);
    let rules = Rules { sandbox, current: Arc::new(ArcSwap::from_pointee(rules)), owner };
    let settings = Settings {
        shards: 1,
        event_bytes_max: 1 << 10,
        batch_max: 8,
        in_flight_max: 16,
        in_flight_bytes_max: 64 << 10,
        settles_after: Duration::from_secs(20),
        environment: "test".into(),
        recheck_one_in: 0,
        breaker: BreakerSettings::default(),
    };
    let store_settings = store_settings();
    let store = Arc::clone(&store_settings.store);
    let (entrance, mut pipeline) =
        Pipeline::start(settings, &rules, store_settings, RequestSender::new().1, Working, Working)
            .unwrap();
    let (ledger, prefix) = Ledger::new();
    for (tag, amount) in (1..).zip(amounts) {
        let body = format!(
            r#"{{"eventCode":"OnPurchaseConfirm","customerInfo":{{"customerId":7}},
                "purchaseOperationInfo":{{"purchaseData":{{"amount":{amount}}}}}}}"#
        );
        entrance
            .accept(Delivery { body: body.into(), ..delivery(&ledger, tag, "") })
            .await
            .unwrap();
    }
    drop(entrance);
    timeout(PATIENCE, pipeline.finished()).await.expect("it ends").unwrap();
    assert_eq!(*prefix.borrow(), amounts.len() as u64, "what nobody wants is settled, too");
    let (snapshot, mut outcomes) = (store.snapshot().unwrap(), Vec::new());
    for partition in Partition::all() {
        let (from, to) = Key::whole(partition);
        let visit = &mut |_: &[u8], row: &[u8]| {
            let entries: JournalRow = decode(Table::Journal, row).unwrap();
            outcomes.extend(entries.into_iter().map(|entry| entry.outcomes));
            ControlFlow::Continue(())
        };
        snapshot.range(Table::Journal, &from, &to, visit).unwrap();
    }
    drop(snapshot);
    (pipeline.into_tally().await, outcomes)
}

#[tokio::test]
async fn what_does_not_match_is_counted_and_leaves_no_outcome() {
    let counters = PrometheusBuilder::new().install_recorder().unwrap();
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let campaign = choosy(&sandbox, "misses-are-counted", &content(), OnFault::Skip);
    let (tally, outcomes) =
        tally_of(vec![campaign], sandbox, &["99.9999", "100.0000", "null", "1e3"]).await;
    let counts = &tally.campaigns["misses-are-counted"];
    assert_eq!((counts.missed, counts.decided, counts.faults), (2, 2, 0));
    assert_eq!(outcomes.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 0, 1]);
    let shown = r#"hailer_guard_misses_total{campaign="misses-are-counted"} 2"#;
    assert!(counters.render().contains(shown), "{}", counters.render());
}

/// So many conditions are indexed, and most of them are never evaluated.
#[tokio::test]
async fn misses_of_many_campaigns_are_counted_for_each_of_them() {
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let campaigns = (1..=20)
        .map(|number| {
            from_on(&sandbox, &format!("from-{number}"), number, &content(), OnFault::Skip)
        })
        .collect();
    // The fourth has no amount, and the fifth one that cannot be used.
    let amounts = ["0", "7", "7.5", "null", "\"7\"", "20"];
    let (tally, outcomes) = tally_of(campaigns, sandbox, &amounts).await;
    for number in 1..=20 {
        let counts = &tally.campaigns[format!("from-{number}").as_str()];
        let decided = if number <= 7 { 3 } else { 1 };
        assert_eq!((counts.decided, counts.missed), (decided, 6 - decided), "from {number}");
    }
    assert_eq!(outcomes.iter().map(Vec::len).collect::<Vec<_>>(), [0, 7, 7, 0, 20, 20]);
}

#[tokio::test]
async fn a_condition_that_depends_on_a_field_that_cannot_be_used_leaves_the_field_and_the_reason() {
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let campaign = choosy(&sandbox, "unusable", &content(), OnFault::Skip);
    let (tally, outcomes) = tally_of(vec![campaign], sandbox, &["\"200\"", "50", "null"]).await;
    let counts = &tally.campaigns["unusable"];
    assert_eq!((counts.missed, counts.decided, counts.faults), (3, 0, 0));
    assert_eq!(outcomes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0]);
    let Decided::Skipped { field, why } = &outcomes[0][0].decided else { panic!("{outcomes:?}") };
    assert_eq!((&**field, why.as_deref()), ("amount", Some("has the wrong type")));
}

#[tokio::test]
async fn what_does_not_match_waits_behind_no_failure() {
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let campaign = choosy(&sandbox, "faulty", "unreachable", OnFault::Hold);
    let (tally, outcomes) = tally_of(vec![campaign], sandbox, &["200", "50", "300"]).await;
    let counts = &tally.campaigns["faulty"];
    assert_eq!((counts.faults, counts.missed, counts.held), (1, 1, 1));
    assert!(matches!(outcomes[2][0].decided, Decided::Held), "{outcomes:?}");
}
