//! Imports: what another system says about a customer's consent and time zone, and how the
//! customer's row takes it.
//!
//! **An import never replaces a later statement.** Of two statements of one moment a refusal stays,
//! in any order. So an import that is repeated changes nothing, and an import that was interrupted
//! is completed by repeating it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::channels::Channels;
use super::consent::Room;
use super::row::{Consent, ConsentSource, PolicyRow};
use hailer_base::clock::Millis;

/// What an import says about one subscription of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportedConsent {
    /// The subscription's code, or `id:N` if it has none.
    pub subscription: Arc<str>,
    /// The channels that it is about.
    pub channels: Channels,
    /// The channels to which the customer agreed. The customer refused the other ones.
    pub agreed: Channels,
    /// When the customer said so, in ms since 1970.
    pub at: Millis,
}

/// What a row made of imported consents. Each channel counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsentCounts {
    /// Consents that were not known, or known from an earlier moment.
    pub changed: u64,
    /// Consents that are known from the same moment.
    pub unchanged: u64,
    /// Consents that are not recorded, because a refusal of the same moment is known.
    pub refused: u64,
    /// Consents that are known from a later moment, so they stay.
    pub older: u64,
    /// Consents that are not recorded, and subscriptions that are forgotten in favour of a refusal,
    /// because the row has as many subscriptions as may be kept.
    pub no_room: u64,
}

/// What a row made of imported time zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ZoneCounts {
    pub changed: u64,
    pub unchanged: u64,
    /// Another time zone is known and stays, because events tell time zones.
    pub kept: u64,
}

impl PolicyRow {
    /// Records the consents of an import, except where the row has a later statement, or a refusal
    /// of the same moment.
    pub fn import(&mut self, import: &ImportedConsent) -> ConsentCounts {
        let ImportedConsent { subscription, channels, agreed, at } = import;
        let mut counts = ConsentCounts::default();
        match self.make_room(subscription, agreed != channels) {
            Room::Enough => {}
            Room::Made => counts.no_room += 1,
            Room::Missing => {
                return ConsentCounts { no_room: channels.iter().count() as u64, ..counts };
            }
        }
        let subscription = self.shared(subscription);
        for channel in channels.iter() {
            let number = channel as u8;
            let is_yes = agreed.contains(channel);
            let known = self.place(&subscription, number).ok().map(|place| &self.consents[place]);
            match known.map(|known| (known.at, known.is_yes)) {
                Some((known, _)) if known > *at => counts.older += 1,
                Some((known, was_yes)) if known == *at && was_yes == is_yes => {
                    counts.unchanged += 1;
                }
                Some((known, false)) if known == *at => counts.refused += 1,
                _ => {
                    self.record(Consent {
                        subscription: Arc::clone(&subscription),
                        channel: number,
                        is_yes,
                        at: *at,
                        source: ConsentSource::Import,
                    });
                    counts.changed += 1;
                }
            }
        }
        counts
    }

    /// Records the time zone of an import. `replaces` says whether it replaces another one that is
    /// known: a row does not say when its time zone was told, so an import must not replace one
    /// that a later event may have told.
    pub fn import_zone(&mut self, zone: &str, replaces: bool) -> ZoneCounts {
        let mut counts = ZoneCounts::default();
        match self.zone.as_deref() {
            Some(known) if known == zone => counts.unchanged = 1,
            Some(_) if !replaces => counts.kept = 1,
            _ => {
                self.zone = Some(zone.into());
                counts.changed = 1;
            }
        }
        counts
    }
}

impl ConsentCounts {
    pub fn add(&mut self, other: ConsentCounts) {
        let ConsentCounts { changed, unchanged, refused, older, no_room } = other;
        self.changed += changed;
        self.unchanged += unchanged;
        self.refused += refused;
        self.older += older;
        self.no_room += no_room;
    }
}

impl ZoneCounts {
    pub fn add(&mut self, other: ZoneCounts) {
        let ZoneCounts { changed, unchanged, kept } = other;
        self.changed += changed;
        self.unchanged += unchanged;
        self.kept += kept;
    }
}
