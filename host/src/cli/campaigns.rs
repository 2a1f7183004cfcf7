//! `hailer campaigns`: how every campaign of the running engine stands.

use clap::Args;

use super::settings::Global;
use super::{DONE, EXIT_CODES, engine, output};
use crate::engine::Mode;
use crate::reload::{CampaignStatus, Problem};

/// Show how the campaigns of the running engine stand
///
/// Lists every campaign with its state, mode, the version that runs and the events that it takes. What is wrong with a
/// campaign's file stands below the table, with what to do; the version in the table runs on meanwhile.
///
/// States: running; paused (somebody paused it); suspended (the engine did, as the rule gave two answers to one call, or
/// was late many times in a row); waiting (its file names a digest that the module does not have yet); failed (no
/// version of it ever loaded).
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer campaigns\n  hailer campaigns --data /var/lib/hailer --json | jq '.[] | select(.problem)'\n\n{EXIT_CODES}",
))]
pub(super) struct Campaigns {}

impl Campaigns {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let campaigns = engine::wait(engine::client(global)?.campaigns())??;
        if global.json {
            output::json(&campaigns)?;
        } else if campaigns.is_empty() {
            output::say("no campaigns: copy a module into the rules' directory, or write one with `hailer new`");
        } else {
            output::data(&text(&campaigns))?;
        }
        Ok(DONE)
    }
}

/// The table, and below it what is wrong.
pub(super) fn text(campaigns: &[CampaignStatus]) -> String {
    let row = |campaign: &CampaignStatus| {
        [
            campaign.name.clone(),
            campaign.state.name().to_owned(),
            mode(campaign),
            campaign.version.clone().unwrap_or_else(|| "-".to_owned()),
            if campaign.events.is_empty() { "-".to_owned() } else { campaign.events.join(", ") },
            campaign.problem.as_ref().map_or_else(|| "-".to_owned(), problem_place),
        ]
    };
    let mut text =
        output::table(["campaign", "state", "mode", "version", "events", "problem"], campaigns.iter().map(row));
    for campaign in campaigns {
        if let Some(problem) = &campaign.problem {
            text += &format!("\n{}", problem_text(problem));
        }
        if let Some(warning) = &campaign.warning {
            text += &format!("\nwarning: {}", problem_text(warning));
        }
        if let Some(reason) = &campaign.suspended {
            let name = &campaign.name;
            text += &format!("\n{name} is suspended: {reason}\n  → when that is mended: hailer resume {name}\n");
        }
        let name = &campaign.name;
        let undo = format!("  → to run it all the same: hailer rollback --undo {name}\n");
        match (&campaign.rolled_back, &campaign.refused_digest) {
            (Some(reason), _) => {
                text += &format!(
                    "\n{name} was rolled back by the engine, as the version in the directory misbehaved: {reason}\n  \
                     → correct it and copy it again\n{undo}  → the events that it faulted on: hailer failures retry --campaign {name}; and \
                     those that came meanwhile: the same with --missed\n"
                );
            }
            (None, Some(digest)) => {
                let digest = digest.get(..8).unwrap_or(digest);
                text +=
                    &format!("\n{name} is rolled back: digest {digest}… is kept out until a third one appears\n{undo}");
            }
            (None, None) => {}
        }
    }
    text
}

/// What is wrong, where, and what to do.
pub(super) fn problem_text(problem: &Problem) -> String {
    format!("{}: {}\n  → {}\n", problem_place(problem), problem.reason, problem.hint)
}

fn problem_place(problem: &Problem) -> String {
    match problem.line {
        Some(line) => format!("{}:{line}", problem.file),
        None => problem.file.clone(),
    }
}

/// With what it is on trial beside, and for how many customers it decides.
fn mode(campaign: &CampaignStatus) -> String {
    let name = campaign.mode.map_or("-", mode_name);
    match (&campaign.shadow_of, campaign.rollout_percent) {
        (Some(of), Some(percent)) => format!("canary of {of}, {percent} %"),
        (Some(of), None) => format!("{name} of {of}"),
        (None, Some(percent)) => format!("{name}, {percent} %"),
        (None, None) => name.to_owned(),
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Live => "live",
        Mode::Shadow => "shadow",
        Mode::Off => "off",
    }
}
