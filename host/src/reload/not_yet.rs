//! Refuses what the format has and the pipeline does not do yet: rules that remember (a state, timers, a merge), and the keys of a
//! campaign's file that act on it. Running such a campaign without it would be worse than not running it. This file goes, with its two
//! calls in `admission.rs`, when the pipeline keeps state and timers.

use hailer_abi::manifest::Manifest;

use super::Problem;
use super::campaign_file::CampaignFile;
use crate::engine::Mode;

/// Of a bare module.
pub(super) fn refuse_module(file: &str, manifest: &Manifest) -> Result<(), Vec<Problem>> {
    if manifest.remembers() {
        let reason = "the rule keeps a state or timers, and this version of hailer does not keep them for it yet";
        return Err(vec![Problem::new(file, None, reason, "update hailer, or take the rule out of the directory")]);
    }
    Ok(())
}

/// Of a campaign's file and its module.
pub(super) fn refuse_campaign(
    file: &str,
    campaign_file: &CampaignFile<'_>,
    manifest: &Manifest,
) -> Result<(), Vec<Problem>> {
    // What is off is not called, and so misses nothing.
    if campaign_file.mode == Mode::Off {
        return Ok(());
    }
    refuse_module(file, manifest)?;
    let keys = [
        ("state_ttl_days", campaign_file.state_ttl_days.is_some()),
        ("on_fault", campaign_file.on_fault.is_some()),
        ("per_hour_max", campaign_file.per_hour_max.is_some()),
    ];
    let acted_on_later = |(key, _): &(&str, bool)| {
        let reason = format!("`{key}` has no effect in this version of hailer");
        Problem::new(file, None, reason, "remove the line, or update hailer")
    };
    let problems: Vec<Problem> = keys.iter().filter(|(_, is_set)| *is_set).map(acted_on_later).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
