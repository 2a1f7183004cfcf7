//! The reasons for which a proposed communication is not sent. The list is closed.

/// Why a communication is suppressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The campaign is in shadow mode.
    Shadow,
    /// The event has no customer to send to.
    NoRecipient,
    /// The environment has an allow list, and the customer is not on it.
    NotListed,
    /// The customer has refused the channel for the campaign's subscription.
    ConsentOff,
    /// The customer's consent is not known, and the policies refuse in that case.
    ConsentUnknown,
    /// The customer is in a control group of the campaign.
    Control,
    /// Other campaigns with precedence already speak on this event.
    EventMax,
    /// Quiet hours hold, and the message may not be deferred, or not long enough.
    QuietHours,
    /// Quiet hours hold, and there is no room for another deferred message.
    DeferralFull,
    /// A cap is reached.
    Cap,
    /// The campaign has reached its limit for this hour.
    PerHourMax,
    /// The message was deferred, and is too old at its release.
    Stale,
    /// The message was deferred, and an event of the campaign's `cancel_on` came before its
    /// release.
    Cancelled,
    /// The message was deferred, and its campaign does not exist any more, or is off or over.
    CampaignGone,
}

impl Reason {
    /// Every reason, in the order in which they are judged; those of a release come last.
    pub const ALL: [Reason; 14] = [
        Reason::Shadow,
        Reason::NoRecipient,
        Reason::NotListed,
        Reason::ConsentOff,
        Reason::ConsentUnknown,
        Reason::Control,
        Reason::EventMax,
        Reason::QuietHours,
        Reason::DeferralFull,
        Reason::Cap,
        Reason::PerHourMax,
        Reason::Stale,
        Reason::Cancelled,
        Reason::CampaignGone,
    ];

    /// The name in the journal, in metrics and in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Shadow => "shadow",
            Reason::NoRecipient => "no-recipient",
            Reason::NotListed => "not-listed",
            Reason::ConsentOff => "consent-off",
            Reason::ConsentUnknown => "consent-unknown",
            Reason::Control => "control",
            Reason::EventMax => "event-max",
            Reason::QuietHours => "quiet-hours",
            Reason::DeferralFull => "deferral-full",
            Reason::Cap => "cap",
            Reason::PerHourMax => "per-hour-max",
            Reason::Stale => "stale",
            Reason::Cancelled => "cancelled",
            Reason::CampaignGone => "campaign-gone",
        }
    }
}
