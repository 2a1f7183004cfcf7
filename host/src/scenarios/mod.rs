//! Scenarios: tests of a rule in TOML. `hailer test` runs those of a crate; a module may contain
//! its own, and the engine runs them before the module decides any event. Scenarios of policies
//! (`policies`) call no rule.
//!
//! A scenario is a campaign of its own: a module with the scenario's parameters, decided by a
//! [`DryRun`](crate::dry_run) with a clock that does not move between the steps. An invalid
//! scenario (an unknown event, field, timer or key, an expectation that no rule could meet) is a
//! problem of the file, reported with its line, and nothing is run.

mod body;
mod compare;
mod expectation;
mod file;
mod moment;
mod policies;
mod reader;
mod report;
mod run;
mod section;
mod step;
mod value;

#[cfg(test)]
mod tests;

pub use compare::Mismatch;
pub use file::{SCENARIO_FILE_BYTES_MAX, Scenario, Scenarios};
pub use policies::{PolicyReport, PolicyScenario, PolicyScenarios, PolicyStepReport};
pub use report::{Cost, Decided, Report, StepReport};
pub use run::{CompiledModule, TimeLimit};
pub use section::{SectionError, embed, embedded};
