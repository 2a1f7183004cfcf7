//! Durations and times in scenarios: `60d`, `1h 30m`, `2026-03-01T10:00` in the scenario's time
//! zone, `2026-03-01T10:00:00Z`, and for a timer `3d at 10:00`.

use hailer_abi::when::When;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::clock::Millis;

pub(super) const SPAN_HINT: &str =
    "write a duration with units, from weeks to seconds: \"60d\", \"1h 30m\", \"2w\", \"45s\"";
pub(super) const MOMENT_HINT: &str = "write a time: \"2026-03-01T10:00\" in the scenario's \
                                      time_zone, or \"2026-03-01T10:00:00Z\" in UTC";
pub(super) const DUE_HINT: &str = "write when the timer is due: a duration from now (\"60m\"), a \
                                   day from now with its time (\"3d at 10:00\"), or a time \
                                   (\"2026-03-01T10:00\")";

/// The units of a duration, in seconds.
const UNITS: [(&str, Millis); 5] =
    [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
/// Maximum of a duration, about ten years, which is also the maximum for a timer.
const SPAN_MS_MAX: Millis = 3_653 * 86_400_000;

/// The expected due time of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A span after the step's time.
    After(Millis),
    /// A number of days after the step's day, at this minute of the day.
    InDays(u32, u16),
    At(Millis),
}

impl Due {
    pub(super) fn read(text: &str, zone: &TimeZone) -> Option<Due> {
        if let Some((days, time)) = text.split_once(" at ") {
            let days = u32::try_from(span(days)? / 86_400_000)
                .ok()
                .filter(|_| span(days).is_some_and(is_whole_days))?;
            return Some(Due::InDays(days, minute(time.trim())?));
        }
        span(text).map(Due::After).or_else(|| moment(text, zone).map(Due::At))
    }

    pub(super) fn resolve(self, now: Millis, zone: &TimeZone) -> Option<Millis> {
        match self {
            Due::After(span) => Some(now + span),
            Due::InDays(days, minute) => When::InDays { days, minute }.resolve(now, zone).ok(),
            Due::At(moment) => Some(moment),
        }
    }
}

fn is_whole_days(span: Millis) -> bool {
    span % 86_400_000 == 0
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60 && text.len() <= 5).then_some(hour * 60 + minute)
}

/// Parses a duration: numbers with units, in any order.
pub(super) fn span(text: &str) -> Option<Millis> {
    let mut total: Millis = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: Millis = rest[..digits].parse().ok()?;
        let unit = rest.get(digits..digits + 1)?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(seconds * 1000)?)?;
        rest = rest[digits + 1..].trim_start();
    }
    (total <= SPAN_MS_MAX).then_some(total)
}

/// Latest time of a scenario's clock, 2100-01-01; far later times have no textual form.
pub(super) const MOMENT_MAX: Millis = 4_102_444_800_000;

/// Parses a time from 1970 on; a time without an offset is in the time zone.
pub(super) fn moment(text: &str, zone: &TimeZone) -> Option<Millis> {
    let moment = match text.parse::<Timestamp>() {
        Ok(moment) => moment,
        Err(_) => zone.to_ambiguous_timestamp(text.parse::<DateTime>().ok()?).compatible().ok()?,
    };
    Some(moment.as_millisecond()).filter(|moment| (0..=MOMENT_MAX).contains(moment))
}

/// Formats a time in the time zone, with seconds only if they are not zero.
pub(super) fn shown_moment(moment: Millis, zone: &TimeZone) -> String {
    let Ok(timestamp) = Timestamp::from_millisecond(moment) else { return format!("{moment} ms") };
    let local = zone.to_datetime(timestamp);
    let format = if moment % 60_000 == 0 { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d %H:%M:%S%.f" };
    local.strftime(format).to_string()
}

/// Formats a duration.
pub(super) fn shown_span(span: Millis) -> String {
    let mut parts = Vec::new();
    let mut rest = span / 1000;
    for (unit, seconds) in UNITS.iter().skip(1) {
        if rest >= *seconds {
            parts.push(format!("{}{unit}", rest / seconds));
            rest %= seconds;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units_and_have_a_maximum() {
        assert_eq!(span("60d"), Some(60 * 86_400_000));
        assert_eq!(span("1h 30m"), Some(5_400_000));
        assert_eq!(span("2w1s"), Some(1_209_601_000));
        for wrong in ["", "60", "d", "60 d", "-1d", "1y", "99999999999999999999d", "9999d", "1dé"]
        {
            assert_eq!(span(wrong), None, "{wrong}");
        }
        assert_eq!(shown_span(span("90m").unwrap()), "1h 30m");
        assert_eq!(shown_span(span("2w").unwrap()), "14d");
    }

    #[test]
    fn a_timer_is_due_after_a_duration_on_a_day_or_at_a_time() {
        let zone = TimeZone::get("Europe/Moscow").unwrap();
        let now = moment("2026-01-01T12:00", &zone).unwrap();
        let due = |text| {
            shown_moment(Due::read(text, &zone).unwrap().resolve(now, &zone).unwrap(), &zone)
        };
        assert_eq!(due("90m"), "2026-01-01 13:30");
        assert_eq!(due("3d at 10:00"), "2026-01-04 10:00");
        assert_eq!(due("2026-02-01T09:30"), "2026-02-01 09:30");
        assert_eq!(due("2026-02-01T09:30:05Z"), "2026-02-01 12:30:05");
        for wrong in ["tomorrow", "3h at 10:00", "3d at 24:00", "3d at 10", ""] {
            assert_eq!(Due::read(wrong, &zone), None, "{wrong}");
        }
    }
}
