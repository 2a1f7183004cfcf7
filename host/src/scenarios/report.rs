//! Results of scenarios, for people and programs.

use std::time::Duration;

use hailer_abi::wire::Channel;
use serde::Serialize;
use serde_json::{Map, Value};

use super::compare::Mismatch;
use super::expectation::Message;
use super::file::Scenario;
use super::moment::shown_moment;
use crate::dry_run::Decision;
use crate::records::{Cause, Decided as Outcome, Proposed, Verdict};

/// The result of one scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub name: String,
    pub line: u32,
    pub steps: Vec<StepReport>,
    /// An error of the scenario as a whole.
    pub error: Option<String>,
    /// The maximum cost of one call.
    pub cost: Cost,
    #[serde(skip)]
    pub time: Duration,
}

/// The result of one step.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    pub line: u32,
    /// The action as text: `Purchase`, `advance 60d`.
    pub what: String,
    pub decided: Vec<Decided>,
    pub mismatches: Vec<Mismatch>,
}

/// One decision of the rule, on an event or a timer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// The event's code, or the timer's name.
    pub cause: String,
    pub at: String,
    pub sent: Vec<String>,
    pub suppressed: Vec<String>,
    pub notes: Vec<String>,
    pub logs: Vec<String>,
    pub error: Option<String>,
    pub fuel: u64,
    pub memory_bytes: usize,
    pub output_bytes: usize,
}

/// Cost of calls; fuel is 0 unless the sandbox counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    pub fuel: u64,
    pub memory_bytes: usize,
    pub output_bytes: usize,
}

impl Report {
    /// Whether every expectation was met.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.error.is_none() && self.steps.iter().all(|step| step.mismatches.is_empty())
    }

    /// The mismatches as text; each begins with the step and its line.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.error.iter().map(|error| format!("line {}: {error}", self.line)).collect();
        for (number, step) in self.steps.iter().enumerate() {
            for mismatch in &step.mismatches {
                lines.push(format!(
                    "step {}, line {}: {}: {}",
                    number + 1,
                    mismatch.line,
                    step.what,
                    mismatch.what
                ));
                lines.extend(mismatch.diff.iter().map(|line| format!("  {line}")));
            }
        }
        lines
    }
}

/// The verdict on a deferred communication. Scenarios run without policies, so none is.
pub(super) const DEFERRED: &str = "deferred";
pub(super) const HELD: &str = "not called: it waits behind an earlier failure";
pub(super) const OUTSIDE_ROLLOUT: &str =
    "not called: the campaign has not been rolled out to this customer";

/// The text for a skipped call, as in the SDK's scenarios.
pub(super) fn skipped(field: &str, why: Option<&str>) -> String {
    format!("was not called: {}", Outcome::skipped_as(field, why))
}

/// The text for a condition that did not match, as in the SDK's scenarios.
pub(super) fn missed(condition: &str) -> String {
    format!("was not called: its condition `{condition}` did not match")
}

/// A communication as it would be published; for a suppressed one only the template is known.
pub(super) fn message_of(decision: &Decision, proposed: &Proposed) -> Message {
    let channel = Channel::from_wire(u64::from(proposed.channel)).map_or("?", Channel::name);
    let sent = decision.communications.iter().find(|sent| sent.id == proposed.id);
    let body: Option<Value> = sent.and_then(|sent| serde_json::from_slice(&sent.body).ok());
    let data = body.and_then(|mut body| body.get_mut("data").map(Value::take));
    let data = match data {
        Some(Value::Object(data)) => data,
        _ => Map::new(),
    };
    Message { channel, template: proposed.template.to_string(), data }
}

impl Decided {
    /// The decision for the report; `None` if the rule does not take the event. `missed` is the
    /// note that the handler's condition did not match.
    pub(super) fn of(
        decision: &Decision,
        scenario: &Scenario,
        missed: Option<String>,
    ) -> Option<Decided> {
        let outcome = decision.outcomes.first();
        if outcome.is_none() && missed.is_none() {
            return None;
        }
        let cause = match &decision.cause {
            Cause::Event { code } => code.to_string(),
            Cause::Timer { name, .. } => format!("timer {name}"),
            Cause::Release { .. } => "release".to_owned(),
        };
        let mut decided = Decided {
            cause,
            at: shown_moment(decision.now, &scenario.zone),
            sent: Vec::new(),
            suppressed: Vec::new(),
            notes: missed.into_iter().collect(),
            logs: decision.lines.iter().map(|(_, line)| line.text.clone()).collect(),
            error: None,
            fuel: decision.costs.iter().map(|(_, cost)| cost.fuel).sum(),
            memory_bytes: decision
                .costs
                .iter()
                .map(|(_, cost)| cost.memory_bytes)
                .max()
                .unwrap_or_default(),
            output_bytes: decision
                .costs
                .iter()
                .map(|(_, cost)| cost.output_bytes)
                .max()
                .unwrap_or_default(),
        };
        let Some(outcome) = outcome else { return Some(decided) };
        match &outcome.decided {
            Outcome::Answered { communications, notes, .. } => {
                decided.notes.extend(notes.iter().map(ToString::to_string));
                for proposed in communications {
                    let message = message_of(decision, proposed).shown();
                    match &proposed.verdict {
                        Verdict::Passed => decided.sent.push(message),
                        Verdict::Suppressed(why) => {
                            decided.suppressed.push(format!("{message} ({why})"))
                        }
                        Verdict::Deferred { .. } => {
                            decided.suppressed.push(format!("{message} ({DEFERRED})"))
                        }
                    }
                }
            }
            Outcome::Skipped { field, why } => decided.notes.push(skipped(field, why.as_deref())),
            Outcome::Failed { error } => decided.error = Some(error.to_string()),
            // Scenarios never pause or suspend a campaign, and run without policies.
            Outcome::Missed { .. } | Outcome::Released { .. } => {}
            Outcome::Held => decided.notes.push(HELD.to_owned()),
            Outcome::OutsideRollout => decided.notes.push(OUTSIDE_ROLLOUT.to_owned()),
        }
        Some(decided)
    }
}
