//! `hailer promote` and `hailer abort`.

use clap::Args;

use super::super::reload::text;
use super::super::settings::Global;
use super::super::{DONE, EXIT_CODES, FAILED, engine, output};
use super::files::{Site, Trial, site};
use crate::reload::{CampaignState, CampaignStatus};

/// Make the version that is on trial the campaign's
///
/// Writes the candidate's file over the campaign's, without `shadow_of`, `rollout_percent` and `drift_percent_max`, and with `mode = "live"`; then the candidate's file
/// goes. The campaign's file before is kept as NAME.toml.previous, and `hailer rollback` still goes back to the module before.
///
/// A canary has worked with the campaign's own state and timers, so nothing changes for the customers that it had. What a shadow has remembered is not
/// taken over: the campaign goes on with its own state.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:\n  hailer promote welcome\n  hailer promote welcome-next\n\n{EXIT_CODES}"))]
pub(in super::super) struct Promote {
    /// The campaign, or the version of it that is on trial
    campaign: String,
    /// Promote it although it does not run now, or has been suspended
    #[arg(long)]
    force: bool,
    /// The rules' directory [default: that of the running engine]
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
}

/// End the trial of a new version: its campaign decides for everybody
///
/// Renames the candidate's file to NAME.toml.aborted, which is not read. Customers for whom a canary decided are the campaign's again, with the state and
/// the timers that the canary left; what it had sent is sent.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:\n  hailer abort welcome\n  hailer abort welcome-next\n\n{EXIT_CODES}"))]
pub(in super::super) struct Abort {
    /// The campaign, or the version of it that is on trial
    campaign: String,
    /// The rules' directory [default: that of the running engine]
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
}

impl Promote {
    pub(in super::super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let site = site(global, self.rules)?;
        let trial = Trial::find(&site.rules, &self.campaign)?;
        if let (Some(client), false) = (&site.engine, self.force) {
            let campaigns = engine::wait(client.campaigns())??;
            let candidate = campaigns.into_iter().find(|campaign| campaign.name == trial.candidate);
            if let Some(reason) = unfit(candidate.as_ref()) {
                anyhow::bail!("`{}` {reason}; --force promotes it all the same", trial.candidate);
            }
        }
        trial.promote()?;
        output::say(&format!("`{}` is now what `{}` was", trial.campaign, trial.candidate));
        reload(&site)
    }
}

impl Abort {
    pub(in super::super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let site = site(global, self.rules)?;
        let trial = Trial::find(&site.rules, &self.campaign)?;
        let kept = trial.abort()?;
        output::say(&format!(
            "`{}` decides for everybody; the other's file is kept as {}",
            trial.campaign,
            kept.display()
        ));
        reload(&site)
    }
}

/// Why a candidate is not fit to be promoted.
fn unfit(candidate: Option<&CampaignStatus>) -> Option<String> {
    match candidate {
        None => Some("has not been loaded by the engine".to_owned()),
        Some(CampaignStatus { problem: Some(problem), .. }) => Some(format!("has a problem: {problem}")),
        Some(CampaignStatus { suspended: Some(reason), .. }) => Some(format!("was suspended: {reason}")),
        Some(candidate) if candidate.state != CampaignState::Running => Some(format!("is {}", candidate.state.name())),
        Some(_) => None,
    }
}

/// Has the engine read the directory, so that it is known what came of it.
fn reload(site: &Site) -> anyhow::Result<u8> {
    let Some(client) = &site.engine else {
        output::say("no engine runs here; it holds from the next start on");
        return Ok(DONE);
    };
    let report = engine::wait(client.reload(false))??;
    output::data(&text(&report))?;
    Ok(if report.problems.is_empty() && report.withheld_removals.is_empty() { DONE } else { FAILED })
}
