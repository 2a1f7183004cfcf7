//! The report of a replay, as text.

use crate::cli::output;
use crate::engine::Mode;
use crate::replay::{
    CampaignReport, Change, Changes, ConsentsReport, DeferralCounts, Report, UnknownConsent,
    WhatHappened,
};

/// The maximum number of customers with changed results in the text. --json lists all that are
/// kept.
const CUSTOMERS_SHOWN: usize = 50;

pub(super) fn text(report: &Report) -> String {
    let mut text = period(report);
    text.push('\n');
    match &report.other {
        None => text += &with_consents(&report.campaigns),
        Some(other) => {
            let (before, after) = (with_consents(&report.campaigns), with_consents(other));
            text += &format!("before:\n{before}\nafter:\n{after}");
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
    if let Some(consents) = &report.consents {
        text += &format!("\n{}", known_before(*consents));
    }
    if report.times_not_believed.count > 0 {
        text += &format!("\n{}", report.times_not_believed);
    }
    text + "\n"
}

/// The customers of consents that were known before the first event.
fn known_before(consents: ConsentsReport) -> String {
    let ConsentsReport { customers, in_events } = consents;
    let mut text = format!("consents of {customers} customers, {in_events} of them in the events");
    if in_events == 0 {
        text += "; in a pseudonymised recording, customers have other ids";
    }
    text
}

/// The table of campaigns, and how many verdicts depended on a consent that is not known.
fn with_consents(reports: &[CampaignReport]) -> String {
    let mut text = campaigns(reports);
    let mut counts = reports.iter().filter_map(|report| report.unknown_consent);
    if let Some(mut all) = counts.next() {
        counts.for_each(|next| all.add(next));
        text += &unknown(all);
    }
    text
}

fn unknown(counts: UnknownConsent) -> String {
    let UnknownConsent { proposed, allowed, refused } = counts;
    format!(
        "{} of {proposed} messages depended on consent that is not known: {allowed} allowed, \
         {refused} refused\n",
        allowed + refused
    )
}

fn campaigns(campaigns: &[CampaignReport]) -> String {
    let has_cost = campaigns.iter().any(|campaign| campaign.cost.is_some());
    let row = |campaign: &CampaignReport| {
        let mode = if campaign.mode == Mode::Live { "" } else { " (shadow)" };
        let cost = campaign
            .cost
            .map(|cost| format!("{}, at most {}", cost.fuel / cost.calls.max(1), cost.fuel_most));
        [
            format!("{}{mode}", campaign.campaign),
            campaign.seen.to_string(),
            campaign.called.to_string(),
            campaign.acted.to_string(),
            counts(&campaign.publishes),
            campaign.customers.to_string(),
            counts(&campaign.suppressed),
            deferred(&campaign.deferred),
            campaign.failures.to_string(),
            if has_cost { cost.unwrap_or_default() } else { "--cost".to_owned() },
        ]
    };
    let heading = [
        "campaign",
        "seen",
        "called",
        "acted",
        "would send",
        "customers",
        "suppressed",
        "deferred",
        "failures",
        "fuel a call",
    ];
    output::table(heading, campaigns.iter().map(row))
}

fn counts(counts: &std::collections::BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

/// The deferred messages of a campaign by what became of them, such as `3 (2 released, 1 stale)`;
/// empty if there are none.
fn deferred(counts: &DeferralCounts) -> String {
    let DeferralCounts { deferred, released, stale, cancelled, suppressed } = *counts;
    let ends = [
        (released, "released"),
        (stale, "stale"),
        (cancelled, "cancelled"),
        (suppressed, "suppressed at release"),
    ];
    let ends = ends.iter().filter(|(count, _)| *count > 0);
    let ends: Vec<String> = ends.map(|(count, what)| format!("{count} {what}")).collect();
    match (deferred, &ends[..]) {
        (0, []) => String::new(),
        (_, []) => deferred.to_string(),
        _ => format!("{deferred} ({})", ends.join(", ")),
    }
}

/// The facts about a campaign that the table has no room for.
fn beside(campaign: &CampaignReport) -> String {
    let mut text = String::new();
    let mut line = |what: String| text += &format!("{}: {what}\n", campaign.campaign);
    if campaign.is_impure {
        line(
            "NOT PURE: it gave two answers to one call, so none of its results here is reliable"
                .to_owned(),
        );
    }
    if let Some(at) = campaign.suspended_at {
        line(format!(
            "an engine would have suspended it at {at}, because it sends more than per_hour_max"
        ));
    }
    if let Some(error) = &campaign.first_failure {
        line(format!("{} failures, the first: {error}", campaign.failures));
    }
    if campaign.skipped > 0 {
        line(format!(
            "{} not called, because a required field is absent or a field cannot be used",
            campaign.skipped
        ));
    }
    if campaign.outside_rollout > 0 {
        line(format!("{} outside the rollout", campaign.outside_rollout));
    }
    if campaign.held > 0 {
        line(format!("{} held behind an earlier failure of the customer", campaign.held));
    }
    for note in &campaign.top_notes {
        line(format!("{} × “{}”", note.count, note.note));
    }
    text
}

fn differences(changes: &Changes) -> String {
    if changes.count == 0 {
        return "no result changes\n".to_owned();
    }
    let campaigns = counts(&changes.by_campaign);
    let mut text =
        format!("{} customers have another result ({campaigns}):\n", changes.customers.len());
    for changed in changes.customers.iter().take(CUSTOMERS_SHOWN) {
        text += &format!("\n{}: {} changes\n", changed.customer, changed.count);
        for Change { at, cause, campaign, before, after } in &changed.changes {
            let cause = match cause {
                WhatHappened::Event { code, place } => format!("{code} ({place})"),
                WhatHappened::Timer { name } => format!("timer `{name}`"),
                WhatHappened::Release => "release".to_owned(),
            };
            text +=
                &format!("  {at} {cause}, {campaign}\n    before  {before}\n    after   {after}\n");
        }
    }
    let more = changes.customers.len().saturating_sub(CUSTOMERS_SHOWN);
    if more > 0 {
        text += &format!("\nand {more} more customers: --json lists them\n");
    }
    if changes.not_listed > 0 {
        text += &format!("{} changes are counted but not listed\n", changes.not_listed);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_that_depended_on_an_unknown_consent_are_counted() {
        let counts = UnknownConsent { proposed: 10_000, allowed: 300, refused: 42 };
        assert_eq!(
            unknown(counts),
            "342 of 10000 messages depended on consent that is not known: 300 allowed, 42 refused\n"
        );
    }

    #[test]
    fn consents_of_customers_who_are_not_in_the_events_are_explained() {
        let shown = |in_events| known_before(ConsentsReport { customers: 7, in_events });
        assert_eq!(shown(2), "consents of 7 customers, 2 of them in the events");
        assert!(shown(0).ends_with("in a pseudonymised recording, customers have other ids"));
    }

    #[test]
    fn deferred_messages_are_counted_with_what_became_of_them() {
        let none = DeferralCounts::default();
        assert_eq!(deferred(&none), "");
        assert_eq!(deferred(&DeferralCounts { deferred: 3, ..none }), "3");
        let all =
            DeferralCounts { deferred: 5, released: 1, stale: 2, cancelled: 1, suppressed: 1 };
        assert_eq!(deferred(&all), "5 (1 released, 2 stale, 1 cancelled, 1 suppressed at release)");
        // A message that was deferred in the warm-up is not counted, and its release is.
        assert_eq!(deferred(&DeferralCounts { released: 1, ..none }), "0 (1 released)");
    }
}
