//! Random policies and random events of a few customers, and the text of both.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::*;

pub(super) const HOUR_MS: Millis = 60 * MINUTE_MS;
/// Campaigns whose messages are marketing.
pub(super) const MARKETING: [&str; 3] = ["alpha", "beta", "gamma"];
/// The campaign whose messages are transactional.
pub(super) const ALARM: &str = "alarm";
pub(super) const CHANNELS: [&str; 3] = ["mail", "push", "sms"];
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const SUBSCRIPTIONS: [&str; 2] = ["Mailings", "Offers"];
const CUSTOMERS: u64 = 4;
/// Zones whose clocks change at different times of the day, by an hour or by half an hour.
const ZONES: [&str; 7] = [
    "Europe/Moscow",
    "Europe/Berlin",
    "America/New_York",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Kiritimati",
];
/// Just before days on which one of these clocks changes, and an ordinary day.
const BEGINS: [&str; 6] = [
    "2026-03-07T12:00:00Z",
    "2026-03-28T12:00:00Z",
    "2026-04-23T12:00:00Z",
    "2026-10-24T12:00:00Z",
    "2026-10-29T12:00:00Z",
    "2026-06-29T12:00:00Z",
];

/// One file of policies. A list that is `None` stands for everything.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) zone: &'static str,
    pub(super) reads_zones: bool,
    /// The channels that are refused while a consent is not known; `None` without `[consent]`.
    pub(super) refuses_unknown: Option<Vec<&'static str>>,
    pub(super) windows: Vec<Window>,
    pub(super) discard_hours: Millis,
    pub(super) spread_minutes: Millis,
    pub(super) caps: Vec<CapSetup>,
    /// The campaigns that a control group concerns; `None` without a group.
    pub(super) control: Option<Option<Vec<&'static str>>>,
    pub(super) speaks_max: Option<usize>,
    pub(super) campaigns: Vec<CampaignSetup>,
    pub(super) alarm_counts: bool,
}

/// Quiet hours of less than half a day, so that two of them leave time to send.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) from_minute: i64,
    pub(super) length_minutes: i64,
    pub(super) channels: Option<Vec<&'static str>>,
    /// The days on which the hours begin.
    pub(super) days: Option<Vec<&'static str>>,
    pub(super) defers: bool,
}

#[derive(Clone, Debug)]
pub(super) struct CapSetup {
    pub(super) max: usize,
    pub(super) per: &'static str,
    pub(super) campaigns: Option<Vec<&'static str>>,
    pub(super) channels: Option<Vec<&'static str>>,
}

/// The section of a campaign of [`MARKETING`], in their order.
#[derive(Clone, Debug)]
pub(super) struct CampaignSetup {
    pub(super) priority: i32,
    pub(super) subscription: Option<&'static str>,
    pub(super) quiet: Option<&'static str>,
    /// Whether the first cap does not concern it.
    pub(super) is_without_first_cap: bool,
    pub(super) counts: bool,
}

/// What happens to a customer.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Bought(u64),
    Consents { customer: u64, subscription: &'static str, channel: &'static str, value: String },
    Moves { customer: u64, zone: String },
    Merged { from: u64, to: u64 },
}

/// Events, each so many milliseconds after the one before.
#[derive(Clone, Debug)]
pub(super) struct Story {
    begins: &'static str,
    events: Vec<(Millis, Happening)>,
}

impl Story {
    /// The events with their times.
    pub(super) fn timed(&self) -> impl Iterator<Item = (Millis, &Happening)> {
        let begins = self.begins.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        self.events.iter().scan(begins, |now, (gap, what)| {
            *now += gap;
            Some((*now, what))
        })
    }
}

impl Happening {
    pub(super) fn arrived(&self, number: u64, now: Millis) -> Arrived {
        let body = match self {
            Happening::Bought(customer) => return purchase(number, *customer, now),
            Happening::Merged { from, to } => return merge(number, *from, *to, now),
            Happening::Consents { customer, subscription, channel, value } => format!(
                r#"{{"eventCode":"OnCustomerSubscriptionChange",
                    "subscriptionTypeCode":"{subscription}",
                    "subscriptionInfo":{{"{channel}":"{value}"}},
                    "customerInfo":{{"customerId":{customer}}}}}"#
            ),
            Happening::Moves { customer, zone } => format!(
                r#"{{"eventCode":"OnCustomerAttributeUpdate","attributeCode":"TimeZone",
                    "newValue":"{zone}","customerInfo":{{"customerId":{customer}}}}}"#
            ),
        };
        arrived(number, body, now)
    }
}

impl Setup {
    pub(super) fn campaign(&self, name: &str) -> Option<&CampaignSetup> {
        let place = MARKETING.iter().position(|campaign| *campaign == name)?;
        Some(&self.campaigns[place])
    }

    /// What a window does with a campaign's messages: "defer", "drop" or "ignore".
    pub(super) fn choice(&self, window: &Window, campaign: &CampaignSetup) -> &'static str {
        campaign.quiet.unwrap_or(if window.defers { "defer" } else { "drop" })
    }

    /// The file's text. A key that would have no effect is left out, because a file with one is
    /// refused.
    pub(super) fn text(&self) -> String {
        let mut text = format!("time_zone = \"{}\"\n", self.zone);
        if self.reads_zones {
            text += "time_zone_attribute = \"TimeZone\"\n";
        }
        if let Some(refused) = &self.refuses_unknown {
            text += "[consent]\nsubscription = \"Mailings\"\nyes = [\"Enabled\"]\n\
                     [consent.unknown]\n";
            for channel in Channel::ALL.map(Channel::name) {
                let refuses = refused.contains(&channel);
                text += &format!("{channel} = \"{}\"\n", if refuses { "refuse" } else { "allow" });
            }
        }
        for (number, window) in self.windows.iter().enumerate() {
            let end_minute = (window.from_minute + window.length_minutes) % (24 * 60);
            let (from, to) = (hour(window.from_minute), hour(end_minute));
            let then = if window.defers { "defer" } else { "drop" };
            text += &format!("[[quiet_hours]]\nname = \"w{number}\"\nthen = \"{then}\"\n");
            text += &format!("from = \"{from}\"\nto = \"{to}\"\n");
            text += &list("channels", &window.channels);
            text += &list("days", &window.days);
        }
        let choices = self.campaigns.iter().filter_map(|campaign| campaign.quiet);
        let may_defer = self.windows.iter().any(|window| window.defers)
            || !self.windows.is_empty() && choices.clone().any(|choice| choice == "defer");
        if may_defer {
            text += &format!(
                "[deferral]\ndiscard_after = \"{}h\"\nspread = \"{}m\"\n",
                self.discard_hours, self.spread_minutes
            );
        }
        for (number, cap) in self.caps.iter().enumerate() {
            text += &format!(
                "[[cap]]\nname = \"c{number}\"\nmax = {}\nper = \"{}\"\n",
                cap.max, cap.per
            );
            text += &list("campaigns", &cap.campaigns);
            text += &list("channels", &cap.channels);
        }
        if let Some(campaigns) = &self.control {
            text += "[control.holdout]\npercent = 50\nsalt = \"2026\"\n";
            text += &list("campaigns", campaigns);
        }
        if let Some(max) = self.speaks_max {
            text += &format!("[per_event]\ncampaigns_max = {max}\n");
        }
        text += &format!("[campaigns.{ALARM}]\nkind = \"transactional\"\n");
        if self.alarm_counts {
            text += "counts = true\n";
        }
        for (name, campaign) in MARKETING.iter().zip(&self.campaigns) {
            text += &format!("[campaigns.{name}]\npriority = {}\n", campaign.priority);
            if let Some(code) = campaign.subscription.filter(|_| self.refuses_unknown.is_some()) {
                text += &format!("subscription = \"{code}\"\n");
            }
            if let Some(choice) = campaign.quiet.filter(|_| !self.windows.is_empty()) {
                text += &format!("quiet_hours = \"{choice}\"\n");
            }
            let first = self.caps.first().filter(|_| campaign.is_without_first_cap);
            if first.is_some_and(|cap| cap.concerns_campaign(name)) {
                text += "without_caps = [\"c0\"]\n";
            }
            text += &format!("counts = {}\n", campaign.counts);
        }
        text
    }
}

impl CapSetup {
    pub(super) fn concerns_campaign(&self, name: &str) -> bool {
        self.campaigns.as_ref().is_none_or(|names| names.contains(&name))
    }
}

fn hour(minute: i64) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn list(key: &str, names: &Option<Vec<&str>>) -> String {
    names.as_ref().map_or(String::new(), |names| format!("{key} = {names:?}\n"))
}

fn list_of<const N: usize>(names: [&'static str; N]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(names.to_vec(), 1..=N)
}

fn some_of<const N: usize>(
    names: [&'static str; N],
) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    option::of(list_of(names))
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let windows = prop_oneof![1 => Just(0..1_usize), 3 => Just(1..2), 2 => Just(2..3)]
        .prop_flat_map(|count| vec(window(), count));
    let caps = prop_oneof![Just(0..1_usize), Just(1..2), Just(1..4)]
        .prop_flat_map(|count| vec(cap(), count));
    let deferral = (select(vec![4, 14, 30]), select(vec![0, 30, 120]));
    let consent = option::of(subsequence(CHANNELS.to_vec(), 0..=1));
    let people = (option::weighted(0.3, some_of(MARKETING)), option::weighted(0.3, 1..3_usize));
    let zones = (select(ZONES.to_vec()), prop::bool::weighted(0.7));
    let campaigns = vec(campaign_setup(), 3);
    (zones, consent, windows, deferral, caps, people, campaigns, any::<bool>()).prop_map(
        |(zones, refuses_unknown, windows, deferral, caps, people, campaigns, alarm_counts)| {
            Setup {
                zone: zones.0,
                reads_zones: zones.1,
                refuses_unknown,
                windows,
                discard_hours: deferral.0,
                spread_minutes: deferral.1,
                caps,
                control: people.0,
                speaks_max: people.1,
                campaigns,
                alarm_counts,
            }
        },
    )
}

fn window() -> impl Strategy<Value = Window> {
    let from = prop_oneof![Just(22 * 60), 0..24 * 60_i64];
    let length = prop_oneof![1 => 1..180_i64, 3 => 180..660_i64];
    let (channels, days) = (option::weighted(0.3, list_of(CHANNELS)), list_of(DAYS));
    let days = option::weighted(0.3, days);
    (from, length, channels, days, prop::bool::weighted(0.8)).prop_map(
        |(from_minute, length_minutes, channels, days, defers)| Window {
            from_minute,
            length_minutes,
            channels,
            days,
            defers,
        },
    )
}

fn cap() -> impl Strategy<Value = CapSetup> {
    let per = select(vec!["day", "week", "month", "1h", "24h", "7d"]);
    (1..4_usize, per, some_of(MARKETING), some_of(CHANNELS))
        .prop_map(|(max, per, campaigns, channels)| CapSetup { max, per, campaigns, channels })
}

fn campaign_setup() -> impl Strategy<Value = CampaignSetup> {
    let quiet = option::weighted(0.3, select(vec!["defer", "drop", "ignore"]));
    let subscription = option::weighted(0.3, Just("Offers"));
    (-1..2_i32, subscription, quiet, prop::bool::weighted(0.2), prop::bool::weighted(0.8)).prop_map(
        |(priority, subscription, quiet, is_without_first_cap, counts)| CampaignSetup {
            priority,
            subscription,
            quiet,
            is_without_first_cap,
            counts,
        },
    )
}

pub(super) fn story() -> impl Strategy<Value = Story> {
    let edges_of_rolling_caps =
        select(vec![0, HOUR_MS - 1, HOUR_MS, 24 * HOUR_MS - 1, 24 * HOUR_MS]);
    let gap = prop_oneof![
        4 => 0..30 * MINUTE_MS,
        4 => 0..4 * HOUR_MS,
        1 => 0..30 * HOUR_MS,
        1 => edges_of_rolling_caps,
    ];
    let events = vec((gap, happening()), 1..40);
    (select(BEGINS.to_vec()), events).prop_map(|(begins, events)| Story { begins, events })
}

fn happening() -> impl Strategy<Value = Happening> {
    let customer = || 1..=CUSTOMERS;
    let value = select(vec!["Enabled", "Enabled", "Disabled", "Disabled", "Paused"]);
    let consent = (customer(), select(SUBSCRIPTIONS.to_vec()), select(CHANNELS.to_vec()), value);
    let places = [&ZONES[..], &["+05:45", "-11:00", "Nowhere/Else", ""]].concat();
    prop_oneof![
        12 => customer().prop_map(Happening::Bought),
        6 => consent.prop_map(|(customer, subscription, channel, value)| {
            Happening::Consents { customer, subscription, channel, value: value.to_owned() }
        }),
        4 => (customer(), select(places)).prop_map(|(customer, zone)| {
            Happening::Moves { customer, zone: zone.to_owned() }
        }),
        2 => (customer(), customer()).prop_map(|(from, to)| Happening::Merged { from, to }),
    ]
}
