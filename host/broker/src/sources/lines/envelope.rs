//! Distinguishes events from envelopes around them:
//! `{"routingKey","messageId","timestamp","headers","body"}`, where only `body` is required.
//!
//! A line with an `eventCode` at its top level is an event. A line that is not valid JSON also
//! counts as an event, because the pipeline decides whether an event is readable. The same JSON
//! errors are tolerated in an envelope as in an event: a comma before a closing bracket, and a byte
//! order mark.
//!
//! The body of an envelope is an object, kept byte for byte, or a string with the raw message. A
//! message that is not valid UTF-8 is in `bodyHex` instead, in hexadecimal; dead letters are
//! written in this form.

use std::fmt;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use hailer_base::clock::Millis;
use hailer_event::{members_of, read_time};

/// The content of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub body: Bytes,
    pub message_id: Option<Box<str>>,
    pub routing_key: Option<Box<str>>,
    pub timestamp_ms: Option<Millis>,
    /// Whether the envelope had a tolerated JSON error.
    pub was_repaired: bool,
}

/// The members of an object that matter for an envelope. The values stay raw JSON, so that they are
/// parsed only if the object is an envelope.
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
    /// An envelope for a line that is itself the event.
    pub fn event(line: Bytes) -> Envelope {
        Envelope {
            body: line,
            message_id: None,
            routing_key: None,
            timestamp_ms: None,
            was_repaired: false,
        }
    }

    /// Parses a line. If the envelope has a defect, the body is the whole line.
    pub fn parse(line: Bytes) -> (Envelope, Option<Defect>) {
        // Only a line that may be an envelope is parsed here; the pipeline parses events.
        if !memmem::find_iter(&line, b"\"body")
            .any(|at| matches!(line.get(at + 5), Some(b'"' | b'H')))
        {
            return (Envelope::event(line), None);
        }
        let members =
            serde_json::from_slice::<Members<'_>>(&line).ok().or_else(|| Members::lenient(&line));
        let is_envelope =
            |members: &Members<'_>| members.body.is_some() || members.body_hex.is_some();
        let members = members.filter(|members| !members.is_event && is_envelope(members));
        match members.map(|members| members.envelope(&line)) {
            Some(Ok(envelope)) => (envelope, None),
            Some(Err(defect)) => (Envelope::event(line), Some(defect)),
            None => (Envelope::event(line), None),
        }
    }
}

impl<'line> Members<'line> {
    /// The members of a line with tolerated JSON errors; `None` if the line is no such object.
    fn lenient(line: &'line [u8]) -> Option<Members<'line>> {
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
                Some(b'"') => {
                    Ok(Bytes::from(serde_json::from_str::<String>(body).map_err(|_| wrong())?))
                }
                _ => Err(wrong()),
            };
        }
        let digits = text("bodyHex", self.body_hex)?.unwrap_or_default();
        let body = hex::decode(&*digits);
        body.map(Bytes::from).map_err(|_| Defect::from("the envelope's bodyHex is not hexadecimal"))
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

/// A string member; `None` if it is missing, null or empty.
fn text(name: &str, value: Option<&str>) -> Result<Option<Box<str>>, Defect> {
    let Some(value) = value else { return Ok(None) };
    match serde_json::from_str::<Option<Box<str>>>(value) {
        Ok(text) => Ok(text.filter(|text| !text.is_empty())),
        Err(_) => Err(format!("the envelope's {name} is not a string").into()),
    }
}

/// The time in ms since 1970-01-01 UTC, given as such a number or in a format that events use.
fn timestamp(value: &str) -> Result<Option<Millis>, Defect> {
    if let Ok(timestamp_ms) = serde_json::from_str::<Option<Millis>>(value) {
        return Ok(timestamp_ms);
    }
    // Any other number is converted to 64 bits; the pipeline checks its range.
    if let Ok(number) = serde_json::from_str::<f64>(value) {
        return Ok(Some(number as Millis));
    }
    let text = serde_json::from_str::<String>(value).ok();
    // As in a body, every date up to the year 9999 is accepted here, even if it is out of range for
    // an event.
    let read = |text: String| {
        let other = || Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond());
        read_time(text.as_bytes()).or_else(other)
    };
    let wrong =
        || Defect::from("the envelope's timestamp is neither milliseconds nor an ISO 8601 time");
    text.and_then(read).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &'static str) -> (Envelope, Option<Defect>) {
        Envelope::parse(Bytes::from_static(line.as_bytes()))
    }

    #[test]
    fn a_line_with_an_event_code_is_an_event() {
        for line in [
            r#"{"eventCode":"X"}"#,
            r#"{"body":{},"eventCode":"X"}"#,
            r#"{"eventCode":"X","body":5}"#,
        ] {
            assert_eq!(parse(line), (Envelope::event(Bytes::from_static(line.as_bytes())), None));
        }
    }

    #[test]
    fn a_nested_event_code_does_not_make_an_event() {
        let (envelope, defect) = parse(r#"{ "body" : { "eventCode" : "X" ,"a":1.0000} }"#);
        assert_eq!((&*envelope.body, defect), (&br#"{ "eventCode" : "X" ,"a":1.0000}"#[..], None));
    }

    #[test]
    fn all_members_of_an_envelope_are_read() {
        let (envelope, defect) = parse(
            r#"{"routingKey":"a.b","messageId":"m","timestamp":"1970-01-01T00:00:01Z",
                "headers":{"x":1},"body":"{\"eventCode\":1,}"}"#,
        );
        assert_eq!(defect, None);
        assert_eq!(&*envelope.body, br#"{"eventCode":1,}"#);
        assert_eq!(
            (envelope.routing_key.as_deref(), envelope.message_id.as_deref()),
            (Some("a.b"), Some("m"))
        );
        assert_eq!(envelope.timestamp_ms, Some(1000));
        assert_eq!(parse(r#"{"timestamp":1500,"body":{}}"#).0.timestamp_ms, Some(1500));
        let last = parse(r#"{"timestamp":"9999-12-31T23:59:59.9999999","body":{}}"#).0.timestamp_ms;
        assert_eq!(last, Some(253_402_300_799_999));
        assert_eq!(
            parse(r#"{"timestamp":1.8e18,"body":{}}"#).0.timestamp_ms,
            Some(1_800_000_000_000_000_000)
        );
        assert_eq!(
            parse(r#"{"timestamp":99999999999999999999,"body":{}}"#).0.timestamp_ms,
            Some(Millis::MAX)
        );
        assert_eq!(parse(r#"{"messageId":null,"routingKey":"","body":{}}"#).0.message_id, None);
        assert_eq!(&*parse(r#"{"bodyHex":"00fF"}"#).0.body, b"\x00\xff");
    }

    #[test]
    fn a_broken_envelope_is_kept_unchanged_with_a_defect_without_values() {
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
            let (envelope, defect) = parse(line);
            assert_eq!(&*envelope.body, line.as_bytes());
            assert!(!defect.expect(line).contains("7001"));
        }
    }

    #[test]
    fn json_errors_tolerated_in_events_are_tolerated_in_envelopes() {
        let mark = "\u{feff}";
        for (line, body) in [
            (
                r#"{"messageId":"m","body":{"eventCode":"X","a":[1,],}}"#.to_owned(),
                r#"{"eventCode":"X","a":[1,],}"#,
            ),
            (r#"{"messageId":"m","body":{"eventCode":"X"},}"#.to_owned(), r#"{"eventCode":"X"}"#),
            (
                r#"{"messageId":"m","body":"{\"eventCode\":\"X\"}",}"#.to_owned(),
                r#"{"eventCode":"X"}"#,
            ),
            (
                format!(r#"{mark}{{"messageId":"m","body":{{"eventCode":"X"}}}}"#),
                r#"{"eventCode":"X"}"#,
            ),
        ] {
            let (envelope, defect) = Envelope::parse(Bytes::from(line.clone()));
            assert_eq!((&*envelope.body, defect), (body.as_bytes(), None), "{line}");
            assert_eq!(
                (envelope.message_id.as_deref(), envelope.was_repaired),
                (Some("m"), true),
                "{line}"
            );
        }
        let event = Bytes::from(format!(r#"{mark}{{"eventCode":"X","body":1,}}"#));
        assert_eq!(Envelope::parse(event.clone()), (Envelope::event(event), None));
    }

    #[test]
    fn invalid_json_is_left_to_the_pipeline() {
        for line in ["", "{", r#"{"body":{"a":1,},"#, r#""body""#, r#"["body"]"#, "\"body\" \u{0}"]
        {
            assert_eq!(
                parse(line),
                (Envelope::event(Bytes::from_static(line.as_bytes())), None),
                "{line}"
            );
        }
    }
}
