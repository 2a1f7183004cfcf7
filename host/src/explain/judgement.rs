//! What the policies would say of one message to one customer at one moment, step by step. Nothing
//! is decided, counted or changed.

use hailer_policies::{At, Candidate, Judge, NamedChannel, Policies, StepResult, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{name_of, progress, time};
use crate::customers::{CustomerIdKind, FoundCustomer, find};
use crate::event::{Customer, CustomerKey, EventId};
use crate::records::{CustomerRow, DEFERRED_MAX, Key, RedirectRow};
use crate::store::{Snapshot, StoreError, Table};

/// Query for the judgement of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JudgementQuery {
    /// A customer id, as the source writes it.
    pub customer: String,
    /// The kind of the id; `None` tries every kind.
    pub by: Option<CustomerIdKind>,
    pub campaign: String,
    pub channel: NamedChannel,
    /// The moment of the message's decision.
    pub at: Timestamp,
}

/// The campaign of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedCampaign {
    /// The name under which it is judged: for a canary, the campaign that it acts for.
    pub name: String,
    /// Whether it sends at all: false in shadow mode, and while it is off.
    pub is_live: bool,
    pub per_hour_max: Option<u32>,
}

/// The policies that judge.
#[derive(Clone, Copy, Debug)]
pub struct JudgingPolicies<'a> {
    /// `None` if there is no `policies.toml`.
    pub policies: Option<&'a Policies>,
    pub environment: &'a str,
    /// The most deferred messages of all customers.
    pub deferred_max: u64,
}

/// What the policies say of the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// The kind of the id that matched; `None` if the store has nothing about such a customer. They
    /// are judged like a new customer then.
    pub found_by: Option<CustomerIdKind>,
    /// The customer's key, a hash.
    pub customer: String,
    /// The key of the remaining customer, if this customer was merged into another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub became: Option<String>,
    pub campaign: String,
    pub channel: NamedChannel,
    pub at: Timestamp,
    /// The digest of the policies; `None` without policies.
    pub policies: Option<String>,
    /// The customer's time zone; `None` without policies.
    pub time_zone: Option<String>,
    /// Where the time zone comes from; `None` without policies.
    pub zone_source: Option<ZoneSource>,
    /// The steps in the order of the judgement, also those behind the one that decides.
    pub steps: Vec<ExplainedStep>,
    /// `passed`, `deferred`, or the reason why the message would be suppressed.
    pub verdict: String,
    /// The name of the cap, the quiet hours or the control group that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The circumstances of the verdict in plain words; `None` if there is nothing to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When a deferred message is judged again; `None` for other verdicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The facts that are not those of the moment `at`; `None` if `at` is not past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caution: Option<String>,
}

/// Where a customer's time zone comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneSource {
    /// An event or an import named it.
    Customer,
    /// It is that of customers whose own is not known.
    Policies,
}

/// One step of the judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedStep {
    pub step: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// `passes`, `suppresses`, `defers`, or `exempt`: it does not concern a transactional campaign.
    pub result: String,
    pub facts: String,
}

/// Judges a message to a customer, without any effect.
///
/// # Errors
/// A row cannot be read.
pub fn judgement(
    snapshot: &dyn Snapshot,
    query: &JudgementQuery,
    campaign: &JudgedCampaign,
    judging: JudgingPolicies<'_>,
) -> Result<Judgement, StoreError> {
    let JudgingPolicies { policies, environment, deferred_max } = judging;
    let found = find(snapshot, &query.customer, query.by)?;
    let asked_by = query.by.unwrap_or(CustomerIdKind::CustomerId);
    let by = found.as_ref().map_or(asked_by, |found| found.by);
    let named = by.customer(&query.customer);
    let became = match &found {
        Some(found) => remaining(snapshot, found)?,
        None => None,
    };
    let asked = named.key();
    let (recipient, customer) = match &became {
        Some((key, ids)) => (ids, Some(*key)),
        None => (&named, asked),
    };
    let mut row = match customer {
        Some(customer) => CustomerRow::get(snapshot, customer)?,
        None => CustomerRow::default(),
    };
    let candidate = Candidate {
        campaign: &campaign.name,
        channel: query.channel.0,
        is_live: campaign.is_live,
        recipient: customer.map(|_| recipient),
        customer,
        event: EventId::NONE,
    };
    let now = query.at.as_millisecond();
    // At a past moment, later messages were not counted yet.
    row.policy.counted.retain(|counted| counted.at <= now);
    let judge = Judge::new(policies, environment, now, Some(&row.policy));
    let verdict = judge.judge(Some(&row.policy), &candidate, At::Decision, now);
    let mut steps: Vec<ExplainedStep> =
        judge.explain(Some(&row.policy), &candidate).into_iter().map(step).collect();
    let mut is_full = false;
    if let Verdict::Defer { policy, .. } = &verdict {
        let (own, all) = (row.deferred.len(), progress(snapshot)?.deferred);
        is_full = own >= DEFERRED_MAX || all >= deferred_max;
        let facts = format!(
            "{own} of {DEFERRED_MAX} messages of the customer wait, {all} of {deferred_max} of all"
        );
        let after = steps.iter().position(|step| step.step == "quiet-hours");
        let room = ExplainedStep {
            step: "deferral-full".to_owned(),
            policy: Some(policy.to_string()),
            result: if is_full { "suppresses" } else { "passes" }.to_owned(),
            facts,
        };
        steps.insert(after.map_or(steps.len(), |place| place + 1), room);
    }
    steps.extend(campaign.per_hour_max.map(|max| ExplainedStep {
        step: "per-hour-max".to_owned(),
        policy: None,
        result: "passes".to_owned(),
        facts: format!("the campaign may send {max} an hour; what it sent is not looked at"),
    }));
    let (verdict, policy, detail, until) = said(verdict, is_full);
    Ok(Judgement {
        found_by: found.as_ref().map(|found| found.by),
        customer: asked.map(name_of).unwrap_or_default(),
        became: became.map(|(key, _)| name_of(key)),
        campaign: campaign.name.clone(),
        channel: query.channel,
        at: query.at,
        policies: policies.map(|policies| policies.digest.to_string()),
        time_zone: policies.map(|policies| zone_name(policies, &row)),
        zone_source: policies.map(|_| match is_own_zone(&row) {
            true => ZoneSource::Customer,
            false => ZoneSource::Policies,
        }),
        steps,
        verdict,
        policy,
        detail,
        until,
        caution: None,
    })
}

/// The customer who remains after merges, with the ids that the last merge names; `None` if the
/// customer was not merged into another.
fn remaining(
    snapshot: &dyn Snapshot,
    found: &FoundCustomer,
) -> Result<Option<(CustomerKey, Customer)>, StoreError> {
    let Some(became) = found.became else { return Ok(None) };
    for from in &found.merged_customers {
        if let Some(row) = snapshot.get(Table::Redirects, &Key::redirect(*from))? {
            let RedirectRow { to, customer } = RedirectRow::decode(&row)?;
            if to == became {
                return Ok(Some((to, customer)));
            }
        }
    }
    Ok(None)
}

fn step(step: hailer_policies::Step) -> ExplainedStep {
    let result = match step.result {
        StepResult::Passes => "passes",
        StepResult::Suppresses => "suppresses",
        StepResult::Defers => "defers",
        StepResult::Exempt => "exempt",
    };
    ExplainedStep {
        step: step.name.to_owned(),
        policy: step.policy.map(String::from),
        result: result.to_owned(),
        facts: step.facts,
    }
}

/// The verdict's name, the policy, the detail, and the release.
fn said(
    verdict: Verdict,
    is_full: bool,
) -> (String, Option<String>, Option<String>, Option<Timestamp>) {
    match verdict {
        Verdict::Pass => ("passed".to_owned(), None, None, None),
        Verdict::Defer { policy, .. } if is_full => {
            let reason = hailer_policies::Reason::DeferralFull.name();
            (reason.to_owned(), Some(policy.into()), None, None)
        }
        Verdict::Defer { policy, until, .. } => {
            ("deferred".to_owned(), Some(policy.into()), None, Some(time(until)))
        }
        Verdict::Suppress(why) => {
            let reason = why.reason.name().to_owned();
            (reason, why.policy.map(String::from), why.detail.map(String::from), None)
        }
    }
}

fn is_own_zone(row: &CustomerRow) -> bool {
    row.policy.zone.as_deref().is_some_and(|zone| hailer_policies::zone_of(zone).is_some())
}

fn zone_name(policies: &Policies, row: &CustomerRow) -> String {
    match row.policy.zone.as_deref().filter(|_| is_own_zone(row)) {
        Some(zone) => zone.to_owned(),
        None => policies.zone.iana_name().unwrap_or("UTC").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use hailer_abi::wire::Channel;
    use hailer_policies::{Consent, ConsentSource, Counted};

    use super::*;
    use crate::explain::fixture::{EIGHT, History, MINUTE, customer, event};
    use crate::records::{Progress, encode};
    use crate::store::Store;

    const FILE: &str = r#"
time_zone = "Europe/Moscow"

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
to = "12:00"
channels = ["push"]
then = "defer"

[deferral]
discard_after = "14h"

[[cap]]
name = "day"
max = 3
per = "day"

[allow_list.staging]
customers = ["8"]
"#;

    fn query(id: &str, channel: Channel) -> JudgementQuery {
        let at = time(EIGHT);
        let (campaign, channel) = ("welcome".to_owned(), NamedChannel(channel));
        JudgementQuery { customer: id.to_owned(), by: None, campaign, channel, at }
    }

    fn judged(history: &History, query: &JudgementQuery, environment: &str) -> Judgement {
        let policies = Policies::parse(FILE.as_bytes()).unwrap();
        let campaign =
            JudgedCampaign { name: query.campaign.clone(), is_live: true, per_hour_max: Some(9) };
        let judging = JudgingPolicies { policies: Some(&policies), environment, deferred_max: 70 };
        judgement(&*history.store.snapshot().unwrap(), query, &campaign, judging).unwrap()
    }

    fn history() -> History {
        let mut history = History::new();
        history.change_row("7", |row| {
            row.policy.zone = Some("Asia/Omsk".into());
            row.policy.consents.push(Consent {
                subscription: "Mailings".into(),
                channel: Channel::Sms as u8,
                is_yes: true,
                at: EIGHT - MINUTE,
                source: ConsentSource::Import,
            });
        });
        history
    }

    #[test]
    fn the_facts_of_the_customers_row_decide() {
        let history = history();
        let sms = judged(&history, &query("7", Channel::Sms), "prod");
        assert_eq!(sms.verdict, "passed");
        assert_eq!(sms.time_zone.as_deref(), Some("Asia/Omsk"));
        assert_eq!(sms.zone_source, Some(ZoneSource::Customer));
        assert_eq!(sms.found_by, Some(CustomerIdKind::CustomerId));
        // In Omsk it is 14:00.
        assert_eq!(judged(&history, &query("7", Channel::Push), "prod").verdict, "passed");
        insta::assert_snapshot!(serde_json::to_string_pretty(&sms).unwrap());
    }

    #[test]
    fn a_customer_whom_the_store_does_not_know_is_judged_like_a_new_one() {
        let new = judged(&history(), &query("6", Channel::Sms), "prod");
        assert_eq!((new.found_by, &*new.verdict), (None, "consent-unknown"));
        assert_eq!(new.zone_source, Some(ZoneSource::Policies));
        let push = judged(&history(), &query("6", Channel::Push), "prod");
        assert_eq!((&*push.verdict, push.policy.as_deref()), ("deferred", Some("night")));
        assert_eq!(push.until, Some("2026-03-01T09:00:00Z".parse().unwrap()));
        let room = push.steps.iter().find(|step| step.step == "deferral-full").unwrap();
        assert_eq!(room.facts, "0 of 64 messages of the customer wait, 0 of 70 of all");
    }

    #[test]
    fn a_merged_customer_is_judged_as_the_one_who_remains() {
        let mut history = history();
        history.merge("6", "7");
        history.merge("7", "8");
        history.change_row("8", |row| row.policy.zone = Some("Asia/Omsk".into()));
        let judged = |id, environment| judged(&history, &query(id, Channel::Push), environment);
        let of_six = judged("6", "staging");
        assert_eq!(of_six.became, Some(name_of(customer("8"))));
        assert_eq!(of_six.verdict, "passed", "the allow list has the one who remains");
        assert_eq!(of_six.steps, judged("8", "staging").steps);
    }

    #[test]
    fn a_customer_with_as_many_deferred_messages_as_may_be_gets_no_more() {
        let mut history = history();
        history.change_row("5", |row| {
            let deferred = crate::explain::fixture::deferred("5", "welcome", 0, EIGHT);
            row.deferred = vec![deferred; DEFERRED_MAX];
        });
        let full = judged(&history, &query("5", Channel::Push), "prod");
        assert_eq!((&*full.verdict, full.until), ("deferral-full", None));
        let room = full.steps.iter().find(|step| step.step == "deferral-full").unwrap();
        assert_eq!(room.result, "suppresses");
    }

    #[test]
    fn a_message_that_finds_the_room_of_all_customers_taken_is_not_deferred() {
        let mut history = history();
        for (all, verdict, result) in
            [(69, "deferred", "passes"), (70, "deferral-full", "suppresses")]
        {
            let progress = Progress { deferred: all, ..Progress::default() };
            history.put(Table::Meta, Progress::KEY.to_vec(), encode(&progress));
            let judged = judged(&history, &query("5", Channel::Push), "prod");
            assert_eq!(judged.verdict, verdict);
            let room = judged.steps.iter().find(|step| step.step == "deferral-full").unwrap();
            let facts = format!("0 of 64 messages of the customer wait, {all} of 70 of all");
            assert_eq!((&*room.result, &*room.facts), (result, &*facts));
        }
    }

    #[test]
    fn messages_after_the_moment_of_a_judgement_count_towards_no_cap() {
        let mut history = history();
        history.change_row("8", |row| {
            let times = [EIGHT - MINUTE, EIGHT, EIGHT + MINUTE];
            row.policy.counted = (0..)
                .zip(times)
                .map(|(number, at)| Counted {
                    at,
                    campaign: "other".into(),
                    event: event(number),
                    channels: [Channel::Mail].into_iter().collect(),
                })
                .collect();
        });
        let cap = |at| {
            let query = JudgementQuery { at: time(at), ..query("8", Channel::Mail) };
            let judged = judged(&history, &query, "prod");
            let cap = judged.steps.into_iter().find(|step| step.step == "cap").unwrap();
            (judged.verdict, cap.result)
        };
        let passed = ("passed".to_owned(), "passes".to_owned());
        assert_eq!(cap(EIGHT), passed, "two of three are counted");
        assert_eq!(cap(EIGHT + MINUTE), ("cap".to_owned(), "suppresses".to_owned()));
    }

    #[test]
    fn without_policies_a_live_campaign_sends() {
        let campaign = JudgedCampaign { name: "welcome".into(), is_live: true, per_hour_max: None };
        let judging = JudgingPolicies { policies: None, environment: "prod", deferred_max: 70 };
        let history = history();
        let snapshot = history.store.snapshot().unwrap();
        let judged = judgement(&*snapshot, &query("7", Channel::Sms), &campaign, judging).unwrap();
        assert_eq!((&*judged.verdict, judged.time_zone), ("passed", None));
    }
}
