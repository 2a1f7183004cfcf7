//! What a customer's row keeps for the policies.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::channels::Channels;
use hailer_base::clock::Millis;
use hailer_event::EventId;

/// What a customer's row keeps for the policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// Sorted by subscription and channel; at most one of each.
    pub consents: Vec<Consent>,
    /// The customer's time zone as an attribute or an import named it; `None` if it is not known.
    pub zone: Option<Box<str>>,
    /// What was sent to the customer and counts towards caps, oldest first.
    pub counted: Vec<Counted>,
}

/// Whether the customer agreed to a channel of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// The subscription's code, or `id:N` if it has none.
    pub subscription: Arc<str>,
    /// The channel's number on the wire.
    pub channel: u8,
    pub is_yes: bool,
    /// When the customer said so, in ms since 1970.
    pub at: Millis,
    pub source: ConsentSource,
}

/// Where a consent comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsentSource {
    Event(EventId),
    Import,
}

/// What one campaign sent on one event or timer at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// In ms since 1970.
    pub at: Millis,
    /// The campaign; for a canary, the one that it acts for.
    pub campaign: Arc<str>,
    /// The event or timer that the campaign decided. Everything that a campaign sends on one event
    /// counts once.
    pub event: EventId,
    pub channels: Channels,
}

/// Upper bounds, in bytes, of what a consent and a counted message take in addition to their texts.
const CONSENT_BYTES: usize = 40;
const COUNTED_BYTES: usize = 40;

impl PolicyRow {
    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.consents.is_empty() && self.zone.is_none() && self.counted.is_empty()
    }

    /// Its size in bytes, rounded up a little.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let consents = self.consents.iter().map(|one| CONSENT_BYTES + one.subscription.len());
        let counted = self.counted.iter().map(|one| COUNTED_BYTES + one.campaign.len());
        let zone = self.zone.as_ref().map_or(0, |zone| zone.len());
        consents.sum::<usize>() + counted.sum::<usize>() + zone
    }

    /// Adds the row of a customer who was merged into this one. In consents, no beats yes, and both
    /// beat a consent that is not known. Caps count the messages to either. The time zone stays,
    /// or is the other customer's if this one's is not known.
    pub fn unite(&mut self, gone: PolicyRow) {
        self.unite_consents(gone.consents);
        self.unite_counted(gone.counted);
        self.zone = self.zone.take().or(gone.zone);
    }
}
