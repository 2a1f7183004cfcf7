//! `hailer campaigns`: shows the status of every campaign of the running engine.

use clap::Args;

use super::settings::Global;
use super::{DONE, EXIT_CODES, engine, output};
use crate::engine::Mode;
use crate::reload::{CampaignStatus, PoliciesStatus, Problem, digest_shown};

/// Show the status of the running engine's campaigns
///
/// Lists every campaign with its state, its mode, the version that runs and the events that it
/// takes. A problem with a campaign file is printed below the table, with what to do; until then
/// the version in the table runs on. The line `policies` has the digest of the policies that apply.
///
/// States: running; paused (an operator paused it); suspended (the engine stopped it, for example
/// because the rule gave two answers to one call or faulted many times in a row); waiting (the
/// campaign file names a digest that the module does not have yet, or the campaign is new and
/// policies.toml is unusable); failed (no version of the
/// campaign was ever loaded).
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer campaigns\n  hailer campaigns --data /var/lib/hailer --json | jq '.[] | \
        select(.problem)'\n\n{EXIT_CODES}",
))]
pub(super) struct Campaigns {}

impl Campaigns {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let campaigns = engine::wait(client.campaigns())??;
        // An engine of an older version does not answer this.
        let policies = engine::wait(client.policies())?.ok();
        if global.json {
            output::json(&campaigns)?;
        } else if campaigns.is_empty() {
            output::message(
                "no campaigns: copy a module into the rules directory, or write one with `hailer \
                    new`",
            );
        } else {
            output::data(&text(&campaigns, policies.as_ref()))?;
        }
        Ok(DONE)
    }
}

/// The table of campaigns and the policies, followed by their problems and warnings. `policies` is
/// `None` if they are not known.
pub(super) fn text(campaigns: &[CampaignStatus], policies: Option<&PoliciesStatus>) -> String {
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
    let mut text = output::table(
        ["campaign", "state", "mode", "version", "events", "problem"],
        campaigns.iter().map(row),
    );
    if let Some(PoliciesStatus { digest, problems, warnings }) = policies {
        text += &match digest {
            Some(digest) => format!("\npolicies {}\n", digest_shown(digest)),
            None => "\nno policies\n".to_owned(),
        };
        for problem in problems {
            text += &format!("\n{}", problem_text(problem));
        }
        for warning in warnings {
            text += &format!("\nwarning: {}", problem_text(warning));
        }
    }
    for campaign in campaigns {
        if let Some(problem) = &campaign.problem {
            text += &format!("\n{}", problem_text(problem));
        }
        if let Some(warning) = &campaign.warning {
            text += &format!("\nwarning: {}", problem_text(warning));
        }
        if let Some(reason) = &campaign.suspended {
            let name = &campaign.name;
            text += &format!(
                "\n{name} is suspended: {reason}\n  → when the cause is corrected: hailer resume \
                    {name}\n"
            );
        }
        let name = &campaign.name;
        let undo = format!("  → to run that version anyway: hailer rollback --undo {name}\n");
        match (&campaign.rolled_back, &campaign.refused_digest) {
            (Some(reason), _) => {
                text += &format!(
                    "\n{name} was rolled back by the engine because the version in the rules \
                        directory misbehaved: {reason}\n  → correct it and copy it again\n{undo}  \
                        → to decide the events that it faulted on: hailer failures retry \
                        --campaign {name}; add --missed for the events that it missed\n"
                );
            }
            (None, Some(digest)) => {
                let digest = digest.get(..8).unwrap_or(digest);
                text += &format!(
                    "\n{name} is rolled back: the engine does not load digest {digest}… again; a \
                        module with another digest ends the rollback\n{undo}"
                );
            }
            (None, None) => {}
        }
    }
    text
}

/// A problem with its file and line, the reason, and what to do.
pub(super) fn problem_text(problem: &Problem) -> String {
    format!("{}: {}\n  → {}\n", problem_place(problem), problem.reason, problem.hint)
}

fn problem_place(problem: &Problem) -> String {
    match problem.line {
        Some(line) => format!("{}:{line}", problem.file),
        None => problem.file.clone(),
    }
}

/// The mode; for a trial also the campaign that it is compared with, and the percentage of
/// customers for whom it decides.
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
