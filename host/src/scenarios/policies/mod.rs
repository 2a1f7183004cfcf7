//! Scenarios of policies: tests of `policies.toml` in TOML. Campaigns propose messages as the
//! scenario says, and no rule is called.
//!
//! The engine's own core judges, defers and releases them, in a dry run on a clock that only the
//! scenario moves.

mod expected;
mod file;
mod run;
mod statements;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use hailer_abi::wire::Channel;
use jiff::tz::TimeZone;

use crate::clock::Millis;
use crate::dry_run::GivenProposal;
pub use run::{PolicyReport, PolicyStepReport};

/// The scenarios of one file.
#[derive(Clone, Debug)]
pub struct PolicyScenarios {
    pub list: Vec<PolicyScenario>,
}

/// One scenario.
#[derive(Clone, Debug)]
pub struct PolicyScenario {
    pub name: String,
    /// The line in its file where it begins.
    pub line: u32,
    zone: TimeZone,
    starts: Millis,
    steps: Vec<Step>,
}

/// A step: one action, and the expected results. Without expected results, nothing is checked.
#[derive(Clone, Debug)]
struct Step {
    line: u32,
    /// The action as text.
    what: String,
    action: Action,
    expected: Option<Vec<Expected>>,
}

#[derive(Clone, Debug)]
enum Action {
    /// An event arrives, and campaigns propose these messages on it.
    Event { body: Bytes, proposals: Vec<GivenProposal> },
    /// The clock moves to this time.
    At(Millis),
}

/// An expected result.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    /// The campaign; `None` for any.
    campaign: Option<Arc<str>>,
    channel: Channel,
    result: MessageResult,
}

/// The result of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MessageResult {
    Passed,
    /// It was deferred before, and is sent now.
    Released,
    /// The reason's name.
    Suppressed(String),
    /// The time at which it is judged again.
    Deferred(Millis),
}
