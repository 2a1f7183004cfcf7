//! Values that a scenario sets or expects: converts TOML to JSON, and compares JSON. Numbers with
//! equal values are equal, whatever their trailing zeros.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde_json::{Map, Number, Value};
use toml::de::DeValue;

/// Maximum of digits that a JSON number keeps when it is read as a float.
const DIGITS_MAX: usize = 15;

/// Converts a value of the file to JSON.
///
/// # Errors
/// JSON cannot represent the value.
pub(super) fn json_of(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(moment) => Value::String(moment.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
            Value::Number(number.ok_or("is too large a number")?.into())
        }
        DeValue::Float(number) => {
            let text = number.as_str().replace('_', "");
            if text.bytes().filter(u8::is_ascii_digit).count() > DIGITS_MAX {
                return Err(format!("has more than {DIGITS_MAX} digits"));
            }
            let number = f64::from_str(&text).ok().and_then(Number::from_f64);
            Value::Number(number.ok_or("is a number that JSON does not have")?)
        }
        DeValue::Array(values) => Value::Array(
            values.iter().map(|value| json_of(value.get_ref())).collect::<Result<_, _>>()?,
        ),
        DeValue::Table(members) => {
            let member = |(key, value): (
                &toml::Spanned<toml::de::DeString<'_>>,
                &toml::Spanned<DeValue<'_>>,
            )| {
                Ok::<_, String>((key.get_ref().to_string(), json_of(value.get_ref())?))
            };
            Value::Object(members.iter().map(member).collect::<Result<Map<_, _>, _>>()?)
        }
    })
}

/// Whether a value is as expected. Objects may have further members; lists must have the same
/// number of elements.
pub(super) fn is_as_expected(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().all(|(key, expected)| {
                found.get(key).is_some_and(|found| is_as_expected(expected, found))
            })
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected
                    .iter()
                    .zip(found)
                    .all(|(expected, found)| is_as_expected(expected, found))
        }
        (Value::Number(expected), Value::Number(found)) => {
            match (decimal(expected), decimal(found)) {
                (Some(expected), Some(found)) => expected == found,
                _ => expected == found,
            }
        }
        _ => expected == found,
    }
}

fn decimal(number: &Number) -> Option<Decimal> {
    let text = number.to_string();
    Decimal::from_str(&text).ok().or_else(|| Decimal::from_scientific(&text).ok())
}

/// Formats members for people: `amount: 135, group: "A"`.
pub(super) fn shown_members(members: &Map<String, Value>) -> String {
    members.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_compared_by_value_and_objects_by_the_named_members() {
        assert!(is_as_expected(&json!({"amount": 135}), &json!({"amount": 135.0, "brand": "x"})));
        assert!(is_as_expected(&json!([{"a": 1}]), &json!([{"a": 1, "b": 2}])));
        assert!(!is_as_expected(&json!([1]), &json!([1, 2])));
        assert!(!is_as_expected(&json!({"amount": 135}), &json!({"amount": "135"})));
        assert!(!is_as_expected(&json!({"amount": 135}), &json!({})));
    }
}
