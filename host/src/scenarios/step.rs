//! A step of a scenario: one action, and the expected result.

use std::ops::Range;

use hailer_abi::manifest::Manifest;
use jiff::tz::TimeZone;
use toml::de::DeTable;

use super::body::GivenEvent;
use super::expectation::{ActionKind, Expected};
use super::moment::{MOMENT_HINT, MOMENT_MAX, SPAN_HINT, moment, shown_moment, shown_span, span};
use super::reader::{Reader, spot};
use crate::clock::Millis;
use crate::engine::shown;

const TIMES_MAX: u32 = 1000;

const STEP_KEYS: [&str; 14] = [
    "event",
    "body",
    "set",
    "without",
    "times",
    "advance",
    "at",
    "sent",
    "suppressed",
    "nothing",
    "note",
    "error",
    "timers",
    "state",
];
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) line: u32,
    pub(super) action: Action,
    pub(super) expected: Vec<Expected>,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    /// The event arrives this many times.
    Event(GivenEvent, u32),
    Advance(Millis),
    At(Millis),
}

impl<'text> Reader<'_, 'text> {
    pub(super) fn step(
        &mut self,
        table: &DeTable<'text>,
        place: Range<usize>,
        clock: &mut Millis,
        zone: &TimeZone,
        manifest: &Manifest,
    ) -> Option<Step> {
        self.unknown_keys(table, "a step", &STEP_KEYS);
        let has = |key| spot(table, key).is_some();
        let line = self.line_of(place.start);
        if ["event", "body", "advance", "at"].into_iter().filter(|key| has(key)).count() != 1 {
            let hint = "write event = \"Purchase\", body = '''…''', advance = \"60d\" or at = \
                        \"2026-03-01T10:00\"; a second one is a step of its own";
            self.problem(Some(place), "a step does one thing", hint);
            return None;
        }
        if has("event") || has("body") {
            let given = self.event(table, None)?;
            let times = self.number(table, "times", TIMES_MAX).unwrap_or(1);
            let expected =
                self.expectations(table, ActionKind::Event { code: &given.code }, manifest, zone);
            return Some(Step { line, action: Action::Event(given, times), expected });
        }
        for key in ["set", "without", "times"].into_iter().filter(|key| has(key)) {
            self.problem(
                Some(place.clone()),
                format!("`{key}` belongs to an event"),
                "remove it, or name the event",
            );
        }
        let action = self.clock(table, clock, zone)?;
        let expected = self.expectations(table, ActionKind::Clock, manifest, zone);
        Some(Step { line, action, expected })
    }

    /// Reads a step that only lets time pass.
    fn clock(
        &mut self,
        table: &DeTable<'text>,
        clock: &mut Millis,
        zone: &TimeZone,
    ) -> Option<Action> {
        if let Some((text, place)) = self.text(table, "advance", SPAN_HINT) {
            let by = span(&text);
            match by {
                Some(by) if *clock + by > MOMENT_MAX => {
                    let hint = "advance by less, or begin the scenario earlier, with `starts`";
                    self.problem(
                        Some(place),
                        "the clock of a scenario goes no further than 2100-01-01",
                        hint,
                    );
                }
                Some(by) => *clock += by,
                None => self.problem(
                    Some(place),
                    format!("`{}` is not a duration", shown(&text)),
                    SPAN_HINT,
                ),
            }
            return by.map(Action::Advance);
        }
        let (text, span) = self.text(table, "at", MOMENT_HINT)?;
        let Some(moment) = moment(&text, zone) else {
            self.problem(Some(span), format!("`{}` is not a time", shown(&text)), MOMENT_HINT);
            return None;
        };
        if moment < *clock {
            let reason = format!(
                "`{}` is before {}, the clock's time at this step",
                shown(&text),
                shown_moment(*clock, zone)
            );
            self.problem(
                Some(span),
                reason,
                "the clock never goes back: begin the scenario earlier, with `starts`",
            );
        }
        *clock = moment.max(*clock);
        Some(Action::At(moment))
    }
}

impl Action {
    /// The action as text.
    pub(super) fn shown(&self, zone: &TimeZone) -> String {
        match self {
            Action::Event(given, 1) => given.name.clone(),
            Action::Event(given, times) => format!("{} {times} times", given.name),
            Action::Advance(by) => format!("advance {}", shown_span(*by)),
            Action::At(moment) => format!("at {}", shown_moment(*moment, zone)),
        }
    }
}
