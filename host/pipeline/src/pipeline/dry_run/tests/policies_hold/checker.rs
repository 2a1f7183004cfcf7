//! Checks that nothing published breaks a policy. The checker sees the events and what was
//! published, in their order. It shares no code with `hailer-policies`, so that one mistake cannot
//! be in both.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};

use super::setup::{ALARM, CapSetup, DAYS, HOUR_MS, Happening, Setup, Window};
use super::*;

/// A message, as its receiver sees it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: String,
    /// The event or the firing of a timer that it was decided on.
    pub(super) event: String,
    pub(super) campaign: String,
    pub(super) channel: String,
    pub(super) customer: u64,
    pub(super) at: Millis,
}

/// What the events so far say, and what was published so far.
pub(super) struct Checker<'a> {
    setup: &'a Setup,
    zones: TimeZoneDatabase,
    /// By customer, the one into whom the customer was merged.
    became: BTreeMap<u64, u64>,
    known: BTreeMap<u64, Known>,
    /// The campaigns that spoke on each event.
    spoke: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    zone: Option<TimeZone>,
    /// By subscription and channel.
    consents: BTreeMap<(String, String), bool>,
    published: Vec<Message>,
}

impl Message {
    pub(super) fn read(sent: &Communication) -> Message {
        let body: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
        let text = |path: &str| body.pointer(path).unwrap().as_str().unwrap().to_owned();
        Message {
            id: sent.id.to_string(),
            event: text("/cause/eventId"),
            campaign: text("/campaign"),
            channel: text("/channel"),
            customer: text("/recipient/customerId").parse().unwrap(),
            at: text("/createdAt").parse::<Timestamp>().unwrap().as_millisecond(),
        }
    }
}

impl<'a> Checker<'a> {
    pub(super) fn new(setup: &'a Setup) -> Checker<'a> {
        Checker {
            setup,
            zones: TimeZoneDatabase::bundled(),
            became: BTreeMap::new(),
            known: BTreeMap::new(),
            spoke: BTreeMap::new(),
        }
    }

    /// Takes what an event says.
    pub(super) fn see(&mut self, event: &Happening) {
        match event {
            Happening::Bought(_) => {}
            Happening::Consents { customer, subscription, channel, value } => {
                let about = ((*subscription).to_owned(), (*channel).to_owned());
                let known = self.known.entry(self.resolve(*customer)).or_default();
                known.consents.insert(about, value == "Enabled");
            }
            Happening::Moves { customer, zone } => {
                let zone = self.zone(zone);
                self.known.entry(self.resolve(*customer)).or_default().zone = zone;
            }
            Happening::Merged { from, to } => self.merge(*from, *to),
        }
    }

    /// Takes a message that was published.
    pub(super) fn publish(&mut self, message: Message) {
        self.spoke.entry(message.event.clone()).or_default().insert(message.campaign.clone());
        let customer = self.resolve(message.customer);
        self.known.entry(customer).or_default().published.push(message);
    }

    /// The reasons not to publish a message now.
    pub(super) fn reasons(&self, message: &Message) -> Vec<String> {
        let nobody = Known::default();
        let known = self.known.get(&self.resolve(message.customer)).unwrap_or(&nobody);
        let Some(campaign) = self.setup.campaign(&message.campaign) else {
            assert_eq!(message.campaign, ALARM);
            return Vec::new();
        };
        let zone = known.zone.clone().filter(|_| self.setup.reads_zones);
        let zone = zone.unwrap_or_else(|| self.zones.get(self.setup.zone).unwrap());
        let mut reasons = Vec::new();
        if let Some(refused) = &self.setup.refuses_unknown {
            let subscription = campaign.subscription.unwrap_or("Mailings");
            let about = (subscription.to_owned(), message.channel.clone());
            match known.consents.get(&about) {
                Some(true) => {}
                Some(false) => reasons.push("consent: no".to_owned()),
                None if refused.contains(&&*message.channel) => {
                    reasons.push("consent: not known".to_owned());
                }
                None => {}
            }
        }
        for window in &self.setup.windows {
            let concerns = has(&window.channels, &message.channel);
            if concerns
                && self.setup.choice(window, campaign) != "ignore"
                && is_quiet(window, wall(&zone, message.at))
            {
                reasons.push(format!("quiet hours of {}", zone.iana_name().unwrap_or("+")));
            }
        }
        for (number, cap) in self.setup.caps.iter().enumerate() {
            if (number == 0 && campaign.is_without_first_cap)
                || !has(&cap.campaigns, &message.campaign)
                || !has(&cap.channels, &message.channel)
            {
                continue;
            }
            let others = self.others(known, cap, message, &zone);
            if others >= cap.max {
                reasons.push(format!("cap {number}: {others} of {}", cap.max));
            }
        }
        if let Some(max) = self.setup.speaks_max
            && let Some(spoke) = self.spoke.get(&message.event)
        {
            let others = spoke.iter().filter(|name| **name != message.campaign && **name != ALARM);
            if others.count() >= max {
                reasons.push("too many campaigns on one event".to_owned());
            }
        }
        reasons
    }

    /// The dispatches that a cap counts in its present window, without that of the message.
    fn others(&self, known: &Known, cap: &CapSetup, message: &Message, zone: &TimeZone) -> usize {
        let counts = |sent: &&Message| {
            let campaign_counts = match self.setup.campaign(&sent.campaign) {
                Some(campaign) => campaign.counts,
                None => self.setup.alarm_counts,
            };
            campaign_counts
                && has(&cap.campaigns, &sent.campaign)
                && has(&cap.channels, &sent.channel)
                && is_in_window(cap.per, zone, sent.at, message.at)
        };
        let dispatch = |sent: &Message| (sent.event.clone(), sent.campaign.clone());
        let mut others: BTreeSet<_> = known.published.iter().filter(counts).map(dispatch).collect();
        others.remove(&dispatch(message));
        others.len()
    }

    fn merge(&mut self, from: u64, to: u64) {
        let now = self.resolve(to);
        let to = if now == from { to } else { now };
        if from == to {
            return;
        }
        let gone = self.known.remove(&from).unwrap_or_default();
        let stays = self.known.entry(to).or_default();
        stays.zone = stays.zone.take().or(gone.zone);
        for (about, is_yes) in gone.consents {
            let known = stays.consents.entry(about).or_insert(is_yes);
            *known &= is_yes;
        }
        stays.published.extend(gone.published);
        self.became.remove(&to);
        self.became.insert(from, to);
    }

    /// The customer after all merges so far.
    fn resolve(&self, customer: u64) -> u64 {
        let mut now = customer;
        while let Some(next) = self.became.get(&now) {
            now = *next;
        }
        now
    }

    fn zone(&self, text: &str) -> Option<TimeZone> {
        let Some(sign) = text.chars().next().filter(|sign| "+-".contains(*sign)) else {
            return self.zones.get(text).ok();
        };
        let (hours, minutes) = text[1..].split_once(':')?;
        let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
        let seconds = if sign == '-' { -seconds } else { seconds };
        Some(TimeZone::fixed(Offset::from_seconds(seconds).ok()?))
    }
}

fn has(names: &Option<Vec<&str>>, name: &str) -> bool {
    names.as_ref().is_none_or(|names| names.contains(&name))
}

fn wall(zone: &TimeZone, at: Millis) -> DateTime {
    zone.to_datetime(Timestamp::from_millisecond(at).unwrap())
}

/// Whether the hours that began today or yesterday hold while a wall clock shows this.
fn is_quiet(window: &Window, wall: DateTime) -> bool {
    (0..2).any(|days_ago| {
        let day = wall.date() - days_ago.days();
        let name = DAYS[day.weekday().to_monday_zero_offset() as usize];
        let begin = day.to_datetime(Time::midnight()) + window.from_minute.minutes();
        let end = begin + window.length_minutes.minutes();
        has(&window.days, name) && begin <= wall && wall < end
    })
}

fn is_in_window(per: &str, zone: &TimeZone, sent: Millis, now: Millis) -> bool {
    let same = |of: fn(Date) -> Date| of(wall(zone, sent).date()) == of(wall(zone, now).date());
    match per {
        "day" => same(|date| date),
        "week" => same(|date| date - i32::from(date.weekday().to_monday_zero_offset()).days()),
        "month" => same(Date::first_of_month),
        "1h" => sent > now - HOUR_MS,
        "24h" => sent > now - 24 * HOUR_MS,
        "7d" => sent > now - 7 * 24 * HOUR_MS,
        other => panic!("{other}"),
    }
}
