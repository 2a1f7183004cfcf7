//! The bounds of `docs/abi.md`, one by one.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixture::MANIFEST;

/// The sample manifest after a change.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Manifest, ManifestError> {
    let mut manifest: Value = serde_json::from_str(MANIFEST).unwrap();
    change(&mut manifest);
    let manifest = read_manifest(manifest.to_string().as_bytes());
    if let Err(error) = &manifest {
        assert!(!error.hint().is_empty());
    }
    manifest
}

/// The error of the sample manifest after a change.
fn refused(change: impl FnOnce(&mut Value)) -> String {
    changed(change).unwrap_err().to_string()
}

fn field(name: &str) -> Value {
    json!({ "name": name, "type": "str", "paths": ["/a"] })
}

#[test]
fn the_sample_is_read() {
    let manifest = changed(|_| {}).unwrap();
    assert_eq!((manifest.handlers.len(), manifest.params.len()), (1, 1));
}

#[test]
fn unknown_members_are_ignored_and_missing_ones_named() {
    assert!(changed(|manifest| manifest["colour"] = json!("red")).is_ok());
    let error = refused(|manifest| drop(manifest.as_object_mut().unwrap().remove("handlers")));
    assert!(error.contains("handlers"), "{error}");
}

#[test]
fn a_condition_that_does_not_fit_is_refused_with_its_handler() {
    let when = |condition: Value| changed(|manifest| manifest["handlers"][0]["when"] = condition);
    let refused = |condition: Value| when(condition).unwrap_err().to_string();
    let reading = json!({ "ge": [{ "field": "amount" }, { "param": "threshold" }] });
    let manifest = when(reading.clone()).unwrap();
    assert_eq!(manifest.handlers[0].when.as_ref().unwrap().to_string(), "amount >= self.threshold");
    assert!(when(Value::Null).unwrap().handlers[0].when.is_none());
    for (condition, reason) in [
        (
            json!({ "ge": [{ "field": "amuont" }, { "int": 1 }] }),
            "the handler does not read a field `amuont`",
        ),
        (
            json!({ "ge": [{ "field": "amount" }, { "param": "treshold" }] }),
            "the rule has no parameter `treshold`",
        ),
        (
            json!({ "ge": [{ "field": "amount" }, { "text": "1" }] }),
            "`amount` is a number and `\"1\"` is text",
        ),
        (json!({ "is": { "field": "amount" } }), "`amount` is a number, not a boolean"),
        (json!({ "all": [reading] }), "`all` or `any` has fewer than two parts"),
    ] {
        assert_eq!(refused(condition), format!("handlers[0].when (`purchase`): {reason}"));
    }
    let hostile = refused(json!({ "is": { "field": "\u{1b}[2J".repeat(100) } }));
    assert!(hostile.len() < 1024 && !hostile.contains('\u{1b}'), "{hostile}");
    let mut deep = json!({ "present": "amount" });
    for _ in 0..30 {
        deep = json!({ "not": deep });
    }
    assert!(refused(deep).contains("handlers[0].when (`purchase`): it has more than 16 levels"));
    for unreadable in [
        json!("amount > 1"),
        json!({ "matches": [{ "field": "amount" }, { "text": ".*" }] }),
        json!([]),
    ] {
        assert!(refused(unreadable).contains("it cannot be read"));
    }
}

#[test]
fn only_a_handler_of_events_has_a_condition() {
    let error = refused(|manifest| {
        let timer =
            json!({ "name": "later", "timer": "later", "when": { "is": { "param": "on" } } });
        manifest["handlers"].as_array_mut().unwrap().push(timer);
    });
    assert_eq!(error, "handlers[1].when (`later`): only a handler of events has a condition");
}

#[test]
fn the_abi_is_checked_before_anything_else() {
    let error = read_manifest(br#"{"abi": 7, "entirely": "different"}"#).unwrap_err();
    assert_eq!(error, ManifestError::Abi { found: 7, sdk: String::new() });
    assert!(error.hint().contains("update the engine"));
}

#[test]
fn the_error_for_another_abi_names_both_sdks() {
    let ours = concat!("hailer-sdk ", env!("CARGO_PKG_VERSION"), " (ABI 1): `hailer new`");
    for (manifest, said) in [
        (
            &br#"{"abi": 7, "sdk": "9.1.0"}"#[..],
            "it has ABI 7 (hailer-sdk 9.1.0), and this engine has ABI 1",
        ),
        (br#"{"abi": 0, "sdk": {"version": 1}}"#, "it has ABI 0, and this engine has ABI 1"),
    ] {
        let error = read_manifest(manifest).unwrap_err();
        assert_eq!(error.to_string(), said);
        assert!(error.hint().contains(ours), "{}", error.hint());
    }
}

#[test]
fn size_encoding_and_grammar_are_bounded() {
    let large = vec![b' '; MANIFEST_BYTES_MAX + 1];
    assert_eq!(
        read_manifest(&large),
        Err(ManifestError::TooLarge { size: MANIFEST_BYTES_MAX + 1 })
    );
    assert_eq!(
        read_manifest(b"{\"abi\": 1, \"name\": \"\xff\"}"),
        Err(ManifestError::NotUtf8 { offset: 20 })
    );
    let nested = "[".repeat(10_000);
    assert!(matches!(read_manifest(nested.as_bytes()), Err(ManifestError::NotReadable { .. })));
}

#[test]
fn names_are_short_and_plain() {
    let long = "x".repeat(65);
    for name in ["", "Welcome", "a b", "ä", "a\u{1b}", &long] {
        assert!(refused(|manifest| manifest["name"] = json!(name)).starts_with("name: "), "{name}");
        assert!(
            refused(|manifest| manifest["handlers"][0]["name"] = json!(name))
                .starts_with("handlers[0].name: ")
        );
        let place = refused(|manifest| manifest["handlers"][0]["fields"][0]["name"] = json!(name));
        assert!(place.starts_with("handlers[0].fields[0].name: "), "{place}");
        assert!(
            refused(|manifest| manifest["params"][0]["name"] = json!(name))
                .starts_with("params[0].name: ")
        );
    }
}

#[test]
fn a_version_has_only_the_characters_of_versions() {
    for version in ["", "1.0 beta", "1\n2"] {
        assert!(
            refused(|manifest| manifest["version"] = json!(version)).starts_with("version: "),
            "{version}"
        );
    }
}

#[test]
fn text_for_people_has_no_control_characters() {
    assert!(
        refused(|manifest| manifest["description"] = json!("a\u{1b}[2J"))
            .starts_with("description: ")
    );
    assert!(
        refused(|manifest| manifest["params"][0]["doc"] = json!("\u{7}"))
            .starts_with("params[0].doc: ")
    );
}

#[test]
fn counts_are_bounded() {
    let handlers: Vec<Value> = (0..65)
        .map(|index| json!({ "name": format!("h{index}"), "events": [format!("E{index}")] }))
        .collect();
    assert!(refused(|manifest| manifest["handlers"] = json!(handlers)).contains("65 handlers"));
    let fields: Vec<Value> = (0..65).map(|index| field(&format!("f{index}"))).collect();
    assert!(
        refused(|manifest| manifest["handlers"][0]["fields"] = json!(fields)).contains("65 fields")
    );
    let paths = vec!["/a"; 17];
    assert!(
        refused(|manifest| manifest["handlers"][0]["fields"][0]["paths"] = json!(paths))
            .contains("17 paths")
    );
    let path = "/a".repeat(33);
    assert!(
        refused(|manifest| manifest["handlers"][0]["fields"][0]["paths"] = json!([path]))
            .contains("33 keys")
    );
    let params: Vec<Value> =
        (0..65).map(|index| json!({ "name": format!("p{index}"), "type": "int" })).collect();
    assert!(refused(|manifest| manifest["params"] = json!(params)).contains("65 parameters"));
    assert!(refused(|manifest| manifest["handlers"] = json!([])).contains("never be called"));
    assert!(
        refused(|manifest| manifest["handlers"][0]["events"] = json!([]))
            .contains("takes no event")
    );
}

#[test]
fn no_event_code_is_taken_twice() {
    let second = |events: Value| {
        refused(move |manifest| {
            let handlers = manifest["handlers"].as_array_mut().unwrap();
            handlers.push(json!({ "name": "second", "events": events }));
        })
    };
    assert!(
        second(json!(["OnPurchaseConfirm"]))
            .contains("`OnPurchaseConfirm` is taken by two handlers")
    );
    assert!(second(json!(["*", "*"])).contains("every other event is taken by two handlers"));
}

#[test]
fn paths_are_json_pointers() {
    for path in ["a", "a/b", "/a~", "/a~2b"] {
        let error =
            refused(|manifest| manifest["handlers"][0]["fields"][0]["paths"] = json!([path]));
        assert!(error.contains("is not a JSON Pointer"), "{path}: {error}");
    }
    assert!(
        changed(|manifest| manifest["handlers"][0]["fields"][0]["paths"] = json!(["/a~0b~1c"]))
            .is_ok()
    );
}

#[test]
fn only_lists_have_records_and_records_have_no_lists() {
    let set =
        |value: Value| changed(move |manifest| manifest["handlers"][0]["fields"] = json!([value]));
    let list = |of: Value| json!({ "name": "items", "type": "list", "paths": ["/i"], "of": of });
    assert!(set(list(json!([field("a")]))).is_ok());
    assert!(set(list(json!([]))).unwrap_err().to_string().contains("needs `of`"));
    assert!(
        set(list(json!([list(json!([field("a")]))])))
            .unwrap_err()
            .to_string()
            .contains("may not hold lists")
    );
    let mut plain = field("a");
    plain["of"] = json!([field("b")]);
    assert!(set(plain).unwrap_err().to_string().contains("only a list has `of`"));
}

/// The sample manifest with one more handler.
fn with_handler(handler: Value) -> Result<Manifest, ManifestError> {
    changed(move |manifest| {
        manifest["stateVersion"] = json!(1);
        manifest["handlers"].as_array_mut().unwrap().push(handler);
    })
}

#[test]
fn a_handler_is_called_by_exactly_one_of_events_timer_and_merge() {
    assert!(with_handler(json!({ "name": "nudge", "timer": "nudge" })).is_ok());
    assert!(with_handler(json!({ "name": "unite", "merge": true })).is_ok());
    let refused = |handler: Value| with_handler(handler).unwrap_err().to_string();
    assert!(refused(json!({ "name": "h" })).contains("takes no event, and no timer calls it"));
    for both in [
        json!({ "name": "h", "timer": "t", "events": ["E"] }),
        json!({ "name": "h", "timer": "t", "merge": true }),
        json!({ "name": "h", "merge": true, "events": ["E"] }),
    ] {
        assert!(refused(both).contains("one of events, timer and merge"));
    }
    assert!(
        refused(json!({ "name": "h", "timer": "t", "fields": [field("a")] }))
            .contains("only a handler of events")
    );
    assert!(
        refused(json!({ "name": "h", "merge": true, "fields": [field("a")] }))
            .contains("only a handler of events")
    );
}

#[test]
fn a_module_has_at_most_32_timers_with_different_names() {
    for name in ["", "Nudge", "a b", &"x".repeat(65)] {
        let error = with_handler(json!({ "name": "h", "timer": name })).unwrap_err().to_string();
        assert!(error.starts_with("handlers[1].timer: "), "{error}");
    }
    let with_timers = |count: usize| {
        changed(move |manifest| {
            let timers = (0..count)
                .map(|index| json!({ "name": format!("h{index}"), "timer": format!("t{index}") }));
            manifest["handlers"] = timers.collect();
        })
    };
    assert!(with_timers(32).is_ok());
    assert!(with_timers(33).unwrap_err().to_string().contains("33 timers"));
    let error = refused(|manifest| {
        manifest["handlers"] =
            json!([{ "name": "one", "timer": "t" }, { "name": "two", "timer": "t" }]);
    });
    assert!(error.contains("the timer `t` calls two handlers"), "{error}");
}

#[test]
fn a_module_has_one_merge_handler_and_needs_state_for_it() {
    let merges = |count: usize, version: Value| {
        changed(move |manifest| {
            manifest["stateVersion"] = version;
            let handlers = manifest["handlers"].as_array_mut().unwrap();
            handlers.extend(
                (0..count).map(|index| json!({ "name": format!("m{index}"), "merge": true })),
            );
        })
    };
    assert!(merges(1, json!(1)).is_ok());
    assert!(merges(2, json!(1)).unwrap_err().to_string().contains("one handler with `merge`"));
    assert!(merges(1, Value::Null).unwrap_err().to_string().contains("without `stateVersion`"));
}

#[test]
fn a_state_version_is_an_unsigned_number_of_32_bits() {
    let with = |version: Value| changed(move |manifest| manifest["stateVersion"] = version);
    assert_eq!(with(json!(u32::MAX)).unwrap().state_version, Some(u32::MAX));
    for version in [json!(-1), json!("1"), json!(1.5), json!(1_u64 << 32)] {
        assert!(matches!(with(version), Err(ManifestError::NotReadable { .. })));
    }
}

#[test]
fn the_declaration_of_a_parameter_is_checked() {
    let with = |param: Value| refused(move |manifest| manifest["params"] = json!([param]));
    let of = |kind: &str, default: Value| json!({ "name": "p", "type": kind, "default": default });
    assert!(with(of("int", json!("10"))).contains("of another type"));
    assert!(with(of("decimal", json!("ten"))).contains("of another type"));
    assert!(with(of("decimals", json!(["1", "x"]))).contains("of another type"));
    assert!(
        with(json!({ "name": "p", "type": "int", "min": "x" }))
            .contains("min `x` is not a decimal")
    );
    assert!(
        with(json!({ "name": "p", "type": "int", "min": "2", "max": "1" }))
            .contains("min 2 is above max 1")
    );
    assert!(
        with(json!({ "name": "p", "type": "int", "default": 1, "min": "2" }))
            .contains("the default is 1, below")
    );
    assert!(with(json!({ "name": "p", "type": "bool", "max": "1" })).contains("no bounds"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = read_manifest(&bytes);
    }

    #[test]
    fn no_damaged_manifest_makes_the_reader_panic(
        spot in any::<prop::sample::Index>(),
        text in "\\PC{0,8}",
    ) {
        let mut manifest = MANIFEST.as_bytes().to_vec();
        let at = spot.index(manifest.len());
        manifest.splice(at..(at + text.len()).min(manifest.len()), text.bytes());
        let _ = read_manifest(&manifest);
    }
}
