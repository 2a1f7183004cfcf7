//! Rules propose, the host disposes: what becomes of a proposed communication. Pure: facts in, verdict out.
//!
//! Consent, frequency caps, quiet hours and control groups will stand here; no rule can get round them.

use crate::engine::Mode;

/// What a policy may look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub mode: Mode,
    /// Whether the event names a customer.
    pub has_recipient: bool,
    /// Whether the campaign has sent as many this hour as it may.
    pub hour_is_full: bool,
}

/// What becomes of a proposed communication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyVerdict {
    Publish,
    Suppress(Suppression),
}

/// Why a communication does not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppression {
    /// The campaign only watches.
    Shadow,
    /// The event has no customer to send anything to.
    NoRecipient,
    /// The campaign has sent as many this hour as it may.
    PerHourMax,
}

impl Suppression {
    /// A word for metrics and people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Suppression::Shadow => "shadow",
            Suppression::NoRecipient => "no-recipient",
            Suppression::PerHourMax => "per-hour-max",
        }
    }
}

/// Judges one proposed communication.
#[must_use]
pub fn judge(facts: Facts) -> PolicyVerdict {
    if facts.mode != Mode::Live {
        return PolicyVerdict::Suppress(Suppression::Shadow);
    }
    if !facts.has_recipient {
        return PolicyVerdict::Suppress(Suppression::NoRecipient);
    }
    if facts.hour_is_full {
        return PolicyVerdict::Suppress(Suppression::PerHourMax);
    }
    PolicyVerdict::Publish
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_that_has_sent_what_it_may_this_hour_sends_no_more() {
        let facts = Facts { mode: Mode::Live, has_recipient: true, hour_is_full: true };
        assert_eq!(judge(facts), PolicyVerdict::Suppress(Suppression::PerHourMax));
    }

    #[test]
    fn only_a_live_campaign_with_somebody_to_send_to_publishes() {
        let verdict = |mode, has_recipient| judge(Facts { mode, has_recipient, hour_is_full: false });
        assert_eq!(verdict(Mode::Live, true), PolicyVerdict::Publish);
        assert_eq!(verdict(Mode::Live, false), PolicyVerdict::Suppress(Suppression::NoRecipient));
        assert_eq!(verdict(Mode::Shadow, true), PolicyVerdict::Suppress(Suppression::Shadow));
    }
}
