//! Manifests with false marks of personal fields.

use hailer_abi::catalogue::EventType;
use serde_json::{Value, json};

use super::*;
use crate::fixture::MANIFEST;
use crate::read_manifest;

/// The names of the personal fields among these fields, which the manifest declares as not
/// personal.
fn personal(fields: Value) -> Vec<String> {
    let mut manifest: Value = serde_json::from_str(MANIFEST).unwrap();
    manifest["handlers"][0]["fields"] = fields;
    let manifest = read_manifest(manifest.to_string().as_bytes()).unwrap();
    personal_fields(&manifest).into_iter().collect()
}

fn field(name: &str, kind: &str, paths: &[&str]) -> Value {
    json!({ "name": name, "type": kind, "paths": paths, "personal": false })
}

fn is_personal(path: &str) -> bool {
    !personal(json!([field("x", "raw", &[path])])).is_empty()
}

#[test]
fn a_field_that_can_contain_personal_data_is_personal() {
    assert!(is_personal(""), "the whole message");
    for path in
        ["/cardNumber", "/newCard/cardNumber", "/purchaseOperationInfo/identity", "/oldValue"]
    {
        assert!(is_personal(path), "{path} is personal itself");
    }
    for path in [
        "/cardInfo",
        "/customerInfo",
        "/purchaseOperationInfo",
        "/purchaseOperationInfo/purchaseData/chequeItems",
    ] {
        assert!(is_personal(path), "{path} contains personal data");
    }
    for path in [
        "/purchaseOperationInfo/purchaseData/purchaseAttributes/0",
        "/oldValue/phone",
        "/cardNumber/",
    ] {
        assert!(is_personal(path), "{path} is inside a personal value");
    }
    for path in [
        "/passport",
        "/cardinfo/cardState",
        "/customerInfo/",
        "/",
        "/subscriptionInfo",
        "/cardInfo/~0cardState",
    ] {
        assert!(is_personal(path), "{path} is not known");
    }
    for path in [
        "/eventCode",
        "/cardInfo/cardState",
        "/purchaseOperationInfo/purchaseData/amount",
        "/tryCount/x",
    ] {
        assert!(!is_personal(path), "{path} is not personal");
    }
}

#[test]
fn one_personal_path_among_plain_ones_is_enough() {
    assert_eq!(personal(json!([field("x", "str", &["/eventCode", "/cardNumber"])])), ["x"]);
    assert!(personal(json!([field("x", "str", &["/eventCode", "/tryCount"])])).is_empty());
}

#[test]
fn fields_of_records_are_judged_with_the_path_of_their_list() {
    let items = "/purchaseOperationInfo/purchaseData/chequeItems";
    let list = |paths: &[&str], of: Value| {
        let mut list = field("items", "list", paths);
        list["of"] = of;
        personal(json!([list]))
    };
    assert_eq!(
        list(
            &[items],
            json!([
                field("text", "str", &["/description"]),
                field("paid", "decimal", &["/amount"])
            ])
        ),
        ["items.text"]
    );
    assert_eq!(list(&[items], json!([field("whole", "raw", &[""])])), ["items.whole"]);
    assert_eq!(
        list(&[items, "/guests"], json!([field("paid", "decimal", &["/amount"])])),
        ["items.paid"]
    );
    assert_eq!(
        list(&["/purchaseOperationInfo"], json!([field("who", "str", &["/identity"])])),
        ["items.who"]
    );
}

#[test]
fn a_mark_of_the_manifest_stays() {
    let marked =
        json!({ "name": "code", "type": "str", "paths": ["/eventCode"], "personal": true });
    assert_eq!(personal(json!([marked])), ["code"]);
}

#[test]
fn every_field_of_the_catalogue_has_the_mark_of_the_catalogue() {
    fn manifest_field(field: &FieldDef, of: Vec<Field>) -> Field {
        let paths = field.paths.iter().map(|&path| path.to_owned()).collect();
        Field {
            name: field.name.to_owned(),
            kind: field.kind,
            paths,
            required: field.required,
            personal: false,
            of,
        }
    }
    let read = |event: &EventType| {
        let records = |field: &FieldDef| {
            let inner = field.record.iter().flat_map(|record| record.fields);
            inner.map(|inner| manifest_field(inner, Vec::new())).collect()
        };
        event.fields.iter().map(|field| manifest_field(field, records(field))).collect::<Vec<_>>()
    };
    for event in EVENTS.iter().chain([&ANY_EVENT_TYPE]) {
        let mut manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
        manifest.handlers[0].fields = read(event);
        mark_personal(&mut manifest);
        for (marked, known) in manifest.handlers[0].fields.iter().zip(event.fields) {
            assert_eq!(marked.personal, known.personal, "{}.{}", event.name, known.name);
            for (marked, known) in
                marked.of.iter().zip(known.record.iter().flat_map(|record| record.fields))
            {
                assert_eq!(marked.personal, known.personal, "{}.{}", event.name, known.name);
            }
        }
    }
}

#[test]
fn a_personal_value_inside_a_plain_one_is_personal() {
    let keys = |path: &'static str| keys_of(path).collect::<Keys<'_>>();
    let known = Known { personal: [keys("/plain/secret")].into(), plain: [keys("/plain")].into() };
    for (path, expected) in [
        ("/plain", true),
        ("/plain/secret", true),
        ("/plain/secret/part", true),
        ("/plain/other", false),
    ] {
        assert_eq!(known.is_personal(&keys(path)), expected, "{path}");
    }
}
