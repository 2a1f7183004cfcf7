//! `hailer reload`: makes the engine read the rules directory now.

use clap::Args;

use super::campaigns::problem_text;
use super::settings::Global;
use super::{DONE, FAILED, engine, output};
use crate::reload::{LoadReport, digest_shown};

/// Read the rules directory now, and report the result
///
/// The engine notices changes by itself. Use this for file systems that report no changes, for
/// scripts that wait until a change is loaded, and to confirm removals. If a file is invalid, the
/// version before it runs on.
///
/// When the directory is empty, or has lost more than half of its campaigns or its policies, the
/// engine keeps them running and becomes unready. Such a loss is more often a mistake than
/// intended. --allow-removals confirms it.
#[derive(Debug, Args)]
#[command(after_long_help = concat!(
    "Examples:\n  hailer reload\n  hailer reload --allow-removals\n\n",
    "Exit codes: 0 everything in the directory runs, 1 something in it does not (or no engine \
        answered), \
        2 usage or configuration.",
))]
pub(super) struct Reload {
    /// Remove all campaigns that are missing in the directory, however many they are, and the
    /// policies if they are missing
    #[arg(long)]
    allow_removals: bool,
}

impl Reload {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let report = engine::wait(client.reload(self.allow_removals))??;
        if global.json {
            output::json(&report)?;
        } else {
            output::data(&text(&report))?;
        }
        Ok(if report.problems.is_empty() && report.withheld_removals.is_empty() {
            DONE
        } else {
            FAILED
        })
    }
}

pub(super) fn text(report: &LoadReport) -> String {
    let mut parts = Vec::new();
    for (what, campaigns) in
        [("added", &report.added), ("changed", &report.changed), ("removed", &report.removed)]
    {
        if !campaigns.is_empty() {
            parts.push(format!("{what} {}", campaigns.join(", ")));
        }
    }
    if let Some(change) = report.policies {
        let digest = report.policies_digest.as_deref().map(digest_shown);
        let digest = digest.map(|digest| format!(" ({digest})")).unwrap_or_default();
        parts.push(format!("policies {}{digest}", change.name()));
    }
    parts.push(format!("{} unchanged", report.unchanged));
    let mut text = format!("rule set {}: {}\n", report.rule_set, parts.join("; "));
    if !report.withheld_removals.is_empty() {
        text += &format!(
            "\nstill running, although missing in the directory: {}\n  → to remove them: hailer \
                reload --allow-removals\n",
            report.withheld_removals.join(", ")
        );
    }
    for problem in &report.problems {
        text += &format!("\n{}", problem_text(problem));
    }
    for warning in &report.warnings {
        text += &format!("\nwarning: {}", problem_text(warning));
    }
    text
}
