//! Tests of how conditions are written, and which ones are refused: shapes, kinds and bounds.

use super::*;

fn field(name: &str, kind: FieldKind) -> Field {
    Field {
        name: name.into(),
        kind,
        paths: vec![format!("/{name}")],
        required: false,
        personal: false,
        of: Vec::new(),
    }
}

fn param(name: &str, kind: ParamKind) -> Param {
    Param { name: name.into(), kind, default: None, min: None, max: None, doc: String::new() }
}

fn fields() -> Vec<Field> {
    [
        ("amount", FieldKind::Decimal),
        ("count", FieldKind::Int),
        ("brand", FieldKind::Id),
        ("refund", FieldKind::Bool),
        ("at", FieldKind::Timestamp),
    ]
    .map(|(name, kind)| field(name, kind))
    .into()
}

fn params() -> Vec<Param> {
    [
        ("least", ParamKind::Decimal),
        ("brand", ParamKind::Str),
        ("on", ParamKind::Bool),
        ("list", ParamKind::Strs),
    ]
    .map(|(name, kind)| param(name, kind))
    .into()
}

fn read(json: &str) -> Condition {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn check(json: &str) -> Result<(), String> {
    read(json).check(&fields(), &params())
}

#[test]
fn a_condition_is_written_as_an_author_would() {
    for (json, text) in [
        (r#"{"ge":[{"field":"amount"},{"param":"least"}]}"#, "amount >= self.least"),
        (
            r#"{"all":[{"ne":[{"field":"brand"},{"text":"a\"b"}]},{"not":{"is":{"field":
            "refund"}}},{"is":{"param":"on"}}]}"#,
            r#"brand != "a\"b" && !refund && self.on"#,
        ),
        (
            r#"{"all":[{"any":[{"absent":"refund"},{"not":{"lt":[{"int":-1},{"field":
            "count"}]}}]},{"present":"at"}]}"#,
            "(refund.is_none() || !(-1 < count)) && at.is_some()",
        ),
        (
            r#"{"any":[{"all":[{"is":{"field":"refund"}},{"present":"at"}]},{"eq":[{"decimal":
            "1.50"},{"field":"amount"}]}]}"#,
            "refund && at.is_some() || 1.50 == amount",
        ),
        (
            r#"{"all":[{"all":[{"is":{"field":"refund"}},{"is":{"param":"on"}}]},{"eq":[{"bool":
            true},{"field":"refund"}]}]}"#,
            "(refund && self.on) && true == refund",
        ),
    ] {
        assert_eq!(read(json).to_string(), text);
        assert_eq!(check(json), Ok(()), "{json}");
        let compact: String = json.split_whitespace().collect();
        assert_eq!(serde_json::to_string(&read(json)).unwrap(), compact);
    }
}

#[test]
fn a_string_can_not_end_its_quotes_or_its_line() {
    let shown = read(r#"{"eq":[{"field":"brand"},{"text":"\"\n\u001b\u202e"}]}"#).to_string();
    assert_eq!(shown, r#"brand == "\"\n\u{1b}\u{202e}""#);
}

#[test]
fn kinds_and_names_that_do_not_fit_are_refused() {
    for (json, reason) in [
        (r#"{"is":{"field":"zebra"}}"#, "the handler does not read a field `zebra`"),
        (r#"{"present":"zebra"}"#, "the handler does not read a field `zebra`"),
        (r#"{"is":{"param":"zebra"}}"#, "the rule has no parameter `zebra`"),
        (r#"{"is":{"field":"amount"}}"#, "`amount` is a number, not a boolean"),
        (r#"{"is":{"text":"true"}}"#, "is text, not a boolean"),
        (r#"{"eq":[{"field":"amount"},{"text":"1"}]}"#, "`amount` is a number and `\"1\"` is text"),
        (r#"{"eq":[{"field":"brand"},{"int":1}]}"#, "`brand` is text and `1` is a number"),
        (
            r#"{"gt":[{"field":"refund"},{"bool":false}]}"#,
            "booleans have no order: `refund > false`",
        ),
        (
            r#"{"gt":[{"field":"at"},{"int":1}]}"#,
            "a condition can't compare the type of field `at`",
        ),
        (
            r#"{"eq":[{"param":"list"},{"text":""}]}"#,
            "a condition can't compare the type of parameter `list`",
        ),
        (r#"{"all":[]}"#, "`all` or `any` has fewer than two parts"),
        (r#"{"any":[{"is":{"field":"refund"}}]}"#, "`all` or `any` has fewer than two parts"),
    ] {
        let error = check(json).expect_err(json);
        assert!(error.contains(reason), "{json}: {error}");
    }
    for text in [
        "",
        "-",
        "1.",
        ".5",
        "+1",
        "1e3",
        "1_0",
        "0x1",
        "1.2.3",
        "79228162514264337593543950336",
        &"0".repeat(65),
    ] {
        let error = check(&format!(r#"{{"eq":[{{"field":"amount"}},{{"decimal":"{text}"}}]}}"#))
            .expect_err(text);
        assert!(error.contains("is not a decimal"), "{text}: {error}");
    }
}

#[test]
fn a_condition_of_an_unknown_shape_is_refused() {
    for json in [
        r#"{"matches":[{"field":"brand"},{"text":"a"}]}"#,
        r#"{"eq":[{"field":"brand"}]}"#,
        r#"{"eq":[{"field":"brand"},{"text":"a"},{"text":"b"}]}"#,
        r#"{"eq":[{"float":1.5},{"field":"amount"}]}"#,
        r#"{"eq":[{"int":9223372036854775808},{"field":"amount"}]}"#,
        r#"{"eq":[{"field":"a"},{"field":"b"}],"ne":[{"field":"a"},{"field":"b"}]}"#,
        "true",
        "[]",
    ] {
        assert!(serde_json::from_str::<Condition>(json).is_err(), "{json}");
    }
}

#[test]
fn depth_parts_and_strings_have_bounds() {
    let nested = |depth: usize| {
        let mut condition = read(r#"{"is":{"field":"refund"}}"#);
        for _ in 1..depth {
            condition = Condition::Not(Box::new(condition));
        }
        condition.check(&fields(), &params())
    };
    assert_eq!(nested(DEPTH_MAX), Ok(()));
    assert_eq!(nested(DEPTH_MAX + 1), Err(format!("it has more than {DEPTH_MAX} levels")));
    let wide = |parts: usize| {
        Condition::Any(vec![read(r#"{"is":{"field":"refund"}}"#); parts - 1])
            .check(&fields(), &params())
    };
    assert_eq!(wide(PARTS_MAX), Ok(()));
    assert_eq!(wide(PARTS_MAX + 1), Err(format!("it has more than {PARTS_MAX} parts")));
    let long = |length: usize| {
        Condition::Eq(Operand::Field("brand".into()), Operand::Text("a".repeat(length)))
            .check(&fields(), &params())
    };
    assert_eq!(long(TEXT_BYTES_MAX), Ok(()));
    assert!(long(TEXT_BYTES_MAX + 1).unwrap_err().contains("257 bytes"));
    // The manifest's reader limits the depth, so no recursion is unbounded before the check.
    let deep = format!(r#"{}{{"present":"at"}}{}"#, r#"{"not":"#.repeat(200), "}".repeat(200));
    assert!(
        serde_json::from_str::<Condition>(&deep)
            .unwrap_err()
            .to_string()
            .contains("recursion limit")
    );
}

#[test]
fn parameters_are_written_with_the_values_of_the_campaign() {
    let condition = read(
        r#"{"all":[
            {"ge":[{"field":"amount"},{"param":"least"}]},
            {"eq":[{"field":"brand"},{"param":"brand"}]},
            {"is":{"param":"on"}}
        ]}"#,
    );
    let mut set = vec![0x94, 0xd8, 1];
    set.extend(crate::wire::decimal_to_wire("100.00".parse().unwrap()));
    set.extend([0xa1, b'b', 0xc3, 0x90]);
    let shown =
        |set: &[u8]| condition.with_params(&params(), set).map(|condition| condition.to_string());
    assert_eq!(shown(&set).as_deref(), Some(r#"amount >= 100.00 && brand == "b" && true"#));
    assert_eq!(shown(&set[..set.len() - 1]), None, "a parameter is missing");
    assert_eq!(shown(&[0x94, 0xc0, 0xa1, b'b', 0xc3, 0x90]), None, "no parameter is nil");
}
