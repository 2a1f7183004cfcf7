//! Consent: the statements of events and imports, how a row keeps them, and what the row answers.
//!
//! **The later statement wins.** An event replaces every earlier statement, because the queue
//! brings it later. An import replaces a statement only if the import's own time is later
//! (`import.rs`).

use std::fmt;
use std::sync::Arc;

use super::body::{Leaf, Object};
use super::channels::Channels;
use super::model::{ConsentPolicy, Policies};
use super::row::{Consent, ConsentSource, PolicyRow};
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;

/// The most subscriptions whose consents one customer's row keeps.
const SUBSCRIPTIONS_MAX: usize = 64;

/// The longest code of a subscription, in bytes.
pub const SUBSCRIPTION_BYTES_MAX: usize = 128;

/// A statement about one subscription of a customer, from an event or an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionChange {
    /// The subscription's code, or `id:N` if it has none.
    pub subscription: Box<str>,
    /// The value of each channel, by its number on the wire; `None` leaves the consent as it is.
    pub channels: [Option<Box<str>>; Channel::ALL.len()],
    /// The names of members that are present and unusable. They count as absent.
    pub unusable: Vec<&'static str>,
}

/// The reason why an event about a subscription cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnusableChange {
    /// The event names no subscription: it has neither a code nor a whole number as id.
    NoSubscription,
}

/// Whether a row had room for the statements of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// They are recorded.
    Enough,
    /// They contain a refusal and are recorded. The row forgot another subscription, to all of
    /// whose channels the customer had said yes.
    Made,
    /// Nothing is recorded.
    Missing,
}

/// The answer of a row about the consent to one channel of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'row> {
    Yes(&'row Consent),
    No(&'row Consent),
    Unknown,
}

impl SubscriptionChange {
    /// The code of the events that state consents.
    pub const EVENT: &'static str = "OnCustomerSubscriptionChange";

    /// Reads the body of an event with the code [`Self::EVENT`]; `None` if it has another code.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Result<SubscriptionChange, UnusableChange>> {
        let body = Object::read(body)?;
        matches!(body.leaf("eventCode"), Leaf::Text(code) if code == Self::EVENT)
            .then(|| Self::of(&body))
    }

    fn of(body: &Object<'_>) -> Result<SubscriptionChange, UnusableChange> {
        let mut unusable = Vec::new();
        let subscription =
            subscription_of(body, &mut unusable).ok_or(UnusableChange::NoSubscription)?;
        let mut channels = [const { None }; Channel::ALL.len()];
        let info = body.member("subscriptionInfo").filter(|info| *info != b"null");
        if let Some(info) = info {
            match Object::read(info) {
                Some(info) => {
                    for (value, channel) in channels.iter_mut().zip(Channel::ALL) {
                        match info.leaf(channel.name()) {
                            Leaf::Absent => {}
                            Leaf::Text(text) => *value = Some(text.into()),
                            // A value of another type is present, so it is no yes.
                            Leaf::Integer(_) | Leaf::Other => {
                                *value = Some("".into());
                                unusable.push(channel.name());
                            }
                        }
                    }
                }
                None => unusable.push("subscriptionInfo"),
            }
        }
        Ok(SubscriptionChange { subscription, channels, unusable })
    }

    /// Whether any channel has a value that means no.
    fn refuses(&self, policy: &ConsentPolicy) -> bool {
        self.statements(policy).any(|(_, is_yes)| !is_yes)
    }

    /// The channels with a value, and whether the value means yes.
    fn statements<'a>(
        &'a self,
        policy: &'a ConsentPolicy,
    ) -> impl Iterator<Item = (Channel, bool)> + 'a {
        let values = Channel::ALL.into_iter().zip(&self.channels);
        values.filter_map(|(channel, value)| Some((channel, policy.yes.contains(value.as_ref()?))))
    }
}

fn subscription_of(body: &Object<'_>, unusable: &mut Vec<&'static str>) -> Option<Box<str>> {
    match body.leaf("subscriptionTypeCode") {
        Leaf::Text(code) if code.len() <= SUBSCRIPTION_BYTES_MAX => return Some(code.into()),
        Leaf::Absent => {}
        _ => unusable.push("subscriptionTypeCode"),
    }
    match body.leaf("subscriptionTypeId") {
        Leaf::Integer(id) => return Some(format!("id:{id}").into()),
        // Other ids of the source come as text as well as as numbers.
        Leaf::Text(id) if id.len() <= 19 && id.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Some(format!("id:{id}").into());
        }
        Leaf::Absent => {}
        _ => unusable.push("subscriptionTypeId"),
    }
    None
}

impl ConsentPolicy {
    /// The answer of a row about the consent to a channel of a subscription.
    #[must_use]
    pub fn asks<'row>(
        &self,
        row: &'row PolicyRow,
        subscription: &str,
        channel: Channel,
    ) -> Answer<'row> {
        match row.place(subscription, channel as u8) {
            Ok(place) if row.consents[place].is_yes => Answer::Yes(&row.consents[place]),
            Ok(place) => Answer::No(&row.consents[place]),
            Err(_) => Answer::Unknown,
        }
    }
}

impl Policies {
    /// The channels on which a verdict on the campaign's messages depends on a consent that is not
    /// known.
    #[must_use]
    pub fn unknown_consents(&self, row: Option<&PolicyRow>, campaign: &str) -> Channels {
        let (Some(policy), campaign) = (&self.consent, self.campaign(campaign)) else {
            return Channels::default();
        };
        if campaign.is_transactional {
            return Channels::default();
        }
        let subscription = campaign.subscription.as_ref().unwrap_or(&policy.subscription);
        let Some(row) = row else { return Channels::all() };
        let is_unknown =
            |channel: &Channel| policy.asks(row, subscription, *channel) == Answer::Unknown;
        Channel::ALL.into_iter().filter(is_unknown).collect()
    }
}

impl PolicyRow {
    /// Records the statements of an event in place of earlier ones.
    #[must_use = "a consent that is not recorded is reported"]
    pub fn change(
        &mut self,
        policy: &ConsentPolicy,
        change: &SubscriptionChange,
        at: Millis,
        source: ConsentSource,
    ) -> Room {
        if change.statements(policy).next().is_none() {
            return Room::Enough;
        }
        let room = self.make_room(&change.subscription, change.refuses(policy));
        if room == Room::Missing {
            return room;
        }
        let subscription = self.shared(&change.subscription);
        for (channel, is_yes) in change.statements(policy) {
            let (subscription, channel) = (Arc::clone(&subscription), channel as u8);
            self.record(Consent { subscription, channel, is_yes, at, source });
        }
        room
    }

    /// Adds the consents of a customer who was merged into this one. No beats yes, and both beat a
    /// consent that is not known.
    pub(crate) fn unite_consents(&mut self, gone: Vec<Consent>) {
        // If there is not room for all of them, a refusal matters more.
        let (refusals, rest): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|consent| !consent.is_yes);
        for consent in refusals.into_iter().chain(rest) {
            let known = self.place(&consent.subscription, consent.channel);
            let wins = match known.map(|place| &self.consents[place]) {
                Ok(known) if known.is_yes != consent.is_yes => known.is_yes,
                Ok(known) => known.at < consent.at,
                Err(_) => self.make_room(&consent.subscription, !consent.is_yes) != Room::Missing,
            };
            if wins {
                self.record(consent);
            }
        }
    }

    pub(crate) fn record(&mut self, consent: Consent) {
        match self.place(&consent.subscription, consent.channel) {
            Ok(place) => self.consents[place] = consent,
            Err(place) => self.consents.insert(place, consent),
        }
    }

    pub(crate) fn place(&self, subscription: &str, channel: u8) -> Result<usize, usize> {
        self.consents.binary_search_by(|consent| {
            (&*consent.subscription, consent.channel).cmp(&(subscription, channel))
        })
    }

    /// Makes room for a subscription. **A refusal wins over a yes**: if the row is full, it forgets
    /// the subscription with nothing but yes whose last statement is the oldest. A customer whose
    /// yes is forgotten is written to less, never more.
    pub(crate) fn make_room(&mut self, subscription: &str, is_refusal: bool) -> Room {
        let by_subscription = || self.consents.chunk_by(|a, b| a.subscription == b.subscription);
        let is_known = self.consents.iter().any(|known| *known.subscription == *subscription);
        if is_known || by_subscription().count() < SUBSCRIPTIONS_MAX {
            return Room::Enough;
        }
        let only_yes = by_subscription()
            .filter(|consents| is_refusal && consents.iter().all(|consent| consent.is_yes));
        let oldest = only_yes.min_by_key(|consents| consents.iter().map(|one| one.at).max());
        let Some(forgotten) = oldest.map(|consents| Arc::clone(&consents[0].subscription)) else {
            return Room::Missing;
        };
        self.consents.retain(|consent| consent.subscription != forgotten);
        Room::Made
    }

    /// The name of a subscription, shared with the row's consents of the same one.
    pub(crate) fn shared(&self, subscription: &str) -> Arc<str> {
        let known = self.consents.iter().find(|consent| *consent.subscription == *subscription);
        known.map_or_else(|| Arc::from(subscription), |known| Arc::clone(&known.subscription))
    }
}

impl fmt::Display for UnusableChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the event names no subscription: it has neither a code nor an id")
    }
}

impl std::error::Error for UnusableChange {}
