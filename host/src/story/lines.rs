//! From an entry of the journal to lines: what each campaign made of the event, and which were not asked.

use std::collections::HashSet;

use hailer_abi::manifest::ANY_EVENT;
use hailer_abi::wire::Channel;

use super::kept::{Kept, Now};
use super::{Cause, Ending, Line, Subject, Taker, Until, time};
use crate::records::{self, Decided, JournalEntry, Outcome, Proposed, Verdict};

/// Which campaigns should have been asked.
pub(super) struct Takers<'a> {
    campaign: Option<&'a str>,
    takers: Vec<Taker>,
    canaries: Vec<Taker>,
    /// Nobody knows what runs.
    is_unknown: bool,
}

impl<'a> Takers<'a> {
    /// Of all that run, if that is known, or of the one that was asked for. A campaign that does not run is taken to want every
    /// event: that it does not run is then the answer.
    pub(super) fn new(running: Option<&[Taker]>, campaign: Option<&'a str>) -> Takers<'a> {
        let is_unknown = running.is_none();
        let running = running.unwrap_or_default();
        let takers = match campaign {
            None => running.to_vec(),
            Some(name) => {
                let asked_for = running.iter().find(|taker| taker.campaign == name).cloned();
                let any = || Taker {
                    campaign: name.to_owned(),
                    codes: vec![ANY_EVENT.to_owned()],
                    in_place_of: None,
                    conditions: Vec::new(),
                };
                vec![asked_for.unwrap_or_else(any)]
            }
        };
        let canaries = running.iter().filter(|taker| taker.in_place_of.is_some()).cloned().collect();
        Takers { campaign, takers, canaries, is_unknown }
    }

    fn concerns(&self, campaign: &str) -> bool {
        self.campaign.is_none_or(|asked_for| asked_for == campaign)
    }

    /// Who takes a code, and what it means that they were not asked. A canary is not missed: for whom it does not decide its campaign does.
    fn of_code<'b>(&'b self, code: &'b str) -> impl Iterator<Item = (&'b str, Ending)> {
        let should_be_asked = move |taker: &&Taker| taker.takes(code) && taker.in_place_of.is_none();
        self.takers.iter().filter(should_be_asked).map(move |taker| {
            let ending = match taker.condition(code) {
                None if self.is_unknown => Ending::NotMatched { condition: None },
                None => Ending::NotRunning,
                condition => Ending::NotMatched { condition: condition.map(str::to_owned) },
            };
            (&*taker.campaign, ending)
        })
    }

    /// Who decides in the place of a campaign for some customers.
    fn canary_of<'b>(&'b self, campaign: &'b str) -> impl Iterator<Item = &'b str> {
        let is_its = move |taker: &&Taker| taker.in_place_of.as_deref() == Some(campaign);
        self.canaries.iter().filter(is_its).map(|taker| &*taker.campaign)
    }
}

/// What was made of an entry. `waiting` are the communications that are in the outbox, and `kept` says what has become of kept events.
pub(super) fn lines(entry: &JournalEntry, waiting: &HashSet<Box<str>>, kept: &Kept, takers: &Takers<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for outcome in entry.outcomes.iter().filter(|outcome| takers.concerns(&outcome.campaign)) {
        of_outcome(entry, outcome, waiting, kept, &mut lines);
    }
    let is_among = |campaign: &str| entry.outcomes.iter().any(|outcome| &*outcome.campaign == campaign);
    let was_asked = |campaign: &str| is_among(campaign) || takers.canary_of(campaign).any(is_among);
    let mut not_asked = |campaign: &str, ending| {
        if takers.concerns(campaign) && !was_asked(campaign) {
            lines.push(line(campaign, None, None, ending));
        }
    };
    // Who is tried again is tried alone.
    if entry.again.is_some() {
        return lines;
    }
    match &entry.cause {
        records::Cause::Event { code } => {
            takers.of_code(code).for_each(|(campaign, ending)| not_asked(campaign, ending));
        }
        records::Cause::Timer { campaign, .. } => not_asked(campaign, Ending::NotRunning),
    }
    lines
}

pub(super) fn cause(cause: records::Cause) -> Cause {
    match cause {
        records::Cause::Event { code } => Cause::Event { code: code.into() },
        records::Cause::Timer { campaign, name, due } => {
            Cause::Timer { campaign: campaign.to_string(), name: name.into(), due: time(due) }
        }
    }
}

fn of_outcome(
    entry: &JournalEntry,
    outcome: &Outcome,
    waiting: &HashSet<Box<str>>,
    kept: &Kept,
    lines: &mut Vec<Line>,
) {
    let Outcome { campaign, version, decided } = outcome;
    let line = |subject, ending| line(campaign, Some(version), subject, ending);
    match decided {
        Decided::Skipped { field, why } => {
            let requires = if why.is_some() { "" } else { ", which it requires" };
            let note = format!("not called: {}{requires}", Decided::skipped_as(field, why.as_deref()));
            lines.push(line(None, Ending::ChoseNothing { note }));
        }
        Decided::Failed { error } => lines.push(line(None, Ending::Failed { error: error.to_string() })),
        Decided::Held => {
            // A timer that waits may have been cancelled by what was in front of it, so it is not called dropped.
            let is_event = matches!(entry.cause, records::Cause::Event { .. });
            let is_dropped = is_event && kept.now(entry, campaign) == Now::Dropped;
            let dropped = Ending::Dropped { was: "held behind an earlier failure".to_owned() };
            lines
                .push(line(None, if is_dropped { dropped } else { Ending::Deferred { until: Until::EarlierFailure } }));
        }
        Decided::Missed { reason, is_kept } => {
            let reason = reason.to_string();
            let ending = match is_kept.then(|| kept.now(entry, campaign)) {
                Some(Now::Dropped) => Ending::Dropped { was: format!("missed ({reason})") },
                Some(Now::Decided) => Ending::Missed { reason, is_kept: true, is_decided: true },
                Some(Now::Owed) | None => Ending::Missed { reason, is_kept: *is_kept, is_decided: false },
            };
            lines.push(line(None, ending));
        }
        Decided::OutsideRollout => lines.push(line(None, Ending::OutsideRollout)),
        Decided::Answered { communications, notes, state_changed, scheduled, cancelled } => {
            let first = lines.len();
            for one in communications {
                lines.push(line(Some(communication(one)), ending(one, waiting)));
            }
            for (name, due) in scheduled {
                let until = Until::Time(time(*due));
                lines.push(line(Some(Subject::Timer { name: name.to_string() }), Ending::Deferred { until }));
            }
            if lines.len() == first {
                let note = if notes.is_empty() { "no note".to_owned() } else { notes.join("; ") };
                lines.push(line(None, Ending::ChoseNothing { note }));
            }
            let line = &mut lines[first];
            line.notes = notes.iter().map(ToString::to_string).collect();
            line.cancelled = cancelled.iter().map(ToString::to_string).collect();
            line.state_changed = *state_changed;
        }
    }
}

fn communication(one: &Proposed) -> Subject {
    Subject::Communication {
        channel: channel_name(one.channel),
        template: one.template.to_string(),
        id: Some(one.id.to_string()).filter(|id| !id.is_empty()),
    }
}

pub(super) fn channel_name(number: u8) -> String {
    let channel = Channel::from_wire(number.into());
    channel.map_or_else(|| format!("channel {number}"), |channel| channel.name().to_owned())
}

fn ending(one: &Proposed, waiting: &HashSet<Box<str>>) -> Ending {
    match &one.verdict {
        Verdict::Suppressed(reason) => Ending::Suppressed { reason: reason.to_string() },
        Verdict::Passed if waiting.contains(&one.id) => Ending::Deferred { until: Until::Sink },
        Verdict::Passed => Ending::Published,
    }
}

fn line(campaign: &str, version: Option<&str>, subject: Option<Subject>, ending: Ending) -> Line {
    Line {
        campaign: campaign.to_owned(),
        version: version.map(str::to_owned),
        subject,
        notes: Vec::new(),
        cancelled: Vec::new(),
        state_changed: false,
        ending,
    }
}
