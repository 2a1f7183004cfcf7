//! `hailer reload`: read the rules' directory now.

use clap::Args;

use super::campaigns::problem_text;
use super::settings::Global;
use super::{DONE, FAILED, engine, output};
use crate::reload::LoadReport;

/// Read the rules' directory now, and say what came of it
///
/// The engine notices changes by itself; this is for file systems that tell nothing, for scripts that want to know
/// when a change has been taken up, and for confirming removals. If a file is bad, what ran before runs on.
///
/// When the directory is empty, or has lost more than half of its campaigns, the engine keeps them running and
/// becomes unready, as that is more often a mistake than a wish: --allow-removals confirms it.
#[derive(Debug, Args)]
#[command(after_long_help = concat!(
    "Examples:\n  hailer reload\n  hailer reload --allow-removals\n\n",
    "Exit codes: 0 all of the directory runs, 1 something in it does not (or no engine answered), 2 usage or configuration.",
))]
pub(super) struct Reload {
    /// Remove the campaigns that are gone from the directory, however many
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
        Ok(if report.problems.is_empty() && report.withheld_removals.is_empty() { DONE } else { FAILED })
    }
}

pub(super) fn text(report: &LoadReport) -> String {
    let mut parts = Vec::new();
    for (what, campaigns) in [("added", &report.added), ("changed", &report.changed), ("removed", &report.removed)] {
        if !campaigns.is_empty() {
            parts.push(format!("{what} {}", campaigns.join(", ")));
        }
    }
    parts.push(format!("{} unchanged", report.unchanged));
    let mut text = format!("rule set {}: {}\n", report.rule_set, parts.join("; "));
    if !report.withheld_removals.is_empty() {
        text += &format!(
            "\nstill running, though gone from the directory: {}\n  → if that is meant: hailer reload --allow-removals\n",
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
