//! Reads the expectations of a step. An expectation that no rule could meet is a problem of the
//! file.

use std::ops::Range;

use hailer_abi::catalogue::event_named;
use hailer_abi::manifest::{ANY_EVENT, Manifest};
use hailer_abi::wire::Channel;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::moment::{DUE_HINT, Due};
use super::reader::{Reader, spot};
use super::value::json_of;
use crate::engine::{closest, shown};

const SENT_HINT: &str = "write what is sent, in order: sent = [{ push = \"template\", data = { \
                         amount = 135 } }]; `nothing = true` for nothing";
const SUPPRESSED_HINT: &str = "write what is suppressed, and why: suppressed = [{ push = \
                               \"template\", why = \"no-recipient\" }]";
const TIMERS_HINT: &str = "write every timer that is pending, and when it is due: timers = { \
                           nudge = \"60m\" }; {} if none is";
const STATE_HINT: &str =
    "write the members to check: state = { count = 2 }; \"none\" if there is no state";

/// One expectation of a step.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) line: u32,
    pub(super) what: Expectation,
}

#[derive(Clone, Debug)]
pub(super) enum Expectation {
    Sent(Vec<Message>),
    Suppressed(Vec<(Message, Option<String>)>),
    Nothing,
    Note(String),
    Error(String),
    Timers(Vec<(String, Due)>),
    State(Option<Map<String, Value>>),
}

/// A communication, as far as the expectation describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) channel: &'static str,
    pub(super) template: String,
    pub(super) data: Map<String, Value>,
}

/// The action of a step, as far as it limits the possible results.
#[derive(Clone, Copy, Debug)]
pub(super) enum ActionKind<'a> {
    Event { code: &'a str },
    Clock,
}

impl Reader<'_, '_> {
    /// Reads the expectations of a step; one that no rule with this manifest could meet is a
    /// problem.
    pub(super) fn expectations(
        &mut self,
        step: &DeTable<'_>,
        action_kind: ActionKind<'_>,
        manifest: &Manifest,
        zone: &TimeZone,
    ) -> Vec<Expected> {
        let mut expected = Vec::new();
        let mut add = |reader: &Self, span: Range<usize>, what| {
            expected.push(Expected { line: reader.line_of(span.start), what });
        };
        if let Some((value, span)) = spot(step, "sent") {
            let sent = self.messages(value, span.clone(), SENT_HINT, false);
            self.possible(!sent.is_empty(), span.clone(), "is sent", action_kind, manifest);
            add(
                self,
                span,
                Expectation::Sent(sent.into_iter().map(|(message, _)| message).collect()),
            );
        }
        if let Some((value, span)) = spot(step, "suppressed") {
            let suppressed = self.messages(value, span.clone(), SUPPRESSED_HINT, true);
            self.possible(
                !suppressed.is_empty(),
                span.clone(),
                "is suppressed",
                action_kind,
                manifest,
            );
            add(self, span, Expectation::Suppressed(suppressed));
        }
        if let Some((value, span)) = spot(step, "nothing") {
            if !matches!(value, DeValue::Boolean(true)) {
                self.problem(
                    Some(span.clone()),
                    "`nothing` is not true",
                    "write `nothing = true`, or remove it",
                );
            }
            if spot(step, "sent")
                .is_some_and(|(sent, _)| sent.as_array().is_some_and(|sent| !sent.is_empty()))
            {
                let reason = "a step can't expect `nothing` and something `sent`";
                self.problem(Some(span.clone()), reason, "remove one of them");
            }
            add(self, span, Expectation::Nothing);
        }
        for (note, span) in
            self.texts(step, "note", "write a part of a note: note = \"a small basket\"")
        {
            // A rule that is not called leaves a note, too.
            self.possible(true, span.clone(), "is noted", action_kind, manifest);
            add(self, span, Expectation::Note(note));
        }
        if let Some((error, span)) =
            self.text(step, "error", "write a part of the error: error = \"too many\"")
        {
            self.possible(true, span.clone(), "fails", action_kind, manifest);
            add(self, span, Expectation::Error(error));
        }
        if let Some((value, span)) = spot(step, "timers")
            && let Some(timers) = self.members((value, span.clone()), "`timers`", TIMERS_HINT)
        {
            let timers = self.timers(timers, manifest, zone);
            add(self, span, Expectation::Timers(timers));
        }
        if let Some((value, span)) = spot(step, "state") {
            if manifest.state_version.is_none() {
                let hint =
                    "remove it: this rule keeps no state (no `state: &mut …` in any handler)";
                self.problem(Some(span.clone()), format!("`{}` has no state", manifest.name), hint);
            }
            match value {
                DeValue::String(text) if text == "none" => {
                    add(self, span, Expectation::State(None))
                }
                _ => match json_of(value) {
                    Ok(Value::Object(members)) => {
                        add(self, span, Expectation::State(Some(members)))
                    }
                    _ => self.problem(Some(span), "`state` is not a table", STATE_HINT),
                },
            }
        }
        expected
    }

    /// Reports an expectation that can never be met; that is a mistake of the scenario.
    fn possible(
        &mut self,
        is_expected: bool,
        span: Range<usize>,
        what: &str,
        action_kind: ActionKind<'_>,
        manifest: &Manifest,
    ) {
        let handlers = &manifest.handlers;
        let (can_be, reason, hint) = match action_kind {
            ActionKind::Event { code } => {
                let is_merge = event_named("ProfilesMerged")
                    .is_some_and(|merge| merge.all_codes().any(|merged| merged == code));
                let takes = |event: &String| event == code || event == ANY_EVENT;
                let takes = handlers
                    .iter()
                    .any(|handler| handler.events.iter().any(takes) || handler.merge && is_merge);
                let codes: Vec<&str> = handlers
                    .iter()
                    .flat_map(|handler| &handler.events)
                    .map(String::as_str)
                    .collect();
                let hint = format!("`{}` takes {}", manifest.name, codes.join(", "));
                (
                    takes,
                    format!(
                        "nothing {what}: no handler of `{}` takes `{}`",
                        manifest.name,
                        shown(code)
                    ),
                    hint,
                )
            }
            ActionKind::Clock => {
                let has_timer = handlers.iter().any(|handler| handler.timer.is_some());
                let hint = "expect `nothing`, or remove it".to_owned();
                (
                    has_timer,
                    format!(
                        "nothing {what} while only time passes: `{}` has no timers",
                        manifest.name
                    ),
                    hint,
                )
            }
        };
        if is_expected && !can_be {
            self.problem(Some(span), reason, hint);
        }
    }

    fn messages(
        &mut self,
        value: &DeValue<'_>,
        span: Range<usize>,
        hint: &str,
        are_suppressed: bool,
    ) -> Vec<(Message, Option<String>)> {
        let DeValue::Array(values) = value else {
            self.problem(Some(span), "this is not a list", hint);
            return Vec::new();
        };
        let mut messages = Vec::new();
        for value in values.iter() {
            let Some(table) =
                self.members((value.get_ref(), value.span()), "a communication", hint)
            else {
                continue;
            };
            messages.extend(self.message(table, value.span(), hint, are_suppressed));
        }
        messages
    }

    fn message(
        &mut self,
        table: &DeTable<'_>,
        span: Range<usize>,
        hint: &str,
        is_suppressed: bool,
    ) -> Option<(Message, Option<String>)> {
        let channels = || Channel::ALL.iter().map(|channel| channel.name());
        let others: &[&str] = if is_suppressed { &["why"] } else { &["data"] };
        let (mut found, mut is_misspelt) = (None, false);
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let Some(channel) = channels().find(|channel| *channel == name) else {
                if !others.contains(&name) {
                    is_misspelt = true;
                    let hint = match closest(name, channels().chain(others.iter().copied())) {
                        Some(known) => format!("did you mean `{known}`?"),
                        None => format!(
                            "a communication has a channel ({}) and {}",
                            channels().collect::<Vec<_>>().join(", "),
                            others[0]
                        ),
                    };
                    self.problem(
                        Some(key.span()),
                        format!("there is no channel `{}`", shown(name)),
                        hint,
                    );
                }
                continue;
            };
            match value.get_ref().as_str() {
                Some(template) if found.is_none() => found = Some((channel, template.to_owned())),
                Some(_) => self.problem(Some(key.span()), "a communication has one channel", hint),
                None => self.problem(Some(value.span()), "a template's name is a text", hint),
            }
        }
        let Some((channel, template)) = found else {
            if is_misspelt {
                return None;
            }
            self.problem(Some(span), "a communication names a channel and its template", hint);
            return None;
        };
        let data = match spot(table, "data").map(|(value, span)| (json_of(value), span)) {
            None => Map::new(),
            Some((Ok(Value::Object(data)), _)) => data,
            Some((_, span)) => {
                self.problem(Some(span), "`data` is not a table of values", hint);
                Map::new()
            }
        };
        let why = self.text(table, "why", hint).map(|(why, _)| why);
        Some((Message { channel, template, data }, why))
    }

    fn timers(
        &mut self,
        table: &DeTable<'_>,
        manifest: &Manifest,
        zone: &TimeZone,
    ) -> Vec<(String, Due)> {
        let known = || manifest.handlers.iter().filter_map(|handler| handler.timer.as_deref());
        let mut timers = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if !known().any(|known| known == name) {
                let hint = match closest(name, known()) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None if known().next().is_none() => {
                        "this rule has no timers: write `timers = {}`, or remove it".to_owned()
                    }
                    None => format!("it has {}", known().collect::<Vec<_>>().join(", ")),
                };
                self.problem(
                    Some(key.span()),
                    format!("`{}` has no timer `{}`", manifest.name, shown(name)),
                    hint,
                );
                continue;
            }
            match value.get_ref().as_str().and_then(|due| Due::read(due, zone)) {
                Some(due) => timers.push((name.to_owned(), due)),
                None => self.problem(
                    Some(value.span()),
                    format!("`{name}` has no valid due time"),
                    DUE_HINT,
                ),
            }
        }
        timers.sort_by(|(one, _), (other, _)| one.cmp(other));
        timers
    }
}
