//! Writes one campaign's decision as a line of JSON, for other programs.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::InputEvent;
use super::campaign_report::channel_name;
use super::chunk::Work;
use crate::dry_run::Decision;
use crate::records::{Cause, Decided, Outcome, Proposed, Verdict};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    at: Timestamp,
    /// The event's place: `events.jsonl:17`.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timer: Option<&'a str>,
    event_id: &'a str,
    /// The customer's key, a hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a str>,
    campaign: &'a str,
    version: &'a str,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    communications: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: &'a [Box<str>],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scheduled: Vec<Scheduled<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cancelled: &'a [Box<str>],
    state_changed: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    channel: &'static str,
    template: &'a str,
    /// `passed`, `deferred`, or the reason why it was suppressed.
    verdict: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// When a deferred message is judged again.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// The event or timer's firing on which the message was deferred, and when; only in a decision
    /// `released`.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided: Option<Timestamp>,
    /// The message as it would be published.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Scheduled<'a> {
    timer: &'a str,
    due: Timestamp,
}

/// Appends a line for each campaign with an outcome.
pub(super) fn append(decision: &Decision, work: &Work, out: &mut Vec<u8>) {
    if decision.outcomes.is_empty() {
        return;
    }
    let event = decision.number.map(|number| work.place_of(number));
    let event_id = decision.event_id.to_string();
    let customer = decision.customer.map(|key| hex::encode(key.as_bytes()));
    let (event_code, timer) = match &decision.cause {
        Cause::Event { code } => (Some(&**code), None),
        Cause::Timer { name, .. } => (None, Some(&**name)),
        Cause::Release { .. } => (None, None),
    };
    for outcome in &decision.outcomes {
        let mut row = Row {
            at: InputEvent::timestamp(decision.now),
            event: event.as_deref(),
            event_code,
            timer,
            event_id: &event_id,
            customer: customer.as_deref(),
            campaign: &outcome.campaign,
            version: &outcome.version,
            decision: "answered",
            reason: None,
            communications: Vec::new(),
            notes: &[],
            scheduled: Vec::new(),
            cancelled: &[],
            state_changed: false,
        };
        row.fill(outcome, decision);
        // A row has only texts and numbers, so writing it cannot fail.
        if serde_json::to_writer(&mut *out, &row).is_ok() {
            out.push(b'\n');
        }
    }
}

impl<'a> Row<'a> {
    fn fill(&mut self, outcome: &'a Outcome, decision: &'a Decision) {
        match &outcome.decided {
            Decided::Skipped { field, why: None } => {
                (self.decision, self.reason) = ("skipped", Some((&**field).into()))
            }
            Decided::Skipped { field, why } => {
                let reason = Decided::skipped_as(field, why.as_deref());
                (self.decision, self.reason) = ("skipped", Some(reason.into()));
            }
            Decided::Failed { error } => {
                (self.decision, self.reason) = ("failed", Some((&**error).into()))
            }
            Decided::Held => self.decision = "held",
            Decided::Missed { reason, .. } => {
                (self.decision, self.reason) = ("missed", Some((&**reason).into()))
            }
            Decided::OutsideRollout => self.decision = "outside-rollout",
            Decided::Answered { communications, notes, state_changed, scheduled, cancelled } => {
                self.communications =
                    communications.iter().map(|one| Message::of(one, decision)).collect();
                let scheduled = scheduled.iter();
                self.scheduled = scheduled
                    .map(|(timer, due)| Scheduled { timer, due: InputEvent::timestamp(*due) })
                    .collect();
                (self.notes, self.cancelled, self.state_changed) =
                    (notes, cancelled, *state_changed);
            }
            Decided::Released { communications } => {
                self.decision = "released";
                let released = communications.iter().map(|released| Message {
                    event_id: Some(released.event.to_string()),
                    decided: Some(InputEvent::timestamp(released.decided)),
                    ..Message::of(&released.communication, decision)
                });
                self.communications = released.collect();
            }
        }
    }
}

impl<'a> Message<'a> {
    fn of(one: &'a Proposed, decision: &'a Decision) -> Message<'a> {
        let (verdict, until) = match &one.verdict {
            Verdict::Passed => ("passed", None),
            Verdict::Deferred { until } => ("deferred", Some(InputEvent::timestamp(*until))),
            Verdict::Suppressed(reason) => (&**reason, None),
        };
        Message {
            channel: channel_name(one.channel),
            template: &one.template,
            verdict,
            policy: one.policy.as_deref(),
            detail: one.detail.as_deref(),
            until,
            event_id: None,
            decided: None,
            message: message(&one.id, decision),
        }
    }
}

/// The message that would be published under an id.
fn message<'a>(id: &str, decision: &'a Decision) -> Option<&'a RawValue> {
    let communication = decision.communications.iter().find(|one| *one.id == *id)?;
    serde_json::from_slice(&communication.body).ok()
}
