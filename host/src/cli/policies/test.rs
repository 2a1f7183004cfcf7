//! `hailer policies test`: runs scenarios of policies.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::cli::settings::{Global, SettingFlags};
use crate::cli::test::Colours;
use crate::cli::{DONE, EXIT_CODES, FAILED, USAGE, output};
use crate::config::Purpose;
use crate::engine::Sandbox;
use crate::policies::Policies;
use crate::reload::{Problem, StatedRules};
use crate::scenarios::{PolicyReport, PolicyScenarios, SCENARIO_FILE_BYTES_MAX};

/// Run scenarios of policies, on a virtual clock
///
/// A scenario is a test of `policies.toml` in TOML: campaigns propose messages at some time, and
/// the file says what should become of them. The engine's own code judges, defers and releases
/// them. No rule is called, no module is loaded, and nothing is sent. Each scenario begins with a
/// customer of whom nothing is known.
///
/// An error in a file is reported with its line and what to do (exit code 2). An expectation that
/// is not met is reported with the difference (exit code 1).
#[derive(Debug, Args)]
#[command(after_long_help = format!("{SCENARIO_HELP}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Test {
    /// Files of scenarios
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Show only the failed scenarios, and the count
    #[arg(long, short)]
    quiet: bool,
    /// The rules directory, which holds policies.toml [default: as the engine's configuration says]
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
    /// The environment whose allow list holds [default: as the engine's configuration says]
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

const SCENARIO_HELP: &str = r#"A file of scenarios; times are in the `time_zone` of policies.toml:
  starts = "2026-03-01T12:00"            # of each scenario, which may have its own

  [[scenario]]
  name = "a message of the night waits for the morning"
  steps = [
      { at = "2026-03-01T23:30" },
      { propose = { campaign = "big-basket", push = "thanks" },
        deferred = [{ push = "2026-03-02T09:00" }] },
      { at = "2026-03-02T09:30", released = ["push"] },   # 09:00, and `spread` later at most
  ]

Each step is an event, or a move of the clock:
  propose = { campaign = "big-basket", push = "thanks", sms = "thanks" }
                                        the campaign proposes messages with these templates on an
                                        event; a list lets several campaigns speak on one event
  event = "OnPurchaseConfirm"           the catalogue's sample of this event; campaigns may propose
                                        on it, with `propose` in the same step
    set, without, body                  as in the scenarios of rules: hailer test --help; a body
                                        keeps its customer, unless the file names `customer`
  consent = { sms = "Disabled" }        the customer's statement; subscription = "CODE" for another
  zone = "Asia/Omsk"                    the customer's time zone, as an attribute states it
    customer = "101"                    another customer than that of the scenario
  advance = "8h", at = "2026-03-02T09:00"
                                        moves the clock

A step may expect all results of its messages; without any of these, it checks nothing:
  passed = ["push"]                     sent at once
  deferred = [{ push = "2026-03-02T09:00" }]
  suppressed = [{ sms = "consent-off" }]
  released = ["push"]                   deferred before, and sent now
  nothing = true                        no message
With several campaigns, a message is named by both: "big-basket push".

Examples:
  hailer policies test policies-scenarios.toml
  hailer policies test --rules rules.d scenarios/*.toml --quiet
  hailer policies test policies-scenarios.toml --json"#;

/// The results of one file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    file: String,
    scenarios: Vec<PolicyReport>,
    /// The problems of the file. If there is one, no scenario was run.
    problems: Vec<Problem>,
}

impl Test {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let settings = SettingFlags::of_rules(self.rules, self.environment);
        let config = global.load(Purpose::Ask, &settings)?.config;
        let stated = StatedRules::read(&config.rules, config.limits.module_bytes_max)?;
        let rules = config.rules.display();
        let Some(policies) = stated.policies else {
            anyhow::bail!(
                "there is no policies.toml in `{rules}`; name its directory with --rules"
            );
        };
        let mut campaigns: BTreeSet<String> = stated.campaigns.into_keys().collect();
        campaigns.extend(policies.campaign_names().into_iter().map(str::to_owned));
        let judging = Judging {
            policies: Arc::new(policies),
            campaigns,
            environment: &config.environment,
            sandbox: Sandbox::new(config.limits.clone())?,
        };
        let colours = Colours::of(&std::io::stdout());
        let mut outcomes = Vec::new();
        for file in &self.files {
            let outcome = judging.run(file)?;
            for problem in &outcome.problems {
                output::message(&problem.to_string());
            }
            if !global.json {
                let text = text(&outcome, colours, self.quiet);
                if !text.is_empty() {
                    output::data(&text)?;
                }
            }
            outcomes.push(outcome);
        }
        let all = || outcomes.iter().flat_map(|outcome| &outcome.scenarios);
        let failed = all().filter(|report| !report.is_passed()).count();
        if global.json {
            output::json(&outcomes)?;
        } else {
            output::data(&format!("{} passed, {failed} failed", all().count() - failed))?;
        }
        if outcomes.iter().any(|outcome| !outcome.problems.is_empty()) {
            return Ok(USAGE);
        }
        Ok(if failed == 0 { DONE } else { FAILED })
    }
}

/// The policies under which scenarios run.
struct Judging<'a> {
    policies: Arc<Policies>,
    campaigns: BTreeSet<String>,
    environment: &'a str,
    sandbox: Arc<Sandbox>,
}

impl Judging<'_> {
    fn run(&self, path: &Path) -> anyhow::Result<Outcome> {
        let file = path.display().to_string();
        let bytes = read(path).with_context(|| format!("cannot read {file}"))?;
        let text = String::from_utf8(bytes)
            .with_context(|| format!("{file} is not UTF-8; save it as UTF-8 text"))?;
        let Judging { policies, campaigns, environment, sandbox } = self;
        let (scenarios, problems) = match PolicyScenarios::parse(&file, &text, policies, campaigns)
        {
            Ok(parsed) => (parsed.run(policies, campaigns, environment, sandbox)?, Vec::new()),
            Err(problems) => (Vec::new(), problems),
        };
        Ok(Outcome { file, scenarios, problems })
    }
}

/// Reads a file up to one byte more than it may have; a longer one is refused by its parser.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;

    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(SCENARIO_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(outcome: &Outcome, colours: Colours, is_quiet: bool) -> String {
    let mut text = String::new();
    for report in outcome.scenarios.iter().filter(|report| !(is_quiet && report.is_passed())) {
        let mark = match report.is_passed() {
            true => colours.green("ok    "),
            false => colours.red("FAILED"),
        };
        text += &format!("{mark} {}\n", report.name);
        for step in &report.steps {
            let messages = match step.messages.is_empty() {
                true => vec!["nothing".to_owned()],
                false => step.messages.clone(),
            };
            for (number, message) in messages.iter().enumerate() {
                let what = if number == 0 { &*step.what } else { "" };
                text += &format!("       {what:<30} {message}\n");
            }
            if !step.mismatches.is_empty() {
                text += &format!("       line {}: another result was expected\n", step.line);
            }
            for mismatch in &step.mismatches {
                let mismatch = match mismatch.starts_with('-') {
                    true => colours.green(mismatch),
                    false => colours.red(mismatch),
                };
                text += &format!("         {mismatch}\n");
            }
        }
        text.extend(report.error.iter().map(|error| format!("       {error}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Limits;

    #[test]
    fn the_example_of_the_help_passes_under_the_example_policies() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/policies.toml");
        let policies = Arc::new(Policies::parse(&std::fs::read(file).unwrap()).unwrap());
        let example = SCENARIO_HELP.split_once('\n').unwrap().1;
        let example = example.split("\n\nEach step").next().unwrap();
        let campaigns = BTreeSet::from(["big-basket".to_owned()]);
        let parsed = PolicyScenarios::parse("help", example, &policies, &campaigns).unwrap();
        let sandbox = Sandbox::new(Limits::default()).unwrap();
        let reports = parsed.run(&policies, &campaigns, "prod", &sandbox).unwrap();
        let [report] = &reports[..] else { panic!("one scenario") };
        assert!(report.is_passed() && report.steps.len() == 3, "{report:#?}");
    }
}
