//! Parameters of a campaign: they are checked against the schema in the module's manifest, and
//! encoded for `hailer_configure` (`docs/abi.md`).
//!
//! Decimals are read from the text of their literal, never through a float. All problems are
//! reported at once, each with its place in the file if it has one.

use std::ops::Range;

use hailer_abi::manifest::{Param, ParamKind, ParamValue};
use hailer_abi::wire::{EXT_DECIMAL, decimal_to_wire};
use rust_decimal::Decimal;
use toml::de::{DeTable, DeValue};

use hailer_base::wording::{closest, shown};

/// A parameter that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ParamError {
    pub param: String,
    /// The byte range in the parsed text; `None` if the parameter is missing.
    pub span: Option<Range<usize>>,
    pub reason: String,
    /// The next step for the user.
    pub hint: String,
}

/// Checks the parameters of a campaign, fills in the defaults, and encodes them for
/// `hailer_configure`. The result is an array in the order of the schema, so equal parameters give
/// equal bytes.
///
/// # Errors
/// Every parameter that is unknown, missing, of another type, or out of bounds.
pub fn encode_params(schema: &[Param], given: &DeTable<'_>) -> Result<Vec<u8>, Vec<ParamError>> {
    let mut errors = unknown_params(schema, given);
    let mut bytes = Vec::new();
    let written = rmp::encode::write_array_len(&mut bytes, schema.len() as u32);
    debug_assert!(written.is_ok(), "writing to memory cannot fail");
    for param in schema {
        match resolve(param, given) {
            Ok(value) => value.write(&mut bytes),
            Err(wrong) => errors.extend(wrong),
        }
    }
    errors.sort_by_key(|error| error.span.as_ref().map(|span| span.start));
    if errors.is_empty() { Ok(bytes) } else { Err(errors) }
}

/// Checks the declaration of a parameter: its bounds are numbers, and its default is within them.
///
/// # Errors
/// The problem, as text.
pub(super) fn check_declaration(param: &Param) -> Result<(), String> {
    let bounds = Bounds::of(param)?;
    if let (Some(min), Some(max)) = (bounds.min, bounds.max)
        && min > max
    {
        return Err(format!("min {min} is above max {max}"));
    }
    if param.kind == ParamKind::Bool && (bounds.min.is_some() || bounds.max.is_some()) {
        return Err("a bool has no bounds".into());
    }
    match &param.default {
        None => Ok(()),
        Some(default) => {
            let value =
                Value::from_default(param.kind, default).ok_or("the default is of another type")?;
            bounds.check(&value).map_err(|reason| format!("the default {reason}"))
        }
    }
}

fn unknown_params(schema: &[Param], given: &DeTable<'_>) -> Vec<ParamError> {
    let names = || schema.iter().map(|param| param.name.as_str());
    let unknown =
        given.iter().filter(|(key, _)| !names().any(|name| name == key.get_ref().as_ref()));
    unknown
        .map(|(key, _)| {
            let name = shown(key.get_ref());
            let hint = match closest(key.get_ref(), names()) {
                Some(known) => format!("did you mean `{known}`?"),
                None if schema.is_empty() => {
                    "this rule takes no parameters: remove the line".into()
                }
                None => format!("this rule takes {}", names().collect::<Vec<_>>().join(", ")),
            };
            let reason = format!("the rule has no parameter `{name}`");
            ParamError { param: name, span: Some(key.span()), reason, hint }
        })
        .collect()
}

fn resolve(param: &Param, given: &DeTable<'_>) -> Result<Value, Vec<ParamError>> {
    let name = &param.name;
    let error = |span, reason, hint| ParamError { param: name.clone(), span, reason, hint };
    let Some((_, literal)) = given.iter().find(|(key, _)| key.get_ref().as_ref() == name) else {
        let default =
            param.default.as_ref().and_then(|default| Value::from_default(param.kind, default));
        return default.ok_or_else(|| {
            let hint = format!("add `{name} = {}` under [params]", param_example(param.kind));
            vec![error(None, format!("the parameter `{name}` is not set and has no default"), hint)]
        });
    };
    let value = Value::from_toml(param.kind, literal).map_err(|mistakes| {
        let hint = || format!("write it like `{name} = {}`", param_example(param.kind));
        mistakes
            .into_iter()
            .map(|(span, reason)| error(Some(span), format!("`{name}` {reason}"), hint()))
            .collect::<Vec<_>>()
    })?;
    let bounds = Bounds::of(param).unwrap_or_default();
    match bounds.check(&value) {
        Ok(()) => Ok(value),
        Err(reason) => {
            Err(vec![error(Some(literal.span()), format!("`{name}` {reason}"), bounds.hint())])
        }
    }
}

/// An example value of this type, in the syntax of a campaign's file.
#[must_use]
pub fn param_example(kind: ParamKind) -> &'static str {
    match kind {
        ParamKind::Str => r#""text""#,
        ParamKind::Int => "10",
        ParamKind::Bool => "true",
        ParamKind::Decimal => r#""100.00""#,
        ParamKind::Strs => r#"["one", "two"]"#,
        ParamKind::Decimals => r#"["100.00", "250.00"]"#,
        ParamKind::StrMap => r#"{ key = "text" }"#,
        ParamKind::DecimalMap => r#"{ key = "100.00" }"#,
    }
}

/// The value of a parameter, in the type that its schema requires.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Str(String),
    Int(i64),
    Bool(bool),
    Decimal(Decimal),
    Strs(Vec<String>),
    Decimals(Vec<Decimal>),
    StrMap(Vec<(String, String)>),
    DecimalMap(Vec<(String, Decimal)>),
}

impl Value {
    /// Reads a value from TOML. Each wrong part of a list or a map is reported with its place.
    fn from_toml(
        kind: ParamKind,
        spanned: &toml::Spanned<DeValue<'_>>,
    ) -> Result<Value, Vec<Mistake>> {
        let literal = spanned.get_ref();
        let whole = |reason: String| vec![(spanned.span(), reason)];
        match (kind, literal) {
            (ParamKind::Str, DeValue::String(text)) => Ok(Value::Str(text.to_string())),
            (ParamKind::Int, DeValue::Integer(number)) => {
                i64::from_str_radix(number.as_str(), number.radix())
                    .map(Value::Int)
                    .map_err(|_| whole("does not fit 64 bits".into()))
            }
            (ParamKind::Bool, DeValue::Boolean(value)) => Ok(Value::Bool(*value)),
            (ParamKind::Decimal, _) => decimal_of(literal).map(Value::Decimal).map_err(whole),
            (ParamKind::Strs, DeValue::Array(elements)) => {
                all(elements.iter(), str_of).map(Value::Strs)
            }
            (ParamKind::Decimals, DeValue::Array(elements)) => {
                all(elements.iter(), |element| decimal_of(element).map_err(inside))
                    .map(Value::Decimals)
            }
            (ParamKind::StrMap, DeValue::Table(entries)) => {
                let texts = all(entries.iter().map(|(_, value)| value), str_of)?;
                Ok(Value::StrMap(entries.iter().map(|(key, _)| key_of(key)).zip(texts).collect()))
            }
            (ParamKind::DecimalMap, DeValue::Table(entries)) => {
                let decimal = |value: &DeValue<'_>| decimal_of(value).map_err(inside);
                let decimals = all(entries.iter().map(|(_, value)| value), decimal)?;
                Ok(Value::DecimalMap(
                    entries.iter().map(|(key, _)| key_of(key)).zip(decimals).collect(),
                ))
            }
            _ => Err(whole(format!("is {}, not {}", kind_of(literal), expected(kind)))),
        }
    }

    /// Reads the default of a manifest; `None` if it has another type.
    fn from_default(kind: ParamKind, default: &ParamValue) -> Option<Value> {
        Some(match (kind, default) {
            (ParamKind::Str, ParamValue::Str(text)) => Value::Str(text.clone()),
            (ParamKind::Int, ParamValue::Int(number)) => Value::Int(*number),
            (ParamKind::Bool, ParamValue::Bool(value)) => Value::Bool(*value),
            (ParamKind::Decimal, ParamValue::Str(text)) => Value::Decimal(decimal_of_text(text)?),
            (ParamKind::Strs, ParamValue::Strs(texts)) => Value::Strs(texts.clone()),
            (ParamKind::Decimals, ParamValue::Strs(texts)) => Value::Decimals(
                texts.iter().map(|text| decimal_of_text(text)).collect::<Option<_>>()?,
            ),
            (ParamKind::StrMap, ParamValue::Map(entries)) => Value::StrMap(entries.clone()),
            (ParamKind::DecimalMap, ParamValue::Map(entries)) => {
                let decimal =
                    |(key, text): &(String, String)| Some((key.clone(), decimal_of_text(text)?));
                Value::DecimalMap(entries.iter().map(decimal).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Value::Str(text) => write_str(bytes, text),
            Value::Int(number) => written(rmp::encode::write_sint(bytes, *number)),
            Value::Bool(value) => written(rmp::encode::write_bool(bytes, *value)),
            Value::Decimal(decimal) => write_decimal(bytes, *decimal),
            Value::Strs(texts) => {
                written(rmp::encode::write_array_len(bytes, texts.len() as u32));
                texts.iter().for_each(|text| write_str(bytes, text));
            }
            Value::Decimals(decimals) => {
                written(rmp::encode::write_array_len(bytes, decimals.len() as u32));
                decimals.iter().for_each(|decimal| write_decimal(bytes, *decimal));
            }
            Value::StrMap(entries) => {
                written(rmp::encode::write_map_len(bytes, entries.len() as u32));
                for (key, text) in entries {
                    write_str(bytes, key);
                    write_str(bytes, text);
                }
            }
            Value::DecimalMap(entries) => {
                written(rmp::encode::write_map_len(bytes, entries.len() as u32));
                for (key, decimal) in entries {
                    write_str(bytes, key);
                    write_decimal(bytes, *decimal);
                }
            }
        }
    }

    /// The number that `min` and `max` bound, and its unit; `None` for a bool.
    fn measure(&self) -> Option<(Decimal, &'static str)> {
        match self {
            Value::Bool(_) => None,
            Value::Int(number) => Some((Decimal::from(*number), "")),
            Value::Decimal(decimal) => Some((*decimal, "")),
            Value::Str(text) => Some((Decimal::from(text.chars().count()), " characters")),
            Value::Strs(texts) => Some((Decimal::from(texts.len()), " elements")),
            Value::Decimals(decimals) => Some((Decimal::from(decimals.len()), " elements")),
            Value::StrMap(entries) => Some((Decimal::from(entries.len()), " entries")),
            Value::DecimalMap(entries) => Some((Decimal::from(entries.len()), " entries")),
        }
    }
}

/// The bounds of a parameter, both inclusive.
#[derive(Default)]
struct Bounds {
    min: Option<Decimal>,
    max: Option<Decimal>,
}

impl Bounds {
    fn of(param: &Param) -> Result<Bounds, String> {
        let bound = |name: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => decimal_of_text(text)
                .map(Some)
                .ok_or_else(|| format!("{name} `{}` is not a decimal", shown(text))),
        };
        Ok(Bounds { min: bound("min", &param.min)?, max: bound("max", &param.max)? })
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        let Some((measure, unit)) = value.measure() else { return Ok(()) };
        match (self.min, self.max) {
            (Some(min), _) if measure < min => {
                Err(format!("is {measure}{unit}, below the least, {min}"))
            }
            (_, Some(max)) if measure > max => {
                Err(format!("is {measure}{unit}, above the most, {max}"))
            }
            _ => Ok(()),
        }
    }

    fn hint(&self) -> String {
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("choose from {min} to {max}"),
            (Some(min), None) => format!("choose {min} or more"),
            (None, Some(max)) => format!("choose {max} or less"),
            (None, None) => "any value will do".into(),
        }
    }
}

fn key_of(key: &toml::Spanned<std::borrow::Cow<'_, str>>) -> String {
    key.get_ref().to_string()
}

/// A problem with part of a value: its byte range, and the reason.
type Mistake = (Range<usize>, String);

/// The values of all elements, or the problems of all elements that have one.
fn all<'a, 'text: 'a, T>(
    elements: impl Iterator<Item = &'a toml::Spanned<DeValue<'text>>>,
    value: impl Fn(&DeValue<'text>) -> Result<T, String>,
) -> Result<Vec<T>, Vec<Mistake>> {
    let (mut values, mut mistakes) = (Vec::new(), Vec::new());
    for element in elements {
        match value(element.get_ref()) {
            Ok(value) => values.push(value),
            Err(reason) => mistakes.push((element.span(), reason)),
        }
    }
    if mistakes.is_empty() { Ok(values) } else { Err(mistakes) }
}

fn str_of(element: &DeValue<'_>) -> Result<String, String> {
    match element {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(format!("holds {}, not only strings", kind_of(other))),
    }
}

fn inside(reason: String) -> String {
    format!("has a value that {reason}")
}

fn decimal_of(literal: &DeValue<'_>) -> Result<Decimal, String> {
    let parsed = match literal {
        DeValue::String(text) => decimal_of_text(text),
        DeValue::Float(number) => decimal_of_text(number.as_str()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(Decimal::from)
        }
        other => return Err(format!("is {}, not a decimal", kind_of(other))),
    };
    parsed.ok_or_else(|| "is not a decimal of up to 28 digits".into())
}

/// Reads digits with at most one point and a sign. Texts that `rust_decimal` would round or accept
/// in another form are refused.
fn decimal_of_text(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let framed = digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.ends_with(|last: char| last.is_ascii_digit());
    // A literal with more digits than a decimal can hold is refused, not rounded.
    (plain && framed && digits.len() <= 64).then(|| Decimal::from_str_exact(text).ok()).flatten()
}

fn kind_of(literal: &DeValue<'_>) -> &'static str {
    match literal {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a bool",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn expected(kind: ParamKind) -> &'static str {
    match kind {
        ParamKind::Str => "a string",
        ParamKind::Int => "an integer",
        ParamKind::Bool => "a bool",
        ParamKind::Decimal => "a decimal",
        ParamKind::Strs => "a list of strings",
        ParamKind::Decimals => "a list of decimals",
        ParamKind::StrMap => "a table of strings",
        ParamKind::DecimalMap => "a table of decimals",
    }
}

fn write_str(bytes: &mut Vec<u8>, text: &str) {
    written(rmp::encode::write_str(bytes, text));
}

fn write_decimal(bytes: &mut Vec<u8>, decimal: Decimal) {
    let wire = decimal_to_wire(decimal);
    written(rmp::encode::write_ext_meta(bytes, wire.len() as u32, EXT_DECIMAL));
    bytes.extend_from_slice(&wire);
}

/// Drops the result of a write to memory, which cannot fail.
pub(super) fn written<Written, Error>(result: Result<Written, Error>) {
    debug_assert!(result.is_ok(), "writing to memory cannot fail");
}

#[cfg(test)]
mod tests;
