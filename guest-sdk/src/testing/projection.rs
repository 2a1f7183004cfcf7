//! The projection of an event to the fields of a handler, by the rules of `docs/abi.md`. This code
//! is written for clarity; the engine has its own implementation, written for speed.

use hailer_abi::manifest::{Field, FieldKind, Handler};

use super::json::Json;
use crate::wire::Writer;
use crate::{Decimal, Timestamp};

/// Writes the values of all fields of a handler.
///
/// # Errors
/// The reason why the handler is not called: a required field is absent or, if the handler is
/// strict, a field is present but unusable.
pub(super) fn project(handler: &Handler, body: &Json, writer: &mut Writer) -> Result<(), String> {
    let mut missing = None;
    record(&handler.fields, handler.strict, body, writer, &mut missing);
    missing.map_or(Ok(()), Err)
}

fn record(
    fields: &[Field],
    strict: bool,
    from: &Json,
    writer: &mut Writer,
    missing: &mut Option<String>,
) {
    writer.array(fields.len());
    for field in fields {
        let found =
            field.paths.iter().filter_map(|path| from.at(path)).find(|value| !value.is_absent());
        let before = writer.len();
        let written = match found {
            Some(value) => value_of(field, strict, value, writer, missing),
            None => false,
        };
        if !written {
            writer.truncate(before);
            writer.nil();
            // Another field of the handler may read the same paths as a different type.
            let is_read_otherwise = |value: &Json| {
                let mut twins = fields
                    .iter()
                    .filter(|twin| twin.paths == field.paths && twin.kind != field.kind);
                twins.any(|twin| value_of(twin, strict, value, &mut Writer::default(), &mut None))
            };
            match found {
                None if (field.required || strict)
                    && field.paths.iter().any(|path| from.has_non_object_parent(path)) =>
                {
                    let why = || format!("`{}` has a parent that is not an object", field.name);
                    missing.get_or_insert_with(why);
                }
                None if field.required => {
                    _ = missing.get_or_insert_with(|| format!("the event has no `{}`", field.name))
                }
                Some(value) if field.required || strict && !is_read_otherwise(value) => {
                    missing
                        .get_or_insert_with(|| format!("`{}` is present but unusable", field.name));
                }
                _ => {}
            }
        }
    }
}

/// Writes one value; `false` if it is of another type.
fn value_of(
    field: &Field,
    strict: bool,
    value: &Json,
    writer: &mut Writer,
    missing: &mut Option<String>,
) -> bool {
    let written = match (field.kind, value) {
        (FieldKind::Bool, Json::Bool(value)) => {
            writer.bool(*value);
            Some(())
        }
        (FieldKind::Int, Json::Number(text)) => int(text).map(|value| writer.int(value)),
        (FieldKind::Float, Json::Number(text)) => {
            text.parse().ok().map(|value| writer.float(value))
        }
        (FieldKind::Str | FieldKind::Id, Json::Text(text)) => {
            writer.str(text);
            Some(())
        }
        (FieldKind::Id, Json::Number(text)) if is_integer_literal(text) => {
            writer.str(text);
            Some(())
        }
        (FieldKind::Id, Json::Number(text)) => {
            int(text).map(|value| writer.str(&value.to_string()))
        }
        (FieldKind::Decimal, Json::Number(text)) => {
            decimal(text).map(|value| writer.decimal(value))
        }
        (FieldKind::Timestamp, Json::Text(text)) => {
            moment(text).map(|value| writer.timestamp(value))
        }
        (FieldKind::Map, Json::Object(members)) => map(members, writer),
        (FieldKind::List, Json::Array(elements)) => {
            let elements: Vec<_> = elements.iter().filter(|element| !element.is_absent()).collect();
            if !elements.iter().all(|element| matches!(element, Json::Object(_))) {
                return false;
            }
            writer.array(elements.len());
            elements.iter().for_each(|element| record(&field.of, strict, element, writer, missing));
            Some(())
        }
        (FieldKind::Raw, value) => {
            raw(value, writer);
            Some(())
        }
        _ => None,
    };
    written.is_some()
}

fn map(members: &[(String, Json)], writer: &mut Writer) -> Option<()> {
    let members: Vec<_> = members.iter().filter(|(_, value)| !value.is_absent()).collect();
    writer.map(members.len());
    members.iter().try_for_each(|(key, value)| {
        let Json::Number(text) = value else { return None };
        writer.str(key);
        writer.decimal(decimal(text)?);
        Some(())
    })
}

fn raw(value: &Json, writer: &mut Writer) {
    match value {
        Json::Null => writer.nil(),
        Json::Bool(value) => writer.bool(*value),
        Json::Number(text) => match (text.parse::<i64>(), text.parse::<u64>(), decimal(text)) {
            (Ok(value), _, _) => writer.int(value),
            (_, Ok(value), _) => writer.unsigned(value),
            (_, _, Some(value)) => writer.decimal(value),
            _ => writer.float(text.parse().unwrap_or_default()),
        },
        Json::Text(text) => writer.str(text),
        Json::Array(elements) => {
            writer.array(elements.len());
            elements.iter().for_each(|element| raw(element, writer));
        }
        Json::Object(members) => {
            writer.map(members.len());
            for (key, member) in members {
                writer.str(key);
                raw(member, writer);
            }
        }
    }
}

/// Reads a timestamp in any of the formats of `docs/abi.md`. Formats other than RFC 3339 are first
/// converted to it.
fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| in_rfc_3339(text)?.parse().ok())
}

fn in_rfc_3339(text: &str) -> Option<String> {
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_extended = text.as_bytes().get(4) == Some(&b'-');
    let (date, rest) = text.split_at_checked(if is_extended { 10 } else { 8 })?;
    let date = if is_extended {
        date.to_owned()
    } else {
        is_digits(date).then(|| format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..]))?
    };
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, offset) = rest.split_at(rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len()));
    let (time, fraction) =
        time.split_once(['.', ',']).map_or((time, None), |(time, fraction)| (time, Some(fraction)));
    let time = match time.len() {
        4 if is_digits(time) && fraction.is_none() => format!("{}:{}:00", &time[..2], &time[2..]),
        6 if is_digits(time) => format!("{}:{}:{}", &time[..2], &time[2..4], &time[4..]),
        5 if fraction.is_none() => format!("{time}:00"),
        _ => time.to_owned(),
    };
    let fraction = fraction.map(|fraction| format!(".{fraction}")).unwrap_or_default();
    let offset = offset.strip_prefix(' ').filter(|offset| !offset.is_empty()).unwrap_or(offset);
    let offset = match offset.get(1..) {
        Some(hours) if hours.len() == 2 => format!("{offset}:00"),
        Some(digits) if digits.len() == 4 && is_digits(digits) => {
            format!("{}:{}", &offset[..3], &offset[3..])
        }
        _ => offset.to_owned(),
    };
    Some(format!("{date}T{time}{fraction}{offset}"))
}

fn is_integer_literal(text: &str) -> bool {
    !text.contains(['.', 'e', 'E'])
}

/// The value of a number's text that is a whole number, such as `10.0000`; else `None`.
fn int(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| decimal(text).filter(|value| value.truncate(0) == *value)?.floor())
}

/// Converts a number's text, with or without an exponent, to a decimal; `None` if it does not fit.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    let Some((number, exponent)) = text.split_once(['e', 'E']) else {
        // Trailing zeros are kept as far as they fit.
        return rounded(text);
    };
    let exponent: i32 = exponent.trim_start_matches('+').parse().ok()?;
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |number| ("-", number));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let point = i32::try_from(whole.len()).ok()? + exponent;
    // Outside of these limits, no decimal fits or no digit is left.
    if point > 58 {
        return None;
    }
    let point = point.max(-40);
    let mut digits = format!("{whole}{fraction}");
    let before = usize::try_from(-point).unwrap_or(0) + 1;
    let point = usize::try_from(point).unwrap_or(0);
    digits = format!("{}{digits}", "0".repeat(before));
    let point = if before > 1 { 1 } else { point + 1 };
    while digits.len() < point {
        digits.push('0');
    }
    let (whole, fraction) = digits.split_at(point);
    rounded(&format!("{sign}{whole}.{fraction}"))
}

/// Converts a number without an exponent to a decimal. If the digits do not fit, it is rounded half
/// to even, to fewer digits after the point.
fn rounded(text: &str) -> Option<Decimal> {
    let (sign, number) = text.strip_prefix('-').map_or(("", text), |number| ("-", number));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !format!("{whole}{fraction}").bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let places_max = fraction.len().min(28);
    (0..=places_max).rev().find_map(|places| {
        let (kept, cut) = fraction.split_at(places);
        let mut digits: Vec<u8> = format!("0{whole}{kept}").into_bytes();
        let half = format!("5{}", "0".repeat(cut.len().saturating_sub(1)));
        let is_odd = digits.last().is_some_and(|digit| digit % 2 == 1);
        if !cut.is_empty() && (cut > half.as_str() || cut == half && is_odd) {
            for digit in digits.iter_mut().rev() {
                if *digit != b'9' {
                    *digit += 1;
                    break;
                }
                *digit = b'0';
            }
        }
        let point = digits.len() - places;
        let digits = String::from_utf8(digits).ok()?;
        let (whole, fraction) = digits.split_at(point);
        let whole = whole.strip_prefix('0').filter(|rest| !rest.is_empty()).unwrap_or(whole);
        let plain = if places == 0 {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{fraction}")
        };
        plain.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_skips_null_and_empty_entries_and_rejects_non_numbers() {
        let entries = |json: &str| {
            let Ok(Json::Object(members)) = Json::parse(json) else {
                panic!("{json} is an object")
            };
            let mut writer = Writer::default();
            map(&members, &mut writer).map(|()| crate::wire::Reader::new(writer.bytes()).map())
        };
        assert_eq!(entries(r#"{"1": 1.50, "2": null, "3": "", "4": -1}"#), Some(2));
        assert_eq!(entries(r#"{"1": 1.50, "2": "x"}"#), None);
    }

    #[test]
    fn a_strict_handler_is_not_called_if_a_parent_of_a_field_is_not_an_object() {
        let field = Field {
            name: "number".to_owned(),
            kind: FieldKind::Str,
            paths: vec!["/card/number".to_owned(), "/number".to_owned()],
            required: false,
            personal: false,
            of: Vec::new(),
        };
        let called = |strict, body: &str| {
            let handler = Handler {
                name: "h".to_owned(),
                events: Vec::new(),
                timer: None,
                merge: false,
                fields: vec![field.clone()],
                when: None,
                strict,
            };
            let Ok(body) = Json::parse(body) else { panic!("{body} is JSON") };
            project(&handler, &body, &mut Writer::default())
        };
        let refused = Err("`number` has a parent that is not an object".to_owned());
        for body in [r#"{"card":"x"}"#, r#"{"card":[{"number":"1"}]}"#] {
            assert_eq!(
                (called(true, body), called(false, body)),
                (refused.clone(), Ok(())),
                "{body}"
            );
        }
        for body in ["{}", r#"{"card":null}"#, r#"{"card":{}}"#, r#"{"card":7,"number":"1"}"#] {
            assert_eq!(called(true, body), Ok(()), "{body}");
        }
    }

    #[test]
    fn exponents_move_the_point() {
        for (text, plain) in [
            ("1e3", "1000"),
            ("1.5E+2", "150"),
            ("-1.25e1", "-12.5"),
            ("12e-1", "1.2"),
            ("12e-2", "0.12"),
            ("12e-4", "0.0012"),
            ("0e0", "0"),
        ] {
            assert_eq!(decimal(text).unwrap().to_string().trim_start_matches('+'), plain, "{text}");
        }
        assert!(decimal("1e30").is_none() && decimal("1e999999999999").is_none());
    }

    #[test]
    fn excess_digits_are_rounded_half_to_even_as_in_the_engine() {
        for (text, rounded) in [
            ("33.333333333333333333333333333", "33.333333333333333333333333333"),
            ("66.666666666666666666666666667", "66.666666666666666666666666667"),
            (
                "0.1000000000000000055511151231257827021181583404541015625",
                "0.1000000000000000055511151231",
            ),
            ("-99.999999999999999999999999999", "-100.00000000000000000000000000"),
            ("0.00000000000000000000000000005", "0.0000000000000000000000000000"),
            ("0.00000000000000000000000000015", "0.0000000000000000000000000002"),
            ("1e-40", "0.0000000000000000000000000000"),
            ("150.0000", "150.0000"),
        ] {
            assert_eq!(
                decimal(text).map(|value| value.to_string()).as_deref(),
                Some(rounded),
                "{text}"
            );
        }
        assert!(decimal("1x.5").is_none() && decimal("99999999999999999999999999999").is_none());
    }
}
