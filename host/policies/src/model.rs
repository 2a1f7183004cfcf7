//! The policies that a file `policies.toml` states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use super::channels::Channels;
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;

/// All policies, as one file states them. They never change; a reload makes new ones.
#[derive(Clone, Debug)]
pub struct Policies {
    /// The file's digest in hexadecimal (BLAKE3).
    pub digest: Arc<str>,
    /// The time zone of customers whose own is not known.
    pub zone: TimeZone,
    /// The code of the attribute whose value is the customer's time zone; `None` if there is none.
    pub zone_attribute: Option<Box<str>>,
    /// `None` if consent is not judged.
    pub consent: Option<ConsentPolicy>,
    /// In the order of the file.
    pub quiet_hours: Vec<QuietHours>,
    /// `None` if no message is ever deferred.
    pub deferral: Option<Deferral>,
    /// In the order of the file.
    pub caps: Vec<Cap>,
    /// Sorted by name.
    pub control: Vec<ControlGroup>,
    /// How many campaigns may speak on one event; `None` for no limit.
    pub event_campaigns_max: Option<u32>,
    /// By environment, the values of `customerId` that may be written to. Without an entry for an
    /// environment, every customer of it may.
    pub allow_lists: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// The campaigns that the file names.
    pub campaigns: BTreeMap<Box<str>, CampaignPolicy>,
}

/// Whether a customer must have agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentPolicy {
    /// The code of the subscription that is asked for, unless a campaign names its own.
    pub subscription: Box<str>,
    /// The values that mean yes. Any other value that is present means no.
    pub yes: Vec<Box<str>>,
    /// The channels on which a customer is written to whose consent is not known.
    pub allowed_unknown: Channels,
}

/// Hours of the customer's day in which nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietHours {
    pub name: Box<str>,
    /// The start, included. It is a whole minute, as is the end.
    pub from: Time,
    /// The end, excluded. If it is not after `from`, the hours end on the next day.
    pub to: Time,
    pub channels: Channels,
    /// The days on which the hours begin.
    pub days: Vec<Weekday>,
    /// Whether messages are deferred until the hours end; otherwise they are suppressed.
    pub defers: bool,
}

/// How deferred messages are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// How long after its decision a message may be sent, in ms.
    pub discard_after_ms: Millis,
    /// The span over which releases are spread, in ms; 0 for none.
    pub spread_ms: Millis,
}

/// How often a customer may be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    pub name: Box<str>,
    pub max: u32,
    pub per: Span,
    /// The campaigns that the cap concerns; `None` for all.
    pub campaigns: Option<BTreeSet<Box<str>>>,
    pub channels: Channels,
}

/// The span of time in which a cap counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The present day in the customer's time zone.
    Day,
    /// The present week in the customer's time zone, which begins on Monday.
    Week,
    /// The present month in the customer's time zone.
    Month,
    /// The last so many milliseconds.
    Rolling(Millis),
}

/// Customers whom some campaigns never write to, for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlGroup {
    pub name: Box<str>,
    /// The members in hundredths of a percent, from 1 to 9999.
    pub basis_points: u32,
    /// Membership depends on this text and the customer's key alone.
    pub salt: Box<str>,
    /// The campaigns that the group concerns; `None` for all.
    pub campaigns: Option<BTreeSet<Box<str>>>,
}

/// The policies of one campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignPolicy {
    pub is_transactional: bool,
    /// The subscription that is asked for in place of the file's.
    pub subscription: Option<Box<str>>,
    /// From -100 to 100; higher first.
    pub priority: i32,
    /// Replaces what the quiet hours say.
    pub quiet_hours: Option<QuietChoice>,
    /// Replaces [`Deferral::discard_after_ms`].
    pub discard_after_ms: Option<Millis>,
    /// The codes of events that cancel the customer's deferred messages of the campaign.
    pub cancel_on: Vec<Box<str>>,
    /// Caps that do not concern the campaign.
    pub without_caps: Vec<Box<str>>,
    /// Whether its messages count towards caps. The default is false for a transactional campaign,
    /// else true.
    pub counts: bool,
}

/// What quiet hours do with a campaign's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuietChoice {
    Defer,
    Drop,
    Ignore,
}

impl CampaignPolicy {
    /// The policy of a campaign that the file does not name.
    pub const DEFAULT: CampaignPolicy = CampaignPolicy {
        is_transactional: false,
        subscription: None,
        priority: 0,
        quiet_hours: None,
        discard_after_ms: None,
        cancel_on: Vec::new(),
        without_caps: Vec::new(),
        counts: true,
    };
}

impl CampaignPolicy {
    /// Whether an event with this code cancels deferred messages. Another code of the same kind of
    /// event does not: OnBlockCard and OnUnblockCard are one kind, and opposites.
    #[must_use]
    pub fn is_cancelled_by(&self, code: &str) -> bool {
        self.cancel_on.iter().any(|on| **on == *code)
    }
}

impl Policies {
    /// The policies of a campaign.
    #[must_use]
    pub fn campaign(&self, name: &str) -> &CampaignPolicy {
        static DEFAULT: CampaignPolicy = CampaignPolicy::DEFAULT;
        self.campaigns.get(name).unwrap_or(&DEFAULT)
    }

    /// Whether judging reads or changes the customer's row.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.consent.is_some()
            || !self.quiet_hours.is_empty()
            || !self.caps.is_empty()
            || self.zone_attribute.is_some()
    }
}

impl Cap {
    /// Whether the cap concerns a campaign's messages on a channel.
    #[must_use]
    pub fn concerns(&self, campaign: &str, channel: Channel) -> bool {
        self.channels.contains(channel)
            && self.campaigns.as_ref().is_none_or(|names| names.contains(campaign))
    }
}
