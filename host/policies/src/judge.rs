//! The judgement: whether a proposal passes, is deferred, or is suppressed and for which reason.
//!
//! **The first reason wins, in the order of [`Reason::ALL`]; at a release, age comes first.** The
//! caller collects the proposals of one event, sorts them by priority (higher first), campaign and
//! place, and judges them in this order. After each message that passes or is deferred, and that
//! its own limits let pass, it calls [`Judge::sent`] or [`Judge::deferred`].
//!
//! Transactional messages are exempt from consent, control groups, `per_event`, quiet hours and
//! caps.

mod explain;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::channels::Channels;
use super::facts::Facts;
use super::model::Policies;
use super::reason::Reason;
use super::row::{Counted, PolicyRow};
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;
use hailer_base::wording::shown;
use hailer_event::{Customer, CustomerKey, EventId};

pub use explain::{Step, StepResult};

/// The occasion on which a message is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A rule has just proposed it.
    Decision,
    /// It was deferred, and its release is due.
    Release {
        /// The last moment at which it may be sent, in ms since 1970, as [`Verdict::Defer`] said.
        discard_at: Millis,
    },
}

/// A proposed message.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The campaign; for a canary, the one that it acts for.
    pub campaign: &'a str,
    pub channel: Channel,
    /// Whether the campaign sends at all: false in shadow mode.
    pub is_live: bool,
    /// The customer's ids; `None` if the event names no customer.
    pub recipient: Option<&'a Customer>,
    /// The customer's key after redirects; `None` if the customer has none.
    pub customer: Option<CustomerKey>,
    /// The event or timer on which the campaign proposed the message.
    pub event: EventId,
}

/// The result of judging a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be sent now.
    Pass,
    /// It may be sent later.
    Defer {
        /// The name of the quiet hours.
        policy: Box<str>,
        /// The moment at which it is judged again, in ms since 1970.
        until: Millis,
        /// The last moment at which it may be sent, in ms since 1970.
        discard_at: Millis,
    },
    /// It is never sent.
    Suppress(Suppression),
}

/// The reason why a message is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    pub reason: Reason,
    /// The name of the cap, the quiet hours or the control group; `None` for other reasons.
    pub policy: Option<Box<str>>,
    /// The circumstances in plain words, for one line of output; `None` if there is nothing to add.
    pub detail: Option<Box<str>>,
}

impl From<Reason> for Suppression {
    fn from(reason: Reason) -> Suppression {
        Suppression { reason, policy: None, detail: None }
    }
}

/// Judges the proposals of one customer at one moment.
#[derive(Clone, Debug)]
pub struct Judge<'a> {
    policies: Option<&'a Policies>,
    /// The customers who may be written to; `None` for everybody.
    allow_list: Option<&'a BTreeSet<Box<str>>>,
    now: Millis,
    /// The customer's zone; `None` without policies.
    zone: Option<Cow<'a, TimeZone>>,
    /// The campaigns that speak on each event, without transactional ones. It stays empty if their
    /// number is not limited.
    slots: Vec<(EventId, Arc<str>)>,
}

impl<'a> Judge<'a> {
    /// A judge of one customer's proposals at the moment `now`, in ms since 1970. It reads the time
    /// zone of `row`, so an event's change of the row comes before. Without policies, only shadow
    /// mode and a missing recipient suppress a message, and age at a release.
    #[must_use]
    pub fn new(
        policies: Option<&'a Policies>,
        environment: &str,
        now: Millis,
        row: Option<&PolicyRow>,
    ) -> Judge<'a> {
        let zone = policies.map(|policies| match row {
            Some(row) if row.zone.is_some() => Cow::Owned(policies.zone_of(row)),
            _ => Cow::Borrowed(&policies.zone),
        });
        let allow_list = policies.and_then(|policies| policies.allow_lists.get(environment));
        Judge { policies, allow_list, now, zone, slots: Vec::new() }
    }

    /// The priority of a campaign, from -100 to 100. Proposals of one event are judged by priority
    /// (higher first), then by campaign, then by place.
    #[must_use]
    pub fn priority(&self, campaign: &str) -> i32 {
        self.policies.map_or(0, |policies| policies.campaign(campaign).priority)
    }

    /// Judges one message. `row` is the customer's, `None` if there is none. `decided` is the time
    /// of the decision in ms since 1970; it equals `now` except at a release.
    #[must_use]
    pub fn judge(
        &self,
        row: Option<&PolicyRow>,
        candidate: &Candidate<'_>,
        at: At,
        decided: Millis,
    ) -> Verdict {
        if let At::Release { discard_at } = at
            && self.now > discard_at
        {
            return suppress(Reason::Stale, None, None);
        }
        if !candidate.is_live {
            return suppress(Reason::Shadow, None, None);
        }
        if at == At::Decision && candidate.recipient.is_none() {
            return suppress(Reason::NoRecipient, None, None);
        }
        let (Some(policies), Some(zone)) = (self.policies, self.zone.as_deref()) else {
            return Verdict::Pass;
        };
        if !self.is_listed(candidate) {
            return suppress(Reason::NotListed, None, None);
        }
        let campaign = policies.campaign(candidate.campaign);
        if campaign.is_transactional {
            return Verdict::Pass;
        }
        let facts = Facts { policies, zone, now: self.now, row, candidate, campaign };
        facts
            .without_consent()
            .or_else(|| facts.in_control_group())
            .or_else(|| self.without_slot(policies, candidate).filter(|_| at == At::Decision))
            .or_else(|| facts.in_quiet_hours(at, decided))
            .or_else(|| facts.over_cap())
            .unwrap_or(Verdict::Pass)
    }

    /// Records that a message is sent. It takes its campaign's slot of the event, and counts
    /// towards caps in the row. Call it for a message that passed, after the campaign's limit for
    /// the hour let it pass, and before the next message is judged.
    pub fn sent(&mut self, row: &mut PolicyRow, candidate: &Candidate<'_>) {
        self.take_slot(candidate);
        let Some(policies) = self.policies.filter(|policies| !policies.caps.is_empty()) else {
            return;
        };
        if policies.campaign(candidate.campaign).counts {
            let campaign = row.shared_name(candidate.campaign);
            row.count(Counted {
                at: self.now,
                campaign,
                event: candidate.event,
                channels: Channels::from_iter([candidate.channel]),
            });
            row.prune(policies, self.now);
        }
    }

    /// Records that a message is deferred. It takes its campaign's slot of the event, and counts
    /// towards no cap.
    pub fn deferred(&mut self, candidate: &Candidate<'_>) {
        self.take_slot(candidate);
    }

    fn take_slot(&mut self, candidate: &Candidate<'_>) {
        let Some(policies) = self.policies.filter(|all| all.event_campaigns_max.is_some()) else {
            return;
        };
        if !policies.campaign(candidate.campaign).is_transactional && !self.has_slot(candidate) {
            self.slots.push((candidate.event, candidate.campaign.into()));
        }
    }

    fn has_slot(&self, candidate: &Candidate<'_>) -> bool {
        let is_own = |(event, campaign): &(EventId, Arc<str>)| {
            *event == candidate.event && **campaign == *candidate.campaign
        };
        self.slots.iter().any(is_own)
    }

    fn is_listed(&self, candidate: &Candidate<'_>) -> bool {
        let Some(customers) = self.allow_list else { return true };
        let id = candidate.recipient.and_then(|recipient| recipient.customer_id.as_deref());
        id.is_some_and(|id| customers.contains(id))
    }

    fn without_slot(&self, policies: &Policies, candidate: &Candidate<'_>) -> Option<Verdict> {
        let max = policies.event_campaigns_max?;
        if self.has_slot(candidate) {
            return None;
        }
        let mut taken = self.slots.iter().filter(|(event, _)| *event == candidate.event);
        let (_, first) = taken.next()?;
        let count = 1 + taken.count();
        (count >= max as usize).then(|| {
            let detail = format!("{count} of {max}; first: {}", shown(first));
            suppress(Reason::EventMax, None, Some(detail))
        })
    }
}

/// The verdict of a message that is never sent.
pub(crate) fn suppress(reason: Reason, policy: Option<&str>, detail: Option<String>) -> Verdict {
    let detail = detail.map(String::into_boxed_str);
    Verdict::Suppress(Suppression { reason, policy: policy.map(Box::from), detail })
}
