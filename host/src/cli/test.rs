//! `hailer test`: runs a rule's scenarios on its module in the sandbox, on a virtual clock.

mod find;
mod junit;
mod show;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::settings::Global;
use super::{DONE, EXIT_CODES, FAILED, USAGE, UsageError, build, output};
use crate::daemon::Loader;
use crate::engine::{Limits, Sandbox, VerifiedModule, verify};
use crate::reload::Problem;
use crate::scenarios::{
    self, CompiledModule, Report, SCENARIO_FILE_BYTES_MAX, Scenarios, TimeLimit,
};
use find::Suite;
pub(super) use show::{Colours, ShowPassed, outcome as text_of};

/// Run rules' scenarios on the real module, on a virtual clock
///
/// A scenario is a test in TOML: events, and what the rule should decide on them. Scenarios are in
/// scenarios.toml beside a rule crate's Cargo.toml. `hailer build` embeds them in the module, and
/// an engine refuses a module that fails its own. The command first builds the crate. Its module
/// then runs as in the engine, with the same fields, sandbox, policies, states and timers, on a
/// clock that only the scenario moves. Nothing is sent.
///
/// For each scenario the output shows what was decided, and the highest cost of one call against
/// the limits. Fuel counts the instructions of the rule, and is the same on every machine. An error
/// in a file is reported with its line and what to do (exit code 2). An expectation that is not met
/// is reported with the difference (exit code 1).
#[derive(Debug, Args)]
#[command(after_long_help = format!("{SCENARIO_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct Test {
    /// Rule crates, directories of rule crates, files of scenarios, or modules [default: the
    /// current directory]
    #[arg(value_name = "DIR|FILE|MODULE")]
    paths: Vec<PathBuf>,
    /// Run the scenarios on this module, instead of building a crate
    #[arg(long, value_name = "MODULE")]
    module: Option<PathBuf>,
    /// Only scenarios whose name contains this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Show only the failed scenarios, and the count
    #[arg(long, short)]
    quiet: bool,
    /// Write the results as JUnit XML, for CI
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Do not change Cargo.lock, and do not use the network
    #[arg(long)]
    frozen: bool,
}

const SCENARIO_HELP: &str = r#"A file of scenarios:
  time_zone = "Europe/Moscow"            # for local times, as in a campaign; UTC if absent
  params = { threshold = "100.00" }      # for every scenario; each may have its own

  [[scenario]]
  name = "a big basket is thanked for, and a small one is not"
  steps = [
      { event = "Purchase", set = { amount = 150.00 }, sent = [{ push = "big-basket" }] },
      { event = "Purchase", set = { amount = 99.99 }, nothing = true, note = "small" },
      { advance = "60d", timers = {} },
  ]

Each step is an event or a move of the clock:
  event = "Purchase"                    the catalogue's sample of this event, by name or code
    set = { field = value }             changes fields of the sample
    without = ["field"]                 removes fields of the sample
    times = 3                           repeats the event
  body = '''{ … }'''                    a whole message instead of a sample
  advance = "60d"                       moves the clock by a span
  at = "2026-03-01T10:00"               moves the clock to a time

A step may expect:
  sent = [{ push = "template", data = { … } }]
                                        all communications, in order; data may be partial; channels
                                        are mail, push, sms, viber, chatBot and socialNetworks
  nothing = true                        no communication
  suppressed = [{ push = "template", why = "…" }]
  note = "part of a note"
  error = "part of an error"            the rule fails
  timers = { nudge = "60m" }            all pending timers
  state = { count = 2 }                 the state, which may be partial; "none" for no state

A scenario of invalid parameters has refused = "part of the message", and no steps.

Examples:
  hailer test
  hailer test rules/ --quiet --junit target/scenarios.xml
  hailer test rules/welcome --only greeted
  hailer test target/rules.d/welcome.wasm --json"#;

/// The results of one file of scenarios.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    /// The file of scenarios, or the module in which they are embedded.
    file: String,
    /// The name of the rule; its version follows.
    rule: String,
    version: String,
    pub(super) scenarios: Vec<Report>,
    /// The problems of the file. If there is one, no scenario was run.
    pub(super) problems: Vec<Problem>,
    limits: CallLimits,
}

/// The limits of one call.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CallLimits {
    fuel: u64,
    memory_bytes: usize,
    output_bytes: usize,
}

impl Test {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let here = [PathBuf::from(".")];
        let suites = find::suites(
            if self.paths.is_empty() { &here } else { &self.paths },
            self.module.as_deref(),
        )?;
        let mut runner = ScenarioRunner::new(global.limits()?)?;
        let colours = Colours::of(&std::io::stdout());
        let passed = if self.quiet { ShowPassed::Hidden } else { ShowPassed::Full };
        let mut outcomes = Vec::new();
        for suite in &suites {
            let outcome = self.run_suite(suite, &mut runner)?;
            for problem in &outcome.problems {
                output::message(&problem.to_string());
            }
            if !global.json {
                let text = show::outcome(&outcome, colours, passed);
                if !text.is_empty() {
                    output::data(&text)?;
                }
            }
            outcomes.push(outcome);
        }
        if let Some(file) = &self.junit {
            let written = std::fs::write(file, junit::xml(&outcomes));
            written.with_context(|| format!("cannot write {}", file.display()))?;
        }
        if global.json {
            output::json(&outcomes)?;
        } else {
            show::print_summary(&outcomes, colours)?;
        }
        let ran: usize = outcomes.iter().map(|outcome| outcome.scenarios.len()).sum();
        if outcomes.iter().any(|outcome| !outcome.problems.is_empty()) {
            return Ok(USAGE);
        }
        if let (0, Some(only)) = (ran, &self.only) {
            return Err(UsageError(format!(
                "no scenario has `{only}` in its name: run `hailer test` without --only to see \
                    the names"
            ))
            .into());
        }
        let failed = outcomes
            .iter()
            .flat_map(|outcome| &outcome.scenarios)
            .any(|report| !report.is_passed());
        Ok(if failed { FAILED } else { DONE })
    }

    fn run_suite(&self, suite: &Suite, runner: &mut ScenarioRunner) -> anyhow::Result<Outcome> {
        let (module, bytes) = match &suite.module {
            Some(file) => (
                file.clone(),
                std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
            ),
            None => {
                let compiled = build::compile(&suite.directory, self.frozen);
                let artifact = compiled
                    .with_context(|| format!("cannot build {}", suite.directory.display()))?;
                let bytes = artifact.read()?;
                (artifact.file, bytes)
            }
        };
        let (file, text, bytes) = match &suite.scenarios {
            Some(file) => {
                let text = read(file)?;
                // The same bytes as `hailer build` makes, so that the version is the one that a
                // campaign shows.
                let bytes =
                    if suite.module.is_none() { scenarios::embed(bytes, &text)? } else { bytes };
                (file.display().to_string(), text, bytes)
            }
            None => {
                let text =
                    scenarios::embedded(&bytes).with_context(|| module.display().to_string())?;
                (module.display().to_string(), text.unwrap_or_default().to_owned(), bytes)
            }
        };
        let module = verify(bytes.into(), runner.sandbox.limits()).map_err(|error| {
            anyhow::anyhow!("{} is not a rule module: {error}: {}", module.display(), error.hint())
        })?;
        runner.run(module, file, &text, |name| {
            self.only.as_ref().is_none_or(|only| name.contains(only))
        })
    }
}

/// Runs scenarios, in one sandbox that counts fuel.
pub(super) struct ScenarioRunner {
    sandbox: Arc<Sandbox>,
    loader: Loader,
}

impl ScenarioRunner {
    pub(super) fn new(limits: Limits) -> anyhow::Result<ScenarioRunner> {
        let sandbox = Sandbox::metered(limits)?;
        let loader = Loader::temporary(Arc::clone(&sandbox))?;
        Ok(ScenarioRunner { sandbox, loader })
    }

    /// Runs the scenarios of a file's text for whose name `is_meant` is true, on this module.
    pub(super) fn run(
        &mut self,
        module: VerifiedModule,
        file: String,
        text: &str,
        is_meant: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Outcome> {
        let ScenarioRunner { sandbox, loader } = self;
        let mut outcome = Outcome {
            file,
            rule: module.manifest.name.clone(),
            version: format!("{}+{}", module.manifest.version, &module.digest[..8]),
            scenarios: Vec::new(),
            problems: Vec::new(),
            limits: CallLimits {
                fuel: sandbox.fuel_per_call_max(),
                memory_bytes: sandbox.limits().memory_bytes_max,
                output_bytes: sandbox.limits().output_bytes_max,
            },
        };
        match Scenarios::parse(&outcome.file, text, &module.manifest) {
            Err(problems) => outcome.problems = problems,
            Ok(scenarios) => {
                let compiled = loader.load(&module).map_err(anyhow::Error::msg)?;
                let compiled_module = CompiledModule {
                    sandbox: Arc::clone(sandbox),
                    module,
                    compiled,
                    checks_purity: true,
                };
                let meant = scenarios.list.iter().filter(|scenario| is_meant(&scenario.name));
                outcome.scenarios = meant
                    .map(|scenario| compiled_module.run(scenario, TimeLimit { until: None }))
                    .collect();
            }
        }
        Ok(outcome)
    }
}

/// Reads a file of scenarios.
///
/// # Errors
/// When it cannot be read, or is too large.
fn read(file: &Path) -> anyhow::Result<String> {
    let in_file = || format!("cannot read {}", file.display());
    let length = std::fs::metadata(file).with_context(in_file)?.len();
    if length > SCENARIO_FILE_BYTES_MAX as u64 {
        let file = file.display();
        let reason = format!(
            "{file}: {length} bytes are too many for a file of scenarios; the maximum is \
                {SCENARIO_FILE_BYTES_MAX}"
        );
        return Err(UsageError(reason).into());
    }
    std::fs::read_to_string(file).with_context(in_file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hailer_abi::wire::Channel;

    #[test]
    fn the_help_names_all_channels() {
        let (last, others) = Channel::NAMES.split_last().unwrap();
        let listed = format!("channels are {} and {last}", others.join(", "));
        let help = SCENARIO_HELP.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains(&listed), "the help of `hailer test` should say: {listed}");
    }
}
