//! A second implementation of projection, on top of `serde_json`. It is written after `docs/abi.md`
//! with trees and strings, so that it shares no idea with the code that it checks. This module also
//! generates the random bodies for both.

use std::collections::BTreeMap;

use hailer_abi::manifest::{Field, FieldKind};
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::value::RawValue;

use super::Packed;

/// JSON with number literals as they are written. If several members have one name, it has the
/// last.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Str(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    pub(super) fn parse(text: &str) -> Json {
        let text = text.trim();
        let parse_all = |values: Vec<Box<RawValue>>| {
            values.iter().map(|value| Json::parse(value.get())).collect()
        };
        match text.as_bytes()[0] {
            b'n' => Json::Null,
            b't' | b'f' => Json::Bool(text == "true"),
            b'"' => Json::Str(serde_json::from_str(text).unwrap()),
            b'[' => Json::Array(parse_all(serde_json::from_str(text).unwrap())),
            b'{' => {
                let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap();
                Json::Object(
                    members
                        .into_iter()
                        .map(|(key, value)| (key, Json::parse(value.get())))
                        .collect(),
                )
            }
            _ => Json::Number(text.to_owned()),
        }
    }

    fn pointer(&self, pointer: &str) -> Option<&Json> {
        let mut steps = pointer.split('/');
        assert_eq!(steps.next(), Some(""));
        steps.try_fold(self, |json, step| match json {
            Json::Object(members) => members.get(&step.replace("~1", "/").replace("~0", "~")),
            _ => None,
        })
    }

    /// Whether a parent on the path of a pointer is present and is not an object.
    fn ends_before(&self, pointer: &str) -> bool {
        let ways = pointer.match_indices('/').map(|(end, _)| self.pointer(&pointer[..end]));
        ways.flatten().any(|json| !json.is_absent() && !matches!(json, Json::Object(_)))
    }

    fn is_absent(&self) -> bool {
        matches!(self, Json::Null) || *self == Json::Str(String::new())
    }
}

/// Returns the value of a field, and whether an element of its list lacks a required sub-field.
/// Adds the mismatches to `mismatches`.
pub(super) fn expected(body: &Json, field: &Field, mismatches: &mut u32) -> (Option<Packed>, bool) {
    let mut answers = field.paths.iter().filter_map(|path| body.pointer(path));
    let Some(answer) = answers.find(|json| !json.is_absent()) else {
        *mismatches += u32::from(field.paths.iter().any(|path| body.ends_before(path)));
        return (None, false);
    };
    let mut missing = false;
    let value = value(answer, field, mismatches, &mut missing);
    *mismatches += u32::from(value.is_none());
    (value.clone(), missing && value.is_some())
}

fn value(json: &Json, field: &Field, mismatches: &mut u32, missing: &mut bool) -> Option<Packed> {
    Some(match (field.kind, json) {
        (FieldKind::Bool, Json::Bool(value)) => Packed::Bool(*value),
        (FieldKind::Int, Json::Number(literal)) => {
            Packed::Int(integer(literal).filter(|value| i64::try_from(*value).is_ok())?)
        }
        (FieldKind::Float, Json::Number(literal)) => Packed::Float(float(literal)?),
        (FieldKind::Str | FieldKind::Id, Json::Str(text)) => Packed::Str(text.clone()),
        (FieldKind::Id, Json::Number(literal)) if is_integer_literal(literal) => {
            Packed::Str(literal.clone())
        }
        (FieldKind::Id, Json::Number(literal)) => Packed::Str(integer(literal)?.to_string()),
        (FieldKind::Decimal, Json::Number(literal)) => rounded(literal)?,
        (FieldKind::Timestamp, Json::Str(text)) => {
            let with_offset = if text.ends_with('Z') { text.clone() } else { format!("{text}Z") };
            let nanoseconds = with_offset.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
            // Extra digits are dropped, also for times before 1970.
            Packed::Timestamp(i64::try_from(nanoseconds.div_euclid(1_000_000)).ok()?)
        }
        (FieldKind::Map, Json::Object(members)) => {
            let mut map = BTreeMap::new();
            for (key, json) in members.iter().filter(|(_, json)| !json.is_absent()) {
                let Json::Number(literal) = json else { return None };
                map.insert(key.clone(), rounded(literal)?);
            }
            Packed::Map(map)
        }
        (FieldKind::List, Json::Array(elements)) => {
            let mut records = Vec::new();
            for element in elements.iter().filter(|element| !element.is_absent()) {
                let Json::Object(_) = element else { return None };
                let mut record = Vec::new();
                for sub_field in &field.of {
                    let (value, _) = expected(element, sub_field, mismatches);
                    *missing |= sub_field.required && value.is_none();
                    record.push(value.unwrap_or(Packed::Nil));
                }
                records.push(Packed::Array(record));
            }
            Packed::Array(records)
        }
        (FieldKind::Raw, json) => raw(json, mismatches),
        _ => return None,
    })
}

fn raw(json: &Json, mismatches: &mut u32) -> Packed {
    match json {
        Json::Null => Packed::Nil,
        Json::Bool(value) => Packed::Bool(*value),
        Json::Str(text) => Packed::Str(text.clone()),
        Json::Array(elements) => {
            Packed::Array(elements.iter().map(|json| raw(json, mismatches)).collect())
        }
        Json::Object(members) => Packed::Map(
            members.iter().map(|(key, json)| (key.clone(), raw(json, mismatches))).collect(),
        ),
        Json::Number(literal) => {
            let integer = integer(literal)
                .filter(|value| i64::try_from(*value).is_ok() || u64::try_from(*value).is_ok());
            let number = match integer.filter(|_| is_integer_literal(literal)) {
                Some(integer) => Some(Packed::Int(integer)),
                None => decimal(literal).or_else(|| float(literal).map(Packed::Float)),
            };
            *mismatches += u32::from(number.is_none());
            number.unwrap_or(Packed::Nil)
        }
    }
}

fn is_integer_literal(literal: &str) -> bool {
    !literal.contains(['.', 'e', 'E'])
}

fn float(literal: &str) -> Option<f64> {
    literal.parse().ok().filter(|float: &f64| float.is_finite())
}

fn integer(literal: &str) -> Option<i128> {
    let (sign, digits, exponent) = digits_of(literal);
    if digits.is_empty() {
        return Some(0);
    }
    if exponent < 0 || exponent + digits.len() as i64 > 28 {
        return None;
    }
    format!("{sign}{digits}{}", "0".repeat(exponent as usize)).parse().ok()
}

fn decimal(literal: &str) -> Option<Packed> {
    let (sign, digits, exponent) = digits_of(literal);
    let mantissa = literal.split(['e', 'E']).next().unwrap();
    let places = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i64);
    let written = exponent_of(literal);
    // The scale as written, or the largest one that 28 digits hold.
    (0..=(places - written).clamp(0, 28)).rev().find_map(|scale| {
        if digits.is_empty() {
            return Some(Packed::Decimal(Decimal::new(0, scale as u32), scale as u32));
        }
        let zeros = usize::try_from(scale + exponent).ok()?;
        if digits.len() + zeros > 28 {
            return None;
        }
        let magnitude: i128 = format!("{sign}{digits}{}", "0".repeat(zeros)).parse().unwrap();
        Some(Packed::Decimal(Decimal::from_i128_with_scale(magnitude, scale as u32), scale as u32))
    })
}

/// The decimal of a literal. If 28 digits do not hold it, it is rounded half to even, to the
/// largest scale that 96 bits hold.
fn rounded(literal: &str) -> Option<Packed> {
    if let Some(exact) = decimal(literal) {
        return Some(exact);
    }
    let (sign, digits, exponent) = digits_of(literal);
    (0..=(-exponent).clamp(0, 28)).rev().find_map(|scale| {
        // The number of digits up to that scale.
        let kept = digits.len() as i64 + exponent + scale;
        if kept > 29 {
            return None;
        }
        let kept = usize::try_from(kept).unwrap_or(0);
        let leading =
            usize::try_from(-(digits.len() as i64 + exponent + scale)).unwrap_or(0).min(99);
        let padded = format!("{}{digits:0<kept$}", "0".repeat(leading));
        let (whole, rest) = padded.split_at(kept);
        let whole: i128 = format!("0{whole}").parse().unwrap();
        let half = format!("5{}", "0".repeat(rest.len().saturating_sub(1)));
        let is_up = !rest.is_empty() && (*rest > *half || *rest == *half && whole % 2 == 1);
        let magnitude = whole + i128::from(is_up);
        let signed = if sign == "-" { -magnitude } else { magnitude };
        let decimal = Decimal::try_from_i128_with_scale(signed, scale as u32).ok()?;
        Some(Packed::Decimal(decimal, scale as u32))
    })
}

fn exponent_of(literal: &str) -> i64 {
    literal.split_once(['e', 'E']).map_or(0, |(_, exponent)| exponent.parse().unwrap())
}

/// Returns the sign, the digits without leading and trailing zeros, and the power of ten by which
/// to multiply them.
fn digits_of(literal: &str) -> (&str, String, i64) {
    let (sign, unsigned) = literal.strip_prefix('-').map_or(("", literal), |rest| ("-", rest));
    let mantissa = unsigned.split(['e', 'E']).next().unwrap();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0').trim_end_matches('0').to_owned();
    let zeros_cut = all.len() - all.trim_end_matches('0').len();
    (sign, digits, exponent_of(literal) - fraction.len() as i64 + zeros_cut as i64)
}

/// The keys of random bodies. They are few, so that paths find them and duplicates occur. Some have
/// equal fingerprints or nearly so, and some need escapes.
pub(super) const KEYS: [&str; 12] = [
    "a",
    "b",
    "",
    "items",
    "customerId",
    "customorId",
    "custamerId",
    "~",
    "a/b",
    "ключ",
    "\"",
    "😀\n",
];

/// JSON of any shape, as text.
pub(super) fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        2 => Just("null".to_owned()),
        1 => prop_oneof![Just("true".to_owned()), Just("false".to_owned())],
        2 => any_number(),
        1 => "-?(0|[1-9][0-9]{0,2})",
        1 => Just("\"\"".to_owned()),
        2 => any_string(),
        1 => any_moment(),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let array = proptest::collection::vec(inner.clone(), 0..5);
        let records = proptest::collection::vec(any_object_of(inner.clone()), 0..4);
        prop_oneof![
            array.prop_map(|elements| format!("[ {} ]", elements.join(" ,"))),
            records.prop_map(|elements| format!("[{}\n]", elements.join(","))),
            any_object_of("-?[1-9][0-9]?\\.[0-9]{4}|null".prop_map(String::from)),
            any_object_of(inner),
        ]
    })
}

/// An object with member names from [`KEYS`].
pub(super) fn any_object_of(
    value: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<String> {
    let key = (proptest::sample::select(&KEYS[..]), any::<u64>())
        .prop_map(|(key, style)| literal(key, style));
    let member = (key, "[ \n\t]?", value)
        .prop_map(|(key, space, value)| format!("{key}{space}:{space}{value}"));
    proptest::collection::vec(member, 0..7)
        .prop_map(|members| format!("{{{}}}", members.join(", ")))
        .boxed()
}

fn any_number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?"
}

fn any_string() -> impl Strategy<Value = String> {
    (any::<String>(), any::<u64>()).prop_map(|(text, style)| literal(&text, style))
}

fn any_moment() -> impl Strategy<Value = String> {
    "\"(19|20)[0-9]{2}-(0[1-9]|1[0-9])-([0-2][1-9]|31)T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,\
     9})?Z?\""
}

/// The literal of a string. The bits of `style` decide which characters are escaped.
fn literal(text: &str, style: u64) -> String {
    let mut literal = String::from("\"");
    for (index, character) in text.chars().enumerate() {
        let escape = style >> (index % 64) & 1 == 1;
        match character {
            '"' | '\\' if !escape => literal.extend(['\\', character]),
            '/' if escape => literal.push_str("\\/"),
            '\n' if !escape => literal.push_str("\\n"),
            '\t' if !escape => literal.push_str("\\t"),
            '\r' if !escape => literal.push_str("\\r"),
            '\u{8}' if !escape => literal.push_str("\\b"),
            '\u{c}' if !escape => literal.push_str("\\f"),
            _ if escape || character < ' ' => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    literal.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => literal.push(character),
        }
    }
    literal.push('"');
    literal
}
