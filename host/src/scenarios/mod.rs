//! Scenarios: what a rule is to do, told as stories in TOML, and whether it does. `hailer test` runs a crate's; a module brings its own along, and
//! the engine runs those before it lets the module decide anything.
//!
//! A scenario is a campaign of its own: a module with the scenario's parameters, decided by a [`Rehearsal`](crate::rehearsal) from a clock that
//! stands still between its steps. What can't be meant (an unknown event, field, timer or key, an expectation that no rule could meet) is a problem
//! of the file, with its line, and nothing is run.

mod body;
mod compare;
mod expectation;
mod file;
mod moment;
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
pub use report::{Cost, Decided, Report, StepReport};
pub use run::{Bounds, Stand};
pub use section::{SectionError, embed, embedded};
