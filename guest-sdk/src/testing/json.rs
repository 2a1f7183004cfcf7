//! JSON values that keep the text of each number, so that decimals are exact.

use std::fmt;

use serde_json::value::RawValue;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// The number's text, as written.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads JSON. Trailing commas are accepted, as the source's example of a merge has one.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let strict = serde_json::from_str::<&RawValue>(text).and_then(Self::of);
        strict.or_else(|error| {
            let text = without_trailing_commas(text);
            serde_json::from_str::<&RawValue>(&text).and_then(Self::of).map_err(|_| error)
        })
    }

    fn of(raw: &RawValue) -> Result<Self, serde_json::Error> {
        let text = raw.get();
        Ok(match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => Self::Text(serde_json::from_str(text)?),
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text)?;
                Self::Array(elements.into_iter().map(Self::of).collect::<Result<_, _>>()?)
            }
            Some(b'{') => {
                let members: std::collections::BTreeMap<String, &RawValue> =
                    serde_json::from_str(text)?;
                let members = members.into_iter().map(|(key, value)| Ok((key, Self::of(value)?)));
                Self::Object(members.collect::<Result<_, serde_json::Error>>()?)
            }
            _ => Self::Number(text.to_owned()),
        })
    }

    /// The value at a JSON Pointer; `None` if there is none. As in the ABI, a pointer cannot
    /// address array elements.
    pub(super) fn at(&self, pointer: &str) -> Option<&Self> {
        pointer.split('/').skip(1).try_fold(self, |value, key| match value {
            Self::Object(members) => {
                let key = unescape(key);
                members.iter().find(|(name, _)| *name == key).map(|(_, member)| member)
            }
            _ => None,
        })
    }

    /// Whether a value on the way to a JSON Pointer is present and not an object.
    pub(super) fn has_non_object_parent(&self, pointer: &str) -> bool {
        let mut holders =
            pointer.match_indices('/').filter_map(|(end, _)| self.at(&pointer[..end]));
        holders.any(|holder| !holder.is_absent() && !matches!(holder, Self::Object(_)))
    }

    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// Sets the value at a JSON Pointer and makes the objects on the way to it; `None` removes the
    /// value.
    pub(super) fn put(&mut self, pointer: &str, value: Option<Json>) {
        let Some((_, path)) = pointer.split_once('/') else {
            *self = value.unwrap_or(Self::Null);
            return;
        };
        let (key, rest) = path
            .split_once('/')
            .map_or((path, String::new()), |(key, rest)| (key, format!("/{rest}")));
        let key = unescape(key);
        if !matches!(self, Self::Object(_)) {
            *self = Self::Object(Vec::new());
        }
        let Self::Object(members) = self else { return };
        let at = members.iter().position(|(name, _)| *name == key);
        match (at, rest.is_empty(), value) {
            (Some(at), true, None) => _ = members.remove(at),
            (Some(at), _, value) => members[at].1.put(&rest, value),
            (None, _, None) => {}
            (None, _, value) => {
                let mut member = Self::Null;
                member.put(&rest, value);
                members.push((key, member));
            }
        }
    }
}

fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

/// The text without trailing commas, outside of strings.
fn without_trailing_commas(text: &str) -> String {
    let mut kept = String::new();
    let (mut in_text, mut escaped) = (false, false);
    for (at, letter) in text.char_indices() {
        if in_text {
            in_text = letter != '"' || escaped;
            escaped = letter == '\\' && !escaped;
        } else {
            in_text = letter == '"';
            if letter == ',' && text[at + 1..].trim_start().starts_with(['}', ']']) {
                continue;
            }
        }
        kept.push(letter);
    }
    kept
}

impl fmt::Display for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Null => formatter.write_str("null"),
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Number(text) => formatter.write_str(text),
            Self::Text(text) => formatter.write_str(&quoted(text)),
            Self::Array(elements) => {
                let elements: Vec<_> = elements.iter().map(Self::to_string).collect();
                write!(formatter, "[{}]", elements.join(","))
            }
            Self::Object(members) => {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("{}:{value}", quoted(key))).collect();
                write!(formatter, "{{{}}}", members.join(","))
            }
        }
    }
}
