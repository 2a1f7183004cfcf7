//! RFC 3339 timestamps. Two allowances for what the source sends: without an offset it is UTC, and a fraction may have any
//! number of digits, of which three are kept.

use crate::clock::Millis;

/// The longest text that is looked at; what follows the third digit of a fraction is only validated.
pub(super) const TEXT_BYTES_MAX: usize = 64;

/// Milliseconds since 1970-01-01 UTC; `None` if the text is no timestamp.
pub(crate) fn read(text: &[u8]) -> Option<Millis> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, separator)| date_time[at] != separator)
        || !matches!(date_time[10], b'T' | b't' | b' ')
    {
        return None;
    }
    let field = |at: usize, length: usize| number(&date_time[at..at + length]);
    let (year, month, day) = (field(0, 4)?, field(5, 2)?, field(8, 2)?);
    let (hour, minute, second) = (field(11, 2)?, field(14, 2)?, field(17, 2)?);
    if !(1..=12).contains(&month) || !(1..=days_of_month(year, month)).contains(&day) {
        return None;
    }
    // A leap second counts as the one before it.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (millis, rest) = fraction(rest)?;
    let offset_minutes = offset(rest)?;
    let minutes = (days_since_epoch(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    Some((minutes * 60 + second.min(59)) * 1000 + millis)
}

/// The milliseconds of `.123…`, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(length);
    let millis = [100, 10, 1].iter().zip(digits).map(|(weight, digit)| weight * i64::from(digit - b'0')).sum();
    (length > 0).then_some((millis, rest))
}

/// The minutes by which an offset is ahead of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', hours @ .., b':', minute_tens, minute_ones] => (1, hours, [*minute_tens, *minute_ones]),
        [b'-', hours @ .., b':', minute_tens, minute_ones] => (-1, hours, [*minute_tens, *minute_ones]),
        _ => return None,
    };
    let (hours, minutes) = (number(hours.first_chunk::<2>().filter(|_| hours.len() == 2)?)?, number(&minutes)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap_year),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar. Years are counted from March, so that a leap day is a year's last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_BEFORE_1970: i64 = 719_468;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // From March on, five months have 153 days.
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - DAYS_BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_a_calendar_on_every_day_of_ten_thousand_years() {
        let mut day = jiff::civil::date(0, 1, 1);
        let first_day: i64 = -719_528;
        for number in first_day.. {
            let text = format!("{day}T00:00:00Z");
            assert_eq!(read(text.as_bytes()), Some(number * 86_400_000), "{text}");
            match day.tomorrow() {
                Ok(tomorrow) => day = tomorrow,
                Err(_) => break,
            }
        }
        assert_eq!(day, jiff::civil::Date::MAX);
    }

    #[test]
    fn offsets_fractions_and_their_absence_are_understood() {
        for (text, expected) in [
            ("1970-01-01T00:00:00", 0),
            ("1970-01-01 00:00:01Z", 1000),
            ("1970-01-01t03:00:00.5+03:00", 500),
            ("1969-12-31T23:59:59.9999999-00:00", -1),
            ("1970-01-01T00:00:00-23:59", 86_340_000),
            ("2020-08-13T16:53:47Z", 1_597_337_627_000),
            ("1972-06-30T23:59:60Z", 78_796_799_000),
        ] {
            assert_eq!(read(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_timestamp_is_none() {
        for text in [
            "",
            "2020-08-13",
            "2020-08-13T16:53",
            "2020-13-01T00:00:00Z",
            "2021-02-29T00:00:00Z",
            "2020-01-01T24:00:00Z",
            "2020-01-01T00:60:00Z",
            "2020-01-01T00:00:61Z",
            "2020-01-01T00:00:00.Z",
            "2020-01-01T00:00:00+3:00",
            "2020-01-01T00:00:00+0300",
            "2020-01-01T00:00:00+24:00",
            "2020-01-01T00:00:00Zz",
            "2020-01-01T00:00:00 Z",
            "+020-01-01T00:00:00Z",
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
