//! The manifest: what a module says about itself, read without running anything. Shapes only; the host checks the
//! bounds, because a manifest is a foreign byte string.

use serde::{Deserialize, Deserializer, Serialize};

use crate::condition::Condition;

/// What a module says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The ABI that the module was built for.
    pub abi: u32,
    /// The version of the SDK that built it.
    #[serde(default)]
    pub sdk: String,
    pub name: String,
    pub version: String,
    #[serde(default)]
    pub description: String,
    pub handlers: Vec<Handler>,
    #[serde(default, deserialize_with = "params")]
    pub params: Vec<Param>,
    /// The version of the state's shape; absent for a rule without state.
    #[serde(default)]
    pub state_version: Option<u32>,
    /// How two customers become one: [`MERGES_OF_STATES`] or [`MERGES_WITH_TIMERS`].
    #[serde(default = "merges_of_states", skip_serializing_if = "is_of_states")]
    pub merges: u32,
}

/// The form of merges that a module without the member `merges` has: a merge handler is given the other's state, and timers are united by the
/// host.
pub const MERGES_OF_STATES: u32 = 1;

/// The second form: a merge handler is given both customers' pending timers, too, and may schedule and cancel.
pub const MERGES_WITH_TIMERS: u32 = 2;

/// One handler: the events it takes and the fields it reads, or the timer whose moment it is called at, or the merge of
/// two customers. Its index is its number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    pub name: String,
    /// Event codes, or [`ANY_EVENT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// The timer that calls it, in place of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<String>,
    /// It unites the states of two customers that have become one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub merge: bool,
    #[serde(default)]
    pub fields: Vec<Field>,
    /// What has to hold of the fields, or the handler is not called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// It is not called for an event in which one of its fields is there and can't be used. Without it such a field counts as absent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strict: bool,
}

impl Manifest {
    /// Whether the rule keeps something between calls: a state, or timers.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.state_version.is_some() || self.handlers.iter().any(|handler| handler.timer.is_some())
    }

    /// Whether a merge hands the pending timers to the rule.
    #[must_use]
    pub fn merges_timers(&self) -> bool {
        self.merges >= MERGES_WITH_TIMERS
    }
}

/// Stands in [`Handler::events`] for every code that no other handler of the module names.
pub const ANY_EVENT: &str = "*";

/// One field that a handler reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: FieldKind,
    /// JSON Pointers; the first that is present and not empty wins.
    pub paths: Vec<String>,
    /// Without it the handler is not called.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// A campaign must be granted it by name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub personal: bool,
    /// The sub-fields of a [`FieldKind::List`], with paths from the element.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<Field>,
}

/// The types of `docs/abi.md`.
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
    /// Absent: the campaign must set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ParamValue>,
    /// A number's lower bound, or the least length of a str or list; written as a decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
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

/// A parameter's value in JSON; decimals are strings. What it means depends on the [`ParamKind`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParamValue {
    Bool(bool),
    Int(i64),
    Str(String),
    Strs(Vec<String>),
    /// In the order in which they were written.
    Map(Vec<(String, String)>),
}

fn merges_of_states() -> u32 {
    MERGES_OF_STATES
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_of_states(merges: &u32) -> bool {
    *merges == MERGES_OF_STATES
}

/// An empty map and an empty list are written alike; the parameter's type says which one it is.
fn params<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Param>, D::Error> {
    let mut params = Vec::<Param>::deserialize(deserializer)?;
    for Param { kind, default, .. } in &mut params {
        let is_map = matches!(kind, ParamKind::StrMap | ParamKind::DecimalMap);
        if is_map && default.as_ref().is_some_and(|default| *default == ParamValue::Strs(Vec::new())) {
            *default = Some(ParamValue::Map(Vec::new()));
        }
    }
    Ok(params)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_default_is_of_its_parameters_type() {
        let default = |kind: &str| {
            let manifest = format!(
                r#"{{"abi":1,"name":"x","version":"1.0.0","handlers":[],"params":[{{"name":"p","type":"{kind}","default":[]}}]}}"#
            );
            let manifest: Manifest = serde_json::from_str(&manifest).unwrap();
            assert_eq!(serde_json::from_str::<Manifest>(&serde_json::to_string(&manifest).unwrap()).unwrap(), manifest);
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
