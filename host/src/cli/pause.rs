//! `hailer pause` and `hailer resume`: the manual brake.

use clap::Args;

use super::settings::Global;
use super::{DONE, EXIT_CODES, engine, output};
use crate::reload::{CampaignState, Target};
use crate::story::FailureQuery;

/// Stop calling a campaign, or all of them
///
/// From the next event on the campaign is not called. It stays paused across restarts and new versions until it is resumed.
/// Events go on being taken in and acknowledged. What the campaign misses is counted and kept, within bounds, unless its file
/// says `on_pause = "skip"`: `hailer failures retry --missed --campaign NAME` has it decided once the campaign is resumed.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:\n  hailer pause welcome\n  hailer pause --all\n\n{EXIT_CODES}"))]
pub(super) struct Pause {
    #[command(flatten)]
    which: Which,
}

/// Call a paused or suspended campaign again, or all of them
///
/// With --all: after a `pause --all` what that has paused, so that all is as it was before; else every campaign that is paused or suspended.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:\n  hailer resume welcome\n  hailer resume --all\n\n{EXIT_CODES}"))]
pub(super) struct Resume {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The campaign's name, as `hailer campaigns` shows it
    campaign: Option<String>,
    /// Every campaign
    #[arg(long)]
    all: bool,
}

impl Pause {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let changed = engine::wait(client.pause(self.which.target()))??;
        report("paused", &changed, global.json)
    }
}

impl Resume {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let target = self.which.target();
        let changed = engine::wait(client.resume(target.clone()))??;
        let done = report("resumed", &changed, global.json)?;
        for campaign in &changed {
            let failures = |only_missed| {
                let query = FailureQuery { campaign: Some(campaign.clone()), only_missed, ..FailureQuery::default() };
                engine::wait(client.failures(&query)).and_then(|page| Ok(!page?.failures.is_empty()))
            };
            if failures(false)? {
                output::say(&format!(
                    "failures of {campaign} are kept, and may hold back later events of their customers: `hailer failures retry --campaign {campaign}`"
                ));
            }
            if failures(true)? {
                output::say(&format!(
                    "to decide what {campaign} missed: `hailer failures retry --missed --campaign {campaign}`"
                ));
            }
        }
        if target == Target::All && !changed.is_empty() {
            let stopped = |state| matches!(state, CampaignState::Paused | CampaignState::Suspended);
            let mut left = engine::wait(client.campaigns())??;
            left.retain(|campaign| stopped(campaign.state));
            if !left.is_empty() {
                let names: Vec<&str> = left.iter().map(|campaign| &*campaign.name).collect();
                output::say(&format!(
                    "stopped before, and still: {}; `hailer resume NAME` lifts that",
                    names.join(", ")
                ));
            }
        }
        Ok(done)
    }
}

impl Which {
    fn target(self) -> Target {
        self.campaign.map_or(Target::All, Target::Campaign)
    }
}

fn report(done: &str, changed: &[String], json: bool) -> anyhow::Result<u8> {
    if json {
        output::json(&changed)?;
    } else if changed.is_empty() {
        output::say(&format!("nothing to do: already {done}"));
    } else {
        output::data(&format!("{done}: {}", changed.join(", ")))?;
    }
    Ok(DONE)
}
