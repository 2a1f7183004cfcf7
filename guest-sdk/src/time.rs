//! Points in time, and spans. A rule has no clock: it knows only `ctx.now()` and the times that
//! events carry.

use core::fmt;
use core::ops::{Add, Sub};

pub use core::time::Duration;

/// A point in time in UTC, with millisecond precision.
///
/// ```
/// use hailer_sdk::prelude::*;
///
/// let bought: Timestamp = "2021-08-13T16:53:47Z".parse()?;
/// assert!(bought + days(30) < "2021-09-13T00:00:00Z".parse()?);
/// assert_eq!((bought + minutes(10)).since(bought), minutes(10));
/// assert_eq!(bought.to_string(), "2021-08-13T16:53:47Z");
/// # Ok::<(), hailer_sdk::InvalidTimestamp>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    millis: i64,
}

impl Timestamp {
    /// Makes a timestamp from milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self { millis }
    }

    /// The timestamp in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.millis
    }

    /// The span from `earlier` to this timestamp; zero if this one is not later.
    #[must_use]
    pub const fn since(self, earlier: Timestamp) -> Duration {
        let millis = self.millis.saturating_sub(earlier.millis);
        Duration::from_millis(if millis > 0 { millis.cast_unsigned() } else { 0 })
    }

    /// The year, month (1-12) and day (1-31) in UTC, in the Gregorian calendar.
    #[must_use]
    pub const fn date(self) -> (i64, u8, u8) {
        // Days are counted in eras of 400 years that begin on the first of March, so that a leap
        // day is the last day of its year.
        let days = self.millis.div_euclid(MILLIS_A_DAY) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + (month <= 2) as i64;
        (year, month as u8, day as u8)
    }
}

const MILLIS_A_DAY: i64 = 86_400_000;

/// A span of seconds.
#[must_use]
pub const fn seconds(count: u32) -> Duration {
    Duration::from_secs(count as u64)
}

/// A span of minutes.
#[must_use]
pub const fn minutes(count: u32) -> Duration {
    Duration::from_secs(count as u64 * 60)
}

/// A span of hours.
#[must_use]
pub const fn hours(count: u32) -> Duration {
    Duration::from_secs(count as u64 * 3600)
}

/// A span of days of 24 hours each.
#[must_use]
pub const fn days(count: u32) -> Duration {
    Duration::from_secs(count as u64 * 86_400)
}

pub(crate) const fn millis_of(span: Duration) -> i64 {
    let millis = span.as_millis();
    if millis > i64::MAX as u128 { i64::MAX } else { millis as i64 }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, span: Duration) -> Timestamp {
        Timestamp::from_millis(self.millis.saturating_add(millis_of(span)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, span: Duration) -> Timestamp {
        Timestamp::from_millis(self.millis.saturating_sub(millis_of(span)))
    }
}

/// Writes RFC 3339, with milliseconds only if they are not zero.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let of_day = self.millis.rem_euclid(MILLIS_A_DAY);
        let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match of_day % 1000 {
            0 => formatter.write_str("Z"),
            millis => write!(formatter, ".{millis:03}Z"),
        }
    }
}

/// The error for text that is not a timestamp in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTimestamp;

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a moment: write it like 2021-08-13T16:53:47Z")
    }
}

impl core::error::Error for InvalidTimestamp {}

/// Reads RFC 3339: a date, `T`, a time, and an offset. Without an offset, the time is in UTC.
/// Digits after the millisecond are cut off.
impl core::str::FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        parse(text.as_bytes()).ok_or(InvalidTimestamp)
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let number = |from: usize, length: usize| {
        let digits = text.get(from..from + length)?;
        digits.iter().try_fold(0, |sum: i64, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
        })
    };
    let mark = |at: usize, marks: &[u8]| {
        text.get(at).is_some_and(|byte| marks.contains(byte)).then_some(())
    };
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    for (at, marks) in [(4, &b"-"[..]), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")] {
        mark(at, marks)?;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut millis = 0;
    if mark(at, b".").is_some() {
        let digits = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let kept = digits.clamp(1, 3);
        millis = number(at + 1, kept)? * [100, 10, 1][kept - 1];
        at += 1 + digits;
    }
    let offset_minutes = match text.get(at..)? {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
            let size = (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)?;
            if *sign == b'-' { -size } else { size }
        }
        _ => return None,
    };
    let moment = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute - offset_minutes)
        * 60
        + second;
    let day_start = Timestamp::from_millis(days_from_civil(year, month, day) * MILLIS_A_DAY);
    (day_start.date() == (year, month as u8, day as u8))
        .then(|| Timestamp::from_millis(moment * 1000 + millis))
}

/// The number of days from 1970-01-01 to a date in the Gregorian calendar; the inverse of
/// [`Timestamp::date`].
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn timestamps_are_read_and_written() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2020-08-13T16:53:47Z", 1_597_337_627_000),
            ("2000-02-29T12:00:00.250Z", 951_825_600_250),
            ("1969-12-31T23:59:59.999Z", -1),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(moment(text), Timestamp::from_millis(millis), "{text}");
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn an_offset_is_taken_into_account_and_a_missing_one_is_utc() {
        assert_eq!(moment("2021-06-15T12:17:07+03:00"), moment("2021-06-15T09:17:07Z"));
        assert_eq!(moment("2021-06-15T05:47:07-03:30"), moment("2021-06-15T09:17:07Z"));
        assert_eq!(moment("2021-06-15T09:17:07"), moment("2021-06-15T09:17:07Z"));
        assert_eq!(moment("2021-06-15T09:17:07.1234567Z").as_millis() % 1000, 123);
    }

    #[test]
    fn text_that_is_not_a_timestamp_is_refused() {
        for text in [
            "",
            "2021-06-15",
            "2021-02-29T00:00:00Z",
            "2021-13-01T00:00:00Z",
            "2021-06-15T24:00:00Z",
            "2021-06-15T09:17:07.Z",
            "2021-06-15T09:17:07+3",
            "2021-06-15T09:17:07Zz",
            "２021-06-15T09:17:07Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_has_its_date() {
        for day in -146_097..146_097 {
            let (year, month, date) = Timestamp::from_millis(day * MILLIS_A_DAY).date();
            assert_eq!(days_from_civil(year, i64::from(month), i64::from(date)), day);
        }
    }
}
