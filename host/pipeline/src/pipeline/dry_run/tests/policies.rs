//! Dry runs under policies: what becomes of the messages that rules propose. The dry run decides
//! with the engine's own core. What needs a whole engine is in the end-to-end tests `policies` and
//! `policies_reload`.

mod caps;
mod choice;
mod consent;
mod cuts;
mod deferral;
mod merges;
mod quiet_hours;
mod stopped;

use std::sync::Arc;

use super::*;
use crate::records::{Released, Verdict};
use hailer_engine::Stop;
use hailer_policies::Policies;

/// A night under which the messages of an evening are sent in the morning.
const NIGHT: &str = r#"
[[quiet_hours]]
name = "night"
from = "22:00"
to = "09:00"
then = "defer"

[deferral]
discard_after = "14h"
"#;
const DAY_ONCE: &str = "\n[[cap]]\nname = \"day\"\nmax = 1\nper = \"day\"\n";
/// The more customers there are, the more of them a test can tell apart.
const CUSTOMERS: u64 = 500;

/// The section about consent, with the channels that are refused while a consent is not known.
fn consent_section(refused: &[&str]) -> String {
    let unknown = Channel::ALL.map(Channel::name).map(|channel| {
        let what = if refused.contains(&channel) { "refuse" } else { "allow" };
        format!("{channel} = \"{what}\"\n")
    });
    let unknown = unknown.concat();
    let asked = "[consent]\nsubscription = \"Mailings\"\nyes = [\"Enabled\"]";
    format!("\n{asked}\n[consent.unknown]\n{unknown}")
}

/// The rest of a file, under the zone of Moscow.
fn policies(text: &str) -> Policies {
    in_zone("Europe/Moscow", text)
}

fn in_zone(zone: &str, text: &str) -> Policies {
    let text = format!("time_zone = \"{zone}\"\n{text}");
    Policies::parse(text.as_bytes()).unwrap_or_else(|mistakes| panic!("{mistakes:?} in {text}"))
}

fn sandbox() -> &'static Arc<Sandbox> {
    static SANDBOX: LazyLock<Arc<Sandbox>> =
        LazyLock::new(|| Sandbox::metered(Limits::default()).unwrap());
    &SANDBOX
}

/// A campaign that sends what `purchase` says on a purchase.
fn campaign(name: &str, purchase: Vec<Vec<u8>>) -> Arc<Campaign> {
    campaign_with(name, purchase, |_| {})
}

fn campaign_with(
    name: &str,
    purchase: Vec<Vec<u8>>,
    change: impl FnOnce(&mut CampaignSpec),
) -> Arc<Campaign> {
    let rule = Rule { purchase, nudge: vec![send("nudge")], ..nudging() };
    campaign_of(&rule, name, change)
}

fn campaign_of(rule: &Rule, name: &str, change: impl FnOnce(&mut CampaignSpec)) -> Arc<Campaign> {
    let only = rule.rules(sandbox());
    let mut spec = CampaignSpec { name: name.into(), ..only.campaigns()[0].spec.clone() };
    change(&mut spec);
    let compiled = sandbox().compile_here(&rule.module()).unwrap();
    Campaign::started(sandbox(), spec, compiled, 1).unwrap()
}

fn under_rules(policies: Policies, campaigns: Vec<Arc<Campaign>>) -> DryRun {
    dry_run(&rule_set(policies, campaigns), sandbox(), Redirects::in_memory())
}

fn rule_set(policies: Policies, campaigns: Vec<Arc<Campaign>>) -> Arc<RuleSet> {
    Arc::new(RuleSet::build(campaigns, 1).with_policies(Some(Arc::new(policies))))
}

/// A dry run of campaigns under policies. Each sends what `actions` say on a purchase.
fn under(policies: Policies, names: &[&str], actions: Vec<Vec<u8>>) -> DryRun {
    let campaigns = names.iter().map(|name| campaign(name, actions.clone())).collect();
    under_rules(policies, campaigns)
}

/// Continues under other rules, as an engine does after a swap.
fn swap(before: &mut DryRun, rules: &Arc<RuleSet>) -> DryRun {
    let settings = Settings { begins: before.clock(), ..settings(None) };
    let mut after = DryRun::new(rules, sandbox(), &settings, Redirects::in_memory()).unwrap();
    let rows = (1..=CUSTOMERS).filter_map(|customer| before.hand_over(key(customer)));
    rows.for_each(|row| after.take_in(row));
    after
}

fn at(text: &str) -> Millis {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// A time of day in Moscow, on the second or third of March.
fn moscow(text: &str) -> Millis {
    at(&format!("2026-03-{text}+03:00"))
}

pub(super) fn send_on(channel: Channel, template: &str) -> Vec<u8> {
    [&[0x94, ACTION_SEND as u8, channel as u8][..], &text(template), &[0x80]].concat()
}

fn consent(number: u64, customer: u64, channel: &str, value: &str, now: Millis) -> Arrived {
    let body = format!(
        r#"{{"eventCode":"OnCustomerSubscriptionChange","subscriptionTypeCode":"Mailings",
            "subscriptionInfo":{{"{channel}":"{value}"}},
            "customerInfo":{{"customerId":{customer}}}}}"#
    );
    arrived(number, body, now)
}

fn zone(number: u64, customer: u64, zone: &str, now: Millis) -> Arrived {
    let body = format!(
        r#"{{"eventCode":"OnCustomerAttributeUpdate","attributeCode":"TimeZone",
            "newValue":"{zone}","customerInfo":{{"customerId":{customer}}}}}"#
    );
    arrived(number, body, now)
}

fn with_code(number: u64, customer: u64, code: &str, now: Millis) -> Arrived {
    let body = format!(r#"{{"eventCode":"{code}","customerInfo":{{"customerId":{customer}}}}}"#);
    arrived(number, body, now)
}

/// What became of each message, in the order of the decisions: `campaign: verdict`.
fn verdicts(decisions: &[Decision]) -> Vec<String> {
    let shown = |campaign: &str, verdict: &Verdict, policy: &Option<Box<str>>| {
        let policy = policy.as_ref().map_or(String::new(), |policy| format!(" {policy}"));
        match verdict {
            Verdict::Passed => format!("{campaign}: passed"),
            Verdict::Suppressed(reason) => format!("{campaign}: {reason}{policy}"),
            Verdict::Deferred { until } => {
                let until = jiff::Timestamp::from_millisecond(*until).unwrap();
                format!("{campaign}: until {until}{policy}")
            }
        }
    };
    let mut all = Vec::new();
    for outcome in decisions.iter().flat_map(|decision| &decision.outcomes) {
        let campaign = &*outcome.campaign;
        match &outcome.decided {
            Decided::Answered { communications, .. } => all.extend(
                communications.iter().map(|one| shown(campaign, &one.verdict, &one.policy)),
            ),
            Decided::Released { communications } => {
                all.extend(communications.iter().map(|Released { communication: one, .. }| {
                    shown(&format!("released {campaign}"), &one.verdict, &one.policy)
                }))
            }
            Decided::Missed { .. } => all.push(format!("{campaign}: missed")),
            other => panic!("{other:?}"),
        }
    }
    all
}

/// The proposals of the first outcome.
fn first_proposals(decision: &Decision) -> &[crate::records::Proposed] {
    let Decided::Answered { communications, .. } = &decision.outcomes[0].decided else {
        panic!("{decision:?}")
    };
    communications
}

fn ids(decisions: &[Decision]) -> Vec<String> {
    let sent = decisions.iter().flat_map(|decision| &decision.communications);
    sent.map(|communication| communication.id.to_string()).collect()
}
