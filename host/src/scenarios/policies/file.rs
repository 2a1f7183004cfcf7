//! Parses a file of scenarios of policies: TOML in, scenarios or all problems out, each with its
//! line.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hailer_abi::wire::Channel;
use hailer_policies::Policies;
use jiff::tz::TimeZone;
use serde_json::json;
use toml::de::{DeTable, DeValue};

use super::{Action, PolicyScenario, PolicyScenarios, Step};
use crate::clock::Millis;
use crate::dry_run::GivenProposal;
use crate::engine::{no_campaign, shown};
use crate::reload::Problem;
use crate::scenarios::SCENARIO_FILE_BYTES_MAX;
use crate::scenarios::moment::{
    MOMENT_HINT, MOMENT_MAX, SPAN_HINT, moment, shown_moment, shown_span, span,
};
use crate::scenarios::reader::{Reader, spot};

const SCENARIOS_MAX: usize = 200;
const STEPS_MAX: usize = 200;
const PROPOSALS_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 120;

const FILE_KEYS: [&str; 2] = ["starts", "scenario"];
const SCENARIO_KEYS: [&str; 4] = ["name", "starts", "customer", "steps"];
const ACTIONS: [&str; 7] = ["event", "body", "propose", "consent", "zone", "advance", "at"];
const STEP_KEYS: [&str; 16] = [
    "event",
    "body",
    "set",
    "without",
    "propose",
    "consent",
    "subscription",
    "zone",
    "advance",
    "at",
    "customer",
    "passed",
    "released",
    "suppressed",
    "deferred",
    "nothing",
];
const STEPS_HINT: &str = "write what happens, and what is expected of it: steps = [{ propose = { \
                          campaign = \"welcome\", push = \"hello\" }, passed = [\"push\"] }]";
const PROPOSE_HINT: &str = "write the campaign, and a template for each channel: propose = { \
                            campaign = \"welcome\", push = \"hello\" }";
/// The customer of a scenario that names none.
const CUSTOMER: &str = "164";
/// 2026-01-01T00:00:00Z, as in the scenarios of rules.
const STARTS: Millis = 1_767_225_600_000;

/// What a file's scenarios are about.
pub(super) struct About<'a> {
    policies: &'a Policies,
    pub(super) campaigns: &'a BTreeSet<String>,
}

impl PolicyScenarios {
    /// Parses a file of scenarios for these policies and campaigns. `file` is its name in problems.
    /// Times without an offset are in the policies' time zone.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn parse(
        file: &str,
        text: &str,
        policies: &Policies,
        campaigns: &BTreeSet<String>,
    ) -> Result<PolicyScenarios, Vec<Problem>> {
        if text.len() > SCENARIO_FILE_BYTES_MAX {
            let reason =
                format!("the file has {} bytes, the most is {SCENARIO_FILE_BYTES_MAX}", text.len());
            return Err(vec![Problem::new(file, None, reason, "split it into several files")]);
        }
        let about = About { policies, campaigns };
        let mut reader = Reader::new(file, text);
        let mut list = Vec::new();
        if let Some(table) = reader.table() {
            list = reader.policy_file(&table, &about);
        }
        let problems = reader.into_problems();
        if problems.is_empty() { Ok(PolicyScenarios { list }) } else { Err(problems) }
    }
}

impl<'text> Reader<'_, 'text> {
    fn policy_file(&mut self, table: &DeTable<'text>, about: &About<'_>) -> Vec<PolicyScenario> {
        self.unknown_keys(table, "a file of scenarios", &FILE_KEYS);
        let starts = self.start_of(table, &about.policies.zone).unwrap_or(STARTS);
        let Some((DeValue::Array(scenarios), span)) = spot(table, "scenario") else {
            let hint = "begin each scenario with a line [[scenario]], and give it a name and steps";
            self.problem(None, "there are no scenarios in the file", hint);
            return Vec::new();
        };
        if scenarios.len() > SCENARIOS_MAX {
            let reason = format!("{} scenarios, the most is {SCENARIOS_MAX}", scenarios.len());
            self.problem(Some(span), reason, "split the file");
            return Vec::new();
        }
        let mut list = Vec::new();
        for scenario in scenarios.iter() {
            let place = (scenario.get_ref(), scenario.span());
            let Some(table) = self.members(place, "a scenario", STEPS_HINT) else { continue };
            list.extend(self.policy_scenario(table, scenario.span(), starts, about));
        }
        list
    }

    fn policy_scenario(
        &mut self,
        table: &DeTable<'text>,
        place: Range<usize>,
        starts: Millis,
        about: &About<'_>,
    ) -> Option<PolicyScenario> {
        self.unknown_keys(table, "a scenario", &SCENARIO_KEYS);
        let zone = about.policies.zone.clone();
        let name = self.short_text(table, "name", "say what is to be true: name = \"…\"");
        if name.is_none() && spot(table, "name").is_none() {
            let hint = "say what is to be true: name = \"a purchase at night waits\"";
            self.problem(Some(place.clone()), "a scenario without a name", hint);
        }
        let customer =
            self.short_text(table, "customer", "write the customer's id: customer = \"101\"");
        let starts = self.start_of(table, &zone).unwrap_or(starts);
        let Some((DeValue::Array(steps), span)) = spot(table, "steps") else {
            self.problem(Some(place), "a scenario without a list of steps", STEPS_HINT);
            return None;
        };
        if steps.len() > STEPS_MAX {
            let reason = format!("{} steps, the most is {STEPS_MAX}", steps.len());
            self.problem(Some(span), reason, "split the scenario");
        }
        let mut clock = starts;
        let mut read = Vec::new();
        for step in steps.iter().take(STEPS_MAX) {
            let place = (step.get_ref(), step.span());
            let Some(table) = self.members(place, "a step", STEPS_HINT) else { continue };
            let common = Common { about, zone: &zone, customer: customer.as_deref() };
            read.extend(self.policy_step(table, step.span(), &mut clock, &common));
        }
        let line = self.line_of(place.start);
        Some(PolicyScenario { name: name?, line, zone, starts, steps: read })
    }

    fn policy_step(
        &mut self,
        table: &DeTable<'text>,
        place: Range<usize>,
        clock: &mut Millis,
        common: &Common<'_>,
    ) -> Option<Step> {
        self.unknown_keys(table, "a step", &STEP_KEYS);
        let has = |key: &&str| spot(table, key).is_some();
        // A message may be proposed on an event that the step names.
        let actions: Vec<&str> = ACTIONS.into_iter().filter(has).collect();
        let is_one = matches!(actions[..], [_] | ["event" | "body", "propose"]);
        if !is_one {
            let hint =
                format!("write one of {}; a second one is a step of its own", ACTIONS.join(", "));
            self.problem(Some(place), "a step does one thing", hint);
            return None;
        }
        self.keys_without_effect(table, actions[0]);
        let expected = self.expected(table, common);
        let line = self.line_of(place.start);
        let (what, action) = match actions[0] {
            "advance" | "at" => self.clock_step(table, clock, common.zone)?,
            _ => self.event_step(table, &actions, common)?,
        };
        Some(Step { line, what, action, expected })
    }

    /// Reports keys that change nothing in a step with this action.
    fn keys_without_effect(&mut self, table: &DeTable<'text>, action: &str) {
        const EVENTS: &[&str] = &["event", "body"];
        const CUSTOMERS: &[&str] = &["event", "body", "propose", "consent", "zone"];
        let keys = [
            ("set", EVENTS),
            ("without", EVENTS),
            ("subscription", &["consent"]),
            ("customer", CUSTOMERS),
        ];
        for (key, actions) in keys {
            let Some((_, span)) = spot(table, key).filter(|_| !actions.contains(&action)) else {
                continue;
            };
            let hint = format!("remove it, or write it beside `{}`", actions.join("` or `"));
            self.problem(Some(span), format!("`{key}` has no effect beside `{action}`"), hint);
        }
    }

    /// Reads a step on which an event arrives.
    fn event_step(
        &mut self,
        table: &DeTable<'text>,
        actions: &[&str],
        common: &Common<'_>,
    ) -> Option<(String, Action)> {
        let customer = self.short_text(table, "customer", "write an id: customer = \"101\"");
        let named = customer.as_deref().or(common.customer);
        let customer = named.unwrap_or(CUSTOMER);
        let customer_info = json!({ "customerId": customer });
        let mut proposals = Vec::new();
        if let Some((value, span)) = spot(table, "propose") {
            proposals = self.proposals(value, span, common.about);
        }
        let names: Vec<String> = proposals
            .iter()
            .map(|one| format!("{} {}", one.campaign, one.channel.name()))
            .collect();
        let proposed = format!("propose {}", names.join(", "));
        let (what, body) = match actions[0] {
            source @ ("event" | "body") => {
                // The customer of a sample is an example; that of a body is meant.
                let replaced = if source == "event" { Some(customer) } else { named };
                let given = self.event(table, replaced)?;
                let what = match proposals.is_empty() {
                    true => given.name,
                    false => format!("{}: {proposed}", given.name),
                };
                (what, given.body)
            }
            "consent" => {
                let body = self.consent(table, common.about.policies, &customer_info)?;
                ("consent".to_owned(), Bytes::from(body.to_string()))
            }
            "zone" => {
                let body = self.zone_step(table, common.about.policies, &customer_info)?;
                ("zone".to_owned(), Bytes::from(body.to_string()))
            }
            _ => {
                let body = json!({ "eventCode": "Scenario", "customerInfo": customer_info });
                (proposed, Bytes::from(body.to_string()))
            }
        };
        Some((what, Action::Event { body, proposals }))
    }

    fn proposals(
        &mut self,
        value: &DeValue<'text>,
        span: Range<usize>,
        about: &About<'_>,
    ) -> Vec<GivenProposal> {
        let tables: Vec<_> = match value {
            DeValue::Array(values) => {
                values.iter().map(|value| (value.get_ref(), value.span())).collect()
            }
            one => vec![(one, span.clone())],
        };
        let mut proposals = Vec::new();
        for place in tables {
            let span = place.1.clone();
            let Some(table) = self.members(place, "`propose`", PROPOSE_HINT) else { continue };
            let keys = [&["campaign"][..], Channel::NAMES].concat();
            self.unknown_keys(table, "`propose`", &keys);
            let Some(campaign) = self.short_text(table, "campaign", PROPOSE_HINT) else {
                if spot(table, "campaign").is_none() {
                    self.problem(Some(span), "`propose` has no campaign", PROPOSE_HINT);
                }
                continue;
            };
            if !about.campaigns.contains(&campaign) {
                let reason = no_campaign(&campaign, about.campaigns.iter().map(String::as_str));
                self.problem(Some(span.clone()), reason, "correct the name");
            }
            let campaign: Arc<str> = campaign.into();
            let before = proposals.len();
            for (key, _) in table {
                let named = |channel: &Channel| channel.name() == key.get_ref().as_ref();
                let Some(channel) = Channel::ALL.into_iter().find(named) else { continue };
                if let Some(template) = self.short_text(table, channel.name(), PROPOSE_HINT) {
                    let (campaign, template) = (Arc::clone(&campaign), template.into());
                    proposals.push(GivenProposal { campaign, channel, template });
                }
            }
            if proposals.len() == before {
                self.problem(Some(span), "`propose` has no message", PROPOSE_HINT);
            }
        }
        if proposals.len() > PROPOSALS_MAX {
            let reason = format!("{} messages, the most is {PROPOSALS_MAX}", proposals.len());
            self.problem(Some(span), reason, "propose fewer on one event");
        }
        proposals
    }

    /// Reads a step that only lets time pass.
    fn clock_step(
        &mut self,
        table: &DeTable<'text>,
        clock: &mut Millis,
        zone: &TimeZone,
    ) -> Option<(String, Action)> {
        let (until, place, what) = match self.text(table, "advance", SPAN_HINT) {
            Some((text, place)) => {
                let Some(by) = span(&text) else {
                    let reason = format!("`{}` is not a duration", shown(&text));
                    self.problem(Some(place), reason, SPAN_HINT);
                    return None;
                };
                (*clock + by, place, format!("advance {}", shown_span(by)))
            }
            None => {
                let (text, place) = self.text(table, "at", MOMENT_HINT)?;
                let Some(at) = moment(&text, zone) else {
                    let reason = format!("`{}` is not a time", shown(&text));
                    self.problem(Some(place), reason, MOMENT_HINT);
                    return None;
                };
                (at, place, format!("at {}", shown_moment(at, zone)))
            }
        };
        if until > MOMENT_MAX || until < *clock {
            let now = shown_moment(*clock, zone);
            let reason =
                format!("the clock shows {now} at this step, and goes on up to 2100-01-01");
            self.problem(Some(place), reason, "begin the scenario at another time, with `starts`");
        }
        *clock = until.max(*clock);
        Some((what, Action::At(*clock)))
    }

    /// A text that is neither blank nor long.
    pub(super) fn short_text(
        &mut self,
        table: &DeTable<'text>,
        key: &str,
        hint: &str,
    ) -> Option<String> {
        let (text, span) = self.text(table, key, hint)?;
        if text.trim().is_empty() || text.chars().count() > TEXT_CHARS_MAX {
            let reason = format!("`{key}` is not a text of 1 to {TEXT_CHARS_MAX} letters");
            self.problem(Some(span), reason, hint);
            return None;
        }
        Some(text)
    }

    fn start_of(&mut self, table: &DeTable<'text>, zone: &TimeZone) -> Option<Millis> {
        let (text, span) = self.text(table, "starts", MOMENT_HINT)?;
        let starts = moment(&text, zone);
        if starts.is_none() {
            self.problem(Some(span), format!("`{}` is not a time", shown(&text)), MOMENT_HINT);
        }
        starts
    }
}

/// What holds for all steps of a scenario.
pub(super) struct Common<'a> {
    pub(super) about: &'a About<'a>,
    pub(super) zone: &'a TimeZone,
    /// `None` if the scenario names none.
    customer: Option<&'a str>,
}
