//! Types, bounds, defaults and encoding of parameters.

use hailer_abi::manifest::Manifest;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Parses the parameters of a manifest. Only a whole manifest reads an empty map by its type.
fn schema(params: serde_json::Value) -> Vec<Param> {
    let manifest =
        json!({ "abi": 1, "name": "x", "version": "1.0.0", "handlers": [], "params": params });
    serde_json::from_value::<Manifest>(manifest).unwrap().params
}

fn encode(params: serde_json::Value, given: &str) -> Result<Vec<u8>, Vec<ParamError>> {
    let table = DeTable::parse(given).unwrap().into_inner();
    encode_params(&schema(params), &table)
}

fn reasons(params: serde_json::Value, given: &str) -> Vec<String> {
    let errors = encode(params, given).unwrap_err();
    assert!(errors.iter().all(|error| !error.hint.is_empty()));
    errors.into_iter().map(|error| error.reason).collect()
}

fn decimal_bytes(text: &str) -> Vec<u8> {
    let wire = decimal_to_wire(text.parse().unwrap());
    [&[0xd8, 0x01][..], &wire].concat()
}

#[test]
fn values_are_written_in_the_order_of_the_schema() {
    let params = json!([{ "name": "b", "type": "int" }, { "name": "a", "type": "str" }]);
    let expected = b"\x92\x0a\xa2hi".to_vec();
    assert_eq!(encode(params.clone(), "b = 10\na = 'hi'").unwrap(), expected);
    assert_eq!(encode(params, "a = 'hi'\nb = 0xA").unwrap(), expected);
}

#[test]
fn defaults_fill_what_is_not_given() {
    let params = json!([
        { "name": "a", "type": "int", "default": -1 },
        { "name": "b", "type": "bool", "default": true },
        { "name": "c", "type": "strs", "default": ["x"] },
        { "name": "d", "type": "str_map", "default": [["k", "v"]] },
        { "name": "e", "type": "decimal_map", "default": [] },
    ]);
    let expected = b"\x95\xff\xc3\x91\xa1x\x81\xa1k\xa1v\x80".to_vec();
    assert_eq!(encode(params, "").unwrap(), expected);
}

#[test]
fn a_decimal_is_read_from_the_text_of_its_literal() {
    let params = json!([{ "name": "d", "type": "decimal" }]);
    // The nearest float of this number has other digits at its end.
    for literal in ["\"135.1000\"", "135.1000"] {
        let expected = [b"\x91".to_vec(), decimal_bytes("135.1000")].concat();
        assert_eq!(
            encode(params.clone(), &format!("d = {literal}")).unwrap(),
            expected,
            "{literal}"
        );
    }
    for literal in [
        "\"1e3\"",
        "1e3",
        "nan",
        "inf",
        "\"\"",
        "\".5\"",
        "\"5.\"",
        "\"1_0\"",
        "\"0.00000000000000000000000000001\"",
    ] {
        assert_eq!(reasons(params.clone(), &format!("d = {literal}")).len(), 1, "{literal}");
    }
}

#[test]
fn maps_and_lists_of_decimals_keep_their_order() {
    let params =
        json!([{ "name": "m", "type": "decimal_map" }, { "name": "l", "type": "decimals" }]);
    let expected = [
        b"\x92\x82\xa6silver".to_vec(),
        decimal_bytes("100"),
        b"\xa4gold".to_vec(),
        decimal_bytes("250.5"),
        b"\x91".to_vec(),
        decimal_bytes("1"),
    ];
    assert_eq!(
        encode(params, "l = ['1']\nm = { silver = 100, gold = '250.5' }").unwrap(),
        expected.concat()
    );
}

#[test]
fn an_unknown_parameter_is_refused_with_a_suggestion() {
    let errors =
        encode(json!([{ "name": "threshold", "type": "int", "default": 1 }]), "\ntreshold = 5")
            .unwrap_err();
    assert_eq!(errors[0].reason, "the rule has no parameter `treshold`");
    assert_eq!(errors[0].hint, "did you mean `threshold`?");
    assert_eq!(errors[0].span, Some(1..9));
}

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    let params = json!([
        { "name": "a", "type": "int", "min": "1", "max": "9" },
        { "name": "b", "type": "str", "min": "2" },
        { "name": "c", "type": "bool" },
        { "name": "d", "type": "strs", "max": "1" },
    ]);
    let errors = encode(params, "a = 10\nb = 'x'\nd = ['1', '2']\nz = 1").unwrap_err();
    let found: Vec<(&str, Option<usize>)> = errors
        .iter()
        .map(|error| (&*error.reason, error.span.as_ref().map(|span| span.start)))
        .collect();
    assert_eq!(
        found,
        [
            ("the parameter `c` is not set and has no default", None),
            ("`a` is 10, above the most, 9", Some(4)),
            ("`b` is 1 characters, below the least, 2", Some(11)),
            ("`d` is 2 elements, above the most, 1", Some(19)),
            ("the rule has no parameter `z`", Some(30)),
        ]
    );
}

#[test]
fn every_wrong_part_of_a_list_or_a_map_is_reported_with_its_place() {
    let params = json!([{ "name": "l", "type": "strs" }, { "name": "m", "type": "decimal_map" }]);
    let errors = encode(params, "l = ['a',\n1,\ntrue]\n[m]\na = '1'\nb = 'x'\nc = []").unwrap_err();
    let found: Vec<(&str, usize)> =
        errors.iter().map(|error| (&*error.reason, error.span.clone().unwrap().start)).collect();
    assert_eq!(
        found,
        [
            ("`l` holds an integer, not only strings", 10),
            ("`l` holds a bool, not only strings", 13),
            ("`m` has a value that is not a decimal of up to 28 digits", 35),
            ("`m` has a value that is a list, not a decimal", 43),
        ]
    );
}

#[test]
fn nothing_is_coerced() {
    for (kind, literals) in [
        ("int", vec!["1.0", "'1'", "true", "9223372036854775808"]),
        ("str", vec!["1", "true", "['a']"]),
        ("bool", vec!["1", "'true'"]),
        ("decimal", vec!["true", "[]", "2026-01-01"]),
        ("strs", vec!["'a'", "['a', 1]"]),
        ("decimals", vec!["1", "[true]"]),
        ("str_map", vec!["{ a = 1 }", "[]"]),
        ("decimal_map", vec!["{ a = 'x' }"]),
    ] {
        for literal in literals {
            let params = json!([{ "name": "p", "type": kind }]);
            assert_eq!(reasons(params, &format!("p = {literal}")).len(), 1, "{kind}: {literal}");
        }
    }
}

proptest! {
    #[test]
    fn no_value_makes_the_encoding_panic(
        literal in "[-0-9a-z_.'\\[\\]{}=,\" ]{1,24}",
        kind in 0..8usize,
    ) {
        let kinds = ["str", "int", "bool", "decimal", "strs", "decimals", "str_map", "decimal_map"];
        let text = format!("p = {literal}");
        if let Ok(table) = DeTable::parse(&text) {
            let param = json!({ "name": "p", "type": kinds[kind], "min": "1", "max": "5" });
            let _ = encode_params(&schema(json!([param])), &table.into_inner());
        }
    }

    #[test]
    fn every_decimal_that_fits_is_encoded_exactly(
        mantissa in -(10i128.pow(27))..10i128.pow(27),
        scale in 0..27u32,
    ) {
        let decimal = Decimal::from_i128_with_scale(mantissa, scale);
        let params = json!([{ "name": "d", "type": "decimal" }]);
        let bytes = encode(params, &format!("d = '{decimal}'")).unwrap();
        let wire: [u8; 16] = bytes[bytes.len() - 16..].try_into().unwrap();
        let back = hailer_abi::wire::decimal_from_wire(wire).unwrap();
        prop_assert_eq!((back, back.scale()), (decimal, decimal.scale()));
    }
}
