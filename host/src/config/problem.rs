//! What can be wrong with a configuration, and how all of it is said at once.

use super::Origin;

/// One thing wrong: which setting, where it was set, why it can't be, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// `rabbitmq.prefetch`; a file's path when the file itself is the problem.
    pub setting: String,
    #[serde(serialize_with = "super::layers::as_text")]
    pub origin: Origin,
    pub reason: String,
    pub next_step: String,
}

/// The configuration can't be used; every reason why.
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
