//! The conditions of a loaded campaign: they are evaluated with its own parameters, and only if
//! they fit its manifest.

use bytes::Bytes;
use toml::de::DeTable;

use super::*;
use crate::{Campaign, Limits, RuleSet, Sandbox, Subscription, encode_params, fixture, verify};
use hailer_event::Event;

const MANIFEST: &str = r#"{ "abi": 1, "name": "choosy", "version": "0.1.0",
  "handlers": [{ "name": "purchase", "events": ["OnPurchaseConfirm"],
    "when": { "all": [
      { "ge": [{ "field": "amount" }, { "param": "least" }] },
      { "any": [{ "absent": "is_refund" }, { "not": { "is": { "field": "is_refund" } } }] },
      { "any": [{ "eq": [{ "param": "brand" }, { "text": "" }] },
                { "eq": [{ "field": "brand" }, { "param": "brand" }] }] }] },
    "fields": [
      { "name": "brand", "type": "id", "paths": ["/brand"] },
      { "name": "amount", "type": "decimal", "paths": ["/amount"], "required": true },
      { "name": "is_refund", "type": "bool", "paths": ["/isRefund"] } ] }],
  "params": [{ "name": "brands", "type": "strs", "default": ["a", "b"] },
             { "name": "least", "type": "decimal", "default": "100.00" },
             { "name": "brand", "type": "str", "default": "" }] }"#;

/// The export that accepts all parameters.
fn configure() -> String {
    format!(
        r#"(data (i32.const 16) "\91\c0")
        (func (export "hailer_configure") (param i32) (result i64) (i64.const {}))"#,
        16_u64 << 32 | 2
    )
}

fn campaign(params: &str) -> Result<Arc<Campaign>, AdmissionError> {
    let configure = configure();
    let parts =
        [fixture::MEMORY, fixture::INPUT, &configure, fixture::HANDLE, &fixture::custom(MANIFEST)];
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
fn a_condition_is_evaluated_with_the_parameters_of_its_campaign() {
    let rules = RuleSet::build(vec![campaign("").unwrap()], 1);
    let [open] = &rules.reading("OnPurchaseConfirm").subscriptions[..] else {
        panic!("one handler")
    };
    assert_eq!(open.condition(), Some("amount >= 100.00 && (is_refund.is_none() || !is_refund)"));
    for (members, is_match) in [
        (r#", "amount": 100"#, true),
        (r#", "amount": 100.0000, "isRefund": false"#, true),
        (r#", "amount": 1e3, "isRefund": null, "brand": """#, true),
        (r#", "amount": 99.9999"#, false),
        (r#", "amount": 100, "isRefund": true"#, false),
        // A value of another type is absent, and an absent value does not match.
        (r#", "amount": "100""#, false),
        ("", false),
    ] {
        assert_eq!(matches(open, &rules, members), is_match, "{members}");
    }
    let rules = RuleSet::build(vec![campaign("least = \"5\"\nbrand = \"17\"").unwrap()], 1);
    let [choosy] = &rules.reading("OnPurchaseConfirm").subscriptions[..] else {
        panic!("one handler")
    };
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
fn a_condition_that_does_not_fit_the_parameters_is_refused() {
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
        "fields": [{ "name": "amount", "type": "decimal",
                     "paths": ["/purchaseOperationInfo/purchaseData/amount"] }] }],
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

/// The condition of most rules that ignore refunds.
const NO_REFUND: &str =
    r#"{ "any": [{ "absent": "is_refund" }, { "not": { "is": { "field": "is_refund" } } }] }"#;

/// The manifest of a handler that reads optional values, one of them also as text, and a list.
fn manifest(strict: bool, condition: &str) -> String {
    format!(
        r#"{{ "abi": 1, "name": "choosy", "version": "0.1.0",
      "handlers": [{{ "name": "purchase", "events": ["OnPurchaseConfirm"], "strict": {strict},
        "when": {condition},
        "fields": [
          {{ "name": "is_refund", "type": "bool", "paths": ["/isRefund"] }},
          {{ "name": "at", "type": "timestamp", "paths": ["/at"] }},
          {{ "name": "at_text", "type": "id", "paths": ["/at"] }},
          {{ "name": "brand", "type": "id", "paths": ["/brand"] }},
          {{ "name": "items", "type": "list", "paths": ["/items"],
            "of": [{{ "name": "id", "type": "id", "paths": ["/id"] }}] }} ] }}] }}"#
    )
}

/// The reason why the handler is not called for an event with these members; `None` if it is
/// called.
fn why_not_called(strict: bool, condition: &str, members: &str) -> Option<String> {
    let (manifest, configure) = (manifest(strict, condition), configure());
    let parts =
        [fixture::MEMORY, fixture::INPUT, &configure, fixture::HANDLE, &fixture::custom(&manifest)];
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let module = verify(fixture::module(&parts), sandbox.limits()).unwrap();
    let spec = CampaignSpec::of("choosy", &module, vec![0x90]);
    let campaign =
        Campaign::started(&sandbox, spec, sandbox.compile_here(&module.bytes).unwrap(), 1).unwrap();
    let rules = RuleSet::build(vec![campaign], 1);
    let event =
        Event::read(Bytes::from(format!(r#"{{"eventCode":"OnPurchaseConfirm",{members}}}"#)))
            .unwrap();
    let reading = rules.reading(event.code());
    let [subscription] = &reading.subscriptions[..] else { panic!("one handler") };
    let mut projection = Projection::new();
    reading.plan.project(&event, &mut projection);
    let missing = match subscription.matches(&projection) {
        true => subscription.write_fields(&projection, &mut Vec::new()).err()?,
        false => match subscription.unusable_in_condition(&projection) {
            Some(missing) => missing,
            None => return Some("its condition".to_owned()),
        },
    };
    let name = missing.name(&rules.campaigns()[0].spec.manifest.handlers[0]);
    Some(format!("{name} {}", missing.unusable.map_or("is absent", hailer_event::Unusable::text)))
}

#[test]
fn a_strict_handler_is_not_called_while_a_field_of_it_cannot_be_used() {
    let why = |members: &str| why_not_called(true, NO_REFUND, members);
    for called in [
        concat!(
            r#""isRefund": false, "at": "2026-01-01T00:00:00Z", "brand": 7, "#,
            r#""items": [{"id": 1}, {"id": null}, null]"#
        ),
        r#""isRefund": null, "at": "", "brand": "", "items": []"#,
        // The same value is read as it is written, so the rule knows of it.
        r#""at": "yesterday""#,
        r#""at": 1772352000"#,
    ] {
        assert_eq!(why(called), None, "{called}");
    }
    for (members, reason) in [
        (r#""isRefund": "true""#, "is_refund has the wrong type"),
        (r#""isRefund": 1"#, "is_refund has the wrong type"),
        (r#""brand": 1.5"#, "brand is not a whole number"),
        (r#""at": true"#, "at has the wrong type"),
        (r#""items": {}"#, "items has the wrong type"),
        (r#""items": [{"id": 1}, {"id": {}}]"#, "items.id has the wrong type"),
        (r#""isRefund": true"#, "its condition"),
    ] {
        assert_eq!(why(members).as_deref(), Some(reason), "{members}");
        let lenient = why_not_called(false, NO_REFUND, members);
        assert_eq!(lenient, why(members).filter(|_| reason == "its condition"), "{members}");
    }
}

#[test]
fn a_field_that_cannot_be_used_is_the_reason_only_if_the_condition_depends_on_it() {
    const REFUND: &str = r#"{ "is": { "field": "is_refund" } }"#;
    const PRESENT: &str = r#"{ "present": "is_refund" }"#;
    const BOTH: &str = r#"{ "all": [{ "is": { "field": "is_refund" } },
                                    { "eq": [{ "field": "brand" }, { "text": "7" }] }] }"#;
    const PRESENT_TIME: &str = r#"{ "present": "at" }"#;
    const IT: Option<&str> = Some("is_refund has the wrong type");
    const CONDITION: Option<&str> = Some("its condition");
    for (condition, members, strict, lenient) in [
        (REFUND, r#""isRefund": "true""#, IT, IT),
        (REFUND, r#""isRefund": false"#, CONDITION, CONDITION),
        (REFUND, r#""brand": 1.5"#, CONDITION, CONDITION),
        // For a strict handler the presence of the field is unknown. For a lenient one the field is
        // absent.
        (PRESENT, r#""isRefund": "true""#, IT, CONDITION),
        (PRESENT, r#""brand": 1.5"#, CONDITION, CONDITION),
        // The first such field is named, and none if another part of the condition is false.
        (BOTH, r#""isRefund": "true", "brand": 1.5"#, IT, IT),
        (BOTH, r#""isRefund": "true", "brand": 8"#, CONDITION, CONDITION),
        // The handler reads the same value as text.
        (PRESENT_TIME, r#""at": "yesterday""#, CONDITION, CONDITION),
    ] {
        assert_eq!(
            why_not_called(true, condition, members).as_deref(),
            strict,
            "{condition}: {members}"
        );
        assert_eq!(
            why_not_called(false, condition, members).as_deref(),
            lenient,
            "{condition}: {members}"
        );
    }
}
