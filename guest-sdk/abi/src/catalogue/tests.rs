//! Tests of the catalogue against the source's examples, which are authoritative.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// The example as strict JSON: the merge has a trailing comma.
fn sample(event: &EventType) -> Value {
    let text = event.sample.replace(",\n}", "\n}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", event.name))
}

/// The JSON Pointers of all leaves. Lists of records, maps and empty lists count as leaves.
fn leaves(value: &Value, path: &str, stop: &dyn Fn(&str) -> bool, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) if !stop(path) => {
            for (key, member) in members {
                leaves(member, &format!("{path}/{key}"), stop, found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

fn assert_covered(what: &str, value: &Value, fields: &[FieldDef], but: &[&str]) {
    let has = |path: &str| fields.iter().any(|field| field.paths.contains(&path));
    let mut found = BTreeSet::new();
    leaves(value, "", &|path| !path.is_empty() && has(path), &mut found);
    for path in found.iter().filter(|path| !but.contains(&path.as_str())) {
        assert!(has(path), "{what} lacks {path}");
    }
    for field in fields.iter().filter(|field| field.required) {
        assert!(
            field.paths.iter().any(|path| value.pointer(path).is_some()),
            "{what} has no {}",
            field.name
        );
    }
}

#[test]
fn every_member_of_every_example_is_a_field() {
    for event in EVENTS {
        let body = sample(event);
        assert_covered(event.name, &body, event.fields, &["/eventCode"]);
        for list in event.fields.iter().filter(|field| field.kind == FieldKind::List) {
            let record = list.record.unwrap();
            let elements = body.pointer(list.paths[0]).and_then(Value::as_array).unwrap();
            assert!(!elements.is_empty());
            for element in elements {
                assert_covered(record.name, element, record.fields, &[]);
            }
        }
    }
}

#[test]
fn the_values_of_the_examples_have_the_types_of_the_catalogue() {
    fn fits(kind: FieldKind, value: &Value) -> bool {
        match kind {
            FieldKind::Bool => value.is_boolean(),
            FieldKind::Int => value.is_i64(),
            FieldKind::Str | FieldKind::Timestamp => value.is_string(),
            FieldKind::Id => value.is_string() || value.is_u64(),
            FieldKind::Float | FieldKind::Decimal => value.is_number(),
            FieldKind::Map => {
                value.as_object().is_some_and(|entries| entries.values().all(Value::is_number))
            }
            FieldKind::List => {
                value.as_array().is_some_and(|elements| elements.iter().all(Value::is_object))
            }
            FieldKind::Raw => true,
        }
    }
    fn assert_fits(what: &str, value: &Value, fields: &[FieldDef]) {
        for field in fields {
            for found in field
                .paths
                .iter()
                .filter_map(|path| value.pointer(path))
                .filter(|found| !found.is_null())
            {
                assert!(fits(field.kind, found), "{what}.{} is not {:?}", field.name, field.kind);
                if let Some(record) = field.record {
                    found
                        .as_array()
                        .unwrap()
                        .iter()
                        .for_each(|one| assert_fits(record.name, one, record.fields));
                }
            }
        }
    }
    EVENTS.iter().for_each(|event| assert_fits(event.name, &sample(event), event.fields));
}

#[test]
fn every_field_of_an_event_with_a_complete_example_is_in_the_example() {
    for name in [
        "Purchase",
        "PurchaseRefund",
        "AttributeUpdated",
        "SubscriptionChanged",
        "CardLinked",
        "CardActivated",
    ] {
        let event = event_named(name).unwrap();
        let body = sample(event);
        for field in
            event.fields.iter().filter(|field| !field.paths[0].starts_with("/customerInfo"))
        {
            let delivery = ["external_id", "try_count", "delay_second", "to_error_queue"]
                .contains(&field.name);
            let found = field.paths.iter().any(|path| body.pointer(path).is_some());
            assert!(found || delivery, "{name}: no {} in the example", field.name);
        }
    }
}

#[test]
fn codes_and_routing_keys_equal_those_of_the_source_in_its_order() {
    let index = include_str!("../../events/index.tsv");
    let rows: Vec<Vec<&str>> =
        index.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), EVENTS.len());
    for (event, row) in EVENTS.iter().zip(&rows) {
        assert_eq!((event.routing_key, event.codes), (row[0], &row[1..2]), "{}", event.name);
        assert_eq!(sample(event).pointer("/eventCode").unwrap(), row[1]);
    }
    assert!(event_named("CardCategoryChanged").unwrap().routing_key.starts_with('\u{0441}'));
}

#[test]
fn a_code_belongs_to_one_event() {
    let mut seen = BTreeSet::new();
    for event in EVENTS {
        for code in event.all_codes() {
            assert!(seen.insert(code), "{code} is listed twice");
            assert_eq!(event_of_code(code).unwrap().name, event.name);
        }
    }
    assert!(event_of_code("*").is_none());
}

#[test]
fn names_are_unique_and_paths_are_pointers_within_the_bounds_of_the_abi() {
    let groups = EVENTS.iter().chain([&ANY_EVENT_TYPE]).map(|event| (event.name, event.fields));
    for (what, fields) in groups.chain(RECORDS.iter().map(|record| (record.name, record.fields))) {
        let mut names = BTreeSet::new();
        for field in fields {
            assert!(names.insert(field.name), "{what}.{} is listed twice", field.name);
            assert!(
                field.name.len() <= 64
                    && field
                        .name
                        .bytes()
                        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
            );
            assert!((1..=16).contains(&field.paths.len()), "{what}.{}", field.name);
            assert!(
                field.paths.iter().all(|path| path.is_empty() || path.starts_with('/')),
                "{what}.{}",
                field.name
            );
            assert!(
                field.paths.iter().all(|path| !path.ends_with('/')
                    && !path.contains("//")
                    && !path.contains('~'))
            );
            assert_eq!(
                field.record.is_some(),
                field.kind == FieldKind::List,
                "{what}.{}",
                field.name
            );
            assert!(field.doc.ends_with('.'), "{what}.{}", field.name);
        }
    }
}

#[test]
fn fields_that_identify_a_person_are_personal() {
    for event in EVENTS {
        for field in event.fields {
            let tells = [
                "number",
                "bar_code",
                "strip",
                "identity",
                "_value",
                "mobile_device",
                "description",
                "cashier",
            ];
            let plain = field.name == "cheque_number";
            assert_eq!(
                field.personal,
                !plain && tells.iter().any(|word| field.name.contains(word))
                    || field.kind == FieldKind::Raw,
                "{}.{}",
                event.name,
                field.name
            );
        }
    }
}
