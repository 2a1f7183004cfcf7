//! Refuses the keys of a campaign's file that the pipeline does not act on yet: running such a campaign without them would be worse than
//! not running it. This file goes, with its call in `admission.rs`, when it does.

use super::Problem;
use super::campaign_file::CampaignFile;

/// Of a campaign's file.
pub(super) fn refuse(file: &str, campaign_file: &CampaignFile<'_>) -> Result<(), Vec<Problem>> {
    let keys = [("on_fault", campaign_file.on_fault.is_some()), ("per_hour_max", campaign_file.per_hour_max.is_some())];
    let acted_on_later = |(key, _): &(&str, bool)| {
        let reason = format!("`{key}` has no effect in this version of hailer");
        Problem::new(file, None, reason, "remove the line, or update hailer")
    };
    let problems: Vec<Problem> = keys.iter().filter(|(_, is_set)| *is_set).map(acted_on_later).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
