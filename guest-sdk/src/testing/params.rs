//! Parameters as a campaign file sets them: checked against the manifest, completed with defaults,
//! and encoded for the ABI.

use hailer_abi::manifest::{Manifest, Param, ParamKind, ParamValue};

use super::json::Json;
use super::projection::decimal;
use crate::Decimal;
use crate::wire::Writer;

/// Encodes the parameters of a JSON object as the input of `hailer_configure`. The error is the one
/// that a campaign would get.
pub(super) fn encode(manifest: &Manifest, params: &Json) -> Result<Writer, String> {
    let Json::Object(given) = params else {
        return Err("the parameters are not a JSON object".into());
    };
    if let Some((name, _)) =
        given.iter().find(|(name, _)| manifest.params.iter().all(|param| param.name != *name))
    {
        return Err(format!("there is no parameter `{name}`"));
    }
    let mut writer = Writer::default();
    writer.array(manifest.params.len());
    for param in &manifest.params {
        let given =
            given.iter().find(|(name, _)| *name == param.name).map(|(_, value)| value.clone());
        let value = given.or_else(|| param.default.as_ref().map(default_of)).ok_or_else(|| {
            format!("the parameter `{}` is not set and has no default", param.name)
        })?;
        let measure = write(param.kind, &value, &mut writer).ok_or_else(|| {
            format!("the parameter `{}` is not of type {:?}", param.name, param.kind)
        })?;
        check_bounds(param, measure)?;
    }
    Ok(writer)
}

fn default_of(value: &ParamValue) -> Json {
    let text = |text: &String| Json::Text(text.clone());
    match value {
        ParamValue::Bool(value) => Json::Bool(*value),
        ParamValue::Int(value) => Json::Number(value.to_string()),
        ParamValue::Str(value) => text(value),
        ParamValue::Strs(values) => Json::Array(values.iter().map(text).collect()),
        ParamValue::Map(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (key.clone(), text(value))).collect())
        }
    }
}

/// Writes a value. The inner value is the measure that bounds apply to: a number, or a length;
/// `None` if the type has no bounds. The outer one is `None` if the value is not of this type.
fn write(kind: ParamKind, value: &Json, writer: &mut Writer) -> Option<Option<Decimal>> {
    match (kind, value) {
        (ParamKind::Bool, Json::Bool(value)) => writer.bool(*value),
        (ParamKind::Int, Json::Number(text)) => {
            let value: i64 = text.parse().ok()?;
            writer.int(value);
            return Some(Some(value.into()));
        }
        (ParamKind::Str, Json::Text(text)) => {
            writer.str(text);
            return Some(Some(text.chars().count().into()));
        }
        (ParamKind::Decimal, Json::Text(text) | Json::Number(text)) => {
            let value = decimal(text)?;
            writer.decimal(value);
            return Some(Some(value));
        }
        (ParamKind::Strs | ParamKind::Decimals, Json::Array(values)) => {
            writer.array(values.len());
            let element = if kind == ParamKind::Strs { ParamKind::Str } else { ParamKind::Decimal };
            values.iter().try_for_each(|value| write(element, value, writer).map(drop))?;
            return Some(Some(values.len().into()));
        }
        (ParamKind::StrMap | ParamKind::DecimalMap, Json::Object(entries)) => {
            writer.map(entries.len());
            let element =
                if kind == ParamKind::StrMap { ParamKind::Str } else { ParamKind::Decimal };
            for (key, value) in entries {
                writer.str(key);
                write(element, value, writer)?;
            }
        }
        _ => return None,
    }
    Some(None)
}

fn check_bounds(param: &Param, measure: Option<Decimal>) -> Result<(), String> {
    let Some(measure) = measure else { return Ok(()) };
    let bound = |bound: &Option<String>| bound.as_deref().and_then(decimal);
    match (bound(&param.min), bound(&param.max)) {
        (Some(min), _) if measure < min => {
            Err(format!("the parameter `{}` is below {min}", param.name))
        }
        (_, Some(max)) if measure > max => {
            Err(format!("the parameter `{}` is above {max}", param.name))
        }
        _ => Ok(()),
    }
}
