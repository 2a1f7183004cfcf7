//! Runs scenarios of policies, each in a dry run of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use hailer_abi::manifest::Manifest;
use hailer_abi::wire::Channel;
use hailer_policies::Policies;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Action, Expected, MessageResult, PolicyScenario, PolicyScenarios};
use crate::clock::Millis;
use crate::dry_run::{Arrived, Decision, DryRun, Redirects, Settings};
use crate::engine::{Campaign, CampaignSpec, Mode, OnFault, OnPause, RuleSet, Sandbox, shown};
use crate::event::Event;
use crate::explain::reason_text;
use crate::records::{Decided, Proposed, Verdict};
use crate::scenarios::moment::shown_moment;

/// A module without anything in it: the campaigns of scenarios take no events, so it is never
/// called.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The result of one scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    pub name: String,
    pub line: u32,
    pub steps: Vec<PolicyStepReport>,
    /// An error of the scenario as a whole.
    pub error: Option<String>,
}

/// The result of one step.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStepReport {
    pub line: u32,
    /// The action as text.
    pub what: String,
    /// The result of each message, in the order of the decisions.
    pub messages: Vec<String>,
    /// The expected results that are missing (`-`), and the results that are not expected (`+`).
    pub mismatches: Vec<String>,
}

impl PolicyReport {
    /// Whether every expectation was met.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.error.is_none() && self.steps.iter().all(|step| step.mismatches.is_empty())
    }
}

impl PolicyScenarios {
    /// Runs all scenarios under these policies. The campaigns are the names that they may use.
    ///
    /// # Errors
    /// The sandbox cannot be used on this machine.
    pub fn run(
        &self,
        policies: &Arc<Policies>,
        campaigns: &BTreeSet<String>,
        environment: &str,
        sandbox: &Arc<Sandbox>,
    ) -> anyhow::Result<Vec<PolicyReport>> {
        let module = sandbox.compile_here(EMPTY_MODULE)?;
        let campaign = |name: &String| Campaign::admitted_before(spec(name), module.clone(), 1);
        let campaigns = campaigns.iter().map(campaign).collect::<Result<_, _>>()?;
        let rules = RuleSet::build(campaigns, 1).with_policies(Some(Arc::clone(policies)));
        let runner = Runner { rules: Arc::new(rules), sandbox, environment: environment.into() };
        Ok(self.list.iter().map(|scenario| runner.run(scenario)).collect())
    }
}

/// A live campaign that takes no events.
fn spec(name: &str) -> CampaignSpec {
    let manifest = Manifest {
        abi: 1,
        sdk: String::new(),
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        description: String::new(),
        handlers: Vec::new(),
        params: Vec::new(),
        state_version: None,
        merges: hailer_abi::manifest::MERGES_OF_STATES,
    };
    CampaignSpec {
        name: name.into(),
        mode: Mode::Live,
        start_ms: None,
        end_ms: None,
        time_zone: TimeZone::UTC,
        state_ttl_days: None,
        on_fault: OnFault::Skip,
        on_pause: OnPause::Keep,
        per_hour_max: None,
        trial: None,
        rollout: None,
        params: Arc::new([]),
        version: "1.0.0".into(),
        digest: "".into(),
        manifest: Arc::new(manifest),
    }
}

struct Runner<'a> {
    rules: Arc<RuleSet>,
    sandbox: &'a Arc<Sandbox>,
    environment: Arc<str>,
}

impl Runner<'_> {
    fn run(&self, scenario: &PolicyScenario) -> PolicyReport {
        let PolicyScenario { name, line, .. } = scenario;
        let mut report =
            PolicyReport { name: name.clone(), line: *line, steps: Vec::new(), error: None };
        report.error = self.act(scenario, &mut report.steps).err();
        report
    }

    fn act(
        &self,
        scenario: &PolicyScenario,
        steps: &mut Vec<PolicyStepReport>,
    ) -> Result<(), String> {
        let settings = Settings {
            environment: Arc::clone(&self.environment),
            recheck_one_in: 0,
            begins: scenario.starts,
            are_distinct: false,
            gives_up: None,
        };
        let mut dry_run = DryRun::new(&self.rules, self.sandbox, &settings, Redirects::in_memory())
            .map_err(|error| error.to_string())?;
        let deferral = self.rules.policies().and_then(|policies| policies.deferral);
        let spread_ms = deferral.map_or(0, |deferral| deferral.spread_ms);
        for (number, step) in (1..).zip(&scenario.steps) {
            let failed = |error: &dyn std::fmt::Display| format!("line {}: {error}", step.line);
            let decisions = match &step.action {
                Action::Event { body, proposals } => {
                    let event = Event::read(body.clone()).map_err(|error| failed(&error))?;
                    // Every event is a new one, even if its body is equal.
                    let id = format!("step-{number}");
                    let now = dry_run.clock();
                    let arrived = Arrived::new(event, Some(&id), None, now, number);
                    dry_run.propose(arrived, proposals)
                }
                Action::At(moment) => dry_run.advance(*moment),
            };
            let decisions = decisions.map_err(|error| failed(&error))?;
            let seen = seen(&decisions);
            let zone = &scenario.zone;
            let mismatches = match &step.expected {
                Some(expected) => mismatches(expected, &seen, (zone, spread_ms)),
                None => Vec::new(),
            };
            let is_done = !mismatches.is_empty();
            steps.push(PolicyStepReport {
                line: step.line,
                what: step.what.clone(),
                messages: seen.iter().map(|one| one.text(zone)).collect(),
                mismatches,
            });
            if is_done {
                // Later mismatches are consequences of this one.
                break;
            }
        }
        Ok(())
    }
}

/// The result of one message, with its circumstances.
struct Seen {
    campaign: Arc<str>,
    channel: Channel,
    result: MessageResult,
    /// The name of the policy, and the circumstances.
    policy: Option<Box<str>>,
    detail: Option<Box<str>>,
}

fn seen(decisions: &[Decision]) -> Vec<Seen> {
    let mut all = Vec::new();
    for outcome in decisions.iter().flat_map(|decision| &decision.outcomes) {
        let of = |one: &Proposed, passed| Seen {
            campaign: Arc::clone(&outcome.campaign),
            channel: Channel::from_wire(one.channel.into()).unwrap_or(Channel::Mail),
            result: match &one.verdict {
                Verdict::Passed => passed,
                Verdict::Suppressed(reason) => MessageResult::Suppressed(reason.to_string()),
                Verdict::Deferred { until } => MessageResult::Deferred(*until),
            },
            policy: one.policy.clone(),
            detail: one.detail.clone(),
        };
        match &outcome.decided {
            Decided::Answered { communications, .. } => {
                all.extend(communications.iter().map(|one| of(one, MessageResult::Passed)));
            }
            Decided::Released { communications } => all.extend(
                communications.iter().map(|one| of(&one.communication, MessageResult::Released)),
            ),
            // No rule is called, so nothing is skipped, held, missed or failed.
            _ => {}
        }
    }
    all
}

impl Seen {
    fn text(&self, zone: &TimeZone) -> String {
        let Seen { campaign, channel, result, policy, detail } = self;
        let reason = |reason: &str| reason_text(reason, policy.as_deref(), detail.as_deref());
        let result = match result {
            MessageResult::Passed => "passed".to_owned(),
            MessageResult::Released => "released".to_owned(),
            MessageResult::Suppressed(why) => format!("suppressed ({})", reason(why)),
            MessageResult::Deferred(until) => {
                let until = shown_moment(*until, zone);
                format!("deferred until {until} ({})", reason("quiet-hours"))
            }
        };
        format!("{} {}: {result}", shown(campaign), channel.name())
    }
}

impl Expected {
    /// Whether a result is as expected. A deferral may be later by less than `spread_ms`, as
    /// releases are spread.
    fn matches(&self, seen: &Seen, spread_ms: Millis) -> bool {
        let is_same = match (&self.result, &seen.result) {
            (MessageResult::Deferred(end), MessageResult::Deferred(until)) => {
                (*end..=*end + spread_ms).contains(until)
            }
            (expected, result) => expected == result,
        };
        is_same
            && self.channel == seen.channel
            && self.campaign.as_ref().is_none_or(|campaign| *campaign == seen.campaign)
    }

    fn text(&self, zone: &TimeZone) -> String {
        let campaign = self.campaign.as_deref().map(|name| format!("{} ", shown(name)));
        let result = match &self.result {
            MessageResult::Passed => "passed".to_owned(),
            MessageResult::Released => "released".to_owned(),
            MessageResult::Suppressed(why) => format!("suppressed ({why})"),
            MessageResult::Deferred(until) => {
                format!("deferred until {}", shown_moment(*until, zone))
            }
        };
        format!("{}{}: {result}", campaign.unwrap_or_default(), self.channel.name())
    }
}

/// The differences. Each result meets one expectation, whatever their order.
fn mismatches(
    expected: &[Expected],
    seen: &[Seen],
    (zone, spread_ms): (&TimeZone, Millis),
) -> Vec<String> {
    let mut left: Vec<&Seen> = seen.iter().collect();
    let mut missing = Vec::new();
    // An expectation that names a campaign comes first, as others may take its result.
    let (named, any): (Vec<_>, Vec<_>) =
        expected.iter().partition(|expected| expected.campaign.is_some());
    for expected in named.into_iter().chain(any) {
        match left.iter().position(|seen| expected.matches(seen, spread_ms)) {
            Some(place) => drop(left.remove(place)),
            None => missing.push(format!("- {}", expected.text(zone))),
        }
    }
    missing.extend(left.into_iter().map(|seen| format!("+ {}", seen.text(zone))));
    missing
}
