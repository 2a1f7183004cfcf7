//! Quiet hours: whether they hold at a moment, and when they end.
//!
//! **Quiet hours hold while the customer's wall clock shows them.** So an hour that the clock shows
//! twice is quiet twice, and an end that the clock skips is the first moment after the gap.

use jiff::Span;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::model::{Policies, QuietHours};
use super::zone::{first_moment, timestamp, wall_clock};
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;

/// The days in which an open moment is searched for. Every week has one, unless the clock skips
/// the only one of a week.
const DAYS_MAX: i32 = 16;

const DAY_MS: Millis = 24 * 60 * 60 * 1000;

impl QuietHours {
    /// Whether the hours hold while a wall clock shows this time, whatever the channel.
    #[must_use]
    pub fn hold(&self, wall: DateTime) -> bool {
        let (time, today) = (wall.time(), wall.weekday());
        let begins = |day: Weekday| self.days.contains(&day);
        if self.from < self.to {
            return self.from <= time && time < self.to && begins(today);
        }
        (self.from <= time && begins(today)) || (time < self.to && begins(today.previous()))
    }
}

impl Policies {
    /// The quiet hours of a channel that hold at a moment in a zone: the first in the order of the
    /// file if there are several, `None` if there are none.
    #[must_use]
    pub fn quiet_at(&self, zone: &TimeZone, at: Millis, channel: Channel) -> Option<&QuietHours> {
        let mut hours = self.quiet_hours.iter().filter(|hours| hours.channels.contains(channel));
        let first = hours.next()?;
        let wall = wall_clock(zone, at);
        std::iter::once(first).chain(hours).find(|hours| hours.hold(wall))
    }

    /// The first moment from `at` on at which no quiet hours of a channel hold in a zone, in ms
    /// since 1970. If there is none within 16 days, which the file's reader refuses, it is
    /// [`Millis::MAX`].
    #[must_use]
    pub fn open_from(&self, zone: &TimeZone, at: Millis, channel: Channel) -> Millis {
        let is_open = |moment| self.quiet_at(zone, moment, channel).is_none();
        if is_open(at) {
            return at;
        }
        // Quiet hours end when the clock shows their end, or when the clock is changed.
        let mut open = zone
            .following(timestamp(at))
            .map(|transition| transition.timestamp().as_millisecond())
            .take_while(|moment| *moment <= at.saturating_add(Millis::from(DAYS_MAX) * DAY_MS))
            .find(|moment| *moment > at && is_open(*moment));
        let today = wall_clock(zone, at).date();
        // A clock that is set back across midnight shows the previous day once more.
        for day in -1..=DAYS_MAX {
            let Some(date) = day_after(today, day) else { continue };
            for hours in self.quiet_hours.iter().filter(|hours| hours.channels.contains(channel)) {
                for end in moments(zone, date, hours.to).into_iter().flatten() {
                    if at < end && open.is_none_or(|open| end < open) && is_open(end) {
                        open = Some(end);
                    }
                }
            }
            // No later day begins before its first midnight.
            let midnight = day_after(date, 1).map(|next| first_moment(zone, next.at(0, 0, 0, 0)));
            if open.zip(midnight).is_some_and(|(open, midnight)| open <= midnight) {
                break;
            }
        }
        open.unwrap_or(Millis::MAX)
    }
}

fn day_after(date: Date, days: i32) -> Option<Date> {
    date.checked_add(Span::new().days(days)).ok()
}

/// The moments at which the wall clock shows a time of a day: none if the clock skips it, two if
/// the clock is set back over it.
fn moments(zone: &TimeZone, date: Date, time: Time) -> [Option<Millis>; 2] {
    let wall = date.to_datetime(time);
    let with = |offset: Offset| Some(offset.to_timestamp(wall).ok()?.as_millisecond());
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => [with(offset), None],
        AmbiguousOffset::Fold { before, after } => [with(before), with(after)],
        AmbiguousOffset::Gap { .. } => [None, None],
    }
}
