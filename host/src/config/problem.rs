//! The problems of a configuration, and the error that shows all of them at once.

use super::Origin;

/// One problem: the setting, where it was set, the reason, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The setting's name, such as `rabbitmq.prefetch`; `--config` or `syntax` if the file itself
    /// is the problem.
    pub setting: String,
    #[serde(serialize_with = "super::layers::as_text")]
    pub origin: Origin,
    pub reason: String,
    pub next_step: String,
}

/// The configuration is invalid, for every reason in `problems`.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {}{}", count(problems), lines(problems))]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

fn count(problems: &[Problem]) -> String {
    match problems.len() {
        1 => "a problem".to_owned(),
        count => format!("{count} problems"),
    }
}

fn lines(problems: &[Problem]) -> String {
    let line = |Problem { setting, origin, reason, next_step }: &Problem| {
        format!("\n  {setting} ({origin}): {reason}\n    {next_step}")
    };
    problems.iter().map(line).collect()
}
