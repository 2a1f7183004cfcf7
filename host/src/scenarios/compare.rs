//! Compares the result of a step with the step's expectations, and shows differences as a diff.

use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;

use super::expectation::{Expectation, Expected, Message};
use super::moment::{Due, shown_moment, shown_span};
use super::value::{is_as_expected, shown_members};
use crate::clock::Millis;
use crate::engine::shown;

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    pub line: u32,
    /// The key of the expectation, such as `sent` or `timers`.
    pub what: String,
    /// Lines starting with `-` (expected), `+` (found), or two spaces (as expected).
    pub diff: Vec<String>,
}

/// The result of a step.
#[derive(Debug, Default)]
pub(super) struct StepResult {
    pub(super) now: Millis,
    pub(super) sent: Vec<Message>,
    pub(super) suppressed: Vec<(Message, String)>,
    pub(super) notes: Vec<String>,
    pub(super) errors: Vec<String>,
    /// Pending timers by name, with their due times.
    pub(super) timers: Vec<(String, Millis)>,
    pub(super) state: Option<Value>,
}

impl Expected {
    pub(super) fn is_error(&self) -> bool {
        matches!(self.what, Expectation::Error(_))
    }

    /// The mismatch; `None` if the expectation is met.
    pub(super) fn compare(&self, seen: &StepResult, zone: &TimeZone) -> Option<Mismatch> {
        let mismatch = |what: &str, diff: Vec<String>| {
            Some(Mismatch { line: self.line, what: what.to_owned(), diff })
        };
        match &self.what {
            Expectation::Sent(expected) => {
                let pairs = expected.len() == seen.sent.len()
                    && expected
                        .iter()
                        .zip(&seen.sent)
                        .all(|(expected, sent)| expected.is_met_by(sent));
                if pairs { None } else { mismatch("sent", diff_of(expected, &seen.sent)) }
            }
            Expectation::Suppressed(expected) => {
                let is_met = |((message, why), (found, found_why)): (
                    &(Message, Option<String>),
                    &(Message, String),
                )| {
                    (message.channel, &message.template) == (found.channel, &found.template)
                        && why.as_ref().is_none_or(|why| why == found_why)
                };
                if expected.len() == seen.suppressed.len()
                    && expected.iter().zip(&seen.suppressed).all(is_met)
                {
                    return None;
                }
                let wanted = |(message, why): &(Message, Option<String>)| {
                    format!(
                        "- {}{}",
                        message.shown(),
                        why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
                    )
                };
                let found =
                    |(message, why): &(Message, String)| format!("+ {} ({why})", message.shown());
                mismatch(
                    "suppressed",
                    expected.iter().map(wanted).chain(seen.suppressed.iter().map(found)).collect(),
                )
            }
            Expectation::Nothing if seen.sent.is_empty() => None,
            Expectation::Nothing => mismatch("nothing", diff_of(&[], &seen.sent)),
            Expectation::Note(expected) => {
                if seen.notes.iter().any(|note| note.contains(expected)) {
                    return None;
                }
                let found = seen.notes.iter().map(|note| format!("+ {note}"));
                mismatch("note", std::iter::once(format!("- …{expected}…")).chain(found).collect())
            }
            Expectation::Error(expected) => {
                if seen.errors.iter().any(|error| error.contains(expected)) {
                    return None;
                }
                let found = seen.errors.iter().map(|error| format!("+ {error}"));
                mismatch("error", std::iter::once(format!("- …{expected}…")).chain(found).collect())
            }
            Expectation::Timers(expected) => {
                let due = |due: Due| due.resolve(seen.now, zone).unwrap_or(Millis::MAX);
                let expected: Vec<(String, Millis)> =
                    expected.iter().map(|(name, when)| (name.clone(), due(*when))).collect();
                if expected == seen.timers {
                    return None;
                }
                let shown = |sign: char, (name, due): &(String, Millis)| {
                    format!(
                        "{sign} {name} at {}{}",
                        shown_moment(*due, zone),
                        from_now(*due, seen.now)
                    )
                };
                let is_pending =
                    |timer: &(String, Millis)| if seen.timers.contains(timer) { ' ' } else { '-' };
                let more = seen.timers.iter().filter(|timer| !expected.contains(timer));
                let lines = expected.iter().map(|timer| shown(is_pending(timer), timer));
                mismatch("timers", lines.chain(more.map(|timer| shown('+', timer))).collect())
            }
            Expectation::State(expected) => {
                let is_met = match (expected, &seen.state) {
                    (None, None) => true,
                    (Some(expected), Some(found)) => {
                        is_as_expected(&Value::Object(expected.clone()), found)
                    }
                    // A state that was never written is the rule's default, which only the rule
                    // knows.
                    _ => false,
                };
                if is_met {
                    return None;
                }
                let wanted = expected.as_ref().map_or_else(|| "none".to_owned(), shown_members);
                let found = seen.state.as_ref().map_or_else(
                    || "none".to_owned(),
                    |state| state.as_object().map_or_else(|| state.to_string(), shown_members),
                );
                mismatch("state", vec![format!("- {wanted}"), format!("+ {found}")])
            }
        }
    }
}

fn from_now(due: Millis, now: Millis) -> String {
    if due >= now { format!(", in {}", shown_span(due - now)) } else { String::new() }
}

/// A diff of the expected and the sent messages, in order; equal ones appear once.
fn diff_of(expected: &[Message], sent: &[Message]) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut expected, mut sent) = (expected.iter().peekable(), sent.iter().peekable());
    loop {
        match (expected.peek(), sent.peek()) {
            (Some(wanted), Some(found)) if wanted.is_met_by(found) => {
                lines.push(format!("  {}", found.shown()));
                expected.next();
                sent.next();
            }
            (Some(wanted), _) => {
                lines.push(format!("- {}", wanted.shown()));
                expected.next();
                // Shows the message in its place, unless a later expectation matches it.
                if let Some(found) = sent.peek()
                    && !expected.clone().any(|later| later.is_met_by(found))
                {
                    lines.push(format!("+ {}", found.shown()));
                    sent.next();
                }
            }
            (None, Some(found)) => {
                lines.push(format!("+ {}", found.shown()));
                sent.next();
            }
            (None, None) => return lines,
        }
    }
}

impl Message {
    fn is_met_by(&self, sent: &Message) -> bool {
        (self.channel, &self.template) == (sent.channel, &sent.template)
            && is_as_expected(&Value::Object(self.data.clone()), &Value::Object(sent.data.clone()))
    }

    /// Formats a message as the SDK's scenarios do.
    pub(super) fn shown(&self) -> String {
        let data = if self.data.is_empty() {
            String::new()
        } else {
            format!(", {}", shown_members(&self.data))
        };
        format!("{} `{}`{data}", self.channel, shown(&self.template))
    }
}
