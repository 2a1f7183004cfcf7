//! A replay's report as people read it, and how far it has come.

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output;
use crate::engine::Mode;
use crate::replay::{CampaignReport, Change, Changes, Progress, Report, WhatHappened};

/// So many customers whose outcome changes are shown; --json has all that are kept.
const CUSTOMERS_SHOWN: usize = 50;

/// A bar of so many bytes, on a terminal only.
pub(super) fn bar(bytes_total: u64) -> ProgressBar {
    let bar = if bytes_total > 0 { ProgressBar::new(bytes_total) } else { ProgressBar::new_spinner() };
    let template = "{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) if bytes_total > 0 => bar.with_style(style),
        _ => bar,
    }
}

pub(super) fn progress(bar: &ProgressBar, progress: Progress) {
    bar.set_position(progress.bytes_read);
    bar.set_message(format!("{} events", progress.events));
}

pub(super) fn text(report: &Report) -> String {
    let mut text = period(report);
    text.push('\n');
    match &report.other {
        None => text += &campaigns(&report.campaigns),
        Some(other) => {
            text += &format!("before:\n{}\nafter:\n{}", campaigns(&report.campaigns), campaigns(other));
        }
    }
    for campaign in report.campaigns.iter().chain(report.other.iter().flatten()) {
        text += &beside(campaign);
    }
    if let Some(changes) = &report.changes {
        text.push('\n');
        text += &differences(changes);
    }
    text
}

fn period(report: &Report) -> String {
    let mut text = format!("{} events", report.events);
    if let (Some(from), Some(until)) = (report.from, report.until) {
        text += &format!(" from {from:.0} until {until:.0}");
    }
    let beside = [
        (report.warm_up, "before that to warm up"),
        (report.repeats, "copies"),
        (report.left_out, "left out by --since and --until"),
        (report.not_read.count, "not read"),
    ];
    for (count, what) in beside.iter().filter(|(count, _)| *count > 0) {
        text += &format!(", {count} {what}");
    }
    if report.times_not_believed.count > 0 {
        text += &format!("\n{}", report.times_not_believed);
    }
    text + "\n"
}

fn campaigns(campaigns: &[CampaignReport]) -> String {
    let has_cost = campaigns.iter().any(|campaign| campaign.cost.is_some());
    let row = |campaign: &CampaignReport| {
        let mode = if campaign.mode == Mode::Live { "" } else { " (shadow)" };
        let cost = campaign.cost.map(|cost| format!("{}, at most {}", cost.fuel / cost.calls.max(1), cost.fuel_most));
        [
            format!("{}{mode}", campaign.campaign),
            campaign.seen.to_string(),
            campaign.called.to_string(),
            campaign.acted.to_string(),
            counts(&campaign.publishes),
            campaign.customers.to_string(),
            counts(&campaign.suppressed),
            campaign.failures.to_string(),
            if has_cost { cost.unwrap_or_default() } else { "--cost".to_owned() },
        ]
    };
    let heading =
        ["campaign", "seen", "called", "acted", "would send", "customers", "suppressed", "failures", "fuel a call"];
    output::table(heading, campaigns.iter().map(row))
}

fn counts(counts: &std::collections::BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

/// What a row has no room for.
fn beside(campaign: &CampaignReport) -> String {
    let mut text = String::new();
    let mut line = |what: String| text += &format!("{}: {what}\n", campaign.campaign);
    if campaign.is_impure {
        line("NOT PURE: it gave two answers to one call, and nothing it did here can be relied on".to_owned());
    }
    if let Some(at) = campaign.suspended_at {
        line(format!("an engine would have suspended it at {at}: it sends more than per_hour_max"));
    }
    if let Some(error) = &campaign.first_failure {
        line(format!("{} failures, the first: {error}", campaign.failures));
    }
    if campaign.skipped > 0 {
        line(format!("{} not called, as a required field is absent or a field can't be used", campaign.skipped));
    }
    if campaign.outside_rollout > 0 {
        line(format!("{} outside the rollout", campaign.outside_rollout));
    }
    if campaign.held > 0 {
        line(format!("{} held behind an earlier failure of the customer's", campaign.held));
    }
    for note in &campaign.top_notes {
        line(format!("{} × “{}”", note.count, note.note));
    }
    text
}

fn differences(changes: &Changes) -> String {
    if changes.count == 0 {
        return "no outcome changes\n".to_owned();
    }
    let campaigns = counts(&changes.by_campaign);
    let mut text = format!("{} customers have another outcome ({campaigns}):\n", changes.customers.len());
    for changed in changes.customers.iter().take(CUSTOMERS_SHOWN) {
        text += &format!("\n{}: {} changes\n", changed.customer, changed.count);
        for Change { at, cause, campaign, before, after } in &changed.changes {
            let cause = match cause {
                WhatHappened::Event { code, place } => format!("{code} ({place})"),
                WhatHappened::Timer { name } => format!("timer `{name}`"),
            };
            text += &format!("  {at} {cause}, {campaign}\n    before  {before}\n    after   {after}\n");
        }
    }
    let more = changes.customers.len().saturating_sub(CUSTOMERS_SHOWN);
    if more > 0 {
        text += &format!("\nand {more} more customers: --json lists them\n");
    }
    if changes.not_listed > 0 {
        text += &format!("{} changes are counted and not listed\n", changes.not_listed);
    }
    text
}
