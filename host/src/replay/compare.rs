//! Compares two rule sets on the same events: finds customers with different outcomes, and explains
//! the differences.
//!
//! An outcome is what is sent, including its data, or that a rule failed. Notes, state and timers
//! do not count as outcomes; they are part of the explanation.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::InputEvent;
use super::campaign_report::channel_name;
use super::chunk::Work;
use crate::clock::Millis;
use crate::dry_run::Decision;
use crate::event::CustomerKey;
use crate::explain::reason_text;
use crate::policies::Reason;
use crate::records::{Cause, Decided, Outcome, Proposed, Verdict};

/// Maximum of customers that are listed; changes of others are only counted.
const CUSTOMERS_MAX: usize = 100_000;
/// Maximum of explained changes for each customer.
const EXPLAINED_MAX: usize = 3;

/// All customers with a different outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Number of outcomes that differ, over all events, timers and campaigns.
    pub count: u64,
    pub by_campaign: BTreeMap<String, u64>,
    /// Customers in the order of their first change.
    pub customers: Vec<Changed>,
    /// Changes of customers beyond the list, and of events without a customer.
    pub not_listed: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// The customer's id in the event of the first change.
    pub customer: String,
    /// The customer's key at that time, as in `--out`; a merged customer continues under another
    /// key.
    pub key: String,
    pub count: u64,
    /// The first changes.
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub at: Timestamp,
    pub cause: WhatHappened,
    pub campaign: String,
    pub before: String,
    pub after: String,
}

/// The event or the timer of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WhatHappened {
    Event {
        code: String,
        place: String,
    },
    Timer {
        name: String,
    },
    /// Deferred messages were due.
    Release,
}

#[derive(Debug, Default)]
pub(super) struct Comparison {
    changes: Changes,
    places: HashMap<CustomerKey, usize>,
}

/// Identifies the decisions of both rule sets on the same event or timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Timer { campaign: &'a str, name: &'a str, customer: Option<CustomerKey> },
    Release { customer: Option<CustomerKey> },
    Event(u64),
}

/// A communication, as far as the customer sees it.
#[derive(PartialEq, Eq)]
struct VisibleMessage<'a> {
    channel: u8,
    template: &'a str,
    verdict: &'a Verdict,
    data: &'a str,
}

#[derive(PartialEq, Eq)]
enum Effect<'a> {
    Sends(Vec<VisibleMessage<'a>>),
    Releases(Vec<VisibleMessage<'a>>),
    Failed(&'a str),
    Held,
}

impl Comparison {
    /// Compares the decisions of both rule sets on the same events, up to the same time.
    pub(super) fn add(&mut self, before: &[Decision], after: &[Decision], work: &Work) {
        let index = |decisions| -> BTreeMap<(Millis, Key<'_>), &Decision> {
            let counts = |decision: &&Decision| decision.now >= work.counts_from;
            <[Decision]>::iter(decisions)
                .filter(counts)
                .map(|decision| ((decision.now, key(decision)), decision))
                .collect()
        };
        let (before, after) = (index(before), index(after));
        let moments: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for moment in moments {
            self.compare(before.get(moment).copied(), after.get(moment).copied(), work);
        }
    }

    fn compare(&mut self, before: Option<&Decision>, after: Option<&Decision>, work: &Work) {
        let Some(decision) = before.or(after) else { return };
        // A release that only one rule set has follows from a decision that differed already.
        let is_release = matches!(decision.cause, Cause::Release { .. });
        if is_release && (before.is_none() || after.is_none()) {
            return;
        }
        let (before, after) = (by_campaign(before), by_campaign(after));
        let campaigns: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
        for campaign in campaigns {
            let (one, other) = (before.get(campaign), after.get(campaign));
            if effects(one) == effects(other) {
                continue;
            }
            let change = || Change {
                at: InputEvent::timestamp(decision.now),
                cause: cause(decision, work),
                campaign: campaign.to_owned(),
                before: explain(one, is_release),
                after: explain(other, is_release),
            };
            self.note(campaign, decision, change);
        }
    }

    fn note(&mut self, campaign: &str, decision: &Decision, change: impl FnOnce() -> Change) {
        let Changes { count, by_campaign, customers, not_listed } = &mut self.changes;
        *count += 1;
        *by_campaign.entry(campaign.to_owned()).or_default() += 1;
        let Some(key) = decision.customer else {
            *not_listed += 1;
            return;
        };
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None if customers.len() < CUSTOMERS_MAX => {
                let (customer, key_text) = (name_of(decision, key), text_of(key));
                customers.push(Changed { customer, key: key_text, count: 0, changes: Vec::new() });
                self.places.insert(key, customers.len() - 1);
                customers.len() - 1
            }
            None => {
                *not_listed += 1;
                return;
            }
        };
        let changed = &mut customers[place];
        changed.count += 1;
        if changed.changes.len() < EXPLAINED_MAX {
            changed.changes.push(change());
        }
    }

    pub(super) fn into_changes(self) -> Changes {
        self.changes
    }
}

fn key(decision: &Decision) -> Key<'_> {
    match (&decision.cause, decision.number) {
        (Cause::Timer { campaign, name, .. }, _) => {
            Key::Timer { campaign, name, customer: decision.customer }
        }
        (Cause::Release { .. }, _) => Key::Release { customer: decision.customer },
        (Cause::Event { .. }, number) => Key::Event(number.unwrap_or_default()),
    }
}

/// The outcomes of one campaign in a decision. A campaign may have several: one for each deferred
/// communication that was judged again, and one for a call.
type Outcomes<'a> = (&'a Decision, Vec<&'a Outcome>);

fn by_campaign(decision: Option<&Decision>) -> BTreeMap<&str, Outcomes<'_>> {
    let mut campaigns = BTreeMap::<&str, Outcomes<'_>>::new();
    let outcomes = decision
        .iter()
        .flat_map(|decision| decision.outcomes.iter().map(|outcome| (*decision, outcome)));
    for (decision, outcome) in outcomes {
        let (_, outcomes) =
            campaigns.entry(&outcome.campaign).or_insert_with(|| (decision, Vec::new()));
        outcomes.push(outcome);
    }
    campaigns
}

/// What the customer notices of a campaign's outcomes; nothing if it sends nothing.
fn effects<'a>(outcomes: Option<&Outcomes<'a>>) -> Vec<Effect<'a>> {
    let Some((decision, outcomes)) = outcomes else { return Vec::new() };
    let effects = outcomes.iter().map(|outcome| effect(decision, outcome));
    effects.filter(|effect| *effect != Effect::Sends(Vec::new())).collect()
}

fn effect<'a>(decision: &'a Decision, outcome: &'a Outcome) -> Effect<'a> {
    let visible = |one: &'a Proposed| VisibleMessage {
        channel: one.channel,
        template: &one.template,
        verdict: &one.verdict,
        data: data(&one.id, decision),
    };
    match &outcome.decided {
        Decided::Skipped { .. } | Decided::OutsideRollout | Decided::Missed { .. } => {
            Effect::Sends(Vec::new())
        }
        Decided::Failed { error } => Effect::Failed(error),
        Decided::Held => Effect::Held,
        Decided::Answered { communications, .. } => {
            Effect::Sends(communications.iter().map(visible).collect())
        }
        Decided::Released { communications } => {
            let released = communications.iter().map(|released| visible(&released.communication));
            Effect::Releases(released.collect())
        }
    }
}

fn data<'a>(id: &str, decision: &'a Decision) -> &'a str {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let communication = decision.communications.iter().find(|one| *one.id == *id);
    let body = communication.and_then(|one| serde_json::from_slice::<Body<'_>>(&one.body).ok());
    body.map_or("", |body| body.data.get())
}

/// The outcomes of one campaign as text.
fn explain(outcomes: Option<&Outcomes<'_>>, is_release: bool) -> String {
    let Some((decision, outcomes)) = outcomes else {
        let nothing = if is_release { "has no deferred message" } else { "was not called" };
        return nothing.to_owned();
    };
    let outcomes = outcomes.iter().map(|outcome| explain_outcome(decision, outcome));
    outcomes.collect::<Vec<_>>().join("; ")
}

fn explain_outcome(decision: &Decision, outcome: &Outcome) -> String {
    let what =
        match &outcome.decided {
            Decided::Skipped { field, why } => {
                format!("was not called, because {}", Decided::skipped_as(field, why.as_deref()))
            }
            Decided::Failed { error } => format!("failed: {error}"),
            Decided::Held => "waits behind an earlier failure".to_owned(),
            Decided::Missed { reason, .. } => format!("was missed ({reason})"),
            Decided::OutsideRollout => "is outside the rollout".to_owned(),
            Decided::Answered { communications, notes, scheduled, .. } => {
                let mut parts: Vec<String> = communications
                    .iter()
                    .map(|one| explain_message(one, ("sends", "would send"), decision))
                    .collect();
                if parts.is_empty() {
                    parts.push("sends nothing".to_owned());
                }
                parts.extend(scheduled.iter().map(|(timer, due)| {
                    format!("sets `{timer}` for {}", InputEvent::timestamp(*due))
                }));
                parts.extend(notes.iter().map(|note| format!("“{note}”")));
                parts.join(", ")
            }
            Decided::Released { communications } => {
                let parts = communications.iter().map(|released| {
                    explain_message(&released.communication, ("releases", "deferred"), decision)
                });
                parts.collect::<Vec<_>>().join(", ")
            }
        };
    match &*outcome.version {
        // The campaign of a released message is not there any more.
        "" => what,
        version => format!("{what} ({version})"),
    }
}

/// A message with its verdict. `sends` and `would_send` are the verbs for one that passes and for
/// one that does not.
fn explain_message(
    one: &Proposed,
    (sends, would_send): (&str, &str),
    decision: &Decision,
) -> String {
    let what = format!("{} `{}`", channel_name(one.channel), one.template);
    let reason = |name: &str| reason_text(name, one.policy.as_deref(), one.detail.as_deref());
    match &one.verdict {
        Verdict::Passed => format!("{sends} {what} with {}", data(&one.id, decision)),
        Verdict::Deferred { until } => {
            let (until, why) = (InputEvent::timestamp(*until), reason(Reason::QuietHours.name()));
            format!("{would_send} {what}, deferred until {until} ({why})")
        }
        Verdict::Suppressed(name) => format!("{would_send} {what}, suppressed ({})", reason(name)),
    }
}

fn cause(decision: &Decision, work: &Work) -> WhatHappened {
    match &decision.cause {
        Cause::Event { code } => WhatHappened::Event {
            code: code.to_string(),
            place: work.place_of(decision.number.unwrap_or_default()),
        },
        Cause::Timer { name, .. } => WhatHappened::Timer { name: name.to_string() },
        Cause::Release { .. } => WhatHappened::Release,
    }
}

fn name_of(decision: &Decision, key: CustomerKey) -> String {
    let recipient = decision.recipient.as_ref();
    let id = recipient.and_then(|one| {
        one.customer_id
            .as_deref()
            .or(one.customer_uid.as_deref())
            .or(one.account_group_id.as_deref())
    });
    id.map_or_else(|| text_of(key), str::to_owned)
}

fn text_of(key: CustomerKey) -> String {
    hex::encode(key.as_bytes())
}
