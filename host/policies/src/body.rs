//! The few members that policies read of an event's body, with the tolerance of the event reader:
//! a comma before a closing bracket and a byte order mark do no harm, the last of several members
//! with one name wins, and null and "" count as absent.

use std::fmt;

use hailer_event::members_of;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A JSON object with the text of each member's value.
pub(crate) struct Object<'a>(Vec<(String, &'a [u8])>);

/// A value that is no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// It is missing, null or "".
    Absent,
    Text(String),
    /// A whole number, in digits.
    Integer(String),
    /// A value of any other kind.
    Other,
}

impl<'a> Object<'a> {
    /// Reads an object; `None` if the text is none.
    pub(crate) fn read(text: &'a [u8]) -> Option<Object<'a>> {
        if let Ok(object) = serde_json::from_slice(text) {
            return Some(object);
        }
        let members = members_of(text)?.into_iter();
        let with_text = members.map(|(name, range)| Some((name.into(), text.get(range)?)));
        with_text.collect::<Option<_>>().map(Object)
    }

    /// The text of a member's value; `None` if it is missing.
    pub(crate) fn member(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, text)| *text)
    }

    /// The value of a member.
    pub(crate) fn leaf(&self, name: &str) -> Leaf {
        match self.member(name) {
            None | Some(b"null" | b"\"\"") => Leaf::Absent,
            Some(text @ [b'"', ..]) => serde_json::from_slice(text).map_or(Leaf::Other, Leaf::Text),
            Some(text) => whole_number(text).map_or(Leaf::Other, Leaf::Integer),
        }
    }
}

/// The digits of a whole number in any spelling, such as `1.0`.
fn whole_number(text: &[u8]) -> Option<String> {
    /// The largest number up to which every whole number is a float, too.
    const FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

    if let Ok(number) = serde_json::from_slice::<i64>(text) {
        return Some(number.to_string());
    }
    let number = serde_json::from_slice::<f64>(text).ok()?;
    (number.fract() == 0.0 && number.abs() < FLOAT_MAX).then(|| format!("{number:.0}"))
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'de>, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            members.push((name, value.get().as_bytes()));
        }
        Ok(Object(members))
    }
}
