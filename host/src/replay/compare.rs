//! Two sets of rules on the same events: whose outcome is another, and what each side says to it.
//!
//! An outcome is what goes out, to the byte of its data, or that a rule failed. Notes, states and timers that come to the same are no change; they are part of the
//! explanation.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Arriving;
use super::chunk::Work;
use super::tally::channel_name;
use crate::clock::Millis;
use crate::event::CustomerKey;
use crate::records::{Cause, Decided, Outcome, Verdict};
use crate::rehearsal::Decision;

/// So many customers are listed; others are counted.
const CUSTOMERS_MAX: usize = 100_000;
/// So many changes of one customer are explained.
const EXPLAINED_MAX: usize = 3;

/// Everybody whose outcome changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Events and timers, by campaign, with another outcome.
    pub count: u64,
    pub by_campaign: BTreeMap<String, u64>,
    /// In the order of their first change.
    pub customers: Vec<Changed>,
    /// Changes of customers beyond those that are listed, and of events that name nobody.
    pub not_listed: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// The id by which their first change's event names them.
    pub customer: String,
    /// Who they are by then, as `--out` writes it: whoever was merged goes on as another.
    pub key: String,
    pub count: u64,
    /// The first of them.
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

/// Upon what was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WhatHappened {
    Event { code: String, place: String },
    Timer { name: String },
}

#[derive(Debug, Default)]
pub(super) struct Comparison {
    changes: Changes,
    places: HashMap<CustomerKey, usize>,
}

/// What has to be the same on both sides for two decisions to be about the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Timer { campaign: &'a str, name: &'a str, customer: Option<CustomerKey> },
    Event(u64),
}

/// A communication, as far as a customer sees it.
#[derive(PartialEq, Eq)]
struct Seen<'a> {
    channel: u8,
    template: &'a str,
    verdict: Option<&'a str>,
    data: &'a str,
}

#[derive(PartialEq, Eq)]
enum Essence<'a> {
    Sends(Vec<Seen<'a>>),
    Failed(&'a str),
    Held,
}

impl Comparison {
    /// Compares what two sides decided on the same events and up to the same moment.
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
        let outcomes = |decision: Option<&'_ Decision>| -> BTreeMap<String, usize> {
            let outcomes = decision.map(|decision| &*decision.outcomes).unwrap_or_default().iter();
            outcomes.enumerate().map(|(place, outcome)| (outcome.campaign.to_string(), place)).collect()
        };
        let (places_before, places_after) = (outcomes(before), outcomes(after));
        let campaigns: BTreeSet<&String> = places_before.keys().chain(places_after.keys()).collect();
        for campaign in campaigns {
            let one =
                before.zip(places_before.get(campaign)).map(|(decision, place)| (decision, &decision.outcomes[*place]));
            let other =
                after.zip(places_after.get(campaign)).map(|(decision, place)| (decision, &decision.outcomes[*place]));
            let nothing = || Essence::Sends(Vec::new());
            if one.map_or_else(nothing, essence) == other.map_or_else(nothing, essence) {
                continue;
            }
            let Some(decision) = before.or(after) else { continue };
            let change = || Change {
                at: Arriving::timestamp(decision.now),
                cause: cause(decision, work),
                campaign: campaign.clone(),
                before: explain(one),
                after: explain(other),
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
        (Cause::Timer { campaign, name, .. }, _) => Key::Timer { campaign, name, customer: decision.customer },
        (Cause::Event { .. }, number) => Key::Event(number.unwrap_or_default()),
    }
}

fn essence<'a>((decision, outcome): (&'a Decision, &'a Outcome)) -> Essence<'a> {
    match &outcome.decided {
        Decided::Skipped { .. } | Decided::OutsideRollout | Decided::Missed { .. } => Essence::Sends(Vec::new()),
        Decided::Failed { error } => Essence::Failed(error),
        Decided::Held => Essence::Held,
        Decided::Answered { communications, .. } => Essence::Sends(
            communications
                .iter()
                .map(|one| Seen {
                    channel: one.channel,
                    template: &one.template,
                    verdict: match &one.verdict {
                        Verdict::Passed => None,
                        Verdict::Suppressed(reason) => Some(reason),
                    },
                    data: data(&one.id, decision),
                })
                .collect(),
        ),
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

/// What a campaign made of it, in words.
fn explain(of: Option<(&Decision, &Outcome)>) -> String {
    let Some((decision, outcome)) = of else { return "was not asked".to_owned() };
    let what = match &outcome.decided {
        Decided::Skipped { field, why } => format!("was not called, as {}", Decided::skipped_as(field, why.as_deref())),
        Decided::Failed { error } => format!("failed: {error}"),
        Decided::Held => "waits behind an earlier failure".to_owned(),
        Decided::Missed { reason, .. } => format!("was missed ({reason})"),
        Decided::OutsideRollout => "is outside the rollout".to_owned(),
        Decided::Answered { communications, notes, scheduled, .. } => {
            let mut parts: Vec<String> = communications
                .iter()
                .map(|one| {
                    let what = format!("{} `{}`", channel_name(one.channel), one.template);
                    match &one.verdict {
                        Verdict::Passed => format!("sends {what} with {}", data(&one.id, decision)),
                        Verdict::Suppressed(reason) => format!("would send {what}, suppressed ({reason})"),
                    }
                })
                .collect();
            if parts.is_empty() {
                parts.push("sends nothing".to_owned());
            }
            parts.extend(
                scheduled.iter().map(|(timer, due)| format!("sets `{timer}` for {}", Arriving::timestamp(*due))),
            );
            parts.extend(notes.iter().map(|note| format!("“{note}”")));
            parts.join(", ")
        }
    };
    format!("{what} ({})", outcome.version)
}

fn cause(decision: &Decision, work: &Work) -> WhatHappened {
    match &decision.cause {
        Cause::Event { code } => {
            WhatHappened::Event { code: code.to_string(), place: work.place_of(decision.number.unwrap_or_default()) }
        }
        Cause::Timer { name, .. } => WhatHappened::Timer { name: name.to_string() },
    }
}

fn name_of(decision: &Decision, key: CustomerKey) -> String {
    let recipient = decision.recipient.as_ref();
    let id = recipient
        .and_then(|one| one.customer_id.as_deref().or(one.customer_uid.as_deref()).or(one.account_group_id.as_deref()));
    id.map_or_else(|| text_of(key), str::to_owned)
}

fn text_of(key: CustomerKey) -> String {
    format!("{:032x}", u128::from_be_bytes(*key.as_bytes()))
}
