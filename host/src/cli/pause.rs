//! `hailer pause` and `hailer resume`: the manual brake.

use std::sync::Arc;

use anyhow::bail;
use clap::Args;

use super::settings::{Global, SettingFlags};
use super::{DONE, EXIT_CODES, engine, output, reading};
use crate::config::Purpose;
use crate::control::ControlError;
use crate::pipeline;
use crate::reload::{self, CampaignState, Target};
use crate::store::{Store, StoreError};
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
/// With --all: after a `pause --all` what that has paused, so that all is as it was before; else every campaign that is paused or suspended. If the
/// engine is stopped, what it has kept is changed, and its next start calls the campaign.
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
        let changed = match engine::wait(client.resume(target.clone()))? {
            Ok(changed) => changed,
            Err(error @ ControlError::NoEngine { .. }) => return resume_stopped(global, &target, error),
            Err(error) => return Err(error.into()),
        };
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

/// Lifts the brakes that a stopped engine has kept.
fn resume_stopped(global: &Global, target: &Target, no_engine: ControlError) -> anyhow::Result<u8> {
    let config = global.load(Purpose::Ask, &SettingFlags::default())?.config;
    if !reload::has_kept(&config.data) {
        let data = config.data.display();
        bail!(
            "{no_engine}; and no engine has kept campaigns in `{data}`: name its data directory with --data or --config"
        );
    }
    let directory = config.store_dir().unwrap_or_else(|| config.default_store_dir());
    let store: Option<Arc<dyn Store>> = match reading::open(&config, &directory) {
        Ok(store) => Some(Arc::new(store)),
        // A run over a file or standard input keeps no store.
        Err(StoreError::Missing { .. }) => None,
        Err(error) => return Err(reading::explained(error)),
    };
    let changed = reload::resume_stopped(&config.data, store.clone(), target)?;
    if let Some(store) = store {
        pipeline::begin_limits_anew(&*store, &changed)?;
    }
    let done = report("resumed", &changed, global.json)?;
    if !changed.is_empty() {
        output::say("the engine is stopped: its next start calls them");
    }
    Ok(done)
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
