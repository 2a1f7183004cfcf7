//! Times as people write them on the command line: a span back from now, a date, or a time.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};

use super::UsageError;
use crate::zones;

/// The zone in which times are read and printed.
pub(super) fn zone(utc: bool) -> TimeZone {
    if utc { TimeZone::UTC } else { zones::machine() }
}

/// Parses the value of `--since`, `--until` and the like.
pub(super) fn moment(flag: &str, text: &str, zone: &TimeZone) -> Result<Timestamp, UsageError> {
    parse(text, &Timestamp::now().to_zoned_datetime(zone.clone())).ok_or_else(|| {
        let forms = "a span back from now such as 90m, 24h or 7d, a date such as 2026-03-01, or a \
                     time such as 2026-03-01T08:00:00Z";
        UsageError(format!("`{flag} {text}` is not a time: write {forms}"))
    })
}

/// Parses a span such as `30d`, the value of `--warm-up` and the like, into milliseconds.
pub(super) fn span_ms(flag: &str, text: &str) -> Result<i64, UsageError> {
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let ms =
        text.parse::<Span>().ok().and_then(|span| span.total((jiff::Unit::Millisecond, days)).ok());
    // A hundred years: longer than any recording.
    const LONGEST_MS: f64 = 36_600.0 * 86_400_000.0;
    match ms {
        Some(ms) if (0.0..=LONGEST_MS).contains(&ms) => Ok(ms as i64),
        _ => Err(UsageError(format!(
            "`{flag} {text}` is not a span of time: write one such as 90m, 24h or 30d"
        ))),
    }
}

fn parse(text: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    // A date means its midnight.
    if let Ok(at) = text.parse::<DateTime>() {
        return Some(at.to_zoned_datetime(now.time_zone().clone()).ok()?.timestamp());
    }
    let span: Span = text.parse().ok()?;
    let at = now.checked_sub(span).ok()?;
    (!span.is_negative()).then(|| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_of_milliseconds_and_never_negative() {
        for (text, expected) in
            [("90m", 5_400_000), ("30d", 2_592_000_000), ("1d 1h", 90_000_000), ("0s", 0)]
        {
            assert_eq!(span_ms("--warm-up", text).unwrap(), expected, "{text}");
        }
        for text in ["", "30", "-1d", "a month", "40000d", "2026-03-01"] {
            assert!(span_ms("--warm-up", text).unwrap_err().to_string().contains("30d"), "{text}");
        }
    }

    #[test]
    fn a_time_is_a_span_back_a_date_or_a_time() {
        // The day on which the clocks of Berlin change.
        let now = "2026-03-29T12:00:00[Europe/Berlin]".parse::<ZonedDateTime>().unwrap();
        for (text, expected) in [
            ("7d", "2026-03-22T11:00:00Z"),
            ("24h", "2026-03-28T10:00:00Z"),
            ("90m", "2026-03-29T08:30:00Z"),
            ("2 weeks", "2026-03-15T11:00:00Z"),
            ("2026-03-29", "2026-03-28T23:00:00Z"),
            ("2026-03-29T12:00", "2026-03-29T10:00:00Z"),
            ("2026-03-29T12:00:00Z", "2026-03-29T12:00:00Z"),
            ("2026-03-29T12:00:00+03:00", "2026-03-29T09:00:00Z"),
        ] {
            assert_eq!(parse(text, &now), Some(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday", "7", "-7d", "2026-13-01", "99999 years"] {
            assert_eq!(parse(text, &now), None, "{text}");
        }
    }
}
