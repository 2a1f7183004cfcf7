//! Reads the policies of single campaigns, and refuses those that can have no effect.

use std::collections::BTreeMap;

use super::caps::Caps;
use super::quiet::Quiet;
use super::reader::{Form, Key, Reader, Section, suggestion};
use super::sections;
use crate::model::{CampaignPolicy, Deferral, QuietChoice};
use hailer_base::wording::shown;

const PRIORITY_MAX: i32 = 100;

pub(super) const CAMPAIGNS: Key = Key {
    name: "campaigns",
    hint: "write a section with the name of a campaign: `[campaigns.welcome]`",
};
const KIND: Key =
    Key { name: "kind", hint: "write `kind = \"transactional\"`, or remove the line" };
const PRIORITY: Key =
    Key { name: "priority", hint: "write a number, higher for more important: `priority = 20`" };
const QUIET_HOURS: Key = Key {
    name: "quiet_hours",
    hint: "write `quiet_hours = \"defer\"`, \"drop\" (send nothing) or \"ignore\" (send)",
};
const CANCEL_ON: Key =
    Key { name: "cancel_on", hint: "write codes of events: `cancel_on = [\"OnPurchase\"]`" };
const WITHOUT_CAPS: Key =
    Key { name: "without_caps", hint: "write names of caps: `without_caps = [\"day\"]`" };
const COUNTS: Key = Key { name: "counts", hint: "write `counts = true` or `counts = false`" };
const FORM: Form = Form {
    title: "[campaigns.…]",
    keys: &[
        KIND,
        sections::SUBSCRIPTION,
        PRIORITY,
        QUIET_HOURS,
        sections::DISCARD_AFTER,
        CANCEL_ON,
        WITHOUT_CAPS,
        COUNTS,
    ],
};

/// The keys that have no effect on a transactional campaign, each with the reason.
const EXEMPT: [(Key, &str); 4] = [
    (sections::SUBSCRIPTION, "needs no consent"),
    (QUIET_HOURS, "is sent in quiet hours"),
    (sections::DISCARD_AFTER, "is never deferred"),
    (CANCEL_ON, "is never deferred"),
];

/// The parts of the file on which the effect of a campaign's keys depends.
pub(super) struct Others<'others, 'file> {
    pub(super) has_consent: bool,
    pub(super) deferral: Option<Deferral>,
    pub(super) quiet: &'others Quiet,
    pub(super) caps: &'others Caps<'file>,
}

/// The campaigns that the file names.
#[derive(Default)]
pub(super) struct Campaigns {
    pub(super) policies: BTreeMap<Box<str>, CampaignPolicy>,
    /// The byte offset of the first `quiet_hours = "defer"`.
    pub(super) defers_at: Option<usize>,
}

/// A campaign that a cap or a control group names.
pub(super) struct Named<'file> {
    pub(super) campaign: &'file str,
    pub(super) at: usize,
    /// The cap or control group, as messages call it.
    pub(super) by: Box<str>,
}

pub(super) fn campaigns(
    reader: &mut Reader,
    file: Section<'_>,
    others: &Others<'_, '_>,
) -> Campaigns {
    let mut campaigns = Campaigns::default();
    let Some(spot) = reader.optional(file, CAMPAIGNS) else { return campaigns };
    let Some(table) = reader.table(spot) else { return campaigns };
    for (at, spot) in table.spots(CAMPAIGNS.hint) {
        let is_name = reader.is_name(spot.key, "a campaign", at);
        let Some(section) = reader.section(spot, &FORM) else { continue };
        let policy = campaign(reader, section, spot.key, others.caps);
        match policy.is_transactional {
            true => without_effect_if_transactional(reader, section, &policy),
            false => without_effect(reader, section, &policy, others),
        }
        let defers = policy.quiet_hours == Some(QuietChoice::Defer) && !policy.is_transactional;
        if defers && !others.quiet.hours.is_empty() && campaigns.defers_at.is_none() {
            campaigns.defers_at = section.at_key(QUIET_HOURS);
        }
        if is_name {
            campaigns.policies.insert(spot.key.into(), policy);
        }
    }
    campaigns
}

/// Reads the keys of a campaign. A key with a mistake has its default in the result.
fn campaign(
    reader: &mut Reader,
    section: Section<'_>,
    name: &str,
    caps: &Caps<'_>,
) -> CampaignPolicy {
    let quiet_choices = [
        ("defer", QuietChoice::Defer),
        ("drop", QuietChoice::Drop),
        ("ignore", QuietChoice::Ignore),
    ];
    let is_transactional = reader
        .optional(section, KIND)
        .and_then(|spot| reader.choice(spot, &[("marketing", false), ("transactional", true)]));
    let is_transactional = is_transactional.unwrap_or(false);
    let subscription = sections::subscription(reader, section, false);
    let priority = reader
        .optional(section, PRIORITY)
        .and_then(|spot| reader.whole(spot, -PRIORITY_MAX..=PRIORITY_MAX));
    let quiet_hours =
        reader.optional(section, QUIET_HOURS).and_then(|spot| reader.choice(spot, &quiet_choices));
    let discard_after_ms = reader
        .optional(section, sections::DISCARD_AFTER)
        .and_then(|spot| sections::discard_after(reader, spot));
    let counts = reader.optional(section, COUNTS).and_then(|spot| reader.flag(spot));
    CampaignPolicy {
        is_transactional,
        subscription,
        priority: priority.unwrap_or(0),
        quiet_hours,
        discard_after_ms,
        cancel_on: cancel_on(reader, section),
        without_caps: without_caps(reader, section, name, caps),
        counts: counts.unwrap_or(!is_transactional),
    }
}

fn cancel_on(reader: &mut Reader, section: Section<'_>) -> Vec<Box<str>> {
    let codes = reader.optional(section, CANCEL_ON).and_then(|spot| reader.texts(spot));
    codes.unwrap_or_default().into_iter().map(|(_, code)| code.into()).collect()
}

/// The caps that do not concern a campaign. Each must be in the file, and be for the campaign.
fn without_caps(
    reader: &mut Reader,
    section: Section<'_>,
    campaign: &str,
    caps: &Caps<'_>,
) -> Vec<Box<str>> {
    let names = reader.optional(section, WITHOUT_CAPS).and_then(|spot| reader.texts(spot));
    let names = names.unwrap_or_default();
    for (item, name) in names.iter().filter(|_| caps.is_whole) {
        match caps.list.iter().find(|cap| *cap.name == **name) {
            None => {
                let hint = suggestion(name, caps.list.iter().map(|cap| &*cap.name))
                    .unwrap_or_else(|| "write the `name` of a [[cap]], or remove it".into());
                reader.mistake(Some(item.at), format!("there is no cap `{}`", shown(name)), hint);
            }
            Some(cap) if cap.campaigns.as_ref().is_some_and(|named| !named.contains(campaign)) => {
                let reason = format!("cap `{name}` is not for this campaign anyway");
                reader.mistake(Some(item.at), reason, "remove the name");
            }
            Some(_) => {}
        }
    }
    names.into_iter().map(|(_, name)| name.into()).collect()
}

/// Refuses a transactional campaign in the list of a cap or a control group. `is_reached` says
/// whether the section has an effect on it nevertheless.
pub(super) fn unreached(
    reader: &mut Reader,
    named: &[Named<'_>],
    policies: &BTreeMap<Box<str>, CampaignPolicy>,
    is_reached: impl Fn(&CampaignPolicy) -> bool,
) {
    for Named { campaign, at, by } in named {
        let policy = policies.get(*campaign);
        if policy.is_some_and(|policy| policy.is_transactional && !is_reached(policy)) {
            let reason =
                format!("{by} has no effect on campaign `{campaign}`, which is transactional");
            reader.mistake(Some(*at), reason, "remove the name from the list");
        }
    }
}

fn without_effect_if_transactional(
    reader: &mut Reader,
    section: Section<'_>,
    policy: &CampaignPolicy,
) {
    let no_caps = (WITHOUT_CAPS, "has no caps");
    // With `counts = true`, the line says to which caps its messages do not count.
    let no_caps = Some(no_caps).filter(|_| !policy.counts);
    for (key, why) in EXEMPT.into_iter().chain(no_caps) {
        if let Some(at) = section.at_key(key) {
            let reason = format!("`{}` has no effect: a transactional campaign {why}", key.name);
            let hint = "remove the line, or the line `kind = \"transactional\"`";
            reader.mistake(Some(at), reason, hint);
        }
    }
}

fn without_effect(
    reader: &mut Reader,
    section: Section<'_>,
    policy: &CampaignPolicy,
    others: &Others<'_, '_>,
) {
    if let Some(at) = section.at_key(sections::SUBSCRIPTION)
        && !others.has_consent
    {
        let reason = "`subscription` has no effect: the file has no section [consent]";
        reader.mistake(Some(at), reason, "write `[consent]`, or remove the line");
    }
    if let (Some(length_ms), Some(deferral)) = (policy.discard_after_ms, others.deferral)
        && length_ms <= deferral.spread_ms
        && let Some(spot) = reader.optional(section, sections::DISCARD_AFTER)
    {
        let hint = "write a longer `discard_after`, or a shorter `spread` in [deferral]";
        reader.refuse(spot, "longer than `spread`", hint);
    }
    if !others.quiet.is_whole {
        return;
    }
    let has_hours = !others.quiet.hours.is_empty();
    if let Some(at) = section.at_key(QUIET_HOURS)
        && !has_hours
    {
        let reason = "`quiet_hours` has no effect: the file has no section [[quiet_hours]]";
        reader.mistake(Some(at), reason, "write `[[quiet_hours]]`, or remove the line");
        return;
    }
    let may_defer = match policy.quiet_hours {
        Some(choice) => choice == QuietChoice::Defer,
        None => others.quiet.hours.iter().any(|hours| hours.defers),
    };
    for key in [sections::DISCARD_AFTER, CANCEL_ON] {
        if let Some(at) = section.at_key(key)
            && !may_defer
        {
            let reason =
                format!("`{}` has no effect: the campaign's messages are never deferred", key.name);
            let hint = match has_hours {
                true => "write `quiet_hours = \"defer\"`, or remove the line",
                false => "write `[[quiet_hours]]` with `then = \"defer\"`, or remove the line",
            };
            reader.mistake(Some(at), reason, hint);
        }
    }
}
