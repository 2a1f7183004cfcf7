//! The cost of a warm call of a rule through the real ABI: writing its input, crossing into the
//! guest and back, and reading its outcome. The event is projected before, because this happens
//! once for all rules.
//!
//! `BENCH_RULES` names a directory with the modules of the example rules. Each is called for the
//! source's sample of every event that it takes, with 32 calls in a crossing, as in a full batch.
//! Big-basket is also called one by one. For comparison a guest that only answers shows the cost of
//! the crossing itself. The first measurement is the cost of a condition that does not match, so
//! that no call is made.

#[path = "../../../tests/fixtures/hostile/mod.rs"]
mod fixtures;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use crate::campaigns::{campaign, modules};
use crate::marks::{Against, mark};
use crate::timing::{ROUNDS, Spread, time, turns_of};
use hailer::engine::{
    Batch, BatchResult, Campaign, CampaignSpec, Guests, Limits, RuleSet, Sandbox, verify,
};
use hailer::event::{Event, Projection};
use hailer_abi::catalogue::{EVENTS, event_named};
use hailer_abi::manifest::{Handler, Manifest};

/// The number of calls in a crossing of a busy engine.
const TOGETHER: usize = 32;
const CALL_NS_MAX: f64 = 200.0;
const MISS_NS_MAX: f64 = 20.0;
const NOW: i64 = 1_764_547_200_000;

pub(crate) fn run() {
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let body = format!(r#"{{"eventCode":"{}"}}"#, fixtures::EVENT_CODE);
    let honest = Event::read(body.into()).unwrap();
    measure("a note and nothing else", &sandbox, &fixtures::module("honest"), &honest, TOGETHER);
    measure("a note and nothing else, alone", &sandbox, &fixtures::module("honest"), &honest, 1);
    let amount = r#"{"ge":[{"field":"amount"},{"decimal":"1000000.00"}]}"#;
    let miss = measure_miss("a condition that misses, on an amount", &sandbox, amount);
    let brand = r#"{"eq":[{"field":"brand_id"},{"text":"82013554-3dd3-4e08-5a73-e8354f45ffff"}]}"#;
    measure_miss("a condition that misses, on a brand", &sandbox, brand);
    let three = concat!(
        r#"{"all":[{"any":[{"absent":"is_refund"},{"not":{"is":{"field":"is_refund"}}}]},"#,
        r#"{"ge":[{"field":"amount"},{"decimal":"5.00"}]},"#,
        r#"{"eq":[{"field":"brand_id"},{"text":"another"}]}]}"#
    );
    measure_miss("a condition that misses, on the last of three things", &sandbox, three);
    mark(
        "a condition that misses, on an amount",
        miss,
        Against::AtMost(MISS_NS_MAX),
        " ns",
        "instead of a call",
    );
    let Some(directory) = std::env::var_os("BENCH_RULES") else {
        println!("no rules: name a directory of modules in BENCH_RULES");
        return;
    };
    let mut calls = Vec::new();
    for path in modules(Path::new(&directory)) {
        let wasm = std::fs::read(&path).unwrap();
        for (code, event) in events_of(&sandbox, &wasm) {
            let name = format!("{}, {code}", path.file_stem().unwrap().display());
            calls.push((measure(&name, &sandbox, &wasm, &event, TOGETHER), name.clone()));
            if name.starts_with("big-basket") {
                measure(&format!("{name}, alone"), &sandbox, &wasm, &event, 1);
            }
        }
    }
    calls.sort_by(|one, other| one.0.total_cmp(&other.0));
    let under = calls.iter().filter(|(ns, _)| *ns <= CALL_NS_MAX).count();
    let beside =
        format!("{under} of {} pairs of an example rule and an event are within", calls.len());
    mark(
        "a warm call, the median of the examples",
        calls[calls.len() / 2].0,
        Against::AtMost(CALL_NS_MAX),
        " ns",
        &beside,
    );
    let (slowest, name) = calls.last().unwrap();
    mark(
        "a warm call, the slowest of the examples",
        *slowest,
        Against::AtMost(CALL_NS_MAX),
        " ns",
        name,
    );
}

/// The source's samples of the events that a module takes.
fn events_of(sandbox: &Sandbox, wasm: &[u8]) -> Vec<(&'static str, Event)> {
    let module = verify(wasm.into(), sandbox.limits()).unwrap();
    let takes = |code: &str| {
        module.manifest.handlers.iter().any(|handler| handler.events.iter().any(|own| own == code))
    };
    let taken = EVENTS.iter().filter_map(|event| Some((*event.codes.first()?, event.sample)));
    // One sample has a trailing comma, which the engine accepts.
    taken
        .filter(|(code, _)| takes(code))
        .map(|(code, sample)| (code, Event::read(sample.into()).unwrap()))
        .collect()
}

/// Measures the nanoseconds of one call.
fn measure(name: &str, sandbox: &Arc<Sandbox>, wasm: &[u8], event: &Event, calls: usize) -> f64 {
    let rules = Arc::new(RuleSet::build(vec![campaign("bench", sandbox, wasm)], 1));
    let reading = rules.reading(event.code());
    let [subscription] = &reading.subscriptions[..] else {
        panic!("{name} takes {} once", event.code())
    };
    let mut projection = Projection::new();
    reading.plan.project(event, &mut projection);
    let mut guests = Guests::new(Arc::clone(sandbox), 0);
    guests.adopt(&rules);
    let (mut batch, mut decided) = (Batch::default(), BatchResult::default());
    let mut decide = || {
        batch.open(&rules);
        for event in 0..calls {
            batch
                .add(subscription, event, NOW, event as u64, None, black_box(&projection))
                .unwrap();
        }
        guests.decide(&batch, &mut decided);
        black_box(&decided);
    };
    let turns = turns_of(&mut decide);
    let spread = Spread::of((0..ROUNDS).map(|_| time(&mut decide, turns) / calls as f64).collect());
    assert!(
        decided.results.len() == calls && decided.results.iter().all(|call| call.result.is_ok())
    );
    println!("{name}: {spread} ns a call");
    spread.median()
}

/// Measures the nanoseconds that a handler with this condition needs for an event that does not
/// match. The event is the source's sample of a purchase.
fn measure_miss(name: &str, sandbox: &Arc<Sandbox>, condition: &str) -> f64 {
    let wasm = fixtures::module("honest");
    let purchase = event_named("Purchase").unwrap();
    let event = Event::read(purchase.sample.into()).unwrap();
    let module = verify(wasm.as_slice().into(), sandbox.limits()).unwrap();
    let fields = format!(
        r#"{{"name":"h","events":["{}"],"when":{condition},"fields":[
            {{"name":"amount","type":"decimal",
              "paths":["/purchaseOperationInfo/purchaseData/amount"]}},
            {{"name":"is_refund","type":"bool",
              "paths":["/purchaseOperationInfo/purchaseData/isRefund"]}},
            {{"name":"brand_id","type":"id","paths":["/purchaseOperationInfo/brandId"]}}]}}"#,
        event.code()
    );
    let handlers: Vec<Handler> = vec![serde_json::from_str(&fields).unwrap()];
    let mut spec = CampaignSpec::of("bench", &module, vec![0x90]);
    spec.manifest = Arc::new(Manifest { handlers, ..Manifest::clone(&spec.manifest) });
    let campaign = Campaign::admit(sandbox, spec, sandbox.compile_here(&wasm).unwrap(), 1).unwrap();
    let rules = RuleSet::build(vec![campaign], 1);
    let reading = rules.reading(event.code());
    let [subscription] = &reading.subscriptions[..] else {
        panic!("{name} takes {} once", event.code())
    };
    let mut projection = Projection::new();
    reading.plan.project(&event, &mut projection);
    assert!(!subscription.matches(&projection), "{name}");
    let mut ask = || {
        for _ in 0..TOGETHER {
            black_box(black_box(subscription).matches(black_box(&projection)));
        }
    };
    let turns = turns_of(&mut ask);
    let spread = Spread::of((0..ROUNDS).map(|_| time(&mut ask, turns) / TOGETHER as f64).collect());
    println!("{name}: {spread} ns an event");
    spread.median()
}
