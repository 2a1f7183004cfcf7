//! The time zone of a customer, and the conversions between moments and its wall clock.
//!
//! Every conversion has a result: a moment that no calendar has is treated as the nearest one that
//! it has.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::body::{Leaf, Object};
use super::model::Policies;
use super::row::PolicyRow;
use hailer_base::clock::Millis;
use hailer_base::zones;

/// The largest distance from UTC that the text of an offset may have, in minutes.
const OFFSET_MINUTES_MAX: i32 = 14 * 60;

/// Reads the time zone of a customer: a name such as `Asia/Omsk`, or an offset from UTC such as
/// `+03:00`, of at most 14 hours. `None` for any other text.
#[must_use]
pub fn zone_of(text: &str) -> Option<TimeZone> {
    match text.as_bytes() {
        [sign @ (b'+' | b'-'), offset @ ..] => fixed(*sign == b'-', offset),
        _ => zones::zone(text),
    }
}

fn fixed(is_west: bool, offset: &[u8]) -> Option<TimeZone> {
    let &[h1, h2, b':', m1, m2] = offset else { return None };
    let number = |tens: u8, ones: u8| {
        let are_digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        are_digits.then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
    };
    let (hours, minutes) = (number(h1, h2)?, number(m1, m2).filter(|minutes| *minutes < 60)?);
    let minutes = Some(hours * 60 + minutes).filter(|minutes| *minutes <= OFFSET_MINUTES_MAX)?;
    let seconds = if is_west { minutes * -60 } else { minutes * 60 };
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

/// The statement of an event about the time zone of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneChange {
    /// The new time zone, which [`zone_of`] can read; `None` if it is not known any more.
    pub zone: Option<Box<str>>,
    /// Whether the event has a value that is no time zone. It counts as absent.
    pub is_unusable: bool,
}

impl ZoneChange {
    /// The code of the events that state time zones.
    pub const EVENT: &'static str = "OnCustomerAttributeUpdate";

    /// Reads the body of an event with the code [`Self::EVENT`]. `None` if it has another code, or
    /// is not about the attribute with the code `attribute`.
    #[must_use]
    pub fn read(body: &[u8], attribute: &str) -> Option<ZoneChange> {
        let body = Object::read(body)?;
        let is = |name, text| matches!(body.leaf(name), Leaf::Text(value) if value == text);
        if !is("eventCode", Self::EVENT) || !is("attributeCode", attribute) {
            return None;
        }
        Some(match body.leaf("newValue") {
            Leaf::Absent => ZoneChange { zone: None, is_unusable: false },
            Leaf::Text(zone) if zone_of(&zone).is_some() => {
                ZoneChange { zone: Some(zone.into()), is_unusable: false }
            }
            _ => ZoneChange { zone: None, is_unusable: true },
        })
    }
}

impl PolicyRow {
    /// Records the statement of an event about the time zone. Returns whether the row changed.
    pub fn set_zone(&mut self, change: &ZoneChange) -> bool {
        let is_new = self.zone != change.zone;
        if is_new {
            self.zone.clone_from(&change.zone);
        }
        is_new
    }
}

impl Policies {
    /// The time zone of a customer: the row's if it is readable, else the file's.
    #[must_use]
    pub fn zone_of(&self, row: &PolicyRow) -> TimeZone {
        row.zone.as_deref().and_then(zone_of).unwrap_or_else(|| self.zone.clone())
    }
}

/// The timestamp of a moment; the nearest one if the calendar does not reach so far.
pub(crate) fn timestamp(at: Millis) -> Timestamp {
    let nearest = if at < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at).unwrap_or(nearest)
}

/// The date and time that the wall clock of a zone shows.
pub(crate) fn wall_clock(zone: &TimeZone, at: Millis) -> DateTime {
    zone.to_datetime(timestamp(at))
}

/// The first moment at which the wall clock of a zone shows this time or a later one of its day.
/// If the clock skips the time, that is the end of the gap. If the clock shows it twice, that is
/// the first time.
pub(crate) fn first_moment(zone: &TimeZone, wall: DateTime) -> Millis {
    let with = |offset: Offset| offset.to_timestamp(wall).ok();
    let first = match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => with(offset),
        AmbiguousOffset::Fold { before, .. } => with(before),
        // With the later offset, the time lies before the gap; with the earlier one, after it.
        AmbiguousOffset::Gap { after, .. } => with(after)
            .and_then(|before_gap| zone.following(before_gap).next())
            .map(|transition| transition.timestamp()),
    };
    let out_of_reach = if wall.year() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    first.unwrap_or(out_of_reach).as_millisecond()
}

/// A moment as text in a zone, to the minute, such as `2026-03-01 00:00 +03:00`.
pub(crate) fn shown_moment(zone: &TimeZone, at: Millis) -> String {
    timestamp(at).to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M %:z").to_string()
}
