//! Projection of random fields from random bodies gives the same result as the oracle, which uses
//! `serde_json`.

use std::sync::LazyLock;

use hailer_abi::manifest::FieldKind;
use proptest::prelude::*;

use super::super::{Lack, Unusable};
use super::oracle::{Json, KEYS, any_json, any_object_of, expected};
use super::*;

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

fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(&KEYS[..]), 1..4).prop_map(|keys| {
        keys.iter()
            .map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")))
            .collect::<String>()
    })
}

fn any_scalar_field() -> impl Strategy<Value = Field> {
    let kind = proptest::sample::select(&KINDS[..]);
    (kind, proptest::collection::vec(any_path(), 1..4), any::<bool>()).prop_map(
        |(kind, paths, required)| Field {
            name: "field".to_owned(),
            kind,
            paths,
            required,
            personal: false,
            of: Vec::new(),
        },
    )
}

fn any_field() -> impl Strategy<Value = Field> {
    let of = proptest::collection::vec(any_scalar_field(), 0..4);
    let list = (any_scalar_field(), of).prop_map(|(field, of)| Field {
        kind: FieldKind::List,
        of,
        ..field
    });
    prop_oneof![3 => any_scalar_field(), 1 => list]
}

fn any_body() -> impl Strategy<Value = String> {
    any_object_of(any_json()).prop_map(|object| match object.strip_prefix('{') {
        Some("}") => r#"{"eventCode":"E"}"#.to_owned(),
        Some(members) => format!(r#"{{"eventCode":"E",{members}"#),
        None => object,
    })
}

/// The projection that all cases reuse, as a shard does.
static PROJECTION: LazyLock<std::sync::Mutex<Projection>> = LazyLock::new(Default::default);

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_fields_of_random_bodies_are_what_the_oracle_says(
        body in any_body(),
        fields in proptest::collection::vec(any_field(), 1..12),
    ) {
        let event = read(&body).unwrap();
        let mut builder = PlanBuilder::new();
        let slots: Vec<_> = fields.iter().map(|field| builder.add(field)).collect();
        let plan = builder.build();
        let mut projection = PROJECTION.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        plan.project(&event, &mut projection);
        let json = Json::parse(&body);
        let mut mismatches = std::collections::HashMap::new();
        for (field, &slot) in fields.iter().zip(&slots) {
            let mut count = 0;
            let (value, missing) = expected(&json, field, &mut count);
            prop_assert_eq!(projection.get(slot).map(unpack), value, "{:?}", field);
            prop_assert_eq!(projection.lacks(slot).is_some(), missing, "{:?}", field);
            mismatches.insert(slot, count);
        }
        prop_assert_eq!(projection.mismatches(), mismatches.values().sum::<u32>());
    }
}

fn event(fields: &str) -> Event {
    read(format!(r#"{{{fields},"eventCode":"E"}}"#)).unwrap()
}

#[test]
fn only_equal_fields_share_a_slot() {
    let mut builder = PlanBuilder::new();
    let amount = builder.add(&field(FieldKind::Decimal, &["/a", "/b"]));
    let named = Field {
        name: "other".to_owned(),
        personal: true,
        required: true,
        ..field(FieldKind::Decimal, &["/a", "/b"])
    };
    assert_eq!(builder.add(&named), amount);
    assert_ne!(builder.add(&field(FieldKind::Decimal, &["/b", "/a"])), amount);
    assert_ne!(builder.add(&field(FieldKind::Int, &["/a", "/b"])), amount);
    let items = builder.add(&list(&["/i"], vec![field(FieldKind::Str, &["/s"])]));
    let renamed = Field { name: "t".to_owned(), ..field(FieldKind::Str, &["/s"]) };
    assert_eq!(builder.add(&list(&["/i"], vec![renamed])), items);
    assert_ne!(builder.add(&list(&["/i"], vec![required(field(FieldKind::Str, &["/s"]))])), items);
    assert_ne!(builder.add(&list(&["/i"], vec![])), items);
}

#[test]
fn all_fields_of_an_object_are_found_even_with_similar_names() {
    // Three at a time have the same length, beginning and end.
    let names: Vec<_> =
        (0..60).map(|index| format!("name{}{:02}end", index % 3, index / 3)).collect();
    for count in [1, 2, 15, 16, 17, 60] {
        let members: Vec<_> =
            names.iter().enumerate().map(|(index, name)| format!(r#""{name}":{index}"#)).collect();
        let event = event(&members.join(","));
        let mut builder = PlanBuilder::new();
        let slots: Vec<_> = names[..count]
            .iter()
            .map(|name| builder.add(&field(FieldKind::Int, &[&format!("/{name}")])))
            .collect();
        let mut projection = Projection::new();
        builder.build().project(&event, &mut projection);
        for (index, &slot) in slots.iter().enumerate() {
            assert_eq!(
                projection.get(slot).map(unpack),
                Some(Packed::Int(index as i128)),
                "{index} of {count}"
            );
        }
    }
}

#[test]
fn the_first_alternative_that_is_not_empty_wins_even_if_unusable() {
    let field = field(FieldKind::Int, &["/a", "/b"]);
    assert_eq!(project(&event(r#""a":null,"b":2"#), &field), (Some(Packed::Int(2)), 0));
    assert_eq!(project(&event(r#""a":"","b":2"#), &field), (Some(Packed::Int(2)), 0));
    assert_eq!(project(&event(r#""a":"x","b":2"#), &field), (None, 1));
}

#[test]
fn an_earlier_duplicate_is_never_mixed_in() {
    let event = event(r#""a":{"b":1,"c":2},"a":{"b":3}"#);
    assert_eq!(project(&event, &field(FieldKind::Int, &["/a/b"])), (Some(Packed::Int(3)), 0));
    assert_eq!(project(&event, &field(FieldKind::Int, &["/a/c"])), (None, 0));
    let raw = project(&event, &field(FieldKind::Raw, &["/a"])).0;
    assert_eq!(raw, Some(Packed::Map([("b".to_owned(), Packed::Int(3))].into())));
}

#[test]
fn a_list_with_an_element_without_a_required_sub_field_is_reported() {
    let mut builder = PlanBuilder::new();
    let of =
        vec![required(field(FieldKind::Decimal, &["/amount"])), field(FieldKind::Str, &["/name"])];
    let strict = builder.add(&list(&["/items"], of));
    let lax = builder.add(&list(&["/items"], vec![field(FieldKind::Str, &["/name"])]));
    let plan = builder.build();
    let mut projection = Projection::new();
    for (items, missing) in [
        (r#"[{"amount":1},{"amount":2,"name":""}]"#, false),
        (r#"[{"amount":1},{"name":"x"}]"#, true),
        (r#"[{"amount":"1"}]"#, true),
        ("[]", false),
        ("[null]", false),
        ("[{},1]", false),
    ] {
        plan.project(&event(&format!(r#""items":{items}"#)), &mut projection);
        assert_eq!(projection.lacks(strict).is_some(), missing, "{items}");
        assert!(projection.lacks(lax).is_none(), "{items}");
    }
}

#[test]
fn timestamps_may_be_escaped_as_dotnet_does() {
    let event = event(r#""at":"1970-01-01T03:00:01\u002B03:00""#);
    assert_eq!(
        project(&event, &field(FieldKind::Timestamp, &["/at"])),
        (Some(Packed::Timestamp(1000)), 0)
    );
}

#[test]
fn a_path_that_is_no_pointer_or_leads_into_an_array_finds_nothing() {
    let event = event(r#""a":[{"b":1}],"":{"0":2}"#);
    // An array is not an object, so it has no members.
    for (path, mismatches) in
        [("a", 0), ("a/0", 0), ("/a/0", 1), ("/a/0/b", 1), ("/a/b", 1), ("#/a", 0)]
    {
        assert_eq!(project(&event, &field(FieldKind::Raw, &[path])), (None, mismatches), "{path}");
    }
    assert_eq!(project(&event, &field(FieldKind::Raw, &["//0"])).0, Some(Packed::Int(2)));
    let Some(Packed::Map(map)) = project(&event, &field(FieldKind::Raw, &[""])).0 else { panic!() };
    assert_eq!(map.len(), 3);
}

#[test]
fn a_hundred_thousand_duplicates_take_little_time() {
    let members: String =
        (0..100_000).map(|index| format!(r#""k{}":{index},"#, index % 1000)).collect();
    let event = event(&format!(r#""m":{{{members}"last":1}}"#));
    let (map, _) = project(&event, &field(FieldKind::Map, &["/m"]));
    assert!(
        matches!(map, Some(Packed::Map(map)) if map.len() == 1001 && map["k7"] == decimal("99007"))
    );
}

#[test]
fn a_warm_projection_allocates_nothing() {
    let mut builder = PlanBuilder::new();
    builder.add(&field(FieldKind::Raw, &["/purchaseOperationInfo"]));
    let items = "/purchaseOperationInfo/purchaseData/chequeItems";
    builder.add(&list(&[items], vec![field(FieldKind::Str, &["/description"])]));
    let plan = builder.build();
    let event = read(sample!("OnPurchaseConfirm")).unwrap();
    let mut projection = Projection::new();
    plan.project(&event, &mut projection);
    let before = projection.capacities();
    for _ in 0..3 {
        plan.project(&event, &mut projection);
    }
    assert_eq!(projection.capacities(), before);
}

#[test]
fn an_unusable_value_has_a_reason() {
    let why = |kind, value: &str| {
        let mut builder = PlanBuilder::new();
        let of = if kind == FieldKind::List {
            vec![required(field(FieldKind::Decimal, &["/a"]))]
        } else {
            Vec::new()
        };
        let slot = builder.add(&Field { of, ..field(kind, &["/x"]) });
        let mut projection = Projection::new();
        builder.build().project(&event(&format!(r#""x":{value}"#)), &mut projection);
        assert_eq!(projection.get(slot).is_none(), projection.unusable(slot).is_some(), "{value}");
        assert_eq!(projection.mismatches_of(slot), projection.mismatches());
        (projection.unusable(slot), projection.lacks(slot))
    };
    let huge = "79228162514264337593543950336";
    for (kind, value, expected) in [
        (FieldKind::Bool, "1", Unusable::OtherType),
        (FieldKind::Int, r#""1""#, Unusable::OtherType),
        (FieldKind::Int, "1.5", Unusable::NotWhole),
        (FieldKind::Int, "1e99", Unusable::OutOfRange),
        (FieldKind::Float, "1e999", Unusable::OutOfRange),
        (FieldKind::Str, "1", Unusable::OtherType),
        (FieldKind::Id, "1.5", Unusable::NotWhole),
        (FieldKind::Id, "true", Unusable::OtherType),
        (FieldKind::Decimal, r#""33.33""#, Unusable::OtherType),
        (FieldKind::Decimal, huge, Unusable::OutOfRange),
        (FieldKind::Timestamp, "1772352000", Unusable::OtherType),
        (FieldKind::Timestamp, r#""yesterday""#, Unusable::NotAMoment),
        (FieldKind::Map, "[]", Unusable::OtherType),
        (FieldKind::Map, r#"{"1":"2"}"#, Unusable::OtherType),
        (FieldKind::Map, &format!(r#"{{"1":{huge}}}"#), Unusable::OutOfRange),
        (FieldKind::List, "{}", Unusable::OtherType),
        (FieldKind::List, "[1]", Unusable::OtherType),
    ] {
        assert_eq!(why(kind, value), (Some(expected), None), "{kind:?} {value}");
    }
    let lack = |unusable| (None, Some(Lack { sub_field: 0, unusable }));
    assert_eq!(why(FieldKind::List, "[{}]"), lack(None));
    assert_eq!(why(FieldKind::List, r#"[{"a":1},{"a":"1"}]"#), lack(Some(Unusable::OtherType)));
}

#[test]
fn a_field_whose_parent_is_no_object_is_unusable_and_not_absent() {
    let mut builder = PlanBuilder::new();
    let deep = builder.add(&field(FieldKind::Str, &["/card/owner/name"]));
    let either = builder.add(&field(FieldKind::Str, &["/card/name", "/name"]));
    let card = builder.add(&field(FieldKind::Raw, &["/card"]));
    let plan = builder.build();
    let mut projection = Projection::new();
    for (card_is, unusable) in [
        (r#""x""#, [true, true]),
        ("7", [true, true]),
        ("[]", [true, true]),
        (r#"[{"name":"x"}]"#, [true, true]),
        (r#"{"owner":false}"#, [true, false]),
        (r#"{"owner":{}}"#, [false, false]),
        (r#"{"owner":null,"name":""}"#, [false, false]),
        ("null", [false, false]),
        (r#""""#, [false, false]),
        (r#"7,"card":{}"#, [false, false]),
        (r#"{"owner":{"name":"x"}},"card":7"#, [true, true]),
    ] {
        plan.project(&event(&format!(r#""card":{card_is}"#)), &mut projection);
        let why = unusable.map(|is_unusable| is_unusable.then_some(Unusable::InNoObject));
        assert_eq!([projection.unusable(deep), projection.unusable(either)], why, "{card_is}");
        assert_eq!([projection.get(deep), projection.get(either)], [None, None], "{card_is}");
        assert_eq!(
            projection.mismatches(),
            unusable.iter().map(|&is_unusable| u32::from(is_unusable)).sum::<u32>(),
            "{card_is}"
        );
        assert_eq!(projection.unusable(card), None, "{card_is}");
        // A value at another path is used.
        plan.project(&event(&format!(r#""name":"x","card":{card_is}"#)), &mut projection);
        assert_eq!(
            (projection.get(either).is_some(), projection.unusable(either)),
            (true, None),
            "{card_is}"
        );
    }
}

#[test]
fn a_list_reports_the_first_unusable_sub_field() {
    let mut builder = PlanBuilder::new();
    let of = vec![field(FieldKind::Id, &["/id"]), field(FieldKind::Str, &["/name"])];
    let slot = builder.add(&list(&["/items"], of));
    let plan = builder.build();
    let mut projection = Projection::new();
    for (items, expected) in [
        (r#"[{"id":1,"name":"x"},{"id":"","name":null},{},null]"#, None),
        (r#"[{"id":1,"name":7},{"id":{},"name":"x"}]"#, Some(1)),
        (r#"[{"id":{},"name":7}]"#, Some(0)),
        // The list as a whole is unusable, so this is reported for the list.
        (r#"[{"id":{}},7]"#, None),
        ("[]", None),
    ] {
        plan.project(&event(&format!(r#""items":{items}"#)), &mut projection);
        let lack =
            expected.map(|sub_field| Lack { sub_field, unusable: Some(Unusable::OtherType) });
        assert_eq!(projection.unusable_sub_field(slot), lack, "{items}");
        assert!(projection.lacks(slot).is_none(), "no sub-field is required: {items}");
    }
}

#[test]
fn an_id_may_be_a_whole_number_in_any_spelling() {
    for (value, expected) in
        [("11", "11"), ("11.0", "11"), ("1.1e1", "11"), ("-0.0", "0"), (r#""011""#, "011")]
    {
        let found = project(&event(&format!(r#""x":{value}"#)), &field(FieldKind::Id, &["/x"]));
        assert_eq!(found, (Some(Packed::Str(expected.to_owned())), 0), "{value}");
    }
}
