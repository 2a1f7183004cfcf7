//! Parses a file of scenarios: TOML in, scenarios or all problems out, each with its line.

use std::collections::BTreeSet;
use std::ops::Range;

use hailer_abi::manifest::Manifest;
use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};

use super::moment::{MOMENT_HINT, moment};
use super::reader::{Reader, spot};
use super::step::Step;
use crate::clock::Millis;
use crate::engine::{encode_params, shown};
use crate::reload::Problem;
use crate::zones;

/// Maximum size of a file of scenarios in bytes, also inside a module.
pub const SCENARIO_FILE_BYTES_MAX: usize = 64 << 10;
const SCENARIOS_MAX: usize = 200;
const STEPS_MAX: usize = 200;
const NAME_CHARS_MAX: usize = 120;

const FILE_KEYS: [&str; 4] = ["time_zone", "starts", "params", "scenario"];
const SCENARIO_KEYS: [&str; 6] = ["name", "time_zone", "starts", "params", "refused", "steps"];
const STEPS_HINT: &str = "write what happens, and what is expected of it: steps = [{ event = \
                          \"Purchase\", nothing = true }]";

/// 2026-01-01T00:00:00Z, the start of the SDK's scenarios, too.
const STARTS: Millis = 1_767_225_600_000;

/// The scenarios of one file.
#[derive(Clone, Debug)]
pub struct Scenarios {
    pub list: Vec<Scenario>,
}

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    /// The line in its file where it begins.
    pub line: u32,
    /// The scenario's own parameters, encoded for the module; a campaign's parameters do not apply.
    pub(super) params: Vec<u8>,
    pub(super) zone: TimeZone,
    pub(super) starts: Millis,
    /// If set, the rule must refuse the parameters with an error that contains this text.
    pub(super) refused: Option<String>,
    pub(super) steps: Vec<Step>,
}

impl Scenarios {
    /// Parses a file of scenarios for a module. `file` is its name in problems.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn parse(file: &str, text: &str, manifest: &Manifest) -> Result<Scenarios, Vec<Problem>> {
        if text.len() > SCENARIO_FILE_BYTES_MAX {
            let reason =
                format!("the file has {} bytes, the most is {SCENARIO_FILE_BYTES_MAX}", text.len());
            return Err(vec![Problem::new(
                file,
                None,
                reason,
                "give whole bodies only where an event's example won't do",
            )]);
        }
        let mut reader = Reader::new(file, text);
        let mut list = Vec::new();
        if let Some(table) = reader.table() {
            list = reader.file(&table, manifest);
        }
        let problems = reader.into_problems();
        if problems.is_empty() { Ok(Scenarios { list }) } else { Err(problems) }
    }
}

impl<'text> Reader<'_, 'text> {
    fn file(&mut self, table: &DeTable<'text>, manifest: &Manifest) -> Vec<Scenario> {
        self.unknown_keys(table, "a file of scenarios", &FILE_KEYS);
        let zone = self.zone(table).unwrap_or(TimeZone::UTC);
        let starts = self.starts(table, &zone);
        let params = spot(table, "params").and_then(|spot| {
            self.members(spot, "`params`", "write [params] and the parameters below it")
        });
        let scenarios = match spot(table, "scenario") {
            Some((DeValue::Array(scenarios), _)) => scenarios,
            other => {
                let hint =
                    "begin each scenario with a line [[scenario]], and give it a name and steps";
                self.problem(
                    other.map(|(_, span)| span),
                    "there are no scenarios in the file",
                    hint,
                );
                return Vec::new();
            }
        };
        if scenarios.len() > SCENARIOS_MAX {
            self.problem(
                None,
                format!("{} scenarios, the most is {SCENARIOS_MAX}", scenarios.len()),
                "split the rule in two",
            );
            return Vec::new();
        }
        let mut names = BTreeSet::new();
        let mut list = Vec::new();
        for scenario in scenarios.iter() {
            let Some(table) =
                self.members((scenario.get_ref(), scenario.span()), "a scenario", STEPS_HINT)
            else {
                continue;
            };
            let common = Common { params, zone: &zone, starts };
            if let Some(scenario) = self.scenario(table, scenario.span(), &common, manifest) {
                if !names.insert(scenario.name.clone()) {
                    let reason = format!("a second scenario `{}`", shown(&scenario.name));
                    self.problem(
                        spot(table, "name").map(|(_, span)| span),
                        reason,
                        "say in its name what is different",
                    );
                }
                list.push(scenario);
            }
        }
        list
    }

    fn scenario(
        &mut self,
        table: &DeTable<'text>,
        span: Range<usize>,
        common: &Common<'_, 'text>,
        manifest: &Manifest,
    ) -> Option<Scenario> {
        self.unknown_keys(table, "a scenario", &SCENARIO_KEYS);
        let name_hint = "say what is to be true: name = \"a small basket gets nothing\"";
        let name = self.text(table, "name", name_hint);
        let is_name =
            |name: &str| !name.trim().is_empty() && name.chars().count() <= NAME_CHARS_MAX;
        if name.as_ref().is_none_or(|(name, _)| !is_name(name)) {
            let span = name.as_ref().map_or(span.clone(), |(_, span)| span.clone());
            self.problem(
                Some(span),
                format!("a scenario has a name of 1 to {NAME_CHARS_MAX} letters"),
                name_hint,
            );
        }
        let zone = self.zone(table).unwrap_or_else(|| common.zone.clone());
        let starts = self.starts(table, &zone).or(common.starts).unwrap_or(STARTS);
        let params = self.params(table, common.params, span.clone(), manifest);
        let refused = self.text(
            table,
            "refused",
            "write a part of the rule's error: refused = \"switched off\"",
        );
        let steps = match spot(table, "steps") {
            Some((DeValue::Array(steps), span)) => {
                if steps.len() > STEPS_MAX {
                    let reason = format!("{} steps, the most is {STEPS_MAX}", steps.len());
                    self.problem(
                        Some(span),
                        reason,
                        "repeat an event with `times`, or split the scenario",
                    );
                }
                let mut clock = starts;
                let mut read = Vec::new();
                for step in steps.iter().take(STEPS_MAX) {
                    let Some(table) =
                        self.members((step.get_ref(), step.span()), "a step", STEPS_HINT)
                    else {
                        continue;
                    };
                    read.extend(self.step(table, step.span(), &mut clock, &zone, manifest));
                }
                read
            }
            Some((_, span)) => {
                self.problem(Some(span), "`steps` is not a list", STEPS_HINT);
                Vec::new()
            }
            None => Vec::new(),
        };
        if refused.is_none() && spot(table, "steps").is_none() {
            self.problem(Some(span.clone()), "a scenario without steps", STEPS_HINT);
        }
        if let (Some((_, span)), false) = (&refused, steps.is_empty()) {
            let hint = "remove the steps: nothing is decided with parameters that are refused";
            self.problem(
                Some(span.clone()),
                "a scenario whose parameters are refused has no steps",
                hint,
            );
        }
        let refused = refused.map(|(text, _)| text);
        Some(Scenario {
            name: name?.0,
            line: self.line_of(span.start),
            params: params?,
            zone,
            starts,
            refused,
            steps,
        })
    }

    /// Encodes the file's parameters, overridden by the scenario's.
    fn params(
        &mut self,
        table: &DeTable<'text>,
        common: Option<&DeTable<'text>>,
        span: Range<usize>,
        manifest: &Manifest,
    ) -> Option<Vec<u8>> {
        let own = spot(table, "params")
            .and_then(|spot| self.members(spot, "`params`", "write params = { name = value }"));
        let mut given = common.cloned().unwrap_or_default();
        for (key, value) in own.into_iter().flatten() {
            given.insert(key.clone(), value.clone());
        }
        match encode_params(&manifest.params, &given) {
            Ok(params) => Some(params),
            Err(errors) => {
                for error in errors {
                    self.problem(
                        Some(error.span.unwrap_or(span.clone())),
                        error.reason,
                        error.hint,
                    );
                }
                None
            }
        }
    }

    fn zone(&mut self, table: &DeTable<'text>) -> Option<TimeZone> {
        let hint = "write a name such as time_zone = \"Europe/Moscow\"";
        let (name, span) = self.text(table, "time_zone", hint)?;
        match zones::zone(&name) {
            Some(zone) => Some(zone),
            None => {
                self.problem(Some(span), format!("there is no time zone `{}`", shown(&name)), hint);
                None
            }
        }
    }

    fn starts(&mut self, table: &DeTable<'text>, zone: &TimeZone) -> Option<Millis> {
        let (text, span) = self.text(table, "starts", MOMENT_HINT)?;
        let starts = moment(&text, zone);
        if starts.is_none() {
            self.problem(Some(span), format!("`{}` is not a time", shown(&text)), MOMENT_HINT);
        }
        starts
    }
}

/// The settings that a file gives for all of its scenarios.
struct Common<'table, 'text> {
    params: Option<&'table DeTable<'text>>,
    zone: &'table TimeZone,
    starts: Option<Millis>,
}
