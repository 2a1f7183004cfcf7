//! `hailer promote` and `hailer abort`: end a trial by accepting the new version or not.

use clap::Args;

use super::super::reload::text;
use super::super::settings::Global;
use super::super::{DONE, EXIT_CODES, FAILED, engine, output};
use super::files::{Site, Trial, site};
use crate::reload::{CampaignState, CampaignStatus};

/// Replace a campaign by the version of it that is on trial
///
/// Writes the candidate's file over the campaign's file, without `shadow_of`, `rollout_percent` and
/// `drift_percent_max`, and with `mode = "live"`. Then it removes the candidate's file. The
/// campaign's old file is kept as NAME.toml.previous, and `hailer rollback` still goes back to the
/// old module.
///
/// A canary used the campaign's own state and timers, so nothing changes for its customers. The
/// state of a shadow is not taken over: the campaign goes on with its own.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:\n  hailer promote welcome\n  hailer promote \
    welcome-next\n\n{EXIT_CODES}"))]
pub(in super::super) struct Promote {
    /// The campaign, or the version of it that is on trial
    campaign: String,
    /// Promote it even if it does not run now, or was suspended
    #[arg(long)]
    force: bool,
    /// The rules directory [default: that of the running engine]
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
}

/// End the trial of a new version: its campaign decides for all customers
///
/// Renames the candidate's file to NAME.toml.aborted, which the engine does not read. If it was a
/// canary, its customers are the campaign's again, with the state and timers that the canary left.
/// Communications that it sent stay sent.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:\n  hailer abort welcome\n  hailer abort \
    welcome-next\n\n{EXIT_CODES}"))]
pub(in super::super) struct Abort {
    /// The campaign, or the version of it that is on trial
    campaign: String,
    /// The rules directory [default: that of the running engine]
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
                anyhow::bail!("`{}` {reason}; --force promotes it anyway", trial.candidate);
            }
        }
        trial.promote()?;
        output::message(&format!(
            "`{}` now has the module and settings of \
            `{}`",
            trial.campaign, trial.candidate
        ));
        reload(&site)
    }
}

impl Abort {
    pub(in super::super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let site = site(global, self.rules)?;
        let trial = Trial::find(&site.rules, &self.campaign)?;
        let kept = trial.abort()?;
        output::message(&format!(
            "`{}` decides for all customers; the candidate's file is kept as {}",
            trial.campaign,
            kept.display()
        ));
        reload(&site)
    }
}

/// The reason why a candidate must not be promoted; `None` if there is none.
fn unfit(candidate: Option<&CampaignStatus>) -> Option<String> {
    match candidate {
        None => Some("has not been loaded by the engine".to_owned()),
        Some(CampaignStatus { problem: Some(problem), .. }) => {
            Some(format!("has a problem: {problem}"))
        }
        Some(CampaignStatus { suspended: Some(reason), .. }) => {
            Some(format!("was suspended: {reason}"))
        }
        Some(candidate) if candidate.state != CampaignState::Running => {
            Some(format!("is {}", candidate.state.name()))
        }
        Some(_) => None,
    }
}

/// Makes the engine read the directory, and reports the result.
fn reload(site: &Site) -> anyhow::Result<u8> {
    let Some(client) = &site.engine else {
        output::message("no engine runs here; the next start uses the changed files");
        return Ok(DONE);
    };
    let report = engine::wait(client.reload(false))??;
    output::data(&text(&report))?;
    Ok(if report.problems.is_empty() && report.withheld_removals.is_empty() {
        DONE
    } else {
        FAILED
    })
}
