//! Any bytes as an event's body. Nothing panics, `serde_json` accepts every accepted body (except a
//! comma before a closing bracket), and projected values equal those of `serde_json`.

#![no_main]

use std::cell::RefCell;
use std::sync::LazyLock;

use bytes::Bytes;
use hailer::event::{Event, EventErrorKind, Plan, PlanBuilder, Projection, Slot};
use hailer_abi::manifest::{Field, FieldKind};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

const KINDS: [FieldKind; 9] = [
    FieldKind::Bool,
    FieldKind::Int,
    FieldKind::Float,
    FieldKind::Str,
    FieldKind::Id,
    FieldKind::Decimal,
    FieldKind::Timestamp,
    FieldKind::Map,
    FieldKind::Raw,
];

const PATHS: [&str; 10] = [
    "",
    "/a",
    "/a/b",
    "/eventCode",
    "/customerInfo/customerId",
    "/customerInfo/mobileDeviceId",
    "/purchaseOperationInfo/dateTime",
    "/purchaseOperationInfo/purchaseData/amount",
    "/purchaseOperationInfo/purchaseData/rewards",
    "/tryCount",
];

struct Asked {
    plan: Plan,
    fields: Vec<(FieldKind, &'static str, Slot)>,
    list: Slot,
}

static ASKED: LazyLock<Asked> = LazyLock::new(|| {
    let mut builder = PlanBuilder::new();
    let mut fields = Vec::new();
    for path in PATHS {
        for kind in KINDS {
            fields.push((kind, path, builder.add(&field(kind, path, Vec::new()))));
        }
    }
    let record = ["/amount", "/positionInfo", "/description"];
    let record =
        record.iter().flat_map(|path| KINDS.map(|kind| field(kind, path, Vec::new()))).collect();
    let list =
        builder.add(&field(FieldKind::List, "/purchaseOperationInfo/purchaseData/rewards", record));
    Asked { plan: builder.build(), fields, list }
});

thread_local! {
    static PROJECTION: RefCell<Projection> = RefCell::default();
}

fn field(kind: FieldKind, path: &str, of: Vec<Field>) -> Field {
    Field {
        name: "field".to_owned(),
        kind,
        paths: vec![path.to_owned()],
        required: true,
        personal: false,
        of,
    }
}

fuzz_target!(|body: &[u8]| {
    let read = Event::read(Bytes::copy_from_slice(body));
    let oracle = std::str::from_utf8(body).ok().map(serde_json::from_str::<Value>);
    let is_stricter = |error: &serde_json::Error| {
        // serde_json refuses numbers beyond a float, and nesting from 128 on.
        ["number out of range", "recursion limit"]
            .iter()
            .any(|limit| error.to_string().contains(limit))
    };
    match (&read, &oracle) {
        (Ok(event), Some(Ok(value))) => {
            assert!(!event.was_repaired(), "serde_json accepts the body without a repair");
            assert_eq!(value["eventCode"].as_str(), Some(event.code()));
        }
        (Ok(event), Some(Err(error))) => {
            assert!(event.was_repaired() || is_stricter(error), "{error}")
        }
        (Ok(_), None) => panic!("the body is not utf-8"),
        (Err(error), Some(Ok(value))) => {
            let code = value.get("eventCode");
            let is_right = match error.kind {
                EventErrorKind::NotAnObject => !value.is_object(),
                EventErrorKind::NoEventCode => code.is_none_or(|code| code.is_null() || code == ""),
                EventErrorKind::EventCodeNotText => code.is_some_and(|code| !code.is_string()),
                EventErrorKind::EventCodeTooLong => {
                    code.and_then(Value::as_str).is_some_and(|code| code.len() > 128)
                }
                _ => false,
            };
            assert!(is_right, "serde_json accepts the body: {error}");
        }
        (Err(_), _) => {}
    }
    let Ok(event) = read else { return };
    let _ = event.dedup_key(None, None).event_id(0);
    PROJECTION.with_borrow_mut(|projection| {
        ASKED.plan.project(&event, projection);
        for &(kind, path, slot) in &ASKED.fields {
            let packed = projection.get(slot);
            check_packed(packed);
            if let Some(Ok(body)) = &oracle {
                check(
                    kind,
                    body.pointer(path).filter(|value| !value.is_array() || !path.is_empty()),
                    packed,
                );
            }
        }
        check_packed(projection.get(ASKED.list));
    });
});

/// Checks that the bytes are exactly one MessagePack value.
fn check_packed(packed: Option<&[u8]>) {
    if let Some(mut packed) = packed {
        let mut reader = rmp_serde::Deserializer::new(&mut packed);
        let value: Result<IgnoredAny, _> = serde::Deserialize::deserialize(&mut reader);
        assert!(value.is_ok(), "the bytes are no MessagePack");
        assert!(packed.is_empty(), "bytes are left over");
    }
}

/// Checks a field against the value of `serde_json` at its path, as far as `serde_json` keeps it.
fn check(kind: FieldKind, value: Option<&Value>, packed: Option<&[u8]>) {
    let value = value.filter(|value| !value.is_null() && *value != "");
    match (kind, value) {
        (_, None) => assert!(packed.is_none()),
        (FieldKind::Str | FieldKind::Id, Some(Value::String(text))) => {
            let (found, rest) =
                rmp::decode::read_str_from_slice(packed.unwrap_or_default()).expect("a str");
            assert_eq!((found, rest.len()), (text.as_str(), 0));
        }
        (FieldKind::Bool, Some(Value::Bool(value))) => {
            assert_eq!(
                packed.map(|mut packed| rmp::decode::read_bool(&mut packed).expect("a bool")),
                Some(*value)
            );
        }
        (FieldKind::Int, Some(Value::Number(number))) if number.is_i64() => {
            let found =
                packed.map(|mut packed| rmp::decode::read_int(&mut packed).expect("an int"));
            assert_eq!(found, number.as_i64());
        }
        (FieldKind::Float, Some(Value::Number(number))) => {
            let found =
                packed.map(|mut packed| rmp::decode::read_f64(&mut packed).expect("a float"));
            let (found, expected) = (found.expect("present"), number.as_f64().expect("a float"));
            // serde_json may read the last bit of a float differently.
            assert!((found - expected).abs() <= expected.abs() * 1e-15, "the float differs");
        }
        (FieldKind::Map | FieldKind::List, Some(_)) | (FieldKind::Raw, Some(_)) => {}
        (FieldKind::Bool | FieldKind::Str | FieldKind::Timestamp, Some(other))
            if !other.is_string() && !other.is_boolean() =>
        {
            assert!(packed.is_none());
        }
        (FieldKind::Int | FieldKind::Float | FieldKind::Decimal, Some(other))
            if !other.is_number() =>
        {
            assert!(packed.is_none());
        }
        _ => {}
    }
}
