//! The due times of timers. A rule states a due time in the customer's terms ("in two days at ten",
//! "every year on the birthday"). The host converts it to an instant in the campaign's time zone.

use crate::wire::Writer;
use crate::{Duration, Timestamp};

/// A timer of this rule. `Timer` has one constant for each handler marked `#[timer]`, and there are
/// no other timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId {
    /// The handler's number in the manifest.
    pub(crate) handler: u32,
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "used by tests only"))]
    pub(crate) name: &'static str,
}

/// Makes a constant of `Timer`; for generated code only.
#[must_use]
pub const fn timer(handler: u32, name: &'static str) -> TimerId {
    TimerId { handler, name }
}

/// The due time of a timer: a span from now (`minutes(60)`), a point in time ([`at`]), or a local
/// time ([`in_days`], [`on`], [`every_year_on`]).
///
/// Local times are in the campaign's `time_zone`. If clocks skip a local time, the timer is due at
/// the first instant after the gap. If clocks show it twice, the earlier one counts. A due time in
/// the past is due at once. A due time more than ten years ahead is a fault.
///
/// ```
/// use hailer_sdk::prelude::*;
///
/// const NEXT_MORNING: When = in_days(1).at(10, 0);
/// const NEW_YEAR: When = on(2027, 1, 1).at(0, 0);
/// const EVERY_LEAP_DAY: When = every_year_on(2, 29).at(9, 30);
/// ```
///
/// A constant with a date or a time that does not exist does not compile:
///
/// ```compile_fail,E0080
/// # use hailer_sdk::prelude::*;
/// const NO_DAY: When = on(2026, 2, 29).at(10, 0);
/// ```
/// ```compile_fail,E0080
/// # use hailer_sdk::prelude::*;
/// const NO_TIME: When = in_days(1).at(24, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When(Parts);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    After { ms: i64 },
    At { ms: i64 },
    InDays { days: u32, minute: u32 },
    On { year: u32, month: u32, day: u32, minute: u32 },
    EveryYearOn { month: u32, day: u32, minute: u32 },
}

/// A local day without a time of day; add it with `.at(10, 0)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "add the time of day: `.at(10, 0)`"]
pub struct Day(Parts);

/// A timer due at this point in time.
#[must_use]
pub const fn at(moment: Timestamp) -> When {
    When(Parts::At { ms: moment.as_millis() })
}

/// A timer due this number of days after today's date in the campaign's time zone; 0 is today.
pub const fn in_days(days: u32) -> Day {
    Day(Parts::InDays { days, minute: 0 })
}

/// A timer due on this date. In a constant, a date that does not exist is a compile error.
///
/// # Panics
/// When there is no such date.
pub const fn on(year: u32, month: u32, day: u32) -> Day {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    assert!(year <= 9999 && day >= 1 && day <= days_of(month, is_leap), "there is no such date");
    Day(Parts::On { year, month, day, minute: 0 })
}

/// A timer due on the next occurrence of this day of the year, after now. In years without a 29th
/// of February, that day is the 28th.
///
/// # Panics
/// When no year has such a day.
pub const fn every_year_on(month: u32, day: u32) -> Day {
    assert!(day >= 1 && day <= days_of(month, true), "no year has such a day");
    Day(Parts::EveryYearOn { month, day, minute: 0 })
}

impl Day {
    /// Adds the time of day, from 00:00 to 23:59.
    ///
    /// # Panics
    /// When no clock shows it.
    #[must_use]
    pub const fn at(self, hour: u32, minute: u32) -> When {
        assert!(hour < 24 && minute < 60, "no clock shows this time");
        let of_day = hour * 60 + minute;
        When(match self.0 {
            Parts::InDays { days, .. } => Parts::InDays { days, minute: of_day },
            Parts::On { year, month, day, .. } => Parts::On { year, month, day, minute: of_day },
            Parts::EveryYearOn { month, day, .. } => {
                Parts::EveryYearOn { month, day, minute: of_day }
            }
            whole => whole,
        })
    }
}

/// A due time for a timer: a [`Duration`] from now, a [`Timestamp`], or a [`When`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a due time for a timer",
    label = "expected a span such as `minutes(60)`, a point in time such as `at(..)`, or a local \
             time such as `in_days(1).at(10, 0)`"
)]
pub trait Due {
    #[doc(hidden)]
    fn when(self) -> When;
}

impl Due for When {
    fn when(self) -> When {
        self
    }
}

/// Due this span after now.
impl Due for Duration {
    fn when(self) -> When {
        When(Parts::After { ms: crate::time::millis_of(self) })
    }
}

impl Due for Timestamp {
    fn when(self) -> When {
        at(self)
    }
}

const fn days_of(month: u32, is_leap: bool) -> u32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    }
}

impl When {
    /// Writes the record of `docs/abi.md`, "Timers".
    #[inline(never)]
    pub(crate) fn write(self, writer: &mut Writer) {
        let (members, count) = match self.0 {
            Parts::After { ms } => ([0, ms, 0, 0, 0], 2),
            Parts::At { ms } => ([1, ms, 0, 0, 0], 2),
            Parts::InDays { days, minute } => ([2, days as i64, minute as i64, 0, 0], 3),
            Parts::On { year, month, day, minute } => {
                ([3, year as i64, month as i64, day as i64, minute as i64], 5)
            }
            Parts::EveryYearOn { month, day, minute } => {
                ([4, month as i64, day as i64, minute as i64, 0], 4)
            }
        };
        writer.array(count);
        for member in members.iter().take(count) {
            writer.int(*member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::days;

    fn written(due: impl Due) -> Vec<u8> {
        let mut writer = Writer::default();
        due.when().write(&mut writer);
        writer.bytes().to_vec()
    }

    #[test]
    fn due_times_are_written_as_the_records_of_the_abi() {
        assert_eq!(written(Duration::from_millis(100)), [0x92, 0, 100]);
        assert_eq!(written(Timestamp::from_millis(-1)), [0x92, 1, 0xff]);
        assert_eq!(written(in_days(2).at(0, 59)), [0x93, 2, 2, 59]);
        assert_eq!(written(on(2028, 2, 29).at(0, 0))[..2], [0x95, 3]);
        assert_eq!(written(every_year_on(12, 31).at(0, 7)), [0x94, 4, 12, 31, 7]);
        assert_eq!(written(days(u32::MAX))[..2], [0x92, 0]);
    }

    #[test]
    fn dates_and_times_that_do_not_exist_are_refused() {
        for wrong in [
            || on(2026, 2, 29).at(0, 0),
            || on(2100, 2, 29).at(0, 0),
            || on(2026, 13, 1).at(0, 0),
            || on(2026, 1, 0).at(0, 0),
            || every_year_on(4, 31).at(0, 0),
            || every_year_on(0, 1).at(0, 0),
            || in_days(0).at(24, 0),
            || in_days(0).at(0, 60),
        ] {
            assert!(std::panic::catch_unwind(wrong).is_err());
        }
    }
}
