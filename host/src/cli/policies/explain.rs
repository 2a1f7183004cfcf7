//! `hailer policies explain`: shows what the policies would say of one message.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::customer::{IdKind, channel_parser};
use crate::cli::moment::{moment, zone};
use crate::cli::settings::{Global, SettingFlags, StoreFlags};
use crate::cli::store_access::{StoreAccess, store_access};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::config::Purpose;
use crate::engine::{Mode, no_campaign, shown};
use crate::explain::{
    self, CustomerIdKind, ExplainedStep, JudgedCampaign, Judgement, JudgementQuery,
    JudgingPolicies, ZoneSource, ZonedTime, reason_text,
};
use crate::policies::{NamedChannel, zone_of};
use crate::reload::{StatedRules, digest_shown};
use crate::store::Store;

/// Show what the policies would say of a message to a customer, and why
///
/// Judges one message of a campaign to a customer, as if a rule proposed it at this moment, and
/// prints every step of the judgement with its facts, also those behind the step that decides.
/// Nothing is sent, counted or changed.
///
/// The customer's consent, time zone and earlier messages come from the store of the running
/// engine, and the policies are those that it runs with. Without an engine, the store is read
/// directly, and the policies come from the rules directory. Other campaigns that speak on the same
/// event, and the campaign's limit for an hour, are not part of the answer.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer policies explain 8814 --campaign big-basket --channel push\n  hailer \
        policies explain 8814 --campaign big-basket --channel sms --at 2026-03-01T23:30\n  hailer \
        policies explain 8814 --campaign welcome --channel mail --json | jq \
        .verdict\n\n{EXIT_CODES}",
))]
pub(in crate::cli) struct Explain {
    /// The customer's id, as the source writes it
    #[arg(allow_negative_numbers = true)]
    customer: String,
    /// Which id it is [default: each is tried, customerId first]
    #[arg(long)]
    by: Option<IdKind>,
    /// The campaign that sends the message
    #[arg(long, value_name = "NAME")]
    campaign: String,
    /// The channel of the message
    #[arg(long, value_parser = channel_parser())]
    channel: NamedChannel,
    /// When the message is proposed: a time, a date, or a span back from now such as 7d. Of a past
    /// moment, only the caps are known; other facts are those of today [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Print times in UTC [default: in the customer's zone]
    #[arg(long)]
    utc: bool,
    /// The rules directory, if no engine answers [default: as the engine's configuration says]
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
    #[command(flatten)]
    store: StoreFlags,
}

/// Stands below the judgement of a past moment.
const PAST: &str = "consent and time zone are those of today; `hailer why` shows what was decided";

impl Explain {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let Explain { customer, by, campaign, channel, at, utc, rules, store } = self;
        let now = Timestamp::now();
        let at = match at {
            Some(text) => moment("--at", &text, &zone(utc))?,
            None => now,
        };
        let by = by.map(CustomerIdKind::from);
        let query = JudgementQuery { customer, by, campaign, channel, at };
        let mut judgement = match store_access(global, &store)? {
            StoreAccess::Engine(client) => engine::wait(client.judgement(&query))??,
            StoreAccess::Stopped(stopped) => {
                let settings = SettingFlags::of_rules(rules, store.environment.clone());
                let config = global.load(Purpose::Ask, &settings)?.config;
                let stated = StatedRules::read(&config.rules, config.limits.module_bytes_max)?;
                let campaign = judged_campaign(&stated, &query.campaign)?;
                let judging = JudgingPolicies {
                    policies: stated.policies.as_ref(),
                    environment: &config.environment,
                    deferred_max: config.store.deferred_max as u64,
                };
                explain::judgement(&*stopped.open()?.snapshot()?, &query, &campaign, judging)?
            }
        };
        judgement.caution = (at < now).then(|| PAST.to_owned());
        if global.json {
            output::json(&judgement)?;
        } else {
            output::data(&text(&judgement, &query.customer, utc))?;
        }
        Ok(DONE)
    }
}

/// The campaign as its file states it.
fn judged_campaign(stated: &StatedRules, name: &str) -> anyhow::Result<JudgedCampaign> {
    let Some(campaign) = stated.campaigns.get(name) else {
        anyhow::bail!("{}", no_campaign(name, stated.campaigns.keys().map(String::as_str)));
    };
    let is_live = campaign.mode == Some(Mode::Live);
    let acts_for = campaign.shadow_of.as_ref().filter(|_| is_live);
    Ok(JudgedCampaign {
        name: acts_for.map_or(name, String::as_str).to_owned(),
        is_live,
        per_hour_max: campaign.per_hour_max,
    })
}

/// The judgement as text.
fn text(judgement: &Judgement, id: &str, utc: bool) -> String {
    let own_zone = judgement.time_zone.as_deref().and_then(zone_of);
    let zone = if utc { TimeZone::UTC } else { own_zone.unwrap_or_else(|| zone(utc)) };
    let mut text = match judgement.found_by {
        Some(by) => format!("customer {}, known by {}\n", shown(id), by.name()),
        None => format!("customer {}, of whom nothing is known\n", shown(id)),
    };
    if let Some(became) = &judgement.became {
        text += &format!("merged into {}\n", became.get(..12).unwrap_or(became));
    }
    text += &format!(
        "{} of {} at {}\n",
        judgement.channel.0.name(),
        shown(&judgement.campaign),
        ZonedTime(judgement.at, &zone)
    );
    text += &match (&judgement.policies, &judgement.time_zone, judgement.zone_source) {
        (Some(digest), Some(zone), source) => {
            let source = match source {
                Some(ZoneSource::Customer) => "the customer's own",
                _ => "that of customers whose own is not known",
            };
            format!("policies {}; time zone {}, {source}\n", digest_shown(digest), shown(zone))
        }
        _ => "no policies\n".to_owned(),
    };
    text += "\n";
    text += &output::table(["step", "result", "facts"], judgement.steps.iter().map(row));
    let reason = |reason: &str| {
        reason_text(reason, judgement.policy.as_deref(), judgement.detail.as_deref())
    };
    let verdict = match (&*judgement.verdict, judgement.until) {
        ("passed", _) => "passes".to_owned(),
        (_, Some(until)) => {
            format!("deferred until {} ({})", ZonedTime(until, &zone), reason("quiet-hours"))
        }
        (why, None) => format!("suppressed ({})", reason(why)),
    };
    text += &format!("\nverdict: {verdict}\n");
    text.extend(judgement.caution.iter().map(|caution| format!("{caution}\n")));
    text
}

fn row(step: &ExplainedStep) -> [String; 3] {
    let ExplainedStep { step, policy, result, facts } = step;
    let policy = policy.as_ref().map(|policy| format!(" {}", shown(policy))).unwrap_or_default();
    [format!("{step}{policy}"), result.clone(), facts.clone()]
}

#[cfg(test)]
mod tests {
    use hailer_abi::wire::Channel;

    use super::*;

    fn step(name: &str, policy: Option<&str>, result: &str, facts: &str) -> ExplainedStep {
        let [step, result, facts] = [name, result, facts].map(str::to_owned);
        ExplainedStep { step, policy: policy.map(str::to_owned), result, facts }
    }

    fn deferred() -> Judgement {
        Judgement {
            found_by: Some(CustomerIdKind::CustomerId),
            customer: "00112233445566778899aabbccddeeff".to_owned(),
            became: None,
            campaign: "big-basket".to_owned(),
            channel: NamedChannel(Channel::Push),
            at: "2026-03-01T20:30:00Z".parse().unwrap(),
            policies: Some("9f3ac1d2".repeat(8)),
            time_zone: Some("Europe/Moscow".to_owned()),
            zone_source: Some(ZoneSource::Policies),
            steps: vec![
                step("consent", None, "passes", "unknown for push of Mailings"),
                step("quiet-hours", Some("night"), "defers", "until 2026-03-02 09:00 +03:00"),
                step("cap", Some("day"), "passes", "1 of 2 since 2026-03-01 00:00 +03:00"),
            ],
            verdict: "deferred".to_owned(),
            policy: Some("night".to_owned()),
            detail: None,
            until: Some("2026-03-02T06:00:00Z".parse().unwrap()),
            caution: Some(PAST.to_owned()),
        }
    }

    #[test]
    fn a_judgement_in_words() {
        insta::assert_snapshot!(text(&deferred(), "8814", false));
    }

    #[test]
    fn the_verdict_names_reason_policy_and_circumstances() {
        let capped = Judgement {
            verdict: "cap".to_owned(),
            policy: Some("day".to_owned()),
            detail: Some("2 of 2 since yesterday".to_owned()),
            until: None,
            caution: None,
            ..deferred()
        };
        let text = text(&capped, "8814", true);
        assert!(
            text.ends_with("\nverdict: suppressed (cap day: 2 of 2 since yesterday)\n"),
            "{text}"
        );
        assert!(text.contains("push of big-basket at 2026-03-01 20:30:00 UTC\n"), "{text}");
        let unknown = Judgement { found_by: None, ..deferred() };
        let text = super::text(&unknown, "8814", true);
        assert!(text.starts_with("customer 8814, of whom nothing is known\n"), "{text}");
    }
}
