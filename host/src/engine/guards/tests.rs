//! Conditions as a loaded campaign has them: asked with its own parameters, and only if a manifest was checked for them.

use bytes::Bytes;
use toml::de::DeTable;

use super::*;
use crate::engine::{Campaign, Limits, RuleSet, Sandbox, Subscription, encode_params, fixture, verify};
use crate::event::Event;

const MANIFEST: &str = r#"{ "abi": 1, "name": "choosy", "version": "0.1.0",
  "handlers": [{ "name": "purchase", "events": ["OnPurchaseConfirm"],
    "when": { "all": [{ "ge": [{ "field": "amount" }, { "param": "least" }] },
                      { "any": [{ "absent": "is_refund" }, { "not": { "is": { "field": "is_refund" } } }] },
                      { "any": [{ "eq": [{ "param": "brand" }, { "text": "" }] }, { "eq": [{ "field": "brand" }, { "param": "brand" }] }] }] },
    "fields": [
      { "name": "brand", "type": "id", "paths": ["/brand"] },
      { "name": "amount", "type": "decimal", "paths": ["/amount"], "required": true },
      { "name": "is_refund", "type": "bool", "paths": ["/isRefund"] } ] }],
  "params": [{ "name": "brands", "type": "strs", "default": ["a", "b"] },
             { "name": "least", "type": "decimal", "default": "100.00" },
             { "name": "brand", "type": "str", "default": "" }] }"#;

fn campaign(params: &str) -> Result<Arc<Campaign>, AdmissionError> {
    let configure = format!(
        r#"(data (i32.const 16) "\91\c0")
        (func (export "hailer_configure") (param i32) (result i64) (i64.const {}))"#,
        16_u64 << 32 | 2
    );
    let parts = [fixture::MEMORY, fixture::INPUT, &configure, fixture::HANDLE, &fixture::custom(MANIFEST)];
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let module = verify(fixture::module(&parts), sandbox.limits()).unwrap();
    let params = DeTable::parse(params).unwrap();
    let params = encode_params(&module.manifest.params, params.get_ref()).unwrap();
    let spec = CampaignSpec::of("choosy", &module, params);
    Campaign::started(&sandbox, spec, sandbox.compile_here(&module.bytes).unwrap(), 1)
}

fn matches(subscription: &Subscription, rules: &RuleSet, members: &str) -> bool {
    let body = format!(r#"{{"eventCode":"OnPurchaseConfirm"{members}}}"#);
    let event = Event::read(Bytes::from(body)).unwrap();
    let mut projection = Projection::new();
    rules.reading(event.code()).plan.project(&event, &mut projection);
    subscription.matches(&projection)
}

#[test]
fn a_condition_is_asked_with_a_campaigns_parameters() {
    let rules = RuleSet::build(vec![campaign("").unwrap()], 1);
    let [open] = &rules.reading("OnPurchaseConfirm").subscriptions[..] else { panic!("one handler") };
    assert_eq!(open.condition(), Some("amount >= 100.00 && (is_refund.is_none() || !is_refund)"));
    for (members, is_match) in [
        (r#", "amount": 100"#, true),
        (r#", "amount": 100.0000, "isRefund": false"#, true),
        (r#", "amount": 1e3, "isRefund": null, "brand": """#, true),
        (r#", "amount": 99.9999"#, false),
        (r#", "amount": 100, "isRefund": true"#, false),
        // A value of another type is absent, and what is absent doesn't match.
        (r#", "amount": "100""#, false),
        ("", false),
    ] {
        assert_eq!(matches(open, &rules, members), is_match, "{members}");
    }
    let rules = RuleSet::build(vec![campaign("least = \"5\"\nbrand = \"17\"").unwrap()], 1);
    let [choosy] = &rules.reading("OnPurchaseConfirm").subscriptions[..] else { panic!("one handler") };
    for (members, is_match) in [
        (r#", "amount": 5, "brand": 17"#, true),
        (r#", "amount": 5, "brand": "17""#, true),
        (r#", "amount": 5, "brand": 18"#, false),
        (r#", "amount": 5"#, false),
    ] {
        assert_eq!(matches(choosy, &rules, members), is_match, "{members}");
    }
}

#[test]
fn what_no_manifest_was_checked_for_is_refused_and_not_passed_over() {
    let good = campaign("").unwrap();
    let mut spec = good.spec.clone();
    spec.params = vec![0x90].into();
    let error = guards_of(&spec).unwrap_err().to_string();
    assert!(error.contains("the condition of handler `purchase` does not fit"), "{error}");
}

#[test]
fn a_handler_that_faults_only_where_its_condition_excludes_the_sample_is_admitted() {
    let manifest = r#"{ "abi": 1, "name": "choosy", "version": "0.1.0",
      "handlers": [{ "name": "purchase", "events": ["OnPurchaseConfirm"],
        "when": { "ge": [{ "field": "amount" }, { "param": "least" }] },
        "fields": [{ "name": "amount", "type": "decimal", "paths": ["/purchaseOperationInfo/purchaseData/amount"] }] }],
      "params": [{ "name": "least", "type": "decimal" }] }"#;
    let configure = format!(
        r#"(data (i32.const 16) "\91\c0")
        (func (export "hailer_configure") (param i32) (result i64) (i64.const {}))
        (func (export "hailer_handle") (param i32 i32 i32) (result i64) unreachable)"#,
        16_u64 << 32 | 2
    );
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let parts = [fixture::MEMORY, fixture::INPUT, &configure, &fixture::custom(manifest)];
    let module = verify(fixture::module(&parts), sandbox.limits()).unwrap();
    let admitted = |params: &str| {
        let params = DeTable::parse(params).unwrap();
        let params = encode_params(&module.manifest.params, params.get_ref()).unwrap();
        let spec = CampaignSpec::of("choosy", &module, params);
        Campaign::admit(&sandbox, spec, sandbox.compile_here(&module.bytes).unwrap(), 1)
    };
    assert!(admitted("least = \"1000000\"").is_ok());
    let refused = admitted("least = \"0\"").unwrap_err();
    assert!(matches!(refused, AdmissionError::Faulty { .. }), "{refused}");
}
