//! Runs scenarios: each in a rehearsal of its own, on the module as the engine would run it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compare::{Mismatch, Seen};
use super::expectation::Expected;
use super::file::Scenario;
use super::report::{Cost, Decided, HELD, OUTSIDE_ROLLOUT, Report, StepReport, message_of, missed, skipped};
use super::step::Doing;
use crate::clock::Millis;
use crate::engine::{AdmissionError, Campaign, CampaignSpec, Limits, RuleSet, Sandbox, VerifiedModule, state_json};
use crate::event::{CustomerKey, Event};
use crate::records::{Cause, Decided as Outcome, Verdict};
use crate::rehearsal::{Arrived, Decision, Redirects, Rehearsal, RehearsalError, Settings};

/// What scenarios run on: a module, compiled for a sandbox.
pub struct Stand {
    pub sandbox: Arc<Sandbox>,
    pub module: VerifiedModule,
    pub compiled: wasmtime::Module,
    /// Whether every call is made twice, to see that the rule is a pure function.
    pub checks_purity: bool,
}

/// How long scenarios may take, so that a hostile module holds nobody up.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub until: Option<Instant>,
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
            are_told_apart: false,
            gives_up: bounds.until,
        };
        let told = |error: RehearsalError| error.to_string();
        let rehearsal = Rehearsal::new(&rules, &self.sandbox, &settings, Redirects::of_rehearsal()).map_err(told)?;
        let mut stage = Stage { rehearsal, rules: &rules, campaign: &manifest.name, customer: None, events: 0 };
        for step in &scenario.steps {
            let decisions = stage.act(&step.doing).map_err(|error| format!("line {}: {error}", step.line))?;
            let seen = stage.seen(&decisions);
            let mut mismatches: Vec<Mismatch> =
                step.expected.iter().filter_map(|expected| expected.compare(&seen, &scenario.zone)).collect();
            if !step.expected.iter().any(Expected::is_error) {
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
            let decided = |decision| Decided::of(decision, scenario, stage.missed(decision));
            let decided: Vec<Decided> = decisions.iter().filter_map(decided).collect();
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
    rules: &'a RuleSet,
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

    /// What is told of an event that a handler's condition did not match. There is one campaign, and it runs, so that nothing else keeps it from
    /// deciding what it takes.
    fn missed(&self, decision: &Decision) -> Option<String> {
        let Cause::Event { code } = &decision.cause else { return None };
        let subscription = self.rules.reading(code).subscriptions.first().filter(|_| decision.outcomes.is_empty())?;
        subscription.condition().map(missed)
    }

    fn seen(&self, decisions: &[Decision]) -> Seen {
        let mut seen = Seen { now: self.rehearsal.clock(), ..Seen::default() };
        for decision in decisions {
            seen.notes.extend(self.missed(decision));
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
                    Outcome::Skipped { field, why } => seen.notes.push(skipped(field, why.as_deref())),
                    Outcome::Failed { error } => seen.errors.push(error.to_string()),
                    // A scenario stops no campaign.
                    Outcome::Missed { .. } => {}
                    Outcome::Held => seen.notes.push(HELD.to_owned()),
                    Outcome::OutsideRollout => seen.notes.push(OUTSIDE_ROLLOUT.to_owned()),
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

impl std::fmt::Debug for Stand {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Stand").field("module", &self.module.manifest.name).finish_non_exhaustive()
    }
}
