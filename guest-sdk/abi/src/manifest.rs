//! The manifest: a module's description of itself, which is read without running the module. This
//! file defines only its shape. The manifest is untrusted input, so the host checks its bounds.

use serde::{Deserialize, Deserializer, Serialize};

use crate::condition::Condition;

/// The description of a module by the module itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The version of the ABI that the module was built for.
    pub abi: u32,
    /// The version of the SDK that built the module; empty if the module does not say it.
    #[serde(default)]
    pub sdk: String,
    pub name: String,
    pub version: String,
    #[serde(default)]
    pub description: String,
    pub handlers: Vec<Handler>,
    #[serde(default, deserialize_with = "params")]
    pub params: Vec<Param>,
    /// The version of the state's shape; `None` for a rule without state.
    #[serde(default)]
    pub state_version: Option<u32>,
    /// The form of merges: [`MERGES_OF_STATES`] or [`MERGES_WITH_TIMERS`].
    #[serde(default = "merges_of_states", skip_serializing_if = "is_of_states")]
    pub merges: u32,
}

/// The first form of merges, also used if the manifest has no member `merges`. The merge handler
/// gets the other customer's state, and the host merges the timers.
pub const MERGES_OF_STATES: u32 = 1;

/// The second form of merges. The merge handler also gets the pending timers of both customers, and
/// may schedule and cancel timers.
pub const MERGES_WITH_TIMERS: u32 = 2;

/// One handler. It is called for events, for a timer, or for the merge of two customers. Its index
/// in the manifest is its number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    pub name: String,
    /// The event codes that the handler takes, or [`ANY_EVENT`]; empty for a timer or a merge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// The name of the timer that calls the handler; `None` for events and merges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<String>,
    /// Whether the handler merges the states of two customers who have become one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub merge: bool,
    #[serde(default)]
    pub fields: Vec<Field>,
    /// The condition for calling the handler; `None` if it is called for every event that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// Whether a present but unusable field keeps the handler from being called. If not, such a
    /// field counts as absent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strict: bool,
}

impl Manifest {
    /// Whether the rule has state or timers.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.state_version.is_some() || self.handlers.iter().any(|handler| handler.timer.is_some())
    }

    /// Whether the merge handler gets the pending timers.
    #[must_use]
    pub fn merges_timers(&self) -> bool {
        self.merges >= MERGES_WITH_TIMERS
    }
}

/// The entry in [`Handler::events`] for every code that no other handler of the module names.
pub const ANY_EVENT: &str = "*";

/// One field that a handler reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: FieldKind,
    /// JSON Pointers to the field. The first one whose value is present and not empty counts.
    pub paths: Vec<String>,
    /// Whether the handler is called only if the event has the field.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// Whether the field is personal, so that a campaign must be granted it by name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub personal: bool,
    /// The fields of the elements of a [`FieldKind::List`], with paths relative to the element;
    /// empty for other types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<Field>,
}

/// The types of fields; `docs/abi.md` describes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    Bool,
    Int,
    Float,
    Str,
    Id,
    Decimal,
    Timestamp,
    Map,
    List,
    Raw,
}

/// One parameter of the rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ParamKind,
    /// The default value; if it is `None`, the campaign must set the parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ParamValue>,
    /// The smallest value of a number, or the smallest length of a string (in characters) or a
    /// list, written as a decimal; `None` if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// The largest value or length, as for `min`; `None` if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    #[serde(default)]
    pub doc: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    Str,
    Int,
    Bool,
    Decimal,
    Strs,
    Decimals,
    StrMap,
    DecimalMap,
}

/// The value of a parameter in JSON. Decimals are strings. Its meaning depends on the
/// [`ParamKind`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParamValue {
    Bool(bool),
    Int(i64),
    Str(String),
    Strs(Vec<String>),
    /// The entries, in the order of the manifest.
    Map(Vec<(String, String)>),
}

fn merges_of_states() -> u32 {
    MERGES_OF_STATES
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_of_states(merges: &u32) -> bool {
    *merges == MERGES_OF_STATES
}

/// Reads the parameters. An empty map and an empty list look the same in JSON, so the parameter's
/// type decides which one an empty default is.
fn params<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Param>, D::Error> {
    let mut params = Vec::<Param>::deserialize(deserializer)?;
    for Param { kind, default, .. } in &mut params {
        let is_map = matches!(kind, ParamKind::StrMap | ParamKind::DecimalMap);
        if is_map
            && default.as_ref().is_some_and(|default| *default == ParamValue::Strs(Vec::new()))
        {
            *default = Some(ParamValue::Map(Vec::new()));
        }
    }
    Ok(params)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_default_has_the_type_of_its_parameter() {
        let default = |kind: &str| {
            let manifest = format!(
                r#"{{"abi":1,"name":"x","version":"1.0.0","handlers":[],
                    "params":[{{"name":"p","type":"{kind}","default":[]}}]}}"#
            );
            let manifest: Manifest = serde_json::from_str(&manifest).unwrap();
            assert_eq!(
                serde_json::from_str::<Manifest>(&serde_json::to_string(&manifest).unwrap())
                    .unwrap(),
                manifest
            );
            manifest.params[0].default.clone()
        };
        for kind in ["str_map", "decimal_map"] {
            assert_eq!(default(kind), Some(ParamValue::Map(Vec::new())), "{kind}");
        }
        for kind in ["strs", "decimals"] {
            assert_eq!(default(kind), Some(ParamValue::Strs(Vec::new())), "{kind}");
        }
    }
}
