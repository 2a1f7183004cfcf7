//! Tests of guards: single cases, and generated conditions and events that are compared with a
//! second definition of their meaning.

use proptest::prelude::*;

use super::*;
use crate::manifest::{FieldKind, ParamKind};
use crate::wire::decimal_to_wire;

const FIELDS: [(&str, FieldKind); 6] = [
    ("amount", FieldKind::Decimal),
    ("paid", FieldKind::Decimal),
    ("count", FieldKind::Int),
    ("brand", FieldKind::Id),
    ("kind", FieldKind::Str),
    ("refund", FieldKind::Bool),
];
const PARAMS: [(&str, ParamKind); 4] = [
    ("least", ParamKind::Decimal),
    ("times", ParamKind::Int),
    ("brand", ParamKind::Str),
    ("on", ParamKind::Bool),
];

fn fields() -> Vec<Field> {
    let field = |(name, kind): (&str, FieldKind)| Field {
        name: name.into(),
        kind,
        paths: vec![String::new()],
        required: false,
        personal: false,
        of: Vec::new(),
    };
    FIELDS.map(field).into()
}

fn schema() -> Vec<Param> {
    let param = |(name, kind): (&str, ParamKind)| Param {
        name: name.into(),
        kind,
        default: None,
        min: None,
        max: None,
        doc: String::new(),
    };
    PARAMS.map(param).into()
}

/// A value in a test. A number is given in ten-thousandths. It is written as a decimal with `scale`
/// digits after the point, or as an integer if `scale` is `None`.
#[derive(Clone, Debug)]
enum Plain {
    Bool(bool),
    Number { tenthousandths: i64, scale: Option<u32> },
    Text(String),
    Absent,
}

impl Plain {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Plain::Absent => out.push(NIL),
            Plain::Bool(value) => out.push(0xc2 | u8::from(*value)),
            Plain::Number { tenthousandths, scale: Some(scale) } => {
                let mut value = Decimal::new(*tenthousandths, 4);
                value.rescale(*scale);
                out.extend([0xd8, 1]);
                out.extend(decimal_to_wire(value));
            }
            Plain::Number { tenthousandths, scale: None } => {
                out.push(0xd3);
                out.extend((tenthousandths / 10_000).to_be_bytes());
            }
            Plain::Text(text) => {
                out.extend([0xd9, text.len() as u8]);
                out.extend(text.as_bytes());
            }
        }
    }
}

fn array(values: &[Plain]) -> Vec<u8> {
    let mut bytes = vec![0x90 | values.len() as u8];
    values.iter().for_each(|value| value.write(&mut bytes));
    bytes
}

fn number(text: &str) -> Plain {
    let value: Decimal = text.parse().unwrap();
    let mut in_tenthousandths = value;
    in_tenthousandths.rescale(4);
    Plain::Number {
        tenthousandths: in_tenthousandths.mantissa() as i64,
        scale: Some(value.scale()),
    }
}

fn int(value: i64) -> Plain {
    Plain::Number { tenthousandths: value * 10_000, scale: None }
}

fn text(text: &str) -> Plain {
    Plain::Text(text.into())
}

fn params() -> [Plain; 4] {
    [number("100.00"), int(3), text("b"), Plain::Bool(true)]
}

/// The result of a condition, given as JSON, for these fields.
fn answer(json: &str, values: &[Plain; 6]) -> Option<bool> {
    let condition: Condition = serde_json::from_str(json).unwrap();
    assert_eq!(condition.check(&fields(), &schema()), Ok(()), "{json}");
    let guard = Guard::new(&condition, &fields(), &schema(), &array(&params())).unwrap();
    let bytes = array(values);
    let fields = crate::value::elements(&bytes).unwrap();
    assert_eq!(guard.matches(&fields), guard.answer(&fields) == Some(true));
    guard.answer(&fields)
}

const NOTHING: [Plain; 6] = [const { Plain::Absent }; 6];

/// Fields of which all but one are absent.
fn with(name: &str, value: Plain) -> [Plain; 6] {
    let mut values = NOTHING;
    values[FIELDS.iter().position(|(field, _)| *field == name).unwrap()] = value;
    values
}

#[test]
fn numbers_are_compared_by_value_and_text_by_bytes() {
    let equals = |right: &str| format!(r#"{{"eq":[{{"field":"amount"}},{right}]}}"#);
    for literal in [r#"{"decimal":"1.5"}"#, r#"{"decimal":"1.50000"}"#] {
        assert_eq!(
            answer(&equals(literal), &with("amount", number("1.50"))),
            Some(true),
            "{literal}"
        );
        assert_eq!(
            answer(&equals(literal), &with("amount", number("1.5001"))),
            Some(false),
            "{literal}"
        );
    }
    assert_eq!(answer(&equals(r#"{"int":100}"#), &with("amount", number("100.0000"))), Some(true));
    assert_eq!(
        answer(r#"{"ge":[{"field":"amount"},{"param":"least"}]}"#, &with("amount", number("100"))),
        Some(true)
    );
    assert_eq!(
        answer(r#"{"lt":[{"field":"count"},{"param":"least"}]}"#, &with("count", int(99))),
        Some(true)
    );
    assert_eq!(
        answer(r#"{"gt":[{"field":"count"},{"param":"times"}]}"#, &with("count", int(3))),
        Some(false)
    );
    let below = |literal: &str| format!(r#"{{"lt":[{{"field":"kind"}},{{"text":"{literal}"}}]}}"#);
    assert_eq!(
        answer(&below("b"), &with("kind", text("Z"))),
        Some(true),
        "capital letters come before small letters"
    );
    assert_eq!(answer(&below("я"), &with("kind", text("z"))), Some(true));
    assert_eq!(answer(&below("a"), &with("kind", text("aa"))), Some(false));
    assert_eq!(
        answer(r#"{"eq":[{"field":"brand"},{"param":"brand"}]}"#, &with("brand", text("b"))),
        Some(true)
    );
}

#[test]
fn a_comparison_with_an_absent_field_and_its_negation_are_unknown() {
    let is = r#"{"is":{"field":"refund"}}"#;
    for json in [
        is.to_owned(),
        format!(r#"{{"not":{is}}}"#),
        r#"{"eq":[{"field":"amount"},{"field":"amount"}]}"#.to_owned(),
        r#"{"ne":[{"field":"amount"},{"int":1}]}"#.to_owned(),
        format!(r#"{{"any":[{is},{{"not":{is}}}]}}"#),
    ] {
        assert_eq!(answer(&json, &NOTHING), None, "{json}");
    }
}

#[test]
fn an_absent_field_does_not_matter_if_the_other_parts_decide() {
    let (unknown, truth) = (r#"{"is":{"field":"refund"}}"#, r#"{"absent":"refund"}"#);
    let lie = r#"{"present":"refund"}"#;
    for (left, right) in [(unknown, truth), (truth, unknown)] {
        assert_eq!(answer(&format!(r#"{{"any":[{left},{right}]}}"#), &NOTHING), Some(true));
        assert_eq!(answer(&format!(r#"{{"all":[{left},{right}]}}"#), &NOTHING), None);
    }
    for (left, right) in [(unknown, lie), (lie, unknown)] {
        assert_eq!(
            answer(&format!(r#"{{"not":{{"all":[{left},{right}]}}}}"#), &NOTHING),
            Some(true)
        );
        assert_eq!(answer(&format!(r#"{{"any":[{left},{right}]}}"#), &NOTHING), None);
    }
}

#[test]
fn a_field_of_any_type_counts_as_present() {
    for value in [Plain::Bool(false), text(""), int(0)] {
        assert_eq!(answer(r#"{"present":"kind"}"#, &with("kind", value.clone())), Some(true));
        assert_eq!(answer(r#"{"absent":"kind"}"#, &with("kind", value)), Some(false));
    }
}

#[test]
fn parts_that_the_parameters_decide_are_left_out() {
    for (json, text) in [
        (
            r#"{"all":[
                {"any":[{"eq":[{"param":"brand"},{"text":"b"}]},{"is":{"field":"refund"}}]},
                {"ge":[{"field":"amount"},{"param":"least"}]}
            ]}"#,
            "amount >= 100.00",
        ),
        (
            r#"{"any":[
                {"not":{"is":{"param":"on"}}}, {"is":{"field":"refund"}}, {"present":"kind"}
            ]}"#,
            "refund || kind.is_some()",
        ),
        (
            r#"{"not":{"any":[{"lt":[{"param":"times"},{"int":3}]},{"is":{"field":"refund"}}]}}"#,
            "!refund",
        ),
        // If the parameters decide everything, the author's text is kept.
        (
            r#"{"all":[{"not":{"is":{"param":"on"}}},{"is":{"field":"refund"}}]}"#,
            "!self.on && refund",
        ),
    ] {
        let condition: Condition = serde_json::from_str(json).unwrap();
        let guard = Guard::new(&condition, &fields(), &schema(), &array(&params())).unwrap();
        assert_eq!(guard.text(), text);
    }
}

#[test]
fn the_text_of_a_guard_has_the_values_of_the_parameters() {
    let condition = Condition::Ge(Operand::Field("amount".into()), Operand::Param("least".into()));
    let guard = Guard::new(&condition, &fields(), &schema(), &array(&params())).unwrap();
    assert_eq!(guard.text(), "amount >= 100.00");
    assert_eq!(
        Guard::new(&condition, &[], &schema(), &array(&params())),
        None,
        "it was not checked for these fields"
    );
    assert_eq!(Guard::new(&condition, &fields(), &schema(), &[0x90]), None);
}

/// The meaning of a condition, defined a second time after the table in `docs/abi.md`: 0 is false,
/// 1 unknown, 2 true.
fn meaning(condition: &Condition, values: &[Plain; 6]) -> u8 {
    let of_field =
        |name: &str| &values[FIELDS.iter().position(|(field, _)| *field == name).unwrap()];
    let plain = |operand: &Operand| match operand {
        Operand::Field(name) => of_field(name).clone(),
        Operand::Param(name) => {
            params()[PARAMS.iter().position(|(param, _)| param == name).unwrap()].clone()
        }
        Operand::Int(value) => int(*value),
        Operand::Decimal(text) => number(text),
        Operand::Text(literal) => text(literal),
        Operand::Bool(value) => Plain::Bool(*value),
    };
    let truth = |is: bool| if is { 2 } else { 0 };
    match condition {
        Condition::All(parts) => parts.iter().map(|part| meaning(part, values)).min().unwrap(),
        Condition::Any(parts) => parts.iter().map(|part| meaning(part, values)).max().unwrap(),
        Condition::Not(part) => 2 - meaning(part, values),
        Condition::Is(operand) => match plain(operand) {
            Plain::Bool(value) => truth(value),
            _ => 1,
        },
        Condition::Present(name) => truth(!matches!(of_field(name), Plain::Absent)),
        Condition::Absent(name) => truth(matches!(of_field(name), Plain::Absent)),
        compared => {
            let (comparison, left, right) = compared.comparison().unwrap();
            let (below, above) = match (plain(left), plain(right)) {
                (Plain::Absent, _) | (_, Plain::Absent) => return 1,
                (Plain::Bool(left), Plain::Bool(right)) => (!left & right, left & !right),
                (
                    Plain::Number { tenthousandths: left, .. },
                    Plain::Number { tenthousandths: right, .. },
                ) => (left < right, left > right),
                (Plain::Text(left), Plain::Text(right)) => (left < right, left > right),
                other => panic!("{other:?} can't be compared"),
            };
            truth(match comparison {
                Comparison::Eq => !below && !above,
                Comparison::Ne => below || above,
                Comparison::Lt => below,
                Comparison::Le => !above,
                Comparison::Gt => above,
                Comparison::Ge => !below,
            })
        }
    }
}

fn event() -> impl Strategy<Value = [Plain; 6]> {
    let or_absent =
        |strategy: BoxedStrategy<Plain>| prop_oneof![1 => Just(Plain::Absent), 3 => strategy];
    let decimal = || {
        (-20_000_i64..=2_000_000, 4_u32..=8)
            .prop_map(|(tenthousandths, scale)| Plain::Number {
                tenthousandths,
                scale: Some(scale),
            })
            .boxed()
    };
    let near = || prop_oneof![decimal(), Just(number("100")), Just(number("1.5"))].boxed();
    let of =
        |texts: &'static [&'static str]| proptest::sample::select(texts).prop_map(text).boxed();
    (
        or_absent(near()),
        or_absent(near()),
        or_absent((-2_i64..=5).prop_map(int).boxed()),
        or_absent(of(&["a", "b", "c"])),
        or_absent(of(&["", "b", "я"])),
        or_absent(any::<bool>().prop_map(Plain::Bool).boxed()),
    )
        .prop_map(|(amount, paid, count, brand, kind, refund)| {
            [amount, paid, count, brand, kind, refund]
        })
}

fn operand(
    kind: &'static [(&'static str, bool)],
    literal: BoxedStrategy<Operand>,
) -> impl Strategy<Value = Operand> {
    let named = proptest::sample::select(kind).prop_map(|(name, is_field)| {
        if is_field { Operand::Field(name.into()) } else { Operand::Param(name.into()) }
    });
    prop_oneof![3 => named, 1 => literal]
}

fn condition() -> impl Strategy<Value = Condition> {
    let numbers = || {
        let literal = prop_oneof![
            (-2_i64..=5).prop_map(Operand::Int),
            proptest::sample::select(&["1.5", "1.5000", "100", "-0.0001"][..])
                .prop_map(|text| Operand::Decimal(text.into()))
        ];
        const NAMES: &[(&str, bool)] = &[
            ("amount", true),
            ("paid", true),
            ("count", true),
            ("least", false),
            ("times", false),
        ];
        operand(NAMES, literal.boxed())
    };
    let texts = || {
        let literal = proptest::sample::select(&["", "a", "b", "я"][..])
            .prop_map(|text| Operand::Text(text.into()));
        operand(&[("brand", true), ("kind", true), ("brand", false)], literal.boxed())
    };
    let bools = || {
        operand(&[("refund", true), ("on", false)], any::<bool>().prop_map(Operand::Bool).boxed())
    };
    let any_sign = || {
        use Comparison::{Eq, Ge, Gt, Le, Lt, Ne};
        proptest::sample::select(&[Eq, Ne, Lt, Le, Gt, Ge][..])
    };
    let name = || proptest::sample::select(&FIELDS[..]).prop_map(|(name, _)| name.to_owned());
    let leaf = prop_oneof![
        4 => (any_sign(), numbers(), numbers())
            .prop_map(|(sign, left, right)| sign.of(left, right)),
        2 => (any_sign(), texts(), texts()).prop_map(|(sign, left, right)| sign.of(left, right)),
        1 => (any::<bool>(), bools(), bools()).prop_map(|(equal, left, right)| {
            if equal { Condition::Eq(left, right) } else { Condition::Ne(left, right) }
        }),
        2 => bools().prop_map(Condition::Is),
        1 => name().prop_map(Condition::Present),
        1 => name().prop_map(Condition::Absent),
    ];
    leaf.prop_recursive(5, 32, 3, |part| {
        prop_oneof![
            proptest::collection::vec(part.clone(), 2..4).prop_map(Condition::All),
            proptest::collection::vec(part.clone(), 2..4).prop_map(Condition::Any),
            part.prop_map(|part| Condition::Not(Box::new(part))),
        ]
    })
}

fn holds(test: &Test, fields: &impl Fields) -> bool {
    match test {
        Test::Text { field, is } => fields.field(*field).and_then(crate::value::text) == Some(is),
        Test::Bool { field, is } => {
            fields.field(*field).and_then(Value::read) == Some(Value::Bool(*is))
        }
        Test::Number { field, comparison, number } => fields
            .field(*field)
            .and_then(digits)
            .is_some_and(|found| comparison.holds(by_value(found, *number))),
    }
}

#[test]
fn the_tests_of_a_condition_are_those_that_hold_for_the_fewest_events() {
    let tests = |json: &str| {
        let condition: Condition = serde_json::from_str(json).unwrap();
        Guard::new(&condition, &fields(), &schema(), &array(&params())).unwrap().tests()
    };
    let (amount, brand, refund) = (
        r#"{"ge":[{"field":"amount"},{"param":"least"}]}"#,
        r#"{"eq":[{"field":"brand"},{"param":"brand"}]}"#,
        r#"{"is":{"field":"refund"}}"#,
    );
    let of_brand = Test::Text { field: 3, is: Box::from(&b"b"[..]) };
    let of_refund = Test::Bool { field: 5, is: false };
    let of_amount = |comparison| {
        let number = Digits { mantissa: 10_000, scale: 2 };
        Test::Number { field: 0, comparison, number }
    };
    for (json, expected) in [
        (amount.to_owned(), Some(vec![of_amount(Comparison::Ge)])),
        (format!(r#"{{"not":{amount}}}"#), Some(vec![of_amount(Comparison::Lt)])),
        (format!(r#"{{"all":[{amount},{brand}]}}"#), Some(vec![of_brand.clone()])),
        (
            format!(r#"{{"all":[{{"present":"kind"}},{{"not":{refund}}}]}}"#),
            Some(vec![of_refund.clone()]),
        ),
        (
            format!(r#"{{"not":{{"all":[{{"not":{brand}}},{refund}]}}}}"#),
            Some(vec![of_brand, of_refund]),
        ),
        (format!(r#"{{"any":[{brand},{{"absent":"kind"}}]}}"#), None),
        (r#"{"all":[{"not":{"is":{"param":"on"}}}]}"#.to_owned(), Some(Vec::new())),
        (r#"{"is":{"param":"on"}}"#.to_owned(), None),
    ] {
        assert_eq!(tests(&json), expected, "{json}");
    }
}

/// Decimals of all sizes and scales, often close to each other.
fn decimal() -> impl Strategy<Value = Decimal> {
    let mantissa = prop_oneof![
        -200_i128..200,
        Just((1 << 96) - 1),
        Just(1 - (1 << 96)),
        -(1_i128 << 96) + 1..1 << 96
    ];
    (mantissa, 0..=28_u32)
        .prop_map(|(mantissa, scale)| Decimal::from_i128_with_scale(mantissa, scale))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn digits_are_ordered_as_decimals(left in decimal(), right in decimal()) {
        let digits =
            |decimal: Decimal| Digits { mantissa: decimal.mantissa(), scale: decimal.scale() };
        let order = by_value(digits(left), digits(right));
        prop_assert_eq!(order, left.cmp(&right), "{} and {}", left, right);
    }

    #[test]
    fn the_result_of_a_guard_is_the_meaning_of_its_condition(
        condition in condition(), values in event(),
    ) {
        prop_assert_eq!(condition.check(&fields(), &schema()), Ok(()));
        let json = serde_json::to_string(&condition).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Condition>(&json).unwrap(), &condition);
        let expected = [Some(false), None, Some(true)][usize::from(meaning(&condition, &values))];
        prop_assert_eq!(answer(&json, &values), expected, "{}", condition);
    }

    #[test]
    fn a_condition_is_never_true_if_none_of_its_tests_holds(
        condition in condition(), values in event(),
    ) {
        let guard = Guard::new(&condition, &fields(), &schema(), &array(&params())).unwrap();
        let bytes = array(&values);
        let fields = crate::value::elements(&bytes).unwrap();
        let tests = guard.tests().filter(|_| guard.matches(&fields));
        if let Some(tests) = tests {
            let is_one = tests.iter().any(|test| holds(test, &fields));
            prop_assert!(is_one, "{}: {:?}", condition, tests);
        }
    }
}
