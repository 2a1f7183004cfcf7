//! Runs scenarios: each in a rehearsal of its own, on the module as the engine would run it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hailer_abi::wire::Channel;
use serde::Serialize;
use serde_json::{Map, Value};

use super::expectation::{Message, Mismatch};
use super::file::{Doing, Scenario};
use super::moment::shown_moment;
use crate::clock::Millis;
use crate::engine::{AdmissionError, Campaign, CampaignSpec, Limits, RuleSet, Sandbox, VerifiedModule, state_json};
use crate::event::{CustomerKey, Event};
use crate::rehearsal::{Arrived, Decision, Redirects, Rehearsal, RehearsalError, Settings};
use crate::store::records::{Cause, Decided as Outcome, Verdict};

/// What scenarios run on: a module, compiled for a sandbox.
pub struct Stand {
    pub sandbox: Arc<Sandbox>,
    pub module: VerifiedModule,
    pub compiled: wasmtime::Module,
    /// Whether every call is made twice, to see that the rule is a pure function.
    pub checks_purity: bool,
}

/// What came of one scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub name: String,
    pub line: u32,
    pub steps: Vec<StepReport>,
    /// What is wrong with the scenario as a whole.
    pub error: Option<String>,
    /// The most that one call took.
    pub cost: Cost,
    #[serde(skip)]
    pub time: Duration,
}

/// What came of one step.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    pub line: u32,
    /// `Purchase`, `advance 60d`.
    pub what: String,
    pub decided: Vec<Decided>,
    pub mismatches: Vec<Mismatch>,
}

/// One event or timer that the rule was asked about.
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

/// What calls cost; fuel only in a sandbox that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    pub fuel: u64,
    pub memory_bytes: usize,
    pub output_bytes: usize,
}

/// How long scenarios may take, so that a hostile module holds nobody up.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub until: Option<Instant>,
}

/// What a step is compared with.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) now: Millis,
    pub(super) sent: Vec<Message>,
    pub(super) suppressed: Vec<(Message, String)>,
    pub(super) notes: Vec<String>,
    pub(super) errors: Vec<String>,
    /// By name, with the moment at which each is due.
    pub(super) timers: Vec<(String, Millis)>,
    pub(super) state: Option<Value>,
}

impl Report {
    /// Whether everything was as expected.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.error.is_none() && self.steps.iter().all(|step| step.mismatches.is_empty())
    }

    /// What was wrong, for people: each line after a mark of where it stands.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.error.iter().map(|error| format!("line {}: {error}", self.line)).collect();
        for (number, step) in self.steps.iter().enumerate() {
            for mismatch in &step.mismatches {
                lines.push(format!("step {}, line {}: {}: {}", number + 1, mismatch.line, step.what, mismatch.what));
                lines.extend(mismatch.diff.iter().map(|line| format!("  {line}")));
            }
        }
        lines
    }
}

impl Stand {
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.sandbox.limits()
    }

    /// Runs one scenario.
    #[must_use]
    pub fn run(&self, scenario: &Scenario, bounds: Bounds) -> Report {
        let began = Instant::now();
        let mut report = Report {
            name: scenario.name.clone(),
            line: scenario.line,
            steps: Vec::new(),
            error: None,
            cost: Cost::default(),
            time: Duration::ZERO,
        };
        report.error = self.act(scenario, bounds, &mut report).err();
        report.time = began.elapsed();
        report
    }

    fn act(&self, scenario: &Scenario, bounds: Bounds, report: &mut Report) -> Result<(), String> {
        let manifest = &self.module.manifest;
        let mut spec = CampaignSpec::of(&manifest.name, &self.module, scenario.params.clone());
        spec.time_zone = scenario.zone.clone();
        let campaign = match (Campaign::started(&self.sandbox, spec, self.compiled.clone(), 1), &scenario.refused) {
            (Ok(campaign), None) => campaign,
            (Ok(_), Some(expected)) => {
                return Err(format!("expected the rule to refuse its parameters with …{expected}…, and it takes them"));
            }
            (Err(AdmissionError::Params(error)), Some(expected)) if error.contains(expected) => return Ok(()),
            (Err(error), _) => return Err(error.to_string()),
        };
        let rules = Arc::new(RuleSet::build(vec![campaign], 1));
        let settings = Settings {
            environment: "test".into(),
            recheck_one_in: u32::from(self.checks_purity),
            begins: scenario.starts,
            gives_up: bounds.until,
        };
        let told = |error: RehearsalError| error.to_string();
        let rehearsal = Rehearsal::new(&rules, &self.sandbox, &settings, Redirects::of_rehearsal()).map_err(told)?;
        let mut stage = Stage { rehearsal, campaign: &manifest.name, customer: None, events: 0 };
        for step in &scenario.steps {
            let decisions = stage.act(&step.doing).map_err(|error| format!("line {}: {error}", step.line))?;
            let seen = stage.seen(&decisions);
            let mut mismatches: Vec<Mismatch> =
                step.expected.iter().filter_map(|expected| expected.compare(&seen, &scenario.zone)).collect();
            if !step.expected.iter().any(super::expectation::Expected::is_error) {
                mismatches.extend(seen.errors.iter().map(|error| Mismatch {
                    line: step.line,
                    what: "the rule failed".to_owned(),
                    diff: vec![format!("+ {error}")],
                }));
            }
            if !mismatches.is_empty() {
                let heard = decisions.iter().flat_map(|decision| &decision.lines);
                let story = seen.notes.iter().map(|note| format!("  note: {note}"));
                let story: Vec<_> = story.chain(heard.map(|(_, line)| format!("  log: {}", line.text))).collect();
                if let Some(last) = mismatches.last_mut() {
                    last.diff.extend(story);
                }
            }
            let what = step.doing.shown(&scenario.zone);
            let decided: Vec<Decided> =
                decisions.iter().filter_map(|decision| Decided::of(decision, scenario)).collect();
            for one in &decided {
                report.cost.fuel = report.cost.fuel.max(one.fuel);
                report.cost.memory_bytes = report.cost.memory_bytes.max(one.memory_bytes);
                report.cost.output_bytes = report.cost.output_bytes.max(one.output_bytes);
            }
            let is_done = !mismatches.is_empty();
            report.steps.push(StepReport { line: step.line, what, decided, mismatches });
            if is_done {
                // What comes after is the consequence of what went wrong.
                return Ok(());
            }
        }
        if stage.rehearsal.impure().is_empty() {
            Ok(())
        } else {
            let hint = "keep nothing between calls (statics, thread locals) and rely on no address";
            Err(format!("the rule is not a pure function: it gave two answers to one call; {hint}"))
        }
    }
}

/// A scenario on its way.
struct Stage<'a> {
    rehearsal: Rehearsal,
    campaign: &'a str,
    /// Whose the last event was.
    customer: Option<CustomerKey>,
    events: u64,
}

impl Stage<'_> {
    fn act(&mut self, doing: &Doing) -> Result<Vec<Decision>, RehearsalError> {
        let clock = self.rehearsal.clock();
        match doing {
            Doing::Event(given, times) => {
                let mut decisions = Vec::new();
                for _ in 0..*times {
                    self.events += 1;
                    // It has been read before, when the scenario was.
                    let Ok(event) = Event::read(given.body.clone()) else { continue };
                    // Each is an event of its own, however equal.
                    let id = format!("step-{}", self.events);
                    let arrived = Arrived::new(event, Some(&id), None, clock, self.events);
                    decisions.extend(self.rehearsal.decide([arrived], clock)?);
                }
                self.customer = decisions.last().and_then(|last| last.customer);
                Ok(decisions)
            }
            Doing::Advance(by) => self.rehearsal.advance(clock + by),
            Doing::At(moment) => self.rehearsal.advance(*moment),
        }
    }

    fn seen(&self, decisions: &[Decision]) -> Seen {
        let mut seen = Seen { now: self.rehearsal.clock(), ..Seen::default() };
        for decision in decisions {
            for outcome in &decision.outcomes {
                match &outcome.decided {
                    Outcome::Answered { communications, notes, .. } => {
                        seen.notes.extend(notes.iter().map(ToString::to_string));
                        for proposed in communications {
                            let message = message_of(decision, proposed);
                            match &proposed.verdict {
                                Verdict::Passed => seen.sent.push(message),
                                Verdict::Suppressed(why) => seen.suppressed.push((message, why.to_string())),
                            }
                        }
                    }
                    Outcome::Skipped { field } => seen.notes.push(skipped(field)),
                    Outcome::Failed { error } => seen.errors.push(error.to_string()),
                    Outcome::Held => seen.notes.push(HELD.to_owned()),
                }
            }
        }
        let Some(customer) = self.customer else { return seen };
        let timers: BTreeMap<String, Millis> =
            self.rehearsal.timers(customer).map(|(_, timer)| (timer.name.to_string(), timer.due)).collect();
        seen.timers = timers.into_iter().collect();
        seen.state = self.rehearsal.state(customer, self.campaign).map(|state| state_json(&state.bytes));
        seen
    }
}

const HELD: &str = "not called: it waits behind an earlier failure";

/// As the SDK's scenarios put it.
fn skipped(field: &str) -> String {
    format!("was not called: the event has no `{field}`")
}

/// A communication as it would go out; of one that does not, only its template is known.
fn message_of(decision: &Decision, proposed: &crate::store::records::Proposed) -> Message {
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
    /// `None` if the rule had nothing to do with it.
    fn of(decision: &Decision, scenario: &Scenario) -> Option<Decided> {
        let outcome = decision.outcomes.first()?;
        let cause = match &decision.cause {
            Cause::Event { code } => code.to_string(),
            Cause::Timer { name, .. } => format!("timer {name}"),
        };
        let mut decided = Decided {
            cause,
            at: shown_moment(decision.now, &scenario.zone),
            sent: Vec::new(),
            suppressed: Vec::new(),
            notes: Vec::new(),
            logs: decision.lines.iter().map(|(_, line)| line.text.clone()).collect(),
            error: None,
            fuel: decision.costs.iter().map(|(_, cost)| cost.fuel).sum(),
            memory_bytes: decision.costs.iter().map(|(_, cost)| cost.memory_bytes).max().unwrap_or_default(),
            output_bytes: decision.costs.iter().map(|(_, cost)| cost.output_bytes).max().unwrap_or_default(),
        };
        match &outcome.decided {
            Outcome::Answered { communications, notes, .. } => {
                decided.notes.extend(notes.iter().map(ToString::to_string));
                for proposed in communications {
                    let message = message_of(decision, proposed).shown();
                    match &proposed.verdict {
                        Verdict::Passed => decided.sent.push(message),
                        Verdict::Suppressed(why) => decided.suppressed.push(format!("{message} ({why})")),
                    }
                }
            }
            Outcome::Skipped { field } => decided.notes.push(skipped(field)),
            Outcome::Failed { error } => decided.error = Some(error.to_string()),
            Outcome::Held => decided.notes.push(HELD.to_owned()),
        }
        Some(decided)
    }
}

impl std::fmt::Debug for Stand {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Stand").field("module", &self.module.manifest.name).finish_non_exhaustive()
    }
}
