//! When a timer is due (`docs/abi.md`, "Moments"): from what a rule asked for, the moment of the call and the campaign's
//! time zone to one instant. Pure: the time zone is handed in.
//!
//! Both sides use it: the engine, and the unit tests of rules.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// How far ahead a timer may be: ten years of 366 days.
pub const AHEAD_MAX_MS: i64 = 10 * 366 * MS_A_DAY;
const MS_A_DAY: i64 = 86_400_000;
/// The same, in days.
const AHEAD_MAX_DAYS: u32 = 10 * 366;
/// A day's minutes: 00:00 to 23:59.
const MINUTES_A_DAY: u16 = 24 * 60;

/// What a rule asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So many milliseconds after now.
    After { ms: u64 },
    /// Milliseconds since 1970-01-01 UTC.
    At { ms: i64 },
    /// So many days after the local date of now, at a minute of the day.
    InDays { days: u32, minute: u16 },
    /// A local date, at a minute of the day.
    On { year: i16, month: u8, day: u8, minute: u16 },
    /// The next time that this day of the year comes, at a minute of the day; always after now. The 29th of February is the
    /// 28th in other years.
    EveryYearOn { month: u8, day: u8, minute: u16 },
}

/// Why there is no such moment. It holds nothing but what the rule wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMoment {
    /// No calendar has this date.
    Date,
    /// A day has 1440 minutes.
    Minute(u16),
    TooFar,
}

impl fmt::Display for NoMoment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoMoment::Date => formatter.write_str("a date that no calendar has"),
            NoMoment::Minute(minute) => write!(formatter, "minute {minute} of a day, which has {MINUTES_A_DAY}"),
            NoMoment::TooFar => formatter.write_str("a moment more than ten years ahead"),
        }
    }
}

impl std::error::Error for NoMoment {}

impl When {
    /// The instant, in milliseconds since 1970-01-01 UTC. It may lie in the past: such a timer is due at once.
    ///
    /// A local time that clocks skip is the first instant after the gap; one that they show twice is the earlier instant.
    ///
    /// # Errors
    /// When there is no such date, or it is more than ten years after `now`.
    pub fn resolve(self, now: i64, zone: &TimeZone) -> Result<i64, NoMoment> {
        let due = match self {
            When::After { ms } => now.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)),
            When::At { ms } => ms,
            When::InDays { days, minute } => {
                if days > AHEAD_MAX_DAYS {
                    return Err(NoMoment::TooFar);
                }
                let date = local(now, zone)?.date().checked_add(Span::new().days(days));
                instant(date.map_err(|_| NoMoment::TooFar)?.to_datetime(time(minute)?), zone)?
            }
            When::On { year, month, day, minute } => {
                let time = time(minute)?;
                instant(date(year, month, day)?.to_datetime(time), zone)?
            }
            When::EveryYearOn { month, day, minute } => next_of_year(now, (month, day), minute, zone)?,
        };
        if due.saturating_sub(now) > AHEAD_MAX_MS { Err(NoMoment::TooFar) } else { Ok(due) }
    }
}

fn next_of_year(now: i64, (month, day): (u8, u8), minute: u16, zone: &TimeZone) -> Result<i64, NoMoment> {
    // Any leap year: says whether the day exists at all.
    date(2024, month, day)?;
    let time = time(minute)?;
    let this_year = local(now, zone)?.year();
    // The year before: at the edge of a year a gap can carry the last minute of December into January.
    for year in this_year.saturating_sub(1)..=this_year.saturating_add(1) {
        let due = instant(date(year, month, day).or_else(|_| date(year, 2, 28))?.to_datetime(time), zone)?;
        if due > now {
            return Ok(due);
        }
    }
    Err(NoMoment::TooFar)
}

fn local(now: i64, zone: &TimeZone) -> Result<DateTime, NoMoment> {
    Ok(zone.to_datetime(Timestamp::from_millisecond(now).map_err(|_| NoMoment::TooFar)?))
}

fn date(year: i16, month: u8, day: u8) -> Result<Date, NoMoment> {
    let small = |number: u8| i8::try_from(number).map_err(|_| NoMoment::Date);
    Date::new(year, small(month)?, small(day)?).map_err(|_| NoMoment::Date)
}

fn time(minute: u16) -> Result<Time, NoMoment> {
    let wrong = NoMoment::Minute(minute);
    let part = |number: u16| i8::try_from(number).map_err(|_| wrong);
    Time::new(part(minute / 60)?, part(minute % 60)?, 0, 0).map_err(|_| wrong)
}

fn instant(local: DateTime, zone: &TimeZone) -> Result<i64, NoMoment> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    // Before a gap the clock shows less than it will: read with the offset from before it, a skipped time is as much too late as
    // it lies within the gap, and the gap's own end is the instant at which the offset changes.
    let instant = match ambiguous.offset() {
        jiff::tz::AmbiguousOffset::Gap { .. } => {
            let within = ambiguous.later().map_err(|_| NoMoment::TooFar)?;
            let before = ambiguous.earlier().map_err(|_| NoMoment::TooFar)?;
            let mut changes = zone.following(before.min(within) - Span::new().nanoseconds(1));
            changes.next().map_or(within, |change| change.timestamp())
        }
        _ => ambiguous.earlier().map_err(|_| NoMoment::TooFar)?,
    };
    Ok(instant.as_millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 8] = [
        "UTC",
        "Europe/Moscow",
        "Europe/Berlin",
        "America/Sao_Paulo",
        "America/New_York",
        "Pacific/Apia",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
    ];

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn resolved(when: When, now: &str, zone_name: &str) -> String {
        let due = when.resolve(ms(now), &zone(zone_name)).unwrap();
        Timestamp::from_millisecond(due).unwrap().to_string()
    }

    #[test]
    fn relative_and_absolute_moments_know_no_zone() {
        let now = "2026-01-01T00:00:00Z";
        assert_eq!(resolved(When::After { ms: 3_600_000 }, now, "Europe/Moscow"), "2026-01-01T01:00:00Z");
        assert_eq!(resolved(When::After { ms: 0 }, now, "Europe/Moscow"), now);
        assert_eq!(resolved(When::At { ms: 5 }, now, "Europe/Moscow"), "1970-01-01T00:00:00.005Z");
    }

    #[test]
    fn a_day_offset_counts_from_the_local_date_and_not_from_that_of_utc() {
        let ten = 600;
        // In Moscow it is the second of January already.
        let now = "2026-01-01T22:00:00Z";
        let in_days = |days| When::InDays { days, minute: ten };
        assert_eq!(resolved(in_days(1), now, "Europe/Moscow"), "2026-01-03T07:00:00Z");
        assert_eq!(resolved(in_days(1), now, "UTC"), "2026-01-02T10:00:00Z");
        // Today at ten may be over: due at once.
        assert_eq!(resolved(in_days(0), now, "UTC"), "2026-01-01T10:00:00Z");
        // Thirty days later the clocks have changed, and it is ten o'clock all the same.
        assert_eq!(resolved(in_days(30), "2026-03-10T12:00:00Z", "Europe/Berlin"), "2026-04-09T08:00:00Z");
    }

    #[test]
    fn a_time_that_clocks_skip_is_the_first_instant_after_the_gap() {
        let at = |minute| When::On { year: 2026, month: 3, day: 29, minute };
        let now = "2026-01-01T00:00:00Z";
        for minute in [120, 121, 150, 179] {
            assert_eq!(resolved(at(minute), now, "Europe/Berlin"), "2026-03-29T01:00:00Z", "{minute}");
        }
        assert_eq!(resolved(at(119), now, "Europe/Berlin"), "2026-03-29T00:59:00Z");
        assert_eq!(resolved(at(180), now, "Europe/Berlin"), "2026-03-29T01:00:00Z");
        // Midnight itself was skipped in Brazil, and a whole day in Samoa.
        let midnight = When::On { year: 2018, month: 11, day: 4, minute: 0 };
        assert_eq!(resolved(midnight, "2018-01-01T00:00:00Z", "America/Sao_Paulo"), "2018-11-04T03:00:00Z");
        let lost_day = When::On { year: 2011, month: 12, day: 30, minute: 720 };
        assert_eq!(resolved(lost_day, "2011-01-01T00:00:00Z", "Pacific/Apia"), "2011-12-30T10:00:00Z");
    }

    #[test]
    fn a_time_that_clocks_show_twice_is_the_earlier_instant() {
        let at = |minute| When::On { year: 2026, month: 10, day: 25, minute };
        let now = "2026-01-01T00:00:00Z";
        assert_eq!(resolved(at(150), now, "Europe/Berlin"), "2026-10-25T00:30:00Z");
        assert_eq!(resolved(at(180), now, "Europe/Berlin"), "2026-10-25T02:00:00Z");
    }

    #[test]
    fn a_day_of_the_year_is_always_still_to_come() {
        let on = |month, day, minute| When::EveryYearOn { month, day, minute };
        assert_eq!(resolved(on(6, 1, 600), "2026-06-01T09:59:59Z", "UTC"), "2026-06-01T10:00:00Z");
        assert_eq!(resolved(on(6, 1, 600), "2026-06-01T10:00:00Z", "UTC"), "2027-06-01T10:00:00Z");
        assert_eq!(resolved(on(1, 1, 0), "2026-12-31T23:59:59Z", "UTC"), "2027-01-01T00:00:00Z");
        assert_eq!(resolved(on(12, 31, 1439), "2026-12-31T23:59:00Z", "UTC"), "2027-12-31T23:59:00Z");
        // New year comes earlier in Moscow.
        assert_eq!(resolved(on(1, 1, 0), "2026-12-31T20:59:59Z", "Europe/Moscow"), "2026-12-31T21:00:00Z");
        assert_eq!(resolved(on(1, 1, 0), "2026-12-31T21:00:00Z", "Europe/Moscow"), "2027-12-31T21:00:00Z");
    }

    #[test]
    fn the_29th_of_february_is_the_28th_in_other_years() {
        let on = When::EveryYearOn { month: 2, day: 29, minute: 0 };
        assert_eq!(resolved(on, "2026-01-01T00:00:00Z", "UTC"), "2026-02-28T00:00:00Z");
        assert_eq!(resolved(on, "2027-02-28T00:00:00Z", "UTC"), "2028-02-29T00:00:00Z");
        assert_eq!(resolved(on, "2028-02-28T00:00:00Z", "UTC"), "2028-02-29T00:00:00Z");
        // 2100 is no leap year.
        assert_eq!(resolved(on, "2099-06-01T00:00:00Z", "UTC"), "2100-02-28T00:00:00Z");
    }

    #[test]
    fn what_no_calendar_has_and_what_is_too_far_is_refused() {
        let now = ms("2026-01-01T00:00:00Z");
        let on = |year, month, day| When::On { year, month, day, minute: 0 };
        for (when, wrong) in [
            (on(2026, 2, 29), NoMoment::Date),
            (on(2026, 0, 1), NoMoment::Date),
            (on(2026, 13, 1), NoMoment::Date),
            (on(2026, 1, 0), NoMoment::Date),
            (on(2026, 255, 255), NoMoment::Date),
            (on(i16::MAX, 1, 1), NoMoment::Date),
            (on(2037, 1, 1), NoMoment::TooFar),
            (When::EveryYearOn { month: 2, day: 30, minute: 0 }, NoMoment::Date),
            (When::EveryYearOn { month: 4, day: 31, minute: 0 }, NoMoment::Date),
            (When::InDays { days: 0, minute: 1440 }, NoMoment::Minute(1440)),
            (When::InDays { days: 3661, minute: 0 }, NoMoment::TooFar),
            (When::InDays { days: u32::MAX, minute: 0 }, NoMoment::TooFar),
            (When::After { ms: u64::MAX }, NoMoment::TooFar),
            (When::After { ms: AHEAD_MAX_MS as u64 + 1 }, NoMoment::TooFar),
            (When::At { ms: i64::MAX }, NoMoment::TooFar),
            (When::EveryYearOn { month: 1, day: 1, minute: u16::MAX }, NoMoment::Minute(u16::MAX)),
        ] {
            assert_eq!(when.resolve(now, &TimeZone::UTC), Err(wrong), "{when:?}");
        }
        assert!(When::After { ms: AHEAD_MAX_MS as u64 }.resolve(now, &TimeZone::UTC).is_ok());
        // What lies in the past, however far, is due at once.
        assert!(on(1, 1, 1).resolve(now, &TimeZone::UTC).is_ok());
        assert!(When::At { ms: i64::MIN }.resolve(now, &TimeZone::UTC).is_ok());
    }

    fn any_when() -> impl Strategy<Value = When> {
        prop_oneof![
            any::<u64>().prop_map(|ms| When::After { ms }),
            any::<i64>().prop_map(|ms| When::At { ms }),
            (any::<u32>(), any::<u16>()).prop_map(|(days, minute)| When::InDays { days, minute }),
            (0..4000_u32, 0..1500_u16).prop_map(|(days, minute)| When::InDays { days, minute }),
            (any::<i16>(), any::<u8>(), any::<u8>(), any::<u16>()).prop_map(|(year, month, day, minute)| When::On {
                year,
                month,
                day,
                minute
            }),
            (1900..2200_i16, 0..14_u8, 0..33_u8, 0..1500_u16).prop_map(|(year, month, day, minute)| When::On {
                year,
                month,
                day,
                minute
            }),
            (0..14_u8, 0..33_u8, 0..1500_u16).prop_map(|(month, day, minute)| When::EveryYearOn { month, day, minute }),
        ]
    }

    proptest! {
        #[test]
        fn no_request_panics_and_none_is_more_than_ten_years_ahead(when in any_when(), now in any::<i64>(), at in 0..ZONES.len()) {
            if let Ok(due) = when.resolve(now, &zone(ZONES[at])) {
                prop_assert!(due.saturating_sub(now) <= AHEAD_MAX_MS);
            }
        }

        #[test]
        fn a_local_time_that_exists_is_what_clocks_then_show(
            now in 0..4_000_000_000_000_i64, days in 0..3000_u32, minute in 0..1440_u16, at in 0..ZONES.len(),
        ) {
            let zone = zone(ZONES[at]);
            let due = When::InDays { days, minute }.resolve(now, &zone).unwrap();
            let shown = local(due, &zone).unwrap();
            let asked = local(now, &zone).unwrap().date().checked_add(Span::new().days(days)).unwrap();
            let asked = asked.to_datetime(time(minute).unwrap());
            // In a gap clocks show more than was asked for; a millisecond before they showed less.
            prop_assert!(shown >= asked);
            if shown != asked {
                prop_assert!(local(due - 1, &zone).unwrap() < asked);
            }
        }

        #[test]
        fn a_day_of_the_year_comes_within_a_year_and_a_day(
            now in 0..4_000_000_000_000_i64, month in 1..=12_u8, day in 1..=28_u8, minute in 0..1440_u16, at in 0..ZONES.len(),
        ) {
            let due = When::EveryYearOn { month, day, minute }.resolve(now, &zone(ZONES[at])).unwrap();
            prop_assert!(due > now && due - now <= 368 * MS_A_DAY, "{due}");
        }
    }
}
