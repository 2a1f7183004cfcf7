//! Being written.

use crate::config::Config;

/// One thing that was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at: `rules`, `broker amqp://…`.
    pub subject: String,
    /// What is so.
    pub detail: String,
    /// What to do about it; absent when all is well.
    pub next_step: Option<String>,
}

/// Runs the engine until its source ends or it is told to stop.
///
/// # Errors
/// When it can't start, or ends before its time.
pub fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the daemon is not wired yet")
}

/// Loads the rules' directory as a start would, and says how every campaign stands. Nothing runs.
pub fn check_rules(_config: &Config) -> Vec<Finding> {
    vec![not_wired("rules")]
}

/// Asks the brokers that the configuration names for what a start would need of them.
pub fn check_broker(_config: &Config) -> Vec<Finding> {
    vec![not_wired("broker")]
}

/// The exchange, queues and permissions that the configuration asks for, as people read it; made as well, if `apply`.
///
/// # Errors
/// When the broker can't be reached, or refuses.
pub fn topology(_config: &Config, _apply: bool) -> anyhow::Result<String> {
    anyhow::bail!("the topology is not wired yet")
}

/// The child process in which a module is compiled; `arguments` are between the reload room and itself.
///
/// # Errors
/// When the module can't be compiled.
pub fn compile_module(_arguments: &[std::ffi::OsString]) -> anyhow::Result<()> {
    anyhow::bail!("the compiler is not wired yet")
}

fn not_wired(subject: &str) -> Finding {
    let next_step = Some("wire it".into());
    Finding { subject: subject.into(), detail: "not wired yet".into(), next_step }
}
