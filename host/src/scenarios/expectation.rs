//! What a step expects, read from the file; and what no rule could do, which is a mistake of the file.

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

const SENT_HINT: &str = "write what goes out, in order: sent = [{ push = \"template\", data = { amount = 135 } }]; `nothing = true` for nothing";
const SUPPRESSED_HINT: &str =
    "write what does not go out, and why: suppressed = [{ push = \"template\", why = \"no-recipient\" }]";
const TIMERS_HINT: &str =
    "write every timer that is pending, and when it is due: timers = { nudge = \"60m\" }; {} if none is";
const STATE_HINT: &str = "write the members that matter: state = { count = 2 }; \"none\" if nothing is kept";

/// One thing that a step expects.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) line: u32,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Sent(Vec<Message>),
    Suppressed(Vec<(Message, Option<String>)>),
    Nothing,
    Note(String),
    Error(String),
    Timers(Vec<(String, Due)>),
    State(Option<Map<String, Value>>),
}

/// A communication, as far as it is expected.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) channel: &'static str,
    pub(super) template: String,
    pub(super) data: Map<String, Value>,
}

/// What a step does, as far as it limits what can come of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moves<'a> {
    Event { code: &'a str },
    Clock,
}

impl Reader<'_, '_> {
    /// What a step expects; what no rule of this manifest could do is a problem.
    pub(super) fn expectations(
        &mut self,
        step: &DeTable<'_>,
        moves: Moves<'_>,
        manifest: &Manifest,
        zone: &TimeZone,
    ) -> Vec<Expected> {
        let mut expected = Vec::new();
        let mut add = |reader: &Self, span: Range<usize>, what| {
            expected.push(Expected { line: reader.line_of(span.start), what });
        };
        if let Some((value, span)) = spot(step, "sent") {
            let sent = self.messages(value, span.clone(), SENT_HINT, false);
            self.possible(!sent.is_empty(), span.clone(), "is sent", moves, manifest);
            add(self, span, What::Sent(sent.into_iter().map(|(message, _)| message).collect()));
        }
        if let Some((value, span)) = spot(step, "suppressed") {
            let suppressed = self.messages(value, span.clone(), SUPPRESSED_HINT, true);
            self.possible(!suppressed.is_empty(), span.clone(), "is suppressed", moves, manifest);
            add(self, span, What::Suppressed(suppressed));
        }
        if let Some((value, span)) = spot(step, "nothing") {
            if !matches!(value, DeValue::Boolean(true)) {
                self.problem(Some(span.clone()), "`nothing` is not true", "write `nothing = true`, or remove it");
            }
            if spot(step, "sent").is_some_and(|(sent, _)| sent.as_array().is_some_and(|sent| !sent.is_empty())) {
                let reason = "a step can't expect `nothing` and something `sent`";
                self.problem(Some(span.clone()), reason, "remove one of them");
            }
            add(self, span, What::Nothing);
        }
        for (note, span) in self.texts(step, "note", "write a part of a note: note = \"a small basket\"") {
            // What is not called is noted, too.
            self.possible(true, span.clone(), "is noted", moves, manifest);
            add(self, span, What::Note(note));
        }
        if let Some((error, span)) = self.text(step, "error", "write a part of the error: error = \"too many\"") {
            self.possible(true, span.clone(), "fails", moves, manifest);
            add(self, span, What::Error(error));
        }
        if let Some((value, span)) = spot(step, "timers")
            && let Some(timers) = self.members((value, span.clone()), "`timers`", TIMERS_HINT)
        {
            let timers = self.timers(timers, manifest, zone);
            add(self, span, What::Timers(timers));
        }
        if let Some((value, span)) = spot(step, "state") {
            if manifest.state_version.is_none() {
                let hint = "remove it: this rule keeps no state (no `state: &mut …` in any handler)";
                self.problem(Some(span.clone()), format!("`{}` has no state", manifest.name), hint);
            }
            match value {
                DeValue::String(text) if text == "none" => add(self, span, What::State(None)),
                _ => match json_of(value) {
                    Ok(Value::Object(members)) => add(self, span, What::State(Some(members))),
                    _ => self.problem(Some(span), "`state` is no table", STATE_HINT),
                },
            }
        }
        expected
    }

    /// An expectation that can never be met is a mistake of the scenario, not of the rule.
    fn possible(&mut self, is_expected: bool, span: Range<usize>, what: &str, moves: Moves<'_>, manifest: &Manifest) {
        let handlers = &manifest.handlers;
        let (can_be, reason, hint) = match moves {
            Moves::Event { code } => {
                let is_merge =
                    event_named("ProfilesMerged").is_some_and(|merge| merge.all_codes().any(|merged| merged == code));
                let takes = |event: &String| event == code || event == ANY_EVENT;
                let takes =
                    handlers.iter().any(|handler| handler.events.iter().any(takes) || handler.merge && is_merge);
                let codes: Vec<&str> =
                    handlers.iter().flat_map(|handler| &handler.events).map(String::as_str).collect();
                let hint = format!("`{}` takes {}", manifest.name, codes.join(", "));
                (takes, format!("nothing {what}: no handler of `{}` takes `{}`", manifest.name, shown(code)), hint)
            }
            Moves::Clock => {
                let has_timer = handlers.iter().any(|handler| handler.timer.is_some());
                let hint = "expect `nothing`, or remove it".to_owned();
                (has_timer, format!("nothing {what} while the clock goes on: `{}` has no timers", manifest.name), hint)
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
            self.problem(Some(span), "this is no list", hint);
            return Vec::new();
        };
        let mut messages = Vec::new();
        for value in values.iter() {
            let Some(table) = self.members((value.get_ref(), value.span()), "a communication", hint) else { continue };
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
                    self.problem(Some(key.span()), format!("there is no channel `{}`", shown(name)), hint);
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
                self.problem(Some(span), "`data` is no table of values", hint);
                Map::new()
            }
        };
        let why = self.text(table, "why", hint).map(|(why, _)| why);
        Some((Message { channel, template, data }, why))
    }

    fn timers(&mut self, table: &DeTable<'_>, manifest: &Manifest, zone: &TimeZone) -> Vec<(String, Due)> {
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
                self.problem(Some(key.span()), format!("`{}` has no timer `{}`", manifest.name, shown(name)), hint);
                continue;
            }
            match value.get_ref().as_str().and_then(|due| Due::read(due, zone)) {
                Some(due) => timers.push((name.to_owned(), due)),
                None => self.problem(Some(value.span()), format!("`{name}` is no moment of a timer"), DUE_HINT),
            }
        }
        timers.sort_by(|(one, _), (other, _)| one.cmp(other));
        timers
    }
}
