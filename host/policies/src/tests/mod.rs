//! Tests of the judgement, with policies that are built by hand.

mod binding;
mod capped;
mod caps;
mod consent;
mod control;
mod deferral;
mod explain;
mod imports;
mod judge;
mod quiet_hours;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;
use hailer_event::{Customer, CustomerKey, EventId};
use jiff::Timestamp;
use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;

use super::model::{
    CampaignPolicy, Cap, ConsentPolicy, ControlGroup, Deferral, Policies, QuietHours, Span,
};
use super::row::{Counted, PolicyRow};
use super::{At, Candidate, Channels, Judge, Reason, Verdict, zone_of};

const SMS: Channel = Channel::Sms;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

const DAYS: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

/// Policies that judge nothing, in Moscow.
fn no_policies() -> Policies {
    Policies {
        digest: Arc::from("0"),
        zone: zone("Europe/Moscow"),
        zone_attribute: None,
        consent: None,
        quiet_hours: Vec::new(),
        deferral: None,
        caps: Vec::new(),
        control: Vec::new(),
        event_campaigns_max: None,
        allow_lists: BTreeMap::new(),
        campaigns: BTreeMap::new(),
    }
}

/// A night from 22:00 to 09:00 for all channels, deferred for at most 14 hours, without a spread.
fn with_night() -> Policies {
    Policies {
        quiet_hours: vec![quiet("night", "22:00", "09:00", &DAYS)],
        deferral: Some(Deferral { discard_after_ms: 14 * HOUR, spread_ms: 0 }),
        ..no_policies()
    }
}

fn with_caps(caps: impl IntoIterator<Item = Cap>) -> Policies {
    Policies { caps: caps.into_iter().collect(), ..no_policies() }
}

fn with_consent() -> Policies {
    let allowed_unknown = Channels::from_iter([Channel::Mail, Channel::Push]);
    let consent = ConsentPolicy {
        subscription: "Mailings".into(),
        yes: vec!["Enabled".into()],
        allowed_unknown,
    };
    Policies { consent: Some(consent), ..no_policies() }
}

fn quiet(name: &str, from: &str, to: &str, days: &[Weekday]) -> QuietHours {
    let time = |text: &str| text.parse::<Time>().unwrap();
    QuietHours {
        name: name.into(),
        from: time(from),
        to: time(to),
        channels: Channels::all(),
        days: days.to_vec(),
        defers: true,
    }
}

fn cap(name: &str, max: u32, per: Span) -> Cap {
    Cap { name: name.into(), max, per, campaigns: None, channels: Channels::all() }
}

fn group(name: &str, salt: &str, basis_points: u32) -> ControlGroup {
    ControlGroup { name: name.into(), basis_points, salt: salt.into(), campaigns: None }
}

fn names(names: &[&str]) -> BTreeSet<Box<str>> {
    names.iter().map(|name| Box::from(*name)).collect()
}

/// Sets the policy of one campaign.
fn set(policies: &mut Policies, campaign: &str, change: impl FnOnce(&mut CampaignPolicy)) {
    let policy = policies.campaigns.entry(campaign.into()).or_insert(CampaignPolicy::DEFAULT);
    change(policy);
}

fn zone(name: &str) -> TimeZone {
    zone_of(name).unwrap()
}

/// A moment in UTC, such as `2026-03-29T01:00:00Z`.
fn utc(text: &str) -> Millis {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// A moment in Moscow, such as `2026-03-01 23:30`.
fn moscow(text: &str) -> Millis {
    let wall = text.parse::<DateTime>().unwrap();
    zone("Europe/Moscow").to_timestamp(wall).unwrap().as_millisecond()
}

fn event(number: i64) -> EventId {
    EventId::of_timer(EventId::NONE, "campaign", "timer", number)
}

fn customer(number: u32) -> CustomerKey {
    ids(number).key().unwrap()
}

fn ids(number: u32) -> Customer {
    Customer { customer_id: Some(number.to_string().into()), ..Customer::default() }
}

/// A message of a live campaign to the customer 164.
fn candidate<'a>(
    ids: &'a Customer,
    campaign: &'a str,
    channel: Channel,
    number: i64,
) -> Candidate<'a> {
    Candidate {
        campaign,
        channel,
        is_live: true,
        recipient: Some(ids),
        customer: ids.key(),
        event: event(number),
    }
}

fn counted(at: Millis, campaign: &str, number: i64, channel: Channel) -> Counted {
    let channels = Channels::from_iter([channel]);
    Counted { at, campaign: campaign.into(), event: event(number), channels }
}

/// A row with these entries, oldest first.
fn row_with(counted: impl IntoIterator<Item = Counted>) -> PolicyRow {
    PolicyRow { counted: counted.into_iter().collect(), ..PolicyRow::default() }
}

/// The reason of a verdict; `None` if it suppresses nothing.
fn reason(verdict: &Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Suppress(suppression) => Some(suppression.reason),
        Verdict::Pass | Verdict::Defer { .. } => None,
    }
}

/// The name of the policy and the details of a verdict that suppresses.
fn details(verdict: &Verdict) -> (Option<&str>, Option<&str>) {
    match verdict {
        Verdict::Suppress(suppression) => {
            (suppression.policy.as_deref(), suppression.detail.as_deref())
        }
        Verdict::Pass | Verdict::Defer { .. } => panic!("{verdict:?}"),
    }
}

/// The release of a verdict that defers.
fn until(verdict: &Verdict) -> Millis {
    match verdict {
        Verdict::Defer { until, .. } => *until,
        Verdict::Pass | Verdict::Suppress(_) => panic!("{verdict:?}"),
    }
}

/// Judges one SMS of a campaign at its decision.
fn judge(policies: &Policies, row: &PolicyRow, campaign: &str, now: Millis) -> Verdict {
    let ids = ids(164);
    let judge = Judge::new(Some(policies), "prod", now, Some(row));
    judge.judge(Some(row), &candidate(&ids, campaign, SMS, 1), At::Decision, now)
}

/// Judges one SMS of a campaign at its release, decided 14 hours before `discard_at`.
fn release(
    policies: &Policies,
    row: &PolicyRow,
    campaign: &str,
    now: Millis,
    discard_at: Millis,
) -> Verdict {
    let ids = ids(164);
    let judge = Judge::new(Some(policies), "prod", now, Some(row));
    let candidate = candidate(&ids, campaign, SMS, 1);
    judge.judge(Some(row), &candidate, At::Release { discard_at }, discard_at - 14 * HOUR)
}

fn no_row() -> PolicyRow {
    PolicyRow::default()
}

fn in_zone(name: &str) -> PolicyRow {
    PolicyRow { zone: Some(name.into()), ..PolicyRow::default() }
}
