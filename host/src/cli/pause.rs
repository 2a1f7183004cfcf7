//! `hailer pause` and `hailer resume`: stop and continue calling campaigns by hand.

use std::sync::Arc;

use anyhow::bail;
use clap::Args;

use super::settings::{Global, SettingFlags};
use super::{DONE, EXIT_CODES, engine, output, store_access};
use crate::config::Purpose;
use crate::control::ControlError;
use crate::explain::FailureQuery;
use crate::pipeline;
use crate::reload::{self, CampaignState, Target};
use crate::store::{Store, StoreError};

/// Stop calling a campaign, or all of them
///
/// From the next event on the campaign is not called. It stays paused across restarts and new
/// versions until it is resumed. Events are still consumed and acknowledged. Events that the
/// campaign misses are counted and kept, within bounds, unless its file has `on_pause = "skip"`.
/// After it is resumed, `hailer failures retry --missed --campaign NAME` makes it decide them.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:\n  hailer pause welcome\n  hailer pause \
    --all\n\n{EXIT_CODES}"))]
pub(super) struct Pause {
    #[command(flatten)]
    campaigns: CampaignArgs,
}

/// Call a paused or suspended campaign again, or all of them
///
/// With --all after a `pause --all`: resumes the campaigns that it paused, so that everything is as
/// before. With --all otherwise: resumes every paused or suspended campaign. If the engine is
/// stopped, the command changes its data directory, and the next start calls the campaign.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:\n  hailer resume welcome\n  hailer resume \
    --all\n\n{EXIT_CODES}"))]
pub(super) struct Resume {
    #[command(flatten)]
    campaigns: CampaignArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct CampaignArgs {
    /// The campaign's name, as `hailer campaigns` shows it
    campaign: Option<String>,
    /// Every campaign
    #[arg(long)]
    all: bool,
}

impl Pause {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let changed = engine::wait(client.pause(self.campaigns.target()))??;
        report("paused", &changed, global.json)
    }
}

impl Resume {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let target = self.campaigns.target();
        let changed = match engine::wait(client.resume(target.clone()))? {
            Ok(changed) => changed,
            Err(error @ ControlError::NoEngine { .. }) => {
                return resume_offline(global, &target, error);
            }
            Err(error) => return Err(error.into()),
        };
        let done = report("resumed", &changed, global.json)?;
        for campaign in &changed {
            let failures = |only_missed| {
                let query = FailureQuery {
                    campaign: Some(campaign.clone()),
                    only_missed,
                    ..FailureQuery::default()
                };
                engine::wait(client.failures(&query))
                    .and_then(|page| Ok(!page?.failures.is_empty()))
            };
            if failures(false)? {
                output::message(&format!(
                    "failures of {campaign} are kept, and later events of their customers may be \
                        held behind them; `hailer failures retry --campaign {campaign}` retries \
                        them"
                ));
            }
            if failures(true)? {
                output::message(&format!(
                    "to decide the events that {campaign} missed: `hailer failures retry --missed \
                        --campaign {campaign}`"
                ));
            }
        }
        if target == Target::All && !changed.is_empty() {
            let stopped = |state| matches!(state, CampaignState::Paused | CampaignState::Suspended);
            let mut left = engine::wait(client.campaigns())??;
            left.retain(|campaign| stopped(campaign.state));
            if !left.is_empty() {
                let names: Vec<&str> = left.iter().map(|campaign| &*campaign.name).collect();
                output::message(&format!(
                    "paused or suspended before `pause --all`, and not resumed: {}; `hailer \
                        resume NAME` resumes one",
                    names.join(", ")
                ));
            }
        }
        Ok(done)
    }
}

/// Ends pauses and suspensions in the data directory of a stopped engine.
fn resume_offline(global: &Global, target: &Target, no_engine: ControlError) -> anyhow::Result<u8> {
    let config = global.load(Purpose::Ask, &SettingFlags::default())?.config;
    if !reload::has_ledger(&config.data) {
        let data = config.data.display();
        bail!("{no_engine}; `{data}` holds no campaigns of a stopped engine");
    }
    let directory = config.store_dir().unwrap_or_else(|| config.default_store_dir());
    let store: Option<Arc<dyn Store>> = match store_access::open(&config, &directory) {
        Ok(store) => Some(Arc::new(store)),
        // An engine that reads a file or standard input has its store in memory.
        Err(StoreError::Missing { .. }) => None,
        Err(error) => return Err(store_access::explain(error)),
    };
    let changed = reload::resume_offline(&config.data, store.clone(), target)?;
    if let Some(store) = store {
        pipeline::reset_limits(&*store, &changed)?;
    }
    let done = report("resumed", &changed, global.json)?;
    if !changed.is_empty() {
        output::message("the engine is stopped; it calls them after its next start");
    }
    Ok(done)
}

impl CampaignArgs {
    fn target(self) -> Target {
        self.campaign.map_or(Target::All, Target::Campaign)
    }
}

fn report(done: &str, changed: &[String], json: bool) -> anyhow::Result<u8> {
    if json {
        output::json(&changed)?;
    } else if changed.is_empty() {
        output::message(&format!("nothing to do: already {done}"));
    } else {
        output::data(&format!("{done}: {}", changed.join(", ")))?;
    }
    Ok(DONE)
}
