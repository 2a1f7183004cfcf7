//! What binds the messages of one campaign: the policies of a file as they apply to it.

use super::facts::shown_span;
use super::model::{CampaignPolicy, Cap, ControlGroup, Policies, QuietChoice, QuietHours, Span};
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;

/// The policies that bind one campaign's messages. Shadow mode, allow lists and the campaign's own
/// limit for an hour bind every campaign, and are not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    pub campaign: &'a CampaignPolicy,
    /// The subscription that is asked for; `None` if no consent is asked for.
    pub subscription: Option<&'a str>,
    /// The quiet hours that hold for its messages, and whether they defer a message; otherwise they
    /// suppress it. In the order of the file.
    pub quiet_hours: Vec<(&'a QuietHours, bool)>,
    /// How long after its decision a deferred message may be sent, in ms; `None` if no message is
    /// deferred.
    pub discard_after_ms: Option<Millis>,
    /// The caps that bind its messages, in the order of the file.
    pub caps: Vec<&'a Cap>,
    /// Whether its messages count towards at least one cap.
    pub counts: bool,
    /// The control groups that never get its messages.
    pub control: Vec<&'a ControlGroup>,
    /// How many campaigns may speak on one event; `None` if that does not bind the campaign.
    pub event_campaigns_max: Option<u32>,
}

impl Policies {
    /// The policies that bind a campaign's messages.
    #[must_use]
    pub fn binding<'a>(&'a self, name: &str) -> Binding<'a> {
        let campaign = self.campaign(name);
        let is_bound = !campaign.is_transactional;
        let consent = self.consent.as_ref().filter(|_| is_bound);
        let choice = campaign.quiet_hours;
        let hours = self
            .quiet_hours
            .iter()
            .filter(|_| is_bound && choice != Some(QuietChoice::Ignore))
            .map(|hours| {
                (hours, choice.map_or(hours.defers, |choice| choice == QuietChoice::Defer))
            });
        let quiet_hours: Vec<_> = hours.collect();
        let deferral = self.deferral.filter(|_| quiet_hours.iter().any(|(_, defers)| *defers));
        let concerns = |cap: &&Cap| cap.campaigns.as_ref().is_none_or(|names| names.contains(name));
        let concerned = || self.caps.iter().filter(concerns);
        Binding {
            campaign,
            subscription: consent
                .map(|consent| &**campaign.subscription.as_ref().unwrap_or(&consent.subscription)),
            quiet_hours,
            discard_after_ms: deferral
                .map(|deferral| campaign.discard_after_ms.unwrap_or(deferral.discard_after_ms)),
            caps: concerned()
                .filter(|cap| is_bound && !campaign.without_caps.contains(&cap.name))
                .collect(),
            counts: campaign.counts && concerned().next().is_some(),
            control: self.control.iter().filter(|group| is_bound && group.concerns(name)).collect(),
            event_campaigns_max: self.event_campaigns_max.filter(|_| is_bound),
        }
    }
}

impl Span {
    /// The span as the file writes it: `day`, `week`, `month`, or a length such as `24h`.
    #[must_use]
    pub fn text(self) -> String {
        const HOUR_MS: Millis = 60 * 60 * 1000;
        match self {
            // A rolling span of 24 hours is no day of the calendar.
            Span::Rolling(span_ms) if span_ms == 24 * HOUR_MS => "24h".to_owned(),
            Span::Day => "day".to_owned(),
            Span::Week => "week".to_owned(),
            Span::Month => "month".to_owned(),
            Span::Rolling(span_ms) => shown_span(span_ms),
        }
    }
}

impl ControlGroup {
    /// The share of members in percent, such as `5` or `0.5`.
    #[must_use]
    pub fn percent(&self) -> f64 {
        f64::from(self.basis_points) / 100.0
    }
}

impl QuietHours {
    /// The channels of the hours, as the file names them.
    pub fn channel_names(&self) -> impl Iterator<Item = &'static str> {
        self.channels.iter().map(Channel::name)
    }
}

/// A span in ms as the file writes it, such as `14h`.
#[must_use]
pub fn span_text(span_ms: Millis) -> String {
    shown_span(span_ms)
}
