//! The index and the evaluator agree: for rule sets and events of all kinds, no handler is left out
//! whose condition is true.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use proptest::prelude::*;
use toml::de::DeTable;

use super::*;
use crate::{
    Campaign, CampaignSpec, Limits, Rollout, RuleSet, Sandbox, VerifiedModule, encode_params,
    fixture, verify,
};
use hailer_event::Event;

/// The conditions of the rules; the last rule has none.
const CONDITIONS: [&str; 6] = [
    r#"{ "all": [{ "ge": [{ "field": "amount" }, { "param": "least" }] },
                 { "any": [{ "eq": [{ "param": "brand" }, { "text": "" }] },
                           { "eq": [{ "field": "brand" }, { "param": "brand" }] }] }] }"#,
    r#"{ "any": [{ "eq": [{ "field": "brand" }, { "param": "brand" }] },
                 { "lt": [{ "field": "amount" }, { "param": "least" }] }] }"#,
    r#"{ "not": { "any": [{ "ne": [{ "field": "amount" }, { "param": "least" }] },
                          { "is": { "field": "is_refund" } }] } }"#,
    r#"{ "eq": [{ "field": "is_refund" }, { "bool": false }] }"#,
    r#"{ "any": [{ "absent": "is_refund" }, { "not": { "is": { "field": "is_refund" } } }] }"#,
    "",
];
const BRANDS: [&str; 4] = ["", "a", "17", "b"];

struct Modules {
    verified: Vec<VerifiedModule>,
    compiled: Vec<wasmtime::Module>,
}

static MODULES: LazyLock<Modules> = LazyLock::new(|| {
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let configure = format!(
        r#"(data (i32.const 16) "\91\c0")
        (func (export "hailer_configure") (param i32) (result i64) (i64.const {}))"#,
        16_u64 << 32 | 2
    );
    let verified = CONDITIONS.map(|condition| {
        let when =
            if condition.is_empty() { String::new() } else { format!(r#""when": {condition},"#) };
        let manifest = format!(
            r#"{{ "abi": 1, "name": "choosy", "version": "0.1.0",
              "handlers": [{{ "name": "purchase", "events": ["OnPurchaseConfirm"], {when}
                "fields": [
                  {{ "name": "brand", "type": "id", "paths": ["/brand"] }},
                  {{ "name": "amount", "type": "decimal", "paths": ["/amount"] }},
                  {{ "name": "is_refund", "type": "bool", "paths": ["/isRefund"] }} ] }}],
              "params": [{{ "name": "least", "type": "decimal" }},
                         {{ "name": "brand", "type": "str" }}] }}"#
        );
        let custom = fixture::custom(&manifest);
        let parts = [fixture::MEMORY, fixture::INPUT, &configure, fixture::HANDLE, &custom];
        verify(fixture::module(&parts), sandbox.limits()).unwrap()
    });
    let compiled = verified.iter().map(|module| sandbox.compile_here(&module.bytes).unwrap());
    Modules { compiled: compiled.collect(), verified: verified.into() }
});

/// A campaign: which rule, its parameters in hundredths and by place, and whether it has a rollout.
type Given = (usize, i64, usize, bool);

fn campaign(number: usize, (rule, least, brand, has_rollout): Given) -> Arc<Campaign> {
    let Modules { verified, compiled } = &*MODULES;
    let module = &verified[rule];
    let least = rust_decimal::Decimal::new(least, 2);
    let params = format!("least = \"{least}\"\nbrand = \"{}\"", BRANDS[brand]);
    let params = DeTable::parse(&params).unwrap();
    let params = encode_params(&module.manifest.params, params.get_ref()).unwrap();
    let name = format!("choosy-{number}");
    let rollout = has_rollout.then(|| Rollout::new(&name, 50));
    let spec = CampaignSpec { rollout, ..CampaignSpec::of(&name, module, params) };
    Campaign::admitted_before(spec, compiled[rule].clone(), 1).unwrap()
}

fn event() -> impl Strategy<Value = String> {
    let amount = proptest::option::of(prop_oneof![
        (-8_i64..8).prop_map(|hundredths| rust_decimal::Decimal::new(hundredths, 2).to_string()),
        Just("1e2".to_owned()),
        Just("\"1\"".to_owned()),
        Just("1.000000000000000000000000001".to_owned()),
    ]);
    let brand = proptest::option::of(proptest::sample::select(&["\"a\"", "17", "\"b\"", "{}"][..]));
    let refund = proptest::option::of(proptest::sample::select(&["true", "false", "null"][..]));
    (amount, brand, refund).prop_map(|(amount, brand, refund)| {
        let member = |name: &str, value: Option<&str>| {
            value.map(|value| format!(r#", "{name}": {value}"#)).unwrap_or_default()
        };
        format!(
            r#"{{"eventCode":"OnPurchaseConfirm"{}{}{}}}"#,
            member("amount", amount.as_deref()),
            member("brand", brand),
            member("isRefund", refund)
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_index_leaves_out_no_condition_that_is_true(
        given in proptest::collection::vec(
            (0..CONDITIONS.len(), -8_i64..8, 0..BRANDS.len(), proptest::bool::weighted(0.1)),
            1..80
        ),
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let campaigns = (0..).zip(&given).map(|(number, one)| campaign(number, *one));
        let rules = RuleSet::build(campaigns.collect(), 1);
        let reading = rules.reading("OnPurchaseConfirm");
        let (mut projection, mut candidates) = (Projection::new(), Candidates::default());
        let always: Vec<usize> =
            (0..given.len()).filter(|place| !reading.is_indexed(*place)).collect();
        prop_assert_eq!(reading.indexed().len(), given.len() - always.len());
        for event in events {
            let event = Event::read(Bytes::from(event)).unwrap();
            reading.plan.project(&event, &mut projection);
            reading.find(&projection, &mut candidates);
            let found: Vec<usize> = candidates.iter().collect();
            prop_assert!(found.is_sorted());
            let matching: Vec<usize> = (0..given.len())
                .filter(|place| reading.subscriptions[*place].matches(&projection))
                .collect();
            for place in always.iter().chain(&matching) {
                prop_assert!(found.contains(place), "{place} {:?} is not found", given[*place]);
            }
        }
    }
}

#[test]
fn of_many_thresholds_and_brands_only_those_that_hold_are_found() {
    let campaigns =
        (0..100).map(|number| campaign(number, (0, 100 * number as i64, number % 4, false)));
    let rules = RuleSet::build(campaigns.collect(), 1);
    let reading = rules.reading("OnPurchaseConfirm");
    assert_eq!(reading.indexed().len(), 100);
    let (mut projection, mut candidates) = (Projection::new(), Candidates::default());
    let mut found = |members: &str| -> Vec<usize> {
        let event = format!(r#"{{"eventCode":"OnPurchaseConfirm",{members}}}"#);
        reading.plan.project(&Event::read(Bytes::from(event)).unwrap(), &mut projection);
        reading.find(&projection, &mut candidates);
        candidates.iter().collect()
    };
    // Campaigns without a brand are found by their threshold, the others by their brand.
    assert_eq!(found(r#""amount": 8.5"#), [0, 4, 8]);
    let of_a = found(r#""brand": "a""#);
    assert!(of_a.len() == 25 && of_a.iter().all(|place| place % 4 == 1), "{of_a:?}");
    assert_eq!(found(r#""brand": "c", "amount": -1"#), [0_usize; 0]);
}
