//! What a warm call of a rule costs, through the real ABI: writing its input, crossing into the guest and back, reading its outcome. The
//! event has been projected before, as it is once for all rules.
//!
//! `HAILER_BENCH_RULE` names the module; without it, big-basket as `make rules` leaves it, or else a guest that only answers.

#![expect(clippy::print_stdout, reason = "a benchmark's output is for whoever runs it")]
#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up has nothing to say")]

#[path = "../../tests/fixtures/hostile/mod.rs"]
mod fixtures;
mod timing;

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use hailer::engine::{Batch, Campaign, CampaignSpec, Decided, Guests, Limits, RuleSet, Sandbox, encode_params, verify};
use hailer::event::{Event, Projection};
use timing::{ROUNDS, Spread, time, turns_of};
use toml::de::DeTable;

const PURCHASE: &str = include_str!("../../guest-sdk/abi/events/OnPurchaseConfirm.json");
const BIG_BASKET: &str = "../target/wasm32-unknown-unknown/guest/big_basket.wasm";

fn main() {
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let asked = std::env::var_os("HAILER_BENCH_RULE").map(PathBuf::from);
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(BIG_BASKET);
    if let Some(path) = asked.or_else(|| built.exists().then_some(built)) {
        let event = Event::read(Bytes::from_static(PURCHASE.as_bytes())).unwrap();
        measure("big-basket", &sandbox, &std::fs::read(path).unwrap(), &event);
    } else {
        println!("no big-basket: build it with `make rules`, or name a module in HAILER_BENCH_RULE");
    }
    let body = format!(r#"{{"eventCode":"{}"}}"#, fixtures::EVENT_CODE);
    measure("a note and nothing else", &sandbox, &fixtures::module("honest"), &Event::read(body.into()).unwrap());
}

fn measure(name: &str, sandbox: &Arc<Sandbox>, wasm: &[u8], event: &Event) {
    let rules = Arc::new(RuleSet::build(vec![campaign(sandbox, wasm)], 1));
    let reading = rules.reading(event.code());
    let [subscription] = &reading.subscriptions[..] else { panic!("{name} takes {} once", event.code()) };
    let mut projection = Projection::new();
    reading.plan.project(event, &mut projection);
    let mut guests = Guests::new(Arc::clone(sandbox), 0);
    guests.adopt(&rules);
    let (mut batch, mut decided) = (Batch::default(), Decided::default());
    for calls in [32, 1] {
        let mut decide = || {
            batch.open(&rules);
            for event in 0..calls {
                batch.add(subscription, event, 1_764_547_200_000, event as u64, None, black_box(&projection)).unwrap();
            }
            guests.decide(&batch, &mut decided);
            black_box(&decided);
        };
        let turns = turns_of(&mut decide);
        let rounds = (0..ROUNDS).map(|_| time(&mut decide, turns) / calls as f64).collect();
        assert!(decided.verdicts.len() == calls && decided.verdicts.iter().all(|verdict| verdict.result.is_ok()));
        println!("{name}, {calls} calls a crossing: {} ns a call", Spread::of(rounds));
    }
}

fn campaign(sandbox: &Arc<Sandbox>, wasm: &[u8]) -> Arc<Campaign> {
    let module = verify(wasm.into(), sandbox.limits()).unwrap();
    let params = encode_params(&module.manifest.params, &DeTable::new()).unwrap();
    let spec = CampaignSpec::of("bench", &module, params);
    Campaign::admit(sandbox, spec, sandbox.compile_here(wasm).unwrap(), 1).unwrap()
}
