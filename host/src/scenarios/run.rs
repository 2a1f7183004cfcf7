//! Runs scenarios: each in a dry run of its own, with the module as the engine would run it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compare::{Mismatch, StepResult};
use super::expectation::Expected;
use super::file::Scenario;
use super::report::{
    Cost, DEFERRED, Decided, HELD, OUTSIDE_ROLLOUT, Report, StepReport, message_of, missed, skipped,
};
use super::step::Action;
use crate::clock::Millis;
use crate::dry_run::{Arrived, Decision, DryRun, DryRunError, Redirects, Settings};
use crate::engine::{
    AdmissionError, Campaign, CampaignSpec, Limits, RuleSet, Sandbox, VerifiedModule, state_json,
};
use crate::event::{CustomerKey, Event};
use crate::records::{Cause, Decided as Outcome, Verdict};

/// A module and its compiled form, on which scenarios run.
pub struct CompiledModule {
    pub sandbox: Arc<Sandbox>,
    pub module: VerifiedModule,
    pub compiled: wasmtime::Module,
    /// Whether every call is made twice, to check that the rule is a pure function.
    pub checks_purity: bool,
}

/// Time limit of scenarios, so that a hostile module cannot block the engine.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    pub until: Option<Instant>,
}

impl CompiledModule {
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.sandbox.limits()
    }

    /// Runs one scenario.
    #[must_use]
    pub fn run(&self, scenario: &Scenario, time_limit: TimeLimit) -> Report {
        let began = Instant::now();
        let mut report = Report {
            name: scenario.name.clone(),
            line: scenario.line,
            steps: Vec::new(),
            error: None,
            cost: Cost::default(),
            time: Duration::ZERO,
        };
        report.error = self.act(scenario, time_limit, &mut report).err();
        report.time = began.elapsed();
        report
    }

    fn act(
        &self,
        scenario: &Scenario,
        time_limit: TimeLimit,
        report: &mut Report,
    ) -> Result<(), String> {
        let manifest = &self.module.manifest;
        let mut spec = CampaignSpec::of(&manifest.name, &self.module, scenario.params.clone());
        spec.time_zone = scenario.zone.clone();
        let campaign = match (
            Campaign::started(&self.sandbox, spec, self.compiled.clone(), 1),
            &scenario.refused,
        ) {
            (Ok(campaign), None) => campaign,
            (Ok(_), Some(expected)) => {
                return Err(format!(
                    "expected the rule to refuse its parameters with …{expected}…, but it accepts \
                     them"
                ));
            }
            (Err(AdmissionError::Params(error)), Some(expected)) if error.contains(expected) => {
                return Ok(());
            }
            (Err(error), _) => return Err(error.to_string()),
        };
        let rules = Arc::new(RuleSet::build(vec![campaign], 1));
        let settings = Settings {
            environment: "test".into(),
            recheck_one_in: u32::from(self.checks_purity),
            begins: scenario.starts,
            are_distinct: false,
            gives_up: time_limit.until,
        };
        let as_text = |error: DryRunError| error.to_string();
        let dry_run = DryRun::new(&rules, &self.sandbox, &settings, Redirects::in_memory())
            .map_err(as_text)?;
        let mut run = ScenarioRun {
            dry_run,
            rules: &rules,
            campaign: &manifest.name,
            customer: None,
            events: 0,
        };
        for step in &scenario.steps {
            let decisions =
                run.act(&step.action).map_err(|error| format!("line {}: {error}", step.line))?;
            let seen = run.seen(&decisions);
            let mut mismatches: Vec<Mismatch> = step
                .expected
                .iter()
                .filter_map(|expected| expected.compare(&seen, &scenario.zone))
                .collect();
            if !step.expected.iter().any(Expected::is_error) {
                mismatches.extend(seen.errors.iter().map(|error| Mismatch {
                    line: step.line,
                    what: "the rule failed".to_owned(),
                    diff: vec![format!("+ {error}")],
                }));
            }
            if !mismatches.is_empty() {
                let logged = decisions.iter().flat_map(|decision| &decision.lines);
                let context = seen.notes.iter().map(|note| format!("  note: {note}"));
                let context: Vec<_> = context
                    .chain(logged.map(|(_, line)| format!("  log: {}", line.text)))
                    .collect();
                if let Some(last) = mismatches.last_mut() {
                    last.diff.extend(context);
                }
            }
            let what = step.action.shown(&scenario.zone);
            let decided = |decision| Decided::of(decision, scenario, run.missed(decision));
            let decided: Vec<Decided> = decisions.iter().filter_map(decided).collect();
            for one in &decided {
                report.cost.fuel = report.cost.fuel.max(one.fuel);
                report.cost.memory_bytes = report.cost.memory_bytes.max(one.memory_bytes);
                report.cost.output_bytes = report.cost.output_bytes.max(one.output_bytes);
            }
            let is_done = !mismatches.is_empty();
            report.steps.push(StepReport { line: step.line, what, decided, mismatches });
            if is_done {
                // Later mismatches are consequences of this one.
                return Ok(());
            }
        }
        if run.dry_run.impure().is_empty() {
            Ok(())
        } else {
            let hint = "keep nothing between calls (statics, thread locals) and rely on no address";
            Err(format!("the rule is not a pure function: it gave two answers to one call; {hint}"))
        }
    }
}

/// A scenario that is being run.
struct ScenarioRun<'a> {
    dry_run: DryRun,
    rules: &'a RuleSet,
    campaign: &'a str,
    /// The customer of the last event.
    customer: Option<CustomerKey>,
    events: u64,
}

impl ScenarioRun<'_> {
    fn act(&mut self, action: &Action) -> Result<Vec<Decision>, DryRunError> {
        let clock = self.dry_run.clock();
        match action {
            Action::Event(given, times) => {
                let mut decisions = Vec::new();
                for _ in 0..*times {
                    self.events += 1;
                    // The body was read once already, when the scenario was parsed.
                    let Ok(event) = Event::read(given.body.clone()) else { continue };
                    // Every event is a new one, even if its body is equal.
                    let id = format!("step-{}", self.events);
                    let arrived = Arrived::new(event, Some(&id), None, clock, self.events);
                    decisions.extend(self.dry_run.decide([arrived], clock)?);
                }
                self.customer = decisions.last().and_then(|last| last.customer);
                Ok(decisions)
            }
            Action::Advance(by) => self.dry_run.advance(clock + by),
            Action::At(moment) => self.dry_run.advance(*moment),
        }
    }

    /// The note for an event whose handler's condition did not match. The scenario has one
    /// campaign, and it runs; so the condition is the only reason for not calling it.
    fn missed(&self, decision: &Decision) -> Option<String> {
        let Cause::Event { code } = &decision.cause else { return None };
        let subscription = self
            .rules
            .reading(code)
            .subscriptions
            .first()
            .filter(|_| decision.outcomes.is_empty())?;
        subscription.condition().map(missed)
    }

    fn seen(&self, decisions: &[Decision]) -> StepResult {
        let mut seen = StepResult { now: self.dry_run.clock(), ..StepResult::default() };
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
                                Verdict::Suppressed(why) => {
                                    seen.suppressed.push((message, why.to_string()))
                                }
                                Verdict::Deferred { .. } => {
                                    seen.suppressed.push((message, DEFERRED.to_owned()))
                                }
                            }
                        }
                    }
                    Outcome::Skipped { field, why } => {
                        seen.notes.push(skipped(field, why.as_deref()))
                    }
                    Outcome::Failed { error } => seen.errors.push(error.to_string()),
                    // Scenarios never pause or suspend a campaign, and run without policies.
                    Outcome::Missed { .. } | Outcome::Released { .. } => {}
                    Outcome::Held => seen.notes.push(HELD.to_owned()),
                    Outcome::OutsideRollout => seen.notes.push(OUTSIDE_ROLLOUT.to_owned()),
                }
            }
        }
        let Some(customer) = self.customer else { return seen };
        let timers: BTreeMap<String, Millis> = self
            .dry_run
            .timers(customer)
            .map(|(_, timer)| (timer.name.to_string(), timer.due))
            .collect();
        seen.timers = timers.into_iter().collect();
        seen.state =
            self.dry_run.state(customer, self.campaign).map(|state| state_json(&state.bytes));
        seen
    }
}

impl std::fmt::Debug for CompiledModule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CompiledModule")
            .field("module", &self.module.manifest.name)
            .finish_non_exhaustive()
    }
}
