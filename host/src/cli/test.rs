//! `hailer test`: a rule's scenarios, on its real module in the real sandbox, with a clock that jumps.

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
use crate::scenarios::{self, Bounds, Report, SCENARIO_FILE_BYTES_MAX, Scenarios, Stand};
use find::Suite;
pub(super) use show::{Look, Passed, outcome as text_of};

/// Run rules' scenarios on the real module, months in milliseconds
///
/// A scenario is a story in TOML: what happens, and what the rule is to make of it. They stand in scenarios.toml beside a
/// rule crate's Cargo.toml; `hailer build` puts them into the module, and an engine refuses a module that fails its own.
/// The crate is built first, and its module runs as in the engine: same fields, same sandbox, same policies, states and
/// timers, on a clock that only the scenario moves. Nothing is sent.
///
/// Each scenario shows what was decided, and the most that one call took, against the limits: fuel counts what the rule
/// does, and is the same on every machine. A mistake in a file is told with its line and the next step (exit code 2), an
/// expectation that was not met with the difference (exit code 1).
#[derive(Debug, Args)]
#[command(after_long_help = format!("{SCENARIO_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct Test {
    /// Rule crates, directories of rule crates, files of scenarios, or modules [default: the directory here]
    #[arg(value_name = "DIR|FILE|MODULE")]
    paths: Vec<PathBuf>,
    /// Run the scenarios on this module in place of building a crate
    #[arg(long, value_name = "MODULE")]
    module: Option<PathBuf>,
    /// Only scenarios with this in their name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Show only what failed, and the count
    #[arg(long, short)]
    quiet: bool,
    /// Write the results as JUnit XML, for CI
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Refuse to change Cargo.lock, and stay off the network
    #[arg(long)]
    frozen: bool,
}

const SCENARIO_HELP: &str = r#"A file of scenarios:
  time_zone = "Europe/Moscow"            # of local times, as a campaign's; UTC if absent
  params = { threshold = "100.00" }      # of every scenario; each may have its own

  [[scenario]]
  name = "a big basket is thanked for, and a small one is not"
  steps = [
      { event = "Purchase", set = { amount = 150.00 }, sent = [{ push = "big-basket", data = { amount = 150 } }] },
      { event = "Purchase", set = { amount = 99.99 }, nothing = true, note = "small" },
      { advance = "60d", timers = {} },
  ]

What happens:   event = "Purchase" (a name or code of `hailer events`, made from the source's example), with
                set = { field = value }, without = ["field"] and times = 3; body = '''{ … }''' (a whole message);
                advance = "60d"; at = "2026-03-01T10:00"
What follows:   sent = [{ mail|push|sms|viber|chatBot|socialNetworks = "template", data = { … } }], all of it and in order,
                data as far as it is named; nothing = true; suppressed = [{ push = "template", why = "…" }];
                note = "part of a note"; error = "part of an error"; timers = { nudge = "60m" } (all that are pending);
                state = { count = 2 } (as far as it is named), or "none"
A scenario of parameters that the rule is to refuse has refused = "part of what it says", and no steps.

Examples:
  hailer test
  hailer test rules/ --quiet --junit target/scenarios.xml
  hailer test rules/welcome --only greeted
  hailer test target/rules.d/welcome.wasm --json"#;

/// What came of one file of scenarios.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    /// The file of scenarios, or the module that brings them.
    file: String,
    /// The rule's name and version.
    rule: String,
    version: String,
    pub(super) scenarios: Vec<Report>,
    /// What is wrong with the file; then nothing was run.
    pub(super) problems: Vec<Problem>,
    limits: Bounded,
}

/// What one call may take.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Bounded {
    fuel: u64,
    memory_bytes: usize,
    output_bytes: usize,
}

impl Test {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let here = [PathBuf::from(".")];
        let suites = find::suites(if self.paths.is_empty() { &here } else { &self.paths }, self.module.as_deref())?;
        let mut course = Course::new(global.limits()?)?;
        let look = Look::of(&std::io::stdout());
        let passed = if self.quiet { Passed::Hidden } else { Passed::Whole };
        let mut outcomes = Vec::new();
        for suite in &suites {
            let outcome = self.run_suite(suite, &mut course)?;
            for problem in &outcome.problems {
                output::say(&problem.to_string());
            }
            if !global.json {
                let text = show::outcome(&outcome, look, passed);
                if !text.is_empty() {
                    output::data(&text)?;
                }
            }
            outcomes.push(outcome);
        }
        if let Some(file) = &self.junit {
            let written = std::fs::write(file, junit::xml(&outcomes));
            written.with_context(|| format!("can't write {}", file.display()))?;
        }
        if global.json {
            output::json(&outcomes)?;
        } else {
            show::sum(&outcomes, look)?;
        }
        let ran: usize = outcomes.iter().map(|outcome| outcome.scenarios.len()).sum();
        if outcomes.iter().any(|outcome| !outcome.problems.is_empty()) {
            return Ok(USAGE);
        }
        if let (0, Some(only)) = (ran, &self.only) {
            return Err(UsageError(format!(
                "no scenario has `{only}` in its name: look at `hailer test` without --only"
            ))
            .into());
        }
        let failed = outcomes.iter().flat_map(|outcome| &outcome.scenarios).any(|report| !report.is_passed());
        Ok(if failed { FAILED } else { DONE })
    }

    fn run_suite(&self, suite: &Suite, course: &mut Course) -> anyhow::Result<Outcome> {
        let (module, bytes) = match &suite.module {
            Some(file) => {
                (file.clone(), std::fs::read(file).with_context(|| format!("can't read {}", file.display()))?)
            }
            None => {
                let compiled = build::compile(&suite.directory, self.frozen);
                let artifact = compiled.with_context(|| format!("can't build {}", suite.directory.display()))?;
                let bytes = artifact.read()?;
                (artifact.file, bytes)
            }
        };
        let (file, text, bytes) = match &suite.scenarios {
            Some(file) => {
                let text = read(file)?;
                // What `hailer build` makes of the crate, so that the version is the one that a campaign shows.
                let bytes = if suite.module.is_none() { scenarios::embed(bytes, &text)? } else { bytes };
                (file.display().to_string(), text, bytes)
            }
            None => {
                let text = scenarios::embedded(&bytes).with_context(|| module.display().to_string())?;
                (module.display().to_string(), text.unwrap_or_default().to_owned(), bytes)
            }
        };
        let module = verify(bytes.into(), course.sandbox.limits())
            .map_err(|error| anyhow::anyhow!("{} is no rule module: {error}: {}", module.display(), error.hint()))?;
        course.run(module, file, &text, |name| self.only.as_ref().is_none_or(|only| name.contains(only)))
    }
}

/// Where scenarios are run: one sandbox that counts fuel.
pub(super) struct Course {
    sandbox: Arc<Sandbox>,
    loader: Loader,
}

impl Course {
    pub(super) fn new(limits: Limits) -> anyhow::Result<Course> {
        let sandbox = Sandbox::metered(limits)?;
        let loader = Loader::temporary(Arc::clone(&sandbox))?;
        Ok(Course { sandbox, loader })
    }

    /// Runs those scenarios of a file's text that are meant, on this module.
    pub(super) fn run(
        &mut self,
        module: VerifiedModule,
        file: String,
        text: &str,
        is_meant: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Outcome> {
        let Course { sandbox, loader } = self;
        let mut outcome = Outcome {
            file,
            rule: module.manifest.name.clone(),
            version: format!("{}+{}", module.manifest.version, &module.digest[..8]),
            scenarios: Vec::new(),
            problems: Vec::new(),
            limits: Bounded {
                fuel: sandbox.fuel_per_call_max(),
                memory_bytes: sandbox.limits().memory_bytes_max,
                output_bytes: sandbox.limits().output_bytes_max,
            },
        };
        match Scenarios::parse(&outcome.file, text, &module.manifest) {
            Err(problems) => outcome.problems = problems,
            Ok(scenarios) => {
                let compiled = loader.load(&module).map_err(anyhow::Error::msg)?;
                let stand = Stand { sandbox: Arc::clone(sandbox), module, compiled, checks_purity: true };
                let meant = scenarios.list.iter().filter(|scenario| is_meant(&scenario.name));
                outcome.scenarios = meant.map(|scenario| stand.run(scenario, Bounds { until: None })).collect();
            }
        }
        Ok(outcome)
    }
}

/// A file of scenarios, if it can be one.
fn read(file: &Path) -> anyhow::Result<String> {
    let in_file = || format!("can't read {}", file.display());
    let length = std::fs::metadata(file).with_context(in_file)?.len();
    if length > SCENARIO_FILE_BYTES_MAX as u64 {
        let file = file.display();
        let reason =
            format!("{file}: a file of scenarios has at most {SCENARIO_FILE_BYTES_MAX} bytes, and this has {length}");
        return Err(UsageError(reason).into());
    }
    std::fs::read_to_string(file).with_context(in_file)
}
