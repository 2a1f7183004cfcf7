//! Turns a journal entry into lines: one campaign's results for the event, and the campaigns that
//! were not called.

use std::collections::HashSet;

use hailer_abi::manifest::ANY_EVENT;
use hailer_abi::wire::Channel;

use super::kept_events::{KeptEventStatus, KeptEvents};
use super::{Cause, EarlierDecision, Line, LineResult, RunningCampaign, Subject, Until, time};
use crate::policies::Reason;
use crate::records::{self, Decided, JournalEntry, Outcome, Proposed, Released, Verdict};

/// The campaigns that could have been called for an event.
pub(super) struct RunningCampaigns<'a> {
    campaign: Option<&'a str>,
    running: Vec<RunningCampaign>,
    canaries: Vec<RunningCampaign>,
    /// True if the set of running campaigns is not known.
    is_unknown: bool,
}

impl<'a> RunningCampaigns<'a> {
    /// Selects all running campaigns, or only the requested one. A requested campaign that does not
    /// run counts as taking every event, so that its line says that it does not run.
    pub(super) fn new(
        running: Option<&[RunningCampaign]>,
        campaign: Option<&'a str>,
    ) -> RunningCampaigns<'a> {
        let is_unknown = running.is_none();
        let running = running.unwrap_or_default();
        let running = match campaign {
            None => running.to_vec(),
            Some(name) => {
                let requested = running.iter().find(|campaign| campaign.campaign == name).cloned();
                let any = || RunningCampaign {
                    campaign: name.to_owned(),
                    codes: vec![ANY_EVENT.to_owned()],
                    in_place_of: None,
                    conditions: Vec::new(),
                };
                vec![requested.unwrap_or_else(any)]
            }
        };
        let canaries =
            running.iter().filter(|campaign| campaign.in_place_of.is_some()).cloned().collect();
        RunningCampaigns { campaign, running, canaries, is_unknown }
    }

    fn concerns(&self, campaign: &str) -> bool {
        self.campaign.is_none_or(|requested| requested == campaign)
    }

    /// Campaigns that take a code, each with the result if it was not called. Canaries are left
    /// out: where a canary does not decide, its campaign does.
    fn of_code<'b>(&'b self, code: &'b str) -> impl Iterator<Item = (&'b str, LineResult)> {
        let is_candidate = move |campaign: &&RunningCampaign| {
            campaign.takes(code) && campaign.in_place_of.is_none()
        };
        self.running.iter().filter(is_candidate).map(move |campaign| {
            let result = match campaign.condition(code) {
                None if self.is_unknown => LineResult::NotMatched { condition: None },
                None => LineResult::NotRunning,
                condition => LineResult::NotMatched { condition: condition.map(str::to_owned) },
            };
            (&*campaign.campaign, result)
        })
    }

    /// The canaries that replace a campaign for some customers.
    fn canary_of<'b>(&'b self, campaign: &'b str) -> impl Iterator<Item = &'b str> {
        let replaces_it =
            move |canary: &&RunningCampaign| canary.in_place_of.as_deref() == Some(campaign);
        self.canaries.iter().filter(replaces_it).map(|canary| &*canary.campaign)
    }
}

/// The lines of an entry. `waiting` has the ids of communications in the outbox; `kept` has the
/// present status of kept events.
pub(super) fn lines(
    entry: &JournalEntry,
    waiting: &HashSet<Box<str>>,
    kept: &KeptEvents,
    running: &RunningCampaigns<'_>,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for outcome in entry.outcomes.iter().filter(|outcome| running.concerns(&outcome.campaign)) {
        of_outcome(entry, outcome, waiting, kept, &mut lines);
    }
    // A release, or the end of a deferred communication, is no call of the rule.
    let calls = || entry.outcomes.iter().filter(|outcome| !outcome.decided.is_release());
    let is_among = |campaign: &str| calls().any(|outcome| &*outcome.campaign == campaign);
    let was_called =
        |campaign: &str| is_among(campaign) || running.canary_of(campaign).any(is_among);
    let mut add_not_called = |campaign: &str, result| {
        if running.concerns(campaign) && !was_called(campaign) {
            lines.push(line(campaign, None, None, result));
        }
    };
    // A retry calls only the campaign that failed.
    if entry.again.is_some() {
        return lines;
    }
    match &entry.cause {
        records::Cause::Event { code } => {
            running.of_code(code).for_each(|(campaign, result)| add_not_called(campaign, result));
        }
        records::Cause::Timer { campaign, .. } => add_not_called(campaign, LineResult::NotRunning),
        records::Cause::Release { .. } => {}
    }
    lines
}

pub(super) fn cause(cause: records::Cause) -> Cause {
    match cause {
        records::Cause::Event { code } => Cause::Event { code: code.into() },
        records::Cause::Timer { campaign, name, due } => {
            Cause::Timer { campaign: campaign.to_string(), name: name.into(), due: time(due) }
        }
        records::Cause::Release { due } => Cause::Release { due: time(due) },
    }
}

fn of_outcome(
    entry: &JournalEntry,
    outcome: &Outcome,
    waiting: &HashSet<Box<str>>,
    kept: &KeptEvents,
    lines: &mut Vec<Line>,
) {
    let Outcome { campaign, version, decided } = outcome;
    // A campaign that is not there any more has no version.
    let version = Some(&**version).filter(|version| !version.is_empty());
    let line = |subject, result| line(campaign, version, subject, result);
    match decided {
        Decided::Skipped { field, why } => {
            let requires = if why.is_some() { "" } else { ", which it requires" };
            let note =
                format!("not called: {}{requires}", Decided::skipped_as(field, why.as_deref()));
            lines.push(line(None, LineResult::ChoseNothing { note }));
        }
        Decided::Failed { error } => {
            lines.push(line(None, LineResult::Failed { error: error.to_string() }))
        }
        Decided::Held => {
            // An earlier event may have cancelled a held timer, so a missing timer does not count
            // as dropped.
            let is_event = matches!(entry.cause, records::Cause::Event { .. });
            let is_dropped = is_event && kept.now(entry, campaign) == KeptEventStatus::Dropped;
            let dropped = LineResult::Dropped { was: "held behind an earlier failure".to_owned() };
            lines.push(line(
                None,
                if is_dropped { dropped } else { LineResult::waits(Until::EarlierFailure) },
            ));
        }
        Decided::Missed { reason, is_kept } => {
            let reason = reason.to_string();
            let result = match is_kept.then(|| kept.now(entry, campaign)) {
                Some(KeptEventStatus::Dropped) => {
                    LineResult::Dropped { was: format!("missed ({reason})") }
                }
                Some(KeptEventStatus::Decided) => {
                    LineResult::Missed { reason, is_kept: true, is_decided: true }
                }
                Some(KeptEventStatus::Owed) | None => {
                    LineResult::Missed { reason, is_kept: *is_kept, is_decided: false }
                }
            };
            lines.push(line(None, result));
        }
        Decided::OutsideRollout => lines.push(line(None, LineResult::OutsideRollout)),
        Decided::Answered { communications, notes, state_changed, scheduled, cancelled } => {
            let first = lines.len();
            for one in communications {
                lines.push(line(Some(communication(one)), result(one, waiting)));
            }
            for (name, due) in scheduled {
                let until = Until::Time(time(*due));
                lines.push(line(
                    Some(Subject::Timer { name: name.to_string() }),
                    LineResult::waits(until),
                ));
            }
            if lines.len() == first {
                let note = if notes.is_empty() { "no note".to_owned() } else { notes.join("; ") };
                lines.push(line(None, LineResult::ChoseNothing { note }));
            }
            let line = &mut lines[first];
            line.notes = notes.iter().map(ToString::to_string).collect();
            line.cancelled = cancelled.iter().map(ToString::to_string).collect();
            line.state_changed = *state_changed;
        }
        Decided::Released { communications } => {
            for Released { event, decided, communication: one } in communications {
                let earlier = EarlierDecision { event_id: event.to_string(), at: time(*decided) };
                let line = line(Some(communication(one)), result(one, waiting));
                lines.push(Line { decided: Some(earlier), ..line });
            }
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

fn result(one: &Proposed, waiting: &HashSet<Box<str>>) -> LineResult {
    match &one.verdict {
        Verdict::Suppressed(reason) => LineResult::Suppressed {
            reason: reason.to_string(),
            policy: one.policy.as_deref().map(str::to_owned),
            detail: one.detail.as_deref().map(str::to_owned),
        },
        Verdict::Deferred { until } => LineResult::Deferred {
            until: Until::Time(time(*until)),
            reason: Some(Reason::QuietHours.name().to_owned()),
            policy: one.policy.as_deref().map(str::to_owned),
        },
        Verdict::Passed if waiting.contains(&one.id) => LineResult::waits(Until::Sink),
        Verdict::Passed => LineResult::Published,
    }
}

fn line(
    campaign: &str,
    version: Option<&str>,
    subject: Option<Subject>,
    result: LineResult,
) -> Line {
    Line {
        campaign: campaign.to_owned(),
        version: version.map(str::to_owned),
        subject,
        decided: None,
        notes: Vec::new(),
        cancelled: Vec::new(),
        state_changed: false,
        result,
    }
}
