//! The policies of a rules directory as text.

use hailer_abi::wire::Channel;

use super::{Shown, ShownCampaign, ShownCap, ShownConsent, ShownDeferral, ShownQuietHours};
use crate::cli::campaigns;
use crate::engine::shown;
use crate::reload::digest_shown;

/// The policies as text: the general part, and a block for each campaign.
pub(super) fn text(shown_policies: &Shown) -> String {
    let Shown { time_zone, time_zone_attribute, consent, deferral, .. } = shown_policies;
    let engine = match shown_policies.is_engines {
        Some(true) => ", as in the running engine",
        Some(false) => ", not those of the running engine",
        None => "",
    };
    let zone = match time_zone_attribute {
        Some(attribute) => {
            format!("the customer's attribute {}, else {time_zone}", shown(attribute))
        }
        None => time_zone.clone(),
    };
    let mut lines = vec![("time zone", zone)];
    lines.push(("consent", consent.as_ref().map_or("is not asked for".into(), consent_text)));
    lines.extend(deferral.as_ref().map(|ShownDeferral { discard_after, spread }| {
        let spread = spread.as_ref().map(|spread| format!(", releases spread over {spread}"));
        ("deferral", format!("discarded after {discard_after}{}", spread.unwrap_or_default()))
    }));
    lines.extend(shown_policies.event_campaigns_max.map(|max| {
        let campaigns = if max == 1 { "campaign speaks" } else { "campaigns speak" };
        ("per event", format!("at most {max} {campaigns} on one event"))
    }));
    let environment = shown(&shown_policies.environment);
    lines.push(match &shown_policies.allow_list {
        Some(ids) => (
            "allow list",
            format!("only {} customers, in the environment {environment}", ids.len()),
        ),
        None => ("allow list", format!("none, in the environment {environment}")),
    });
    let mut text = format!("policies {}{engine}\n", digest_shown(&shown_policies.digest));
    text += &columns(&lines);
    for campaign in &shown_policies.campaigns {
        text += &format!("\n{}\n{}", shown(&campaign.name), columns(&campaign_lines(campaign)));
    }
    for warning in &shown_policies.warnings {
        text += &format!("\nwarning: {}", campaigns::problem_text(warning));
    }
    text
}

fn columns(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(name, value)| format!("  {name:<12} {value}\n")).collect()
}

fn consent_text(consent: &ShownConsent) -> String {
    let yes: Vec<_> = consent.yes.iter().map(|value| shown(value)).collect();
    let with = |answer: &str| {
        let channels = Channel::NAMES.iter();
        let channels: Vec<&str> =
            channels.copied().filter(|name| consent.unknown[name] == answer).collect();
        if channels.is_empty() { "none".to_owned() } else { channels.join(", ") }
    };
    format!(
        "{}; {} means yes; unknown is allowed on {}, refused on {}",
        shown(&consent.subscription),
        yes.join(" or "),
        with("allow"),
        with("refuse")
    )
}

fn campaign_lines(campaign: &ShownCampaign) -> Vec<(&'static str, String)> {
    let mut lines = vec![("kind", campaign.kind.to_owned())];
    lines.push(("priority", campaign.priority.to_string()));
    lines.push(match &campaign.subscription {
        Some(subscription) => ("consent", shown(subscription)),
        None => ("consent", "is not asked for".to_owned()),
    });
    let quiet = campaign.quiet_hours.iter().map(|hours| {
        let days = match hours.days.len() {
            7 => String::new(),
            _ => format!(" on {}", hours.days.join(", ")),
        };
        let ShownQuietHours { name, from, to, then, .. } = hours;
        let channels = channels_text(&hours.channels);
        ("quiet hours", format!("{name}: {from} to {to}{days}{channels}; {then}"))
    });
    lines.extend(quiet);
    lines.extend(campaign.discard_after.iter().map(|span| ("", format!("discarded after {span}"))));
    if !campaign.cancel_on.is_empty() {
        let codes: Vec<_> = campaign.cancel_on.iter().map(|code| shown(code)).collect();
        lines.push(("cancelled by", codes.join(", ")));
    }
    let caps = campaign.caps.iter().map(|cap| {
        let ShownCap { name, max, per, channels } = cap;
        ("cap", format!("{name}: {max} per {per}{}", channels_text(channels)))
    });
    lines.extend(caps);
    if !campaign.counts {
        lines.push(("counts", "towards no cap".to_owned()));
    }
    let control = campaign
        .control
        .iter()
        .map(|group| ("control", format!("{}: {} % get nothing", group.name, group.percent)));
    lines.extend(control);
    lines
}

/// The channels, unless they are all.
fn channels_text(channels: &[&str]) -> String {
    match channels.len() == Channel::ALL.len() {
        true => String::new(),
        false => format!(" on {}", channels.join(", ")),
    }
}
