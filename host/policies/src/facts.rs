//! The reasons that are a matter of one message's campaign, customer and moment. Each function
//! returns the verdict if its reason holds, and `None` if it does not.

use jiff::tz::TimeZone;

use super::caps::Usage;
use super::consent::Answer;
use super::control;
use super::judge::{At, Candidate, Verdict, suppress};
use super::model::{CampaignPolicy, Cap, Policies, QuietChoice, QuietHours};
use super::reason::Reason;
use super::row::{Consent, ConsentSource, PolicyRow};
use super::zone::shown_moment;
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;
use hailer_base::wording::shown;

/// The facts on which the verdict on one message depends.
pub(crate) struct Facts<'a> {
    pub(crate) policies: &'a Policies,
    pub(crate) zone: &'a TimeZone,
    pub(crate) now: Millis,
    pub(crate) row: Option<&'a PolicyRow>,
    pub(crate) candidate: &'a Candidate<'a>,
    pub(crate) campaign: &'a CampaignPolicy,
}

impl Facts<'_> {
    /// Whether the customer has not agreed to the channel, for the campaign's subscription.
    pub(crate) fn without_consent(&self) -> Option<Verdict> {
        let policy = self.policies.consent.as_ref()?;
        let channel = self.candidate.channel;
        let subscription = self.campaign.subscription.as_ref().unwrap_or(&policy.subscription);
        let answer =
            self.row.map_or(Answer::Unknown, |row| policy.asks(row, subscription, channel));
        let what = || format!("{} of {}", channel.name(), shown(subscription));
        match answer {
            Answer::Yes(_) => None,
            Answer::No(consent) => {
                let detail = format!("{}, {}", what(), self.shown_origin(consent));
                Some(suppress(Reason::ConsentOff, None, Some(detail)))
            }
            Answer::Unknown if policy.allowed_unknown.contains(channel) => None,
            Answer::Unknown => Some(suppress(Reason::ConsentUnknown, None, Some(what()))),
        }
    }

    pub(crate) fn shown_origin(&self, consent: &Consent) -> String {
        let since = shown_moment(self.zone, consent.at);
        match consent.source {
            ConsentSource::Event(event) => format!("since {since}, event {event}"),
            ConsentSource::Import => format!("since {since}, import"),
        }
    }

    /// Whether the customer is in a control group of the campaign.
    pub(crate) fn in_control_group(&self) -> Option<Verdict> {
        let customer = self.candidate.customer?;
        let mut groups = self.policies.control.iter();
        let group =
            groups.find(|group| group.concerns(self.candidate.campaign) && group.has(customer))?;
        Some(suppress(Reason::Control, Some(&group.name), None))
    }

    /// Whether quiet hours hold now; the verdict either defers or suppresses the message.
    pub(crate) fn in_quiet_hours(&self, at: At, decided: Millis) -> Option<Verdict> {
        let choice = self.campaign.quiet_hours;
        if choice == Some(QuietChoice::Ignore) {
            return None;
        }
        let hours = self.policies.quiet_at(self.zone, self.now, self.candidate.channel)?;
        let defers = choice.map_or(hours.defers, |choice| choice == QuietChoice::Defer);
        Some(match self.policies.deferral.filter(|_| defers) {
            Some(deferral) => {
                let discard_after_ms =
                    self.campaign.discard_after_ms.unwrap_or(deferral.discard_after_ms);
                let (discard_at, late) = match at {
                    At::Decision => (decided.saturating_add(discard_after_ms), Reason::QuietHours),
                    At::Release { discard_at } => (discard_at, Reason::Stale),
                };
                self.defer(hours, deferral.spread_ms, discard_at, late, decided)
            }
            None => suppress(Reason::QuietHours, Some(&hours.name), None),
        })
    }

    fn defer(
        &self,
        hours: &QuietHours,
        spread_ms: Millis,
        discard_at: Millis,
        late: Reason,
        decided: Millis,
    ) -> Verdict {
        let until = self.release_time(spread_ms);
        if until <= discard_at {
            return Verdict::Defer { policy: hours.name.clone(), until, discard_at };
        }
        let detail = format!(
            "until {} would be later than {} after the decision",
            shown_moment(self.zone, until),
            shown_span(discard_at.saturating_sub(decided)),
        );
        suppress(late, Some(&hours.name), Some(detail))
    }

    /// The release of a message that is deferred now: the first moment that is not quiet, plus the
    /// customer's part of the spread. If the sum is quiet again, the spread does not apply. With
    /// it, the message would be deferred again each time.
    fn release_time(&self, spread_ms: Millis) -> Millis {
        let channel = self.candidate.channel;
        let open = self.policies.open_from(self.zone, self.now, channel);
        let spread = match (self.candidate.customer, u64::try_from(spread_ms)) {
            // No control group has an empty salt, so its members are spread like all others.
            (Some(customer), Ok(spread @ 1..)) => control::hash("", customer) % spread,
            _ => 0,
        };
        let later = open.saturating_add_unsigned(spread);
        match self.policies.quiet_at(self.zone, later, channel) {
            Some(_) => open,
            None => later,
        }
    }

    /// Whether a cap is reached. The first in the order of the file is named.
    pub(crate) fn over_cap(&self) -> Option<Verdict> {
        let Candidate { campaign, channel, event, .. } = *self.candidate;
        let row = self.row?;
        self.policies.caps.iter().find_map(|cap| {
            if !cap.concerns(campaign, channel) || self.campaign.without_caps.contains(&cap.name) {
                return None;
            }
            let usage = cap.reached(row, (event, campaign), self.zone, self.now)?;
            let detail = self.shown_usage(cap, &usage);
            Some(suppress(Reason::Cap, Some(&cap.name), Some(detail)))
        })
    }

    /// How far a cap is used up, and by which message last.
    pub(crate) fn shown_usage(&self, cap: &Cap, usage: &Usage<'_>) -> String {
        let since = shown_moment(self.zone, usage.since);
        let mut detail = format!("{} of {} since {since}", usage.others, cap.max);
        if let Some(last) = usage.last {
            let channels: Vec<_> = last.channels.iter().map(Channel::name).collect();
            let campaign = shown(&last.campaign);
            detail.push_str(&format!("; last: {campaign} {}", channels.join(", ")));
        }
        detail
    }
}

/// A span as text in its largest whole unit, such as `3h`.
pub(crate) fn shown_span(span_ms: Millis) -> String {
    const MINUTE_MS: Millis = 60_000;
    const UNITS: [(Millis, &str); 3] =
        [(24 * 60 * MINUTE_MS, "d"), (60 * MINUTE_MS, "h"), (MINUTE_MS, "m")];
    let whole = UNITS.iter().find(|(unit, _)| span_ms != 0 && span_ms % unit == 0);
    whole
        .map_or_else(|| format!("{span_ms} ms"), |(unit, name)| format!("{}{name}", span_ms / unit))
}
