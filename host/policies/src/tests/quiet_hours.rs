//! Tests of quiet hours: when they hold, and when they end.

use jiff::civil::Weekday::{Friday, Saturday};
use proptest::prelude::*;

use super::*;
use crate::zone::wall_clock;

fn is_quiet(policies: &Policies, zone_name: &str, at: &str) -> bool {
    policies.quiet_at(&zone(zone_name), utc(at), Channel::Sms).is_some()
}

fn open_from(policies: &Policies, zone_name: &str, at: &str) -> String {
    let open = policies.open_from(&zone(zone_name), utc(at), Channel::Sms);
    Timestamp::from_millisecond(open).unwrap().to_string()
}

fn with(hours: impl IntoIterator<Item = QuietHours>) -> Policies {
    Policies { quiet_hours: hours.into_iter().collect(), ..with_night() }
}

#[test]
fn the_start_is_quiet_and_the_end_is_not() {
    let night = with_night();
    let is_quiet =
        |text: &str| night.quiet_at(&zone("Europe/Moscow"), moscow(text), Channel::Sms).is_some();
    assert!(!is_quiet("2026-03-01 21:59:59.999"));
    assert!(is_quiet("2026-03-01 22:00"));
    assert!(is_quiet("2026-03-02 08:59:59.999"));
    assert!(!is_quiet("2026-03-02 09:00"));
}

#[test]
fn hours_within_a_day_hold_on_their_days_only() {
    let lunch = with([quiet("lunch", "12:00", "14:00", &[Friday])]);
    assert!(is_quiet(&lunch, "UTC", "2026-03-06T12:00:00Z"));
    assert!(!is_quiet(&lunch, "UTC", "2026-03-06T14:00:00Z"));
    assert!(!is_quiet(&lunch, "UTC", "2026-03-06T11:59:59.999Z"));
    assert!(!is_quiet(&lunch, "UTC", "2026-03-07T12:00:00Z"));
}

#[test]
fn hours_over_midnight_belong_to_the_day_on_which_they_begin() {
    let weekend = with([quiet("weekend", "22:00", "09:00", &[Friday, Saturday])]);
    assert!(is_quiet(&weekend, "UTC", "2026-03-08T03:00:00Z"), "Sunday");
    assert!(is_quiet(&weekend, "UTC", "2026-03-07T03:00:00Z"), "Saturday");
    assert!(!is_quiet(&weekend, "UTC", "2026-03-06T03:00:00Z"), "Friday");
    assert!(!is_quiet(&weekend, "UTC", "2026-03-08T22:30:00Z"), "Sunday evening");
    assert!(!is_quiet(&weekend, "UTC", "2026-03-09T03:00:00Z"), "Monday");
}

#[test]
fn hours_concern_their_channels_only() {
    let mut policies = with_night();
    policies.quiet_hours[0].channels = Channels::from_iter([Channel::Sms]);
    let at = utc("2026-03-01T23:00:00Z");
    assert!(policies.quiet_at(&zone("UTC"), at, Channel::Sms).is_some());
    assert!(policies.quiet_at(&zone("UTC"), at, Channel::Mail).is_none());
    assert_eq!(policies.open_from(&zone("UTC"), at, Channel::Mail), at);
}

#[test]
fn the_first_of_several_hours_in_the_file_is_named() {
    let policies =
        with([quiet("long", "20:00", "10:00", &DAYS), quiet("night", "22:00", "09:00", &DAYS)]);
    let hours = policies.quiet_at(&zone("UTC"), utc("2026-03-01T23:00:00Z"), Channel::Sms);
    assert_eq!(hours.map(|hours| &*hours.name), Some("long"));
}

#[test]
fn an_end_that_the_clock_skips_is_the_first_moment_after_the_gap() {
    let policies = with([quiet("night", "22:00", "02:30", &DAYS)]);
    let open = open_from(&policies, "Europe/Berlin", "2026-03-29T00:30:00Z");
    assert_eq!(open, "2026-03-29T01:00:00Z", "03:00 CEST");
}

#[test]
fn an_hour_that_the_clock_shows_twice_is_quiet_twice() {
    let policies = with([quiet("night", "22:00", "02:30", &DAYS)]);
    let zone = "Europe/Berlin";
    assert!(!is_quiet(&policies, zone, "2026-10-25T00:40:00Z"), "02:40 CEST");
    assert!(is_quiet(&policies, zone, "2026-10-25T01:10:00Z"), "02:10 CET");
    assert_eq!(open_from(&policies, zone, "2026-10-25T01:10:00Z"), "2026-10-25T01:30:00Z");
    assert_eq!(open_from(&policies, zone, "2026-10-25T00:10:00Z"), "2026-10-25T00:30:00Z");
}

#[test]
fn a_clock_that_is_set_back_to_before_the_start_ends_the_hours() {
    let policies = with([quiet("morning", "02:30", "05:00", &DAYS)]);
    // At 03:00 CEST, the clock is set back to 02:00 CET.
    let open = open_from(&policies, "Europe/Berlin", "2026-10-25T00:45:00Z");
    assert_eq!(open, "2026-10-25T01:00:00Z");
}

#[test]
fn hours_may_end_on_the_day_before_if_the_clock_is_set_back_over_midnight() {
    let policies = with([quiet("long", "23:45", "23:30", &DAYS)]);
    // At 00:01 on 7 November, the clock was set back to 23:01 on 6 November.
    let open = open_from(&policies, "America/St_Johns", "2010-11-07T02:30:30Z");
    assert_eq!(open, "2010-11-07T03:00:00Z");
}

#[test]
fn hours_that_follow_each_other_end_with_the_last() {
    let policies = with([
        quiet("night", "22:00", "09:00", &DAYS),
        quiet("saturday", "08:00", "20:00", &[Saturday]),
    ]);
    assert_eq!(open_from(&policies, "UTC", "2026-03-06T23:00:00Z"), "2026-03-07T20:00:00Z");
}

#[test]
fn an_open_moment_that_the_clock_skips_is_found_a_week_later() {
    // Open only on Sundays from 02:00 to 03:00, which Berlin skips on 29 March.
    let rest = DAYS.map(|day| match day {
        Weekday::Sunday => quiet("sunday", "03:00", "00:00", &[day]),
        day => quiet("week", "00:00", "00:00", &[day]),
    });
    let policies = with(rest.into_iter().chain([quiet("early", "00:00", "02:00", &DAYS)]));
    let open = open_from(&policies, "Europe/Berlin", "2026-03-22T12:00:00Z");
    assert_eq!(open, "2026-04-05T00:00:00Z", "02:00 CEST");
}

#[test]
fn hours_without_an_end_have_none() {
    let policies = with([quiet("always", "00:00", "00:00", &DAYS)]);
    assert_eq!(policies.open_from(&zone("UTC"), 0, Channel::Sms), Millis::MAX);
}

const ZONES: [&str; 8] = [
    "Europe/Berlin",
    "Europe/Moscow",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "America/Santiago",
    "-03:30",
];

fn any_hours() -> impl Strategy<Value = QuietHours> {
    // Whole hours of the night meet changes of the clock more often than other times do.
    let minute = || prop_oneof![0..1440_u16, (0..16_u16).prop_map(|quarter| quarter * 15)];
    let days = prop::sample::subsequence(DAYS.to_vec(), 1..=7);
    (minute(), minute(), days).prop_map(|(from, to, days)| {
        let text = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        quiet("hours", &text(from), &text(to), &days)
    })
}

/// A moment near a change of the zone's clock in 2026, or in spring if there is none.
fn any_moment() -> impl Strategy<Value = (&'static str, Millis)> {
    let distance = prop_oneof![-3 * DAY..DAY, -2 * HOUR..2 * HOUR];
    let moments = (prop::sample::select(&ZONES[..]), 0..2_usize, distance, any::<bool>());
    moments.prop_map(|(name, nth, distance, is_whole)| {
        let zone = zone(name);
        let start = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        let change = zone.following(start).nth(nth);
        let change = change
            .map_or(utc("2026-03-29T01:00:00Z"), |change| change.timestamp().as_millisecond());
        let at = change + distance;
        (name, if is_whole { at - at.rem_euclid(MINUTE) } else { at })
    })
}

/// Whether hours hold, from the periods that began on the day before and on the day.
fn holds_by_periods(hours: &QuietHours, wall: DateTime) -> bool {
    let yesterday = wall.date().yesterday().unwrap();
    [yesterday, wall.date()].into_iter().any(|day| {
        let last = if hours.from < hours.to { day } else { day.tomorrow().unwrap() };
        let (from, to) = (day.to_datetime(hours.from), last.to_datetime(hours.to));
        hours.days.contains(&day.weekday()) && from <= wall && wall < to
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_end_is_the_first_moment_that_is_not_quiet(
        hours in prop::collection::vec(any_hours(), 1..5),
        (name, at) in any_moment(),
    ) {
        let (policies, zone) = (with(hours), zone(name));
        let is_quiet = |moment| {
            let wall = wall_clock(&zone, moment);
            policies.quiet_hours.iter().any(|hours| holds_by_periods(hours, wall))
        };
        let minutes = (1..15 * 24 * 60).map(|minute| at - at.rem_euclid(MINUTE) + minute * MINUTE);
        let first = std::iter::once(at).chain(minutes).find(|moment| !is_quiet(*moment));
        let open = policies.open_from(&zone, at, Channel::Sms);
        if let Some(first) = first {
            prop_assert_eq!(open, first);
        } else {
            prop_assert!(open > at + 14 * DAY);
        }
        prop_assert_eq!(policies.quiet_at(&zone, at, Channel::Sms).is_some(), is_quiet(at));
        prop_assert!(open == Millis::MAX || policies.quiet_at(&zone, open, Channel::Sms).is_none());
    }
}
