//! One decision of one campaign as a line of JSON: what would have been, in full, for other programs.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Arriving;
use super::chunk::Work;
use super::tally::channel_name;
use crate::records::{Cause, Decided, Outcome, Verdict};
use crate::rehearsal::Decision;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    at: Timestamp,
    /// Where the event stood: `events.jsonl:17`.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timer: Option<&'a str>,
    event_id: &'a str,
    /// The customer's key, which is no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a str>,
    campaign: &'a str,
    version: &'a str,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    communications: Vec<Sent<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: &'a [Box<str>],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scheduled: Vec<Scheduled<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cancelled: &'a [Box<str>],
    state_changed: bool,
}

#[derive(Serialize)]
struct Sent<'a> {
    channel: &'static str,
    template: &'a str,
    /// `passed`, or why it does not go out.
    verdict: &'a str,
    /// As it would go out.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Scheduled<'a> {
    timer: &'a str,
    due: Timestamp,
}

/// Appends a line for each campaign that took part.
pub(super) fn append(decision: &Decision, work: &Work, out: &mut Vec<u8>) {
    if decision.outcomes.is_empty() {
        return;
    }
    let event = decision.number.map(|number| work.place_of(number));
    let event_id = decision.event_id.to_string();
    let customer = decision.customer.map(|key| format!("{:032x}", u128::from_be_bytes(*key.as_bytes())));
    let (event_code, timer) = match &decision.cause {
        Cause::Event { code } => (Some(&**code), None),
        Cause::Timer { name, .. } => (None, Some(&**name)),
    };
    for outcome in &decision.outcomes {
        let mut row = Row {
            at: Arriving::timestamp(decision.now),
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
        // Texts and numbers; nothing in a row can fail to be written.
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
            Decided::Failed { error } => (self.decision, self.reason) = ("failed", Some((&**error).into())),
            Decided::Held => self.decision = "held",
            Decided::Missed { reason, .. } => (self.decision, self.reason) = ("missed", Some((&**reason).into())),
            Decided::OutsideRollout => self.decision = "outside-rollout",
            Decided::Answered { communications, notes, state_changed, scheduled, cancelled } => {
                self.communications = communications
                    .iter()
                    .map(|one| Sent {
                        channel: channel_name(one.channel),
                        template: &one.template,
                        verdict: match &one.verdict {
                            Verdict::Passed => "passed",
                            Verdict::Suppressed(reason) => reason,
                        },
                        message: message(&one.id, decision),
                    })
                    .collect();
                let scheduled = scheduled.iter();
                self.scheduled =
                    scheduled.map(|(timer, due)| Scheduled { timer, due: Arriving::timestamp(*due) }).collect();
                (self.notes, self.cancelled, self.state_changed) = (notes, cancelled, *state_changed);
            }
        }
    }
}

/// What would go out under an id.
fn message<'a>(id: &str, decision: &'a Decision) -> Option<&'a RawValue> {
    let communication = decision.communications.iter().find(|one| *one.id == *id)?;
    serde_json::from_slice(&communication.body).ok()
}
