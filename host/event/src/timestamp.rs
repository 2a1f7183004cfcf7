//! Timestamps in the forms of ISO 8601 that databases and programs write. Besides RFC 3339 these
//! are: the basic format (`20260301T100000Z`); a space in place of the `T`; a time without seconds;
//! a comma before the fraction; an offset without minutes, without a colon, or after a space. Three
//! digits of the fraction are kept. A time without an offset is UTC, as the source means it. A date
//! without a time is refused.

use hailer_base::clock::Millis;

/// The longest text with escapes that is read as a timestamp, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 64;

/// Reads a timestamp as milliseconds since 1970-01-01 UTC; `None` if the text is no timestamp.
pub fn read(text: &[u8]) -> Option<Millis> {
    let (days, rest) = date(text)?;
    let (b'T' | b't' | b' ', rest) = rest.split_first()? else { return None };
    let (millis_of_day, rest) = time(rest)?;
    let minutes = days * 24 * 60 - offset(rest)?;
    Some(minutes * 60_000 + millis_of_day)
}

/// Reads `2026-03-01` or `20260301` as days since 1970-01-01. Returns them and the rest of the
/// text.
fn date(text: &[u8]) -> Option<(i64, &[u8])> {
    let (year, rest) = digits::<4>(text)?;
    let is_extended = rest.first() == Some(&b'-');
    let (month, rest) = digits::<2>(behind(rest, is_extended, b'-')?)?;
    let (day, rest) = digits::<2>(behind(rest, is_extended, b'-')?)?;
    let is_date = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
    is_date.then(|| (days_since_epoch(year, month, day), rest))
}

/// Reads `10:00:00.123`, `10:00`, `100000,123` or `1000` as milliseconds. Returns them and the rest
/// of the text.
fn time(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hour, rest) = digits::<2>(text)?;
    let is_extended = rest.first() == Some(&b':');
    let (minute, rest) = digits::<2>(behind(rest, is_extended, b':')?)?;
    let has_seconds = if is_extended {
        rest.first() == Some(&b':')
    } else {
        rest.first().is_some_and(u8::is_ascii_digit)
    };
    let (second, millis, rest) = if has_seconds {
        let (second, rest) = digits::<2>(behind(rest, is_extended, b':')?)?;
        let (millis, rest) = fraction(rest)?;
        (second, millis, rest)
    } else {
        (0, 0, rest)
    };
    // A leap second counts as the second before it.
    let is_time = hour <= 23 && minute <= 59 && second <= 60;
    is_time.then(|| (((hour * 60 + minute) * 60 + second.min(59)) * 1000 + millis, rest))
}

/// Reads `.123…` or `,123…` as milliseconds. Returns them and the rest of the text.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', digits @ ..] = text else { return Some((0, text)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(length);
    let millis = [100, 10, 1]
        .iter()
        .zip(digits)
        .map(|(weight, digit)| weight * i64::from(digit - b'0'))
        .sum();
    (length > 0).then_some((millis, rest))
}

/// Reads an offset as the minutes by which it is ahead of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b" ").filter(|offset| !offset.is_empty()).unwrap_or(text);
    let (sign, rest) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = digits::<2>(rest)?;
    let minutes = match rest {
        [] => 0,
        rest => match digits::<2>(rest.strip_prefix(b":").unwrap_or(rest))? {
            (minutes, []) => minutes,
            _ => return None,
        },
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// Removes the separator from the beginning of the text, if there must be one.
fn behind(text: &[u8], is_there: bool, separator: u8) -> Option<&[u8]> {
    if is_there { text.strip_prefix(&[separator]) } else { Some(text) }
}

/// Reads a number of exactly `N` digits. Returns it and the rest of the text.
fn digits<const N: usize>(text: &[u8]) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<N>()?;
    Some((number(digits)?, rest))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap_year),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar. Years are counted from March, so that a leap
/// day is the last day of its year.
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
    fn every_day_of_ten_thousand_years_agrees_with_jiff() {
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
    fn reads_every_accepted_form() {
        for (text, expected) in [
            ("1970-01-01T00:00:00", 0),
            ("1970-01-01 00:00:01Z", 1000),
            ("1970-01-01t03:00:00.5+03:00", 500),
            ("1969-12-31T23:59:59.9999999-00:00", -1),
            ("1970-01-01T00:00:00-23:59", 86_340_000),
            ("2020-08-13T16:53:47Z", 1_597_337_627_000),
            ("1972-06-30T23:59:60Z", 78_796_799_000),
            ("2020-08-13 16:53:47+00", 1_597_337_627_000),
            ("2020-08-13 19:53:47+03", 1_597_337_627_000),
            ("2020-08-13T13:23:47-0330", 1_597_337_627_000),
            ("2020-08-13 16:53:47 +0000", 1_597_337_627_000),
            ("2020-08-13T16:53:47,5Z", 1_597_337_627_500),
            ("2020-08-13T16:53", 1_597_337_580_000),
            ("2020-08-13 16:53Z", 1_597_337_580_000),
            ("20200813T165347Z", 1_597_337_627_000),
            ("20200813T195347.250+0300", 1_597_337_627_250),
            ("20200813T1653", 1_597_337_580_000),
        ] {
            assert_eq!(read(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_any_other_text() {
        for text in [
            "",
            "2020-08-13",
            "20200813",
            "2020-08-13T16",
            "2020-08-13T16:53:",
            "2020-08-13T16:53.5",
            "2020-08-13T16:5347",
            "2020-0813T16:53:47",
            "202008-13T16:53:47",
            "2020-13-01T00:00:00Z",
            "2021-02-29T00:00:00Z",
            "2020-01-01T24:00:00Z",
            "2020-01-01T00:60:00Z",
            "2020-01-01T00:00:61Z",
            "2020-01-01T00:00:00.Z",
            "2020-01-01T00:00:00+3:00",
            "2020-01-01T00:00:00+030",
            "2020-01-01T00:00:00+03:",
            "2020-01-01T00:00:00+03:0",
            "2020-01-01T00:00:00+03000",
            "2020-01-01T00:00:00  Z",
            "2020-01-01T00:00:00 ",
            "2020-01-01T00:00:00+24:00",
            "2020-01-01T00:00:00Zz",
            "+020-01-01T00:00:00Z",
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
