//! The due time of a timer (`docs/abi.md`, "Timers"). It is computed from the rule's request,
//! the time of the call, and the campaign's time zone. The functions are pure: the caller passes
//! the time zone.
//!
//! The engine and the unit tests of rules use this code.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// The longest span from now to a due time, in milliseconds: ten years of 366 days.
pub const AHEAD_MAX_MS: i64 = 10 * 366 * MS_A_DAY;
const MS_A_DAY: i64 = 86_400_000;
/// The longest span from now to a due time, in days.
const AHEAD_MAX_DAYS: u32 = 10 * 366;
/// The number of minutes of a day, from 00:00 to 23:59.
const MINUTES_A_DAY: u16 = 24 * 60;

/// A due time as a rule requests it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// A number of milliseconds after now.
    After { ms: u64 },
    /// A point in time, in milliseconds since 1970-01-01 UTC.
    At { ms: i64 },
    /// A number of days after the current local date, at a minute of the day.
    InDays { days: u32, minute: u16 },
    /// A minute of a local date.
    On { year: i16, month: u8, day: u8, minute: u16 },
    /// The next occurrence of a day of the year, at a minute of the day; always after now. In years
    /// without a 29th of February, that day is the 28th.
    EveryYearOn { month: u8, day: u8, minute: u16 },
}

/// The reason why a due time is invalid. It contains only numbers from the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidDue {
    /// The date does not exist.
    Date,
    /// The minute of the day is not below 1440.
    Minute(u16),
    /// The due time is more than ten years ahead.
    TooFar,
}

impl fmt::Display for InvalidDue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidDue::Date => formatter.write_str("a date that does not exist"),
            InvalidDue::Minute(minute) => {
                write!(formatter, "minute {minute} of a day, which has only {MINUTES_A_DAY}")
            }
            InvalidDue::TooFar => formatter.write_str("a time more than ten years ahead"),
        }
    }
}

impl std::error::Error for InvalidDue {}

impl When {
    /// The instant of the due time, in milliseconds since 1970-01-01 UTC. It may be in the past;
    /// such a timer is due at once.
    ///
    /// If clocks skip a local time, the result is the first instant after the gap. If clocks show
    /// it twice, the result is the earlier instant.
    ///
    /// # Errors
    /// When the date or the minute does not exist, or when the due time is more than ten years
    /// after `now`.
    pub fn resolve(self, now: i64, zone: &TimeZone) -> Result<i64, InvalidDue> {
        let due = match self {
            When::After { ms } => now.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)),
            When::At { ms } => ms,
            When::InDays { days, minute } => {
                if days > AHEAD_MAX_DAYS {
                    return Err(InvalidDue::TooFar);
                }
                let date = local(now, zone)?.date().checked_add(Span::new().days(days));
                instant(date.map_err(|_| InvalidDue::TooFar)?.to_datetime(time(minute)?), zone)?
            }
            When::On { year, month, day, minute } => {
                let time = time(minute)?;
                instant(date(year, month, day)?.to_datetime(time), zone)?
            }
            When::EveryYearOn { month, day, minute } => {
                next_of_year(now, (month, day), minute, zone)?
            }
        };
        if due.saturating_sub(now) > AHEAD_MAX_MS { Err(InvalidDue::TooFar) } else { Ok(due) }
    }
}

fn next_of_year(
    now: i64,
    (month, day): (u8, u8),
    minute: u16,
    zone: &TimeZone,
) -> Result<i64, InvalidDue> {
    // Any leap year serves to check whether the day exists.
    date(2024, month, day)?;
    let time = time(minute)?;
    let this_year = local(now, zone)?.year();
    // The search begins with the year before: a gap can move the last minute of December into
    // January.
    for year in this_year.saturating_sub(1)..=this_year.saturating_add(1) {
        let due = instant(
            date(year, month, day).or_else(|_| date(year, 2, 28))?.to_datetime(time),
            zone,
        )?;
        if due > now {
            return Ok(due);
        }
    }
    Err(InvalidDue::TooFar)
}

fn local(now: i64, zone: &TimeZone) -> Result<DateTime, InvalidDue> {
    Ok(zone.to_datetime(Timestamp::from_millisecond(now).map_err(|_| InvalidDue::TooFar)?))
}

fn date(year: i16, month: u8, day: u8) -> Result<Date, InvalidDue> {
    let small = |number: u8| i8::try_from(number).map_err(|_| InvalidDue::Date);
    Date::new(year, small(month)?, small(day)?).map_err(|_| InvalidDue::Date)
}

fn time(minute: u16) -> Result<Time, InvalidDue> {
    let wrong = InvalidDue::Minute(minute);
    let part = |number: u16| i8::try_from(number).map_err(|_| wrong);
    Time::new(part(minute / 60)?, part(minute % 60)?, 0, 0).map_err(|_| wrong)
}

fn instant(local: DateTime, zone: &TimeZone) -> Result<i64, InvalidDue> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    // jiff reads a skipped time with the offset before the gap, so the result is later than the end
    // of the gap. The end of the gap is the instant at which the offset changes.
    let instant = match ambiguous.offset() {
        jiff::tz::AmbiguousOffset::Gap { .. } => {
            let within = ambiguous.later().map_err(|_| InvalidDue::TooFar)?;
            let before = ambiguous.earlier().map_err(|_| InvalidDue::TooFar)?;
            let mut changes = zone.following(before.min(within) - Span::new().nanoseconds(1));
            changes.next().map_or(within, |change| change.timestamp())
        }
        _ => ambiguous.earlier().map_err(|_| InvalidDue::TooFar)?,
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
    fn relative_and_absolute_times_do_not_depend_on_the_zone() {
        let now = "2026-01-01T00:00:00Z";
        assert_eq!(
            resolved(When::After { ms: 3_600_000 }, now, "Europe/Moscow"),
            "2026-01-01T01:00:00Z"
        );
        assert_eq!(resolved(When::After { ms: 0 }, now, "Europe/Moscow"), now);
        assert_eq!(resolved(When::At { ms: 5 }, now, "Europe/Moscow"), "1970-01-01T00:00:00.005Z");
    }

    #[test]
    fn days_are_counted_from_the_local_date() {
        let ten = 600;
        // In Moscow it is already the second of January.
        let now = "2026-01-01T22:00:00Z";
        let in_days = |days| When::InDays { days, minute: ten };
        assert_eq!(resolved(in_days(1), now, "Europe/Moscow"), "2026-01-03T07:00:00Z");
        assert_eq!(resolved(in_days(1), now, "UTC"), "2026-01-02T10:00:00Z");
        // Ten o'clock today may be over; the timer is due at once then.
        assert_eq!(resolved(in_days(0), now, "UTC"), "2026-01-01T10:00:00Z");
        // The timer fires at ten o'clock although the clocks change within the thirty days.
        assert_eq!(
            resolved(in_days(30), "2026-03-10T12:00:00Z", "Europe/Berlin"),
            "2026-04-09T08:00:00Z"
        );
    }

    #[test]
    fn a_skipped_local_time_is_the_first_instant_after_the_gap() {
        let at = |minute| When::On { year: 2026, month: 3, day: 29, minute };
        let now = "2026-01-01T00:00:00Z";
        for minute in [120, 121, 150, 179] {
            assert_eq!(
                resolved(at(minute), now, "Europe/Berlin"),
                "2026-03-29T01:00:00Z",
                "{minute}"
            );
        }
        assert_eq!(resolved(at(119), now, "Europe/Berlin"), "2026-03-29T00:59:00Z");
        assert_eq!(resolved(at(180), now, "Europe/Berlin"), "2026-03-29T01:00:00Z");
        // Brazil skipped midnight, and Samoa skipped a whole day.
        let midnight = When::On { year: 2018, month: 11, day: 4, minute: 0 };
        assert_eq!(
            resolved(midnight, "2018-01-01T00:00:00Z", "America/Sao_Paulo"),
            "2018-11-04T03:00:00Z"
        );
        let lost_day = When::On { year: 2011, month: 12, day: 30, minute: 720 };
        assert_eq!(
            resolved(lost_day, "2011-01-01T00:00:00Z", "Pacific/Apia"),
            "2011-12-30T10:00:00Z"
        );
    }

    #[test]
    fn a_repeated_local_time_is_the_earlier_instant() {
        let at = |minute| When::On { year: 2026, month: 10, day: 25, minute };
        let now = "2026-01-01T00:00:00Z";
        assert_eq!(resolved(at(150), now, "Europe/Berlin"), "2026-10-25T00:30:00Z");
        assert_eq!(resolved(at(180), now, "Europe/Berlin"), "2026-10-25T02:00:00Z");
    }

    #[test]
    fn a_day_of_the_year_is_always_in_the_future() {
        let on = |month, day, minute| When::EveryYearOn { month, day, minute };
        assert_eq!(resolved(on(6, 1, 600), "2026-06-01T09:59:59Z", "UTC"), "2026-06-01T10:00:00Z");
        assert_eq!(resolved(on(6, 1, 600), "2026-06-01T10:00:00Z", "UTC"), "2027-06-01T10:00:00Z");
        assert_eq!(resolved(on(1, 1, 0), "2026-12-31T23:59:59Z", "UTC"), "2027-01-01T00:00:00Z");
        assert_eq!(
            resolved(on(12, 31, 1439), "2026-12-31T23:59:00Z", "UTC"),
            "2027-12-31T23:59:00Z"
        );
        // The new year begins earlier in Moscow.
        assert_eq!(
            resolved(on(1, 1, 0), "2026-12-31T20:59:59Z", "Europe/Moscow"),
            "2026-12-31T21:00:00Z"
        );
        assert_eq!(
            resolved(on(1, 1, 0), "2026-12-31T21:00:00Z", "Europe/Moscow"),
            "2027-12-31T21:00:00Z"
        );
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
    fn dates_that_do_not_exist_and_times_too_far_ahead_are_refused() {
        let now = ms("2026-01-01T00:00:00Z");
        let on = |year, month, day| When::On { year, month, day, minute: 0 };
        for (when, wrong) in [
            (on(2026, 2, 29), InvalidDue::Date),
            (on(2026, 0, 1), InvalidDue::Date),
            (on(2026, 13, 1), InvalidDue::Date),
            (on(2026, 1, 0), InvalidDue::Date),
            (on(2026, 255, 255), InvalidDue::Date),
            (on(i16::MAX, 1, 1), InvalidDue::Date),
            (on(2037, 1, 1), InvalidDue::TooFar),
            (When::EveryYearOn { month: 2, day: 30, minute: 0 }, InvalidDue::Date),
            (When::EveryYearOn { month: 4, day: 31, minute: 0 }, InvalidDue::Date),
            (When::InDays { days: 0, minute: 1440 }, InvalidDue::Minute(1440)),
            (When::InDays { days: 3661, minute: 0 }, InvalidDue::TooFar),
            (When::InDays { days: u32::MAX, minute: 0 }, InvalidDue::TooFar),
            (When::After { ms: u64::MAX }, InvalidDue::TooFar),
            (When::After { ms: AHEAD_MAX_MS as u64 + 1 }, InvalidDue::TooFar),
            (When::At { ms: i64::MAX }, InvalidDue::TooFar),
            (
                When::EveryYearOn { month: 1, day: 1, minute: u16::MAX },
                InvalidDue::Minute(u16::MAX),
            ),
        ] {
            assert_eq!(when.resolve(now, &TimeZone::UTC), Err(wrong), "{when:?}");
        }
        assert!(When::After { ms: AHEAD_MAX_MS as u64 }.resolve(now, &TimeZone::UTC).is_ok());
        // A due time in the past, however far, is due at once.
        assert!(on(1, 1, 1).resolve(now, &TimeZone::UTC).is_ok());
        assert!(When::At { ms: i64::MIN }.resolve(now, &TimeZone::UTC).is_ok());
    }

    fn any_when() -> impl Strategy<Value = When> {
        prop_oneof![
            any::<u64>().prop_map(|ms| When::After { ms }),
            any::<i64>().prop_map(|ms| When::At { ms }),
            (any::<u32>(), any::<u16>()).prop_map(|(days, minute)| When::InDays { days, minute }),
            (0..4000_u32, 0..1500_u16).prop_map(|(days, minute)| When::InDays { days, minute }),
            (any::<i16>(), any::<u8>(), any::<u8>(), any::<u16>())
                .prop_map(|(year, month, day, minute)| When::On { year, month, day, minute }),
            (1900..2200_i16, 0..14_u8, 0..33_u8, 0..1500_u16)
                .prop_map(|(year, month, day, minute)| When::On { year, month, day, minute }),
            (0..14_u8, 0..33_u8, 0..1500_u16).prop_map(|(month, day, minute)| When::EveryYearOn {
                month,
                day,
                minute
            }),
        ]
    }

    proptest! {
        #[test]
        fn no_request_panics_and_none_is_more_than_ten_years_ahead(
            when in any_when(), now in any::<i64>(), at in 0..ZONES.len(),
        ) {
            if let Ok(due) = when.resolve(now, &zone(ZONES[at])) {
                prop_assert!(due.saturating_sub(now) <= AHEAD_MAX_MS);
            }
        }

        #[test]
        fn clocks_show_the_requested_local_time_if_it_exists(
            now in 0..4_000_000_000_000_i64,
            days in 0..3000_u32,
            minute in 0..1440_u16,
            at in 0..ZONES.len(),
        ) {
            let zone = zone(ZONES[at]);
            let due = When::InDays { days, minute }.resolve(now, &zone).unwrap();
            let shown = local(due, &zone).unwrap();
            let today = local(now, &zone).unwrap().date();
            let date = today.checked_add(Span::new().days(days)).unwrap();
            let asked = date.to_datetime(time(minute).unwrap());
            // In a gap, clocks show a later time than requested, and an earlier one a millisecond
            // before.
            prop_assert!(shown >= asked);
            if shown != asked {
                prop_assert!(local(due - 1, &zone).unwrap() < asked);
            }
        }

        #[test]
        fn a_day_of_the_year_comes_within_a_year_and_a_day(
            now in 0..4_000_000_000_000_i64,
            month in 1..=12_u8,
            day in 1..=28_u8,
            minute in 0..1440_u16,
            at in 0..ZONES.len(),
        ) {
            let when = When::EveryYearOn { month, day, minute };
            let due = when.resolve(now, &zone(ZONES[at])).unwrap();
            prop_assert!(due > now && due - now <= 368 * MS_A_DAY, "{due}");
        }
    }
}
