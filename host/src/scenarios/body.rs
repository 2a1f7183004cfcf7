//! The event of a step: the source's sample with some fields changed or removed, or a whole body.

use std::ops::Range;

use bytes::Bytes;
use hailer_abi::catalogue::{ANY_EVENT_TYPE, EVENTS, EventType, event_named, event_of_code};
use hailer_abi::manifest::FieldKind;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::reader::{Reader, kind_of, spot};
use super::value::json_of;
use crate::engine::{closest, shown};
use crate::event::Event;

/// Maximum size of a scenario's body in bytes; larger than any event of the source.
const BODY_BYTES_MAX: usize = 64 << 10;
const EVENT_HINT: &str = "name an event as `hailer events` does, by its name or code, or give the \
                          whole message as `body`";

/// The event of a step.
#[derive(Clone, Debug)]
pub(super) struct GivenEvent {
    pub(super) body: Bytes,
    pub(super) code: String,
    /// The event's name in the step.
    pub(super) name: String,
}

impl Reader<'_, '_> {
    /// Reads the event of a step that has `event` or `body`. A given `customer` takes the place of
    /// the one whom the event is about; `set` and `without` are applied afterwards.
    pub(super) fn event(
        &mut self,
        step: &DeTable<'_>,
        customer: Option<&str>,
    ) -> Option<GivenEvent> {
        let (mut body, name, span) = match self.text(step, "event", EVENT_HINT) {
            Some((name, span)) => (self.sample(&name, span.clone())?, name, span),
            None => {
                let (text, span) =
                    self.text(step, "body", "write the message as JSON: body = '''{ … }'''")?;
                let body = self.whole_body(&text, span.clone())?;
                let name = body["eventCode"].as_str().unwrap_or_default().to_owned();
                (body, name, span)
            }
        };
        if let Some(customer) = customer
            && let Some(info @ Value::Object(_)) = body.get_mut("customerInfo")
        {
            info["customerId"] = customer.into();
        }
        let kind = body["eventCode"].as_str().and_then(event_of_code).unwrap_or(&ANY_EVENT_TYPE);
        if let Some((value, span)) = spot(step, "set") {
            let hint = "write the fields and their values: set = { amount = 99.99 }";
            let fields = self.members((value, span), "`set`", hint)?;
            for (field, value) in fields {
                self.set(
                    &mut body,
                    kind,
                    (field.get_ref().as_ref(), field.span()),
                    (value.get_ref(), value.span()),
                );
            }
        }
        for (field, span) in
            self.texts(step, "without", "write the fields' names: without = [\"amount\"]")
        {
            if let Some(paths) = self.paths(&body, kind, &field, span) {
                paths.iter().for_each(|path| remove(&mut body, path));
            }
        }
        let bytes = Bytes::from(body.to_string());
        match Event::read(bytes.clone()) {
            Ok(event) => Some(GivenEvent { body: bytes, code: event.code().to_owned(), name }),
            Err(error) => {
                self.problem(
                    Some(span),
                    format!("cannot read the event: {error}"),
                    "write a JSON object with an `eventCode`",
                );
                None
            }
        }
    }

    fn sample(&mut self, name: &str, span: Range<usize>) -> Option<Value> {
        let known = event_named(name)
            .or_else(|| event_of_code(name))
            .filter(|known| !known.sample.is_empty());
        let Some(known) = known else {
            let names =
                EVENTS.iter().flat_map(|event| [event.name].into_iter().chain(event.all_codes()));
            let hint = match closest(name, names) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => EVENT_HINT.to_owned(),
            };
            self.problem(Some(span), format!("there is no event `{}`", shown(name)), hint);
            return None;
        };
        let mut body: Value = serde_json::from_str(&without_trailing_commas(known.sample)).ok()?;
        // Another code of the same event is written as given.
        if known.name != name {
            body["eventCode"] = name.into();
        }
        Some(body)
    }

    fn whole_body(&mut self, text: &str, span: Range<usize>) -> Option<Value> {
        let problem = if text.len() > BODY_BYTES_MAX {
            format!("the body has {} bytes, the most is {BODY_BYTES_MAX}", text.len())
        } else {
            match serde_json::from_str(text) {
                Ok(body @ Value::Object(_)) => return Some(body),
                Ok(_) => "the body is not a JSON object".to_owned(),
                Err(error) => {
                    format!(
                        "the body is not JSON, at its line {}: {}",
                        error.line(),
                        shown(&reason_of(&error))
                    )
                }
            }
        };
        self.problem(
            Some(span),
            problem,
            "write one message as SMC sends it, and check it with `jq .`",
        );
        None
    }

    /// Sets a field by its name, a value by its JSON Pointer, or, for a table, the members below a
    /// member of the body.
    fn set(
        &mut self,
        body: &mut Value,
        kind: &EventType,
        (name, name_span): (&str, Range<usize>),
        (value, span): (&DeValue<'_>, Range<usize>),
    ) {
        if kind.field(name).is_none()
            && !name.starts_with('/')
            && let DeValue::Table(below) = value
        {
            for (member, value) in below {
                let path = format!("/{name}/{}", escaped(member.get_ref()));
                self.set(body, kind, (&path, name_span.clone()), (value.get_ref(), value.span()));
            }
            return;
        }
        if name.starts_with('/')
            && let (DeValue::Table(below), Some(Value::Object(_))) = (value, body.pointer(name))
        {
            for (member, value) in below {
                let path = format!("{name}/{}", escaped(member.get_ref()));
                self.set(body, kind, (&path, name_span.clone()), (value.get_ref(), value.span()));
            }
            return;
        }
        let Some(paths) = self.paths(body, kind, name, name_span) else { return };
        let json = match json_of(value) {
            Ok(json) => json,
            Err(reason) => {
                self.problem(
                    Some(span),
                    format!("`{}` {reason}", shown(name)),
                    "give the whole message as `body`",
                );
                return;
            }
        };
        if let Some(field) = kind.field(name)
            && let Some(wanted) = mismatch(field.kind, &json)
        {
            let reason = format!("`{name}` must be {wanted}, and this is {}", kind_of(value));
            let hint = format!(
                "correct it; to test how a rule handles it anyway, set \"{}\"",
                field.paths[0]
            );
            self.problem(Some(span), reason, hint);
            return;
        }
        let is_there = |path: &&String| body.pointer(path).is_some_and(|found| !found.is_null());
        let path = paths.iter().find(is_there).unwrap_or(&paths[0]).clone();
        put(body, &path, json);
    }

    /// The paths of a field: by the catalogue's name, or by a JSON Pointer or a member that the
    /// body or the catalogue has.
    fn paths(
        &mut self,
        body: &Value,
        kind: &EventType,
        name: &str,
        span: Range<usize>,
    ) -> Option<Vec<String>> {
        if let Some(field) = kind.field(name) {
            return Some(field.paths.iter().map(|path| (*path).to_owned()).collect());
        }
        let path =
            if name.starts_with('/') { name.to_owned() } else { format!("/{}", escaped(name)) };
        let in_catalogue =
            kind.fields.iter().flat_map(|field| field.paths).any(|known| *known == path);
        if in_catalogue || body.pointer(&path).is_some() {
            return Some(vec![path]);
        }
        let members = body.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        let names = || kind.fields.iter().map(|field| field.name);
        let paths = kind.fields.iter().flat_map(|field| field.paths.iter().copied());
        let known = if name.starts_with('/') {
            closest(name, paths)
        } else {
            closest(name, names().chain(members))
        };
        let hint = match known {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!(
                "{} has {}; `hailer events {}` shows them; fields that the source does not \
                 document need a whole `body`",
                kind.name,
                names().take(12).collect::<Vec<_>>().join(", "),
                kind.name
            ),
        };
        self.problem(Some(span), format!("{} has no field `{}`", kind.name, shown(name)), hint);
        None
    }
}

/// The required type of a field as text, if the value has another type.
fn mismatch(kind: FieldKind, value: &Value) -> Option<&'static str> {
    let (is_such, wanted) = match kind {
        FieldKind::Bool => (value.is_boolean(), "true or false"),
        FieldKind::Int => (value.is_i64(), "a whole number"),
        FieldKind::Float | FieldKind::Decimal => (value.is_number(), "a number"),
        FieldKind::Str | FieldKind::Timestamp => (value.is_string(), "a text"),
        FieldKind::Id => (value.is_string() || value.is_i64(), "an id, a text or a whole number"),
        FieldKind::Map => (value.is_object(), "a table"),
        FieldKind::List => (value.is_array(), "a list"),
        FieldKind::Raw => (true, "anything"),
    };
    (!is_such).then_some(wanted)
}

fn escaped(member: &str) -> String {
    member.replace('~', "~0").replace('/', "~1")
}

/// Sets the value at a path, and creates missing objects on the way.
fn put(body: &mut Value, path: &str, value: Value) {
    let mut place = body;
    for member in path.split('/').skip(1) {
        let member = member.replace("~1", "/").replace("~0", "~");
        if let Value::Array(items) = place {
            let Some(item) = member.parse::<usize>().ok().filter(|at| *at < items.len()) else {
                return;
            };
            place = &mut items[item];
            continue;
        }
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(members) = place else { return };
        place = members.entry(member).or_insert(Value::Null);
    }
    *place = value;
}

fn remove(body: &mut Value, path: &str) {
    let Some((parent, member)) = path.rsplit_once('/') else { return };
    let member = member.replace("~1", "/").replace("~0", "~");
    if let Some(Value::Object(members)) = body.pointer_mut(parent) {
        members.remove(&member);
    }
}

/// Removes trailing commas; one of the source's samples has one.
fn without_trailing_commas(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_text, mut is_escaped) = (false, false);
    for character in json.chars() {
        if in_text {
            (in_text, is_escaped) =
                (is_escaped || character != '"', !is_escaped && character == '\\');
        } else if character == '"' {
            in_text = true;
        } else if matches!(character, '}' | ']') && out.trim_end().ends_with(',') {
            out.truncate(out.trim_end().len() - 1);
        }
        out.push(character);
    }
    out
}

/// The error without its position, which the problem reports separately.
fn reason_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_of_the_source_can_be_changed() {
        for event in EVENTS {
            let body: Result<Value, _> =
                serde_json::from_str(&without_trailing_commas(event.sample));
            assert!(body.is_ok(), "{}: {body:?}", event.name);
        }
        assert_eq!(
            without_trailing_commas(r#"{"a": ",]", "b": [1, ], }"#),
            r#"{"a": ",]", "b": [1]}"#
        );
    }
}
