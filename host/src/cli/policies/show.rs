//! `hailer policies show`: shows the policies that bind each campaign.

mod text;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use clap::Args;
use hailer_abi::wire::Channel;
use jiff::civil::Weekday;
use serde::Serialize;

use crate::cli::settings::{Global, SettingFlags};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::config::Purpose;
use crate::control::Client;
use crate::engine::{no_campaign, shown};
use crate::policies::{Binding, Channels, Policies, span_text};
use crate::reload::{Problem, StatedRules};
use text::text;

/// Show the policies that bind each campaign
///
/// Reads `policies.toml` and the names of the campaigns in the rules directory, and prints the
/// general policies, and for each campaign what binds its messages after its own section is taken
/// into account. It needs no engine and loads no module. If an engine runs with the data directory,
/// the command says whether its policies are the same.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer policies show\n  hailer policies show --campaign big-basket\n  hailer \
        policies show --rules rules.d --environment staging --json | jq \
        '.campaigns[] | select(.kind == \"transactional\").name'\n\n{EXIT_CODES}",
))]
pub(in crate::cli) struct Show {
    /// Only this campaign
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// The rules directory [default: as the engine's configuration says]
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
    /// The environment whose allow list is shown [default: as the engine's configuration says]
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

/// The policies of a rules directory.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    /// The digest of the file.
    digest: String,
    /// Whether the running engine has the same policies; `None` if no engine answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_engines: Option<bool>,
    time_zone: String,
    time_zone_attribute: Option<String>,
    consent: Option<ShownConsent>,
    deferral: Option<ShownDeferral>,
    event_campaigns_max: Option<u32>,
    environment: String,
    /// The customers who may be written to in the environment; `None` for everybody.
    allow_list: Option<Vec<String>>,
    campaigns: Vec<ShownCampaign>,
    /// Names in the file to which no campaign belongs.
    warnings: Vec<Problem>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownConsent {
    subscription: String,
    yes: Vec<String>,
    /// `allow` or `refuse`, by channel.
    unknown: BTreeMap<&'static str, &'static str>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownDeferral {
    discard_after: String,
    spread: Option<String>,
}

/// The policies that bind the messages of one campaign.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownCampaign {
    name: String,
    kind: &'static str,
    priority: i32,
    /// The subscription that is asked for; `None` if no consent is needed.
    subscription: Option<String>,
    quiet_hours: Vec<ShownQuietHours>,
    /// `None` if no message of the campaign is deferred.
    discard_after: Option<String>,
    cancel_on: Vec<String>,
    caps: Vec<ShownCap>,
    /// Whether its messages count towards caps.
    counts: bool,
    control: Vec<ShownGroup>,
    /// How many campaigns may speak on one event; `None` if that does not bind the campaign.
    event_campaigns_max: Option<u32>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownQuietHours {
    name: String,
    from: String,
    to: String,
    /// The days on which they begin.
    days: Vec<String>,
    channels: Vec<&'static str>,
    /// `defer` or `drop`.
    then: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownCap {
    name: String,
    max: u32,
    per: String,
    channels: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownGroup {
    name: String,
    percent: f64,
}

impl Show {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let settings = SettingFlags::of_rules(self.rules, self.environment);
        let config = global.load(Purpose::Ask, &settings)?.config;
        let stated = StatedRules::read(&config.rules, config.limits.module_bytes_max)?;
        let Some(policies) = &stated.policies else {
            if global.json {
                output::json(&())?;
            }
            output::message(&format!(
                "there is no policies.toml in `{}`: nothing is restricted",
                config.rules.display()
            ));
            return Ok(DONE);
        };
        let names = names(policies, &stated, self.campaign.as_deref())?;
        let digest = engine::wait(Client::new(&config.data).policies())?.ok();
        let is_engines = digest.map(|status| status.digest.as_deref() == Some(&*policies.digest));
        let shown = Shown {
            is_engines,
            campaigns: names.iter().map(|name| campaign(policies, name)).collect(),
            warnings: stated.warnings,
            ..general(policies, &config.environment)
        };
        if global.json {
            output::json(&shown)?;
        } else {
            output::data(&text(&shown))?;
        }
        if is_engines == Some(false) {
            output::message(
                "the running engine has other policies; `hailer campaigns` shows their digest and \
                 problems, `hailer reload` reads the directory now",
            );
        }
        Ok(DONE)
    }
}

/// The campaigns to show: the named one, or all of the directory and of the file. A campaign on
/// trial has the policies of the one that it may replace, and is not listed.
fn names(
    policies: &Policies,
    stated: &StatedRules,
    only: Option<&str>,
) -> anyhow::Result<Vec<String>> {
    let in_directory = stated.campaigns.iter().filter(|(_, one)| one.shadow_of.is_none());
    let mut all: BTreeSet<&str> = in_directory.map(|(name, _)| name.as_str()).collect();
    all.extend(policies.campaign_names());
    let Some(only) = only else { return Ok(all.into_iter().map(str::to_owned).collect()) };
    let of = stated.campaigns.get(only).and_then(|one| one.shadow_of.as_deref());
    if let Some(of) = of {
        output::message(&format!(
            "{} is on trial for {}, and has its policies",
            shown(only),
            shown(of)
        ));
        return Ok(vec![of.to_owned()]);
    }
    if !all.contains(only) {
        bail!("{}", no_campaign(only, all));
    }
    Ok(vec![only.to_owned()])
}

/// The general policies, without campaigns.
fn general(policies: &Policies, environment: &str) -> Shown {
    let consent = policies.consent.as_ref().map(|consent| ShownConsent {
        subscription: consent.subscription.to_string(),
        yes: consent.yes.iter().map(ToString::to_string).collect(),
        unknown: Channel::ALL
            .map(|channel| {
                let is_allowed = consent.allowed_unknown.contains(channel);
                (channel.name(), if is_allowed { "allow" } else { "refuse" })
            })
            .into(),
    });
    let deferral = policies.deferral.map(|deferral| ShownDeferral {
        discard_after: span_text(deferral.discard_after_ms),
        spread: (deferral.spread_ms > 0).then(|| span_text(deferral.spread_ms)),
    });
    let allow_list = policies.allow_lists.get(environment);
    Shown {
        digest: policies.digest.to_string(),
        is_engines: None,
        time_zone: policies.zone.iana_name().unwrap_or("UTC").to_owned(),
        time_zone_attribute: policies.zone_attribute.as_deref().map(str::to_owned),
        consent,
        deferral,
        event_campaigns_max: policies.event_campaigns_max,
        environment: environment.to_owned(),
        allow_list: allow_list.map(|ids| ids.iter().map(ToString::to_string).collect()),
        campaigns: Vec::new(),
        warnings: Vec::new(),
    }
}

fn campaign(policies: &Policies, name: &str) -> ShownCampaign {
    let Binding {
        campaign,
        subscription,
        quiet_hours,
        discard_after_ms,
        caps,
        counts,
        control,
        event_campaigns_max,
    } = policies.binding(name);
    let channels = |channels: Channels| channels.iter().map(|channel| channel.name()).collect();
    ShownCampaign {
        name: name.to_owned(),
        kind: if campaign.is_transactional { "transactional" } else { "marketing" },
        priority: campaign.priority,
        subscription: subscription.map(str::to_owned),
        quiet_hours: quiet_hours
            .into_iter()
            .map(|(hours, defers)| ShownQuietHours {
                name: hours.name.to_string(),
                from: hours.from.strftime("%H:%M").to_string(),
                to: hours.to.strftime("%H:%M").to_string(),
                days: hours.days.iter().map(|day| day_name(*day)).collect(),
                channels: channels(hours.channels),
                then: if defers { "defer" } else { "drop" },
            })
            .collect(),
        discard_after: discard_after_ms.map(span_text),
        cancel_on: campaign.cancel_on.iter().map(ToString::to_string).collect(),
        caps: caps
            .into_iter()
            .map(|cap| ShownCap {
                name: cap.name.to_string(),
                max: cap.max,
                per: cap.per.text(),
                channels: channels(cap.channels),
            })
            .collect(),
        counts,
        control: control
            .into_iter()
            .map(|group| ShownGroup { name: group.name.to_string(), percent: group.percent() })
            .collect(),
        event_campaigns_max,
    }
}

/// The name of a day as the file writes it: `mon`.
fn day_name(day: Weekday) -> String {
    format!("{day:?}").to_lowercase().chars().take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
time_zone = "Europe/Moscow"
time_zone_attribute = "TimeZone"

[consent]
subscription = "Mailings"
yes = ["Enabled"]

[consent.unknown]
mail = "allow"
push = "allow"
sms = "refuse"
viber = "refuse"
chatBot = "refuse"
socialNetworks = "refuse"

[[quiet_hours]]
name = "night"
from = "22:00"
to = "09:00"
channels = ["push", "sms"]
then = "defer"

[[quiet_hours]]
name = "sunday"
from = "00:00"
to = "12:00"
days = ["sun"]
then = "drop"

[deferral]
discard_after = "14h"
spread = "30m"

[[cap]]
name = "day"
max = 2
per = "day"

[[cap]]
name = "sms"
max = 1
per = "24h"
channels = ["sms"]
campaigns = ["big-basket"]

[control.holdout]
percent = 0.5
salt = "2026"

[per_event]
campaigns_max = 1

[allow_list.staging]
customers = ["101", "102"]

[campaigns.card-security]
kind = "transactional"

[campaigns.big-basket]
subscription = "Discounts"
priority = 20
cancel_on = ["OnPurchaseCancel"]
discard_after = "3h"
"#;

    fn shown_policies() -> Shown {
        let policies = Policies::parse(FILE.as_bytes()).unwrap();
        let names = ["big-basket", "card-security", "welcome"];
        let campaigns = names.map(|name| campaign(&policies, name)).into();
        Shown { campaigns, is_engines: Some(true), ..general(&policies, "staging") }
    }

    #[test]
    fn the_policies_of_each_campaign_in_words() {
        insta::assert_snapshot!(text(&shown_policies()));
    }

    #[test]
    fn the_policies_of_each_campaign_as_json() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&shown_policies()).unwrap());
    }
}
