//! Tells an event from an envelope around one: `{"routingKey","messageId","timestamp","headers","body"}`, all but `body`
//! optional. Whatever has an `eventCode` at its top level is an event, and so is whatever is no valid JSON: whether it
//! can be read is the pipeline's to say. What is forgiven of an event is forgiven of an envelope: a comma before a closing bracket, and a byte order
//! mark.
//!
//! The body of an envelope is an object, kept byte for byte, or a string that holds the raw message, or `bodyHex`, the
//! message in hexadecimal where it is no valid UTF-8 (dead letters are written so).

use std::fmt;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::clock::Millis;
use crate::event::{members_of, read_time};

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) body: Bytes,
    pub(crate) message_id: Option<Box<str>>,
    pub(crate) routing_key: Option<Box<str>>,
    pub(crate) timestamp_ms: Option<Millis>,
    /// Something of the envelope had to be forgiven.
    pub(crate) was_repaired: bool,
}

/// The members of an object that matter here. Raw, so that their values are looked at only once it is an envelope.
#[derive(Default)]
struct Members<'line> {
    is_event: bool,
    was_repaired: bool,
    routing_key: Option<&'line str>,
    message_id: Option<&'line str>,
    timestamp: Option<&'line str>,
    body: Option<&'line str>,
    body_hex: Option<&'line str>,
}

type Defect = Box<str>;

impl Envelope {
    /// The line itself is the event.
    pub(crate) fn event(line: Bytes) -> Envelope {
        Envelope { body: line, message_id: None, routing_key: None, timestamp_ms: None, was_repaired: false }
    }

    /// Reads a line. With a defect it goes on as it is.
    pub(crate) fn open(line: Bytes) -> (Envelope, Option<Defect>) {
        // An event is read once, by the pipeline; only what may be an envelope is read here as well.
        if !memmem::find_iter(&line, b"\"body").any(|at| matches!(line.get(at + 5), Some(b'"' | b'H'))) {
            return (Envelope::event(line), None);
        }
        let members = serde_json::from_slice::<Members<'_>>(&line).ok().or_else(|| Members::forgiving(&line));
        let is_envelope = |members: &Members<'_>| members.body.is_some() || members.body_hex.is_some();
        let members = members.filter(|members| !members.is_event && is_envelope(members));
        match members.map(|members| members.envelope(&line)) {
            Some(Ok(envelope)) => (envelope, None),
            Some(Err(defect)) => (Envelope::event(line), Some(defect)),
            None => (Envelope::event(line), None),
        }
    }
}

impl<'line> Members<'line> {
    /// Those of a line that is no strict JSON.
    fn forgiving(line: &'line [u8]) -> Option<Members<'line>> {
        let mut members = Members { was_repaired: true, ..Members::default() };
        for (name, place) in members_of(line)? {
            let value = std::str::from_utf8(line.get(place)?).ok()?;
            match members.of_name(&name) {
                Some(member) => *member = Some(value),
                None => members.is_event |= &*name == "eventCode",
            }
        }
        Some(members)
    }

    fn of_name(&mut self, name: &str) -> Option<&mut Option<&'line str>> {
        match name {
            "routingKey" => Some(&mut self.routing_key),
            "messageId" => Some(&mut self.message_id),
            "timestamp" => Some(&mut self.timestamp),
            "body" => Some(&mut self.body),
            "bodyHex" => Some(&mut self.body_hex),
            _ => None,
        }
    }

    fn envelope(&self, line: &Bytes) -> Result<Envelope, Defect> {
        Ok(Envelope {
            body: self.body(line)?,
            message_id: text("messageId", self.message_id)?,
            routing_key: text("routingKey", self.routing_key)?,
            timestamp_ms: self.timestamp.map_or(Ok(None), timestamp)?,
            was_repaired: self.was_repaired,
        })
    }

    fn body(&self, line: &Bytes) -> Result<Bytes, Defect> {
        let wrong = || Defect::from("the envelope's body is neither an object nor a string");
        if let Some(body) = self.body {
            return match body.as_bytes().first() {
                Some(b'{') => Ok(line.slice_ref(body.as_bytes())),
                Some(b'"') => Ok(Bytes::from(serde_json::from_str::<String>(body).map_err(|_| wrong())?)),
                _ => Err(wrong()),
            };
        }
        let hex = text("bodyHex", self.body_hex)?.unwrap_or_default();
        from_hex(&hex).ok_or_else(|| Defect::from("the envelope's bodyHex is not hexadecimal"))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(key) = map.next_key::<String>()? {
            match members.of_name(&key) {
                Some(member) => *member = Some(map.next_value::<&RawValue>()?.get()),
                None => {
                    members.is_event |= key == "eventCode";
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

/// A string; null and "" mean that there is none.
fn text(name: &str, value: Option<&str>) -> Result<Option<Box<str>>, Defect> {
    let Some(value) = value else { return Ok(None) };
    match serde_json::from_str::<Option<Box<str>>>(value) {
        Ok(text) => Ok(text.filter(|text| !text.is_empty())),
        Err(_) => Err(format!("the envelope's {name} is not a string").into()),
    }
}

/// Milliseconds since 1970-01-01 UTC, or a time as an event may have one.
fn timestamp(value: &str) -> Result<Option<Millis>, Defect> {
    if let Ok(timestamp_ms) = serde_json::from_str::<Option<Millis>>(value) {
        return Ok(timestamp_ms);
    }
    // Another number is out of every range, which is not the envelope's to judge.
    if let Ok(number) = serde_json::from_str::<f64>(value) {
        return Ok(Some(number as Millis));
    }
    let text = serde_json::from_str::<String>(value).ok();
    // As in a body: every date up to the year 9999 is read, whether or not it can be that of an event.
    let read = |text: String| {
        let other = || Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond());
        read_time(text.as_bytes()).or_else(other)
    };
    let wrong = || Defect::from("the envelope's timestamp is neither milliseconds nor an ISO 8601 time");
    text.and_then(read).map(Some).ok_or_else(wrong)
}

fn from_hex(text: &str) -> Option<Bytes> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match *pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect::<Option<Vec<u8>>>().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(line: &'static str) -> (Envelope, Option<Defect>) {
        Envelope::open(Bytes::from_static(line.as_bytes()))
    }

    #[test]
    fn a_line_with_an_event_code_is_an_event_whatever_else_it_has() {
        for line in [r#"{"eventCode":"X"}"#, r#"{"body":{},"eventCode":"X"}"#, r#"{"eventCode":"X","body":5}"#] {
            assert_eq!(open(line), (Envelope::event(Bytes::from_static(line.as_bytes())), None));
        }
    }

    #[test]
    fn an_event_code_further_down_does_not_make_an_event() {
        let (envelope, defect) = open(r#"{ "body" : { "eventCode" : "X" ,"a":1.0000} }"#);
        assert_eq!((&*envelope.body, defect), (&br#"{ "eventCode" : "X" ,"a":1.0000}"#[..], None));
    }

    #[test]
    fn all_members_of_an_envelope_are_read() {
        let (envelope, defect) = open(
            r#"{"routingKey":"a.b","messageId":"m","timestamp":"1970-01-01T00:00:01Z","headers":{"x":1},"body":"{\"eventCode\":1,}"}"#,
        );
        assert_eq!(defect, None);
        assert_eq!(&*envelope.body, br#"{"eventCode":1,}"#);
        assert_eq!((envelope.routing_key.as_deref(), envelope.message_id.as_deref()), (Some("a.b"), Some("m")));
        assert_eq!(envelope.timestamp_ms, Some(1000));
        assert_eq!(open(r#"{"timestamp":1500,"body":{}}"#).0.timestamp_ms, Some(1500));
        let last = open(r#"{"timestamp":"9999-12-31T23:59:59.9999999","body":{}}"#).0.timestamp_ms;
        assert_eq!(last, Some(253_402_300_799_999));
        assert_eq!(open(r#"{"timestamp":1.8e18,"body":{}}"#).0.timestamp_ms, Some(1_800_000_000_000_000_000));
        assert_eq!(open(r#"{"timestamp":99999999999999999999,"body":{}}"#).0.timestamp_ms, Some(Millis::MAX));
        assert_eq!(open(r#"{"messageId":null,"routingKey":"","body":{}}"#).0.message_id, None);
        assert_eq!(&*open(r#"{"bodyHex":"00fF"}"#).0.body, b"\x00\xff");
    }

    #[test]
    fn a_broken_envelope_goes_on_as_it_is_with_a_defect_that_names_no_value() {
        for line in [
            r#"{"body":5}"#,
            r#"{"body":null,"messageId":"m"}"#,
            r#"{"body":"\ud800"}"#,
            r#"{"messageId":7001,"body":{}}"#,
            r#"{"routingKey":[7001],"body":{}}"#,
            r#"{"timestamp":"7001","body":{}}"#,
            r#"{"timestamp":1e400,"body":{}}"#,
            r#"{"bodyHex":"0"}"#,
            r#"{"bodyHex":"zz"}"#,
            r#"{"bodyHex":"я"}"#,
        ] {
            let (envelope, defect) = open(line);
            assert_eq!(&*envelope.body, line.as_bytes());
            assert!(!defect.expect(line).contains("7001"));
        }
    }

    #[test]
    fn what_is_forgiven_of_an_event_is_forgiven_of_an_envelope() {
        let mark = "\u{feff}";
        for (line, body) in [
            (r#"{"messageId":"m","body":{"eventCode":"X","a":[1,],}}"#.to_owned(), r#"{"eventCode":"X","a":[1,],}"#),
            (r#"{"messageId":"m","body":{"eventCode":"X"},}"#.to_owned(), r#"{"eventCode":"X"}"#),
            (r#"{"messageId":"m","body":"{\"eventCode\":\"X\"}",}"#.to_owned(), r#"{"eventCode":"X"}"#),
            (format!(r#"{mark}{{"messageId":"m","body":{{"eventCode":"X"}}}}"#), r#"{"eventCode":"X"}"#),
        ] {
            let (envelope, defect) = Envelope::open(Bytes::from(line.clone()));
            assert_eq!((&*envelope.body, defect), (body.as_bytes(), None), "{line}");
            assert_eq!((envelope.message_id.as_deref(), envelope.was_repaired), (Some("m"), true), "{line}");
        }
        let event = Bytes::from(format!(r#"{mark}{{"eventCode":"X","body":1,}}"#));
        assert_eq!(Envelope::open(event.clone()), (Envelope::event(event), None));
    }

    #[test]
    fn what_is_no_json_is_left_to_the_pipeline() {
        for line in ["", "{", r#"{"body":{"a":1,},"#, r#""body""#, r#"["body"]"#, "\"body\" \u{0}"] {
            assert_eq!(open(line), (Envelope::event(Bytes::from_static(line.as_bytes())), None), "{line}");
        }
    }
}
