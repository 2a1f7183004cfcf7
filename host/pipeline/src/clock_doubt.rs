//! Decides whether the machine's clock is trusted.
//!
//! Everything that depends on `now` is wrong if the clock is wrong: timers, `start` and `end` of
//! campaigns, retention, `createdAt`. Some of it cannot be undone. So the engine compares the
//! machine's clock with the kept time (the latest `now` in the store), and with the time that has
//! passed since the last reading. **While the clock is in doubt, no event is taken in, no timer
//! fires and nothing expires**; the broker keeps the events. The doubt ends when the machine's
//! clock is right again, or when an operator accepts it (`hailer store clock --accept`).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::records::{ClockRecord, Progress, SetBack, decode, encode};
use hailer_base::clock::{self, ClockMark, Millis};
use hailer_store::{Changes, Snapshot, Store, StoreError, Table};

/// The most that the machine's clock may be behind the kept time, in ms. `now` then stands still
/// until the clock has caught up.
pub(super) const BEHIND_MAX_MS: Millis = 5 * MINUTE_MS;
/// The most that the machine's clock may gain, in ms, on the time since boot from one reading to
/// the next.
pub(super) const LEAP_MAX_MS: Millis = 5 * MINUTE_MS;
/// The longest stop that is believed after a reboot, in ms. Only the clock shows how long such a
/// stop was.
pub(super) const STOP_MAX_MS: Millis = 7 * 24 * 60 * MINUTE_MS;

const MINUTE_MS: Millis = 60_000;

/// The contradiction between the machine's clock and the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Contradiction {
    /// The kept time is ahead of the clock.
    Behind,
    /// The clock advanced by more time than has passed.
    Leap,
    /// The clock is far ahead of the kept time, and the machine was rebooted in between.
    LongStop,
}

/// A doubt about the machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockDoubt {
    pub contradiction: Contradiction,
    /// The latest `now` of the engine, in ms since 1970.
    pub kept_ms: Millis,
    /// The machine's clock, in ms since 1970.
    pub machine_ms: Millis,
}

/// Compares a reading with the store's record. `None` if the clock is trusted.
#[must_use]
pub fn clock_doubt(
    record: &ClockRecord,
    kept_ms: Millis,
    reading: ClockMark,
) -> Option<ClockDoubt> {
    let machine_ms = reading.wall_ms;
    let doubt = |contradiction| Some(ClockDoubt { contradiction, kept_ms, machine_ms });
    if kept_ms.saturating_sub(machine_ms) > BEHIND_MAX_MS {
        return doubt(Contradiction::Behind);
    }
    match record.mark {
        Some(mark) if mark.boot == reading.boot && mark.boot != 0 => {
            let passed_ms = reading.since_boot_ms.saturating_sub(mark.since_boot_ms).max(0);
            let expected_ms = mark.wall_ms.saturating_add(passed_ms);
            let leaps = machine_ms.saturating_sub(expected_ms) > LEAP_MAX_MS;
            if leaps { doubt(Contradiction::Leap) } else { None }
        }
        mark => {
            let last_ms = mark.map_or(kept_ms, |mark| mark.wall_ms.max(kept_ms));
            let is_first = last_ms == 0;
            let is_long = !is_first && machine_ms.saturating_sub(last_ms) > STOP_MAX_MS;
            if is_long { doubt(Contradiction::LongStop) } else { None }
        }
    }
}

/// Compares a store with the machine's clock before an engine runs on the store. `None` if the
/// clock is trusted.
///
/// # Errors
/// The store cannot be read.
pub fn doubt_at_start(snapshot: &dyn Snapshot) -> Result<Option<ClockDoubt>, StoreError> {
    let Some(row) = snapshot.get(Table::Meta, Progress::KEY)? else { return Ok(None) };
    let progress: Progress = decode(Table::Meta, &row)?;
    Ok(clock_doubt(&progress.clock, progress.now, clock::reading()))
}

/// Accepts the machine's clock as right, in the store of a stopped engine. The next engine trusts
/// it.
///
/// # Errors
/// The store cannot be read or written.
pub fn accept_clock(store: &dyn Store, reading: ClockMark) -> Result<(), StoreError> {
    let Some(row) = store.snapshot()?.get(Table::Meta, Progress::KEY)? else { return Ok(()) };
    let mut progress: Progress = decode(Table::Meta, &row)?;
    let now = reading.wall_ms;
    if progress.now > now {
        progress.now = now;
        progress.sessions.set_back(now);
        progress.clock.set_back = Some(SetBack { commit: progress.commit, now });
    }
    progress.clock.mark = Some(reading);
    let mut changes = Changes::default();
    changes.put(Table::Meta, Progress::KEY.to_vec(), encode(&progress));
    store.commit(changes)
}

impl ClockDoubt {
    /// The difference between the two times, in ms.
    #[must_use]
    pub fn apart_ms(&self) -> Millis {
        self.machine_ms.saturating_sub(self.kept_ms).saturating_abs()
    }
}

/// The reason for being unready. It stays the same while the doubt lasts.
impl fmt::Display for ClockDoubt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kept, machine] = [self.kept_ms, self.machine_ms].map(second);
        match self.contradiction {
            Contradiction::Behind => write!(
                formatter,
                "the machine's clock says {machine}, but the engine's time was already {kept}"
            )?,
            Contradiction::Leap => {
                write!(
                    formatter,
                    "the machine's clock leapt to {machine}; the engine's time was {kept}, and \
                     less time has passed since"
                )?;
            }
            Contradiction::LongStop => {
                write!(
                    formatter,
                    "the machine's clock says {machine}, {} days after the engine's last time, \
                     {kept}",
                    self.apart_ms() / (24 * 60 * MINUTE_MS)
                )?;
            }
        }
        formatter.write_str(
            "; no event is taken in, no timer fires and nothing expires: correct the machine's \
             clock or, if it is right, see `hailer store clock`",
        )
    }
}

fn second(ms: Millis) -> String {
    Timestamp::from_millisecond(ms)
        .map_or_else(|_| format!("{ms} ms since 1970"), |at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_800_000_000_000;
    const DAY: Millis = 24 * 60 * MINUTE_MS;

    fn reading(boot: u64, since_boot_ms: Millis, wall_ms: Millis) -> ClockMark {
        ClockMark { boot, since_boot_ms, wall_ms }
    }

    fn record(mark: ClockMark) -> ClockRecord {
        ClockRecord { mark: Some(mark), ..ClockRecord::default() }
    }

    fn contradiction(
        record: &ClockRecord,
        kept_ms: Millis,
        reading: ClockMark,
    ) -> Option<Contradiction> {
        clock_doubt(record, kept_ms, reading).map(|doubt| doubt.contradiction)
    }

    #[test]
    fn a_small_step_back_is_trusted_and_a_large_one_is_not() {
        let record = record(reading(1, 0, NOW));
        for (back_ms, expected) in [
            (BEHIND_MAX_MS, None),
            (BEHIND_MAX_MS + 1, Some(Contradiction::Behind)),
            (3650 * DAY, Some(Contradiction::Behind)),
        ] {
            assert_eq!(
                contradiction(&record, NOW, reading(1, 10, NOW - back_ms)),
                expected,
                "{back_ms}"
            );
            assert_eq!(
                contradiction(&ClockRecord::default(), NOW, reading(1, 10, NOW - back_ms)),
                expected
            );
        }
    }

    #[test]
    fn without_a_reboot_any_stop_is_trusted_and_no_leap_is() {
        let record = record(reading(1, 1000, NOW));
        for stop_ms in [0, DAY, 400 * DAY] {
            let at = |leap_ms| reading(1, 1000 + stop_ms, NOW + stop_ms + leap_ms);
            assert_eq!(contradiction(&record, NOW - DAY, at(0)), None);
            assert_eq!(contradiction(&record, NOW - DAY, at(LEAP_MAX_MS)), None);
            assert_eq!(
                contradiction(&record, NOW - DAY, at(LEAP_MAX_MS + 1)),
                Some(Contradiction::Leap)
            );
        }
    }

    #[test]
    fn after_a_reboot_a_stop_of_up_to_a_week_is_trusted() {
        let records =
            [record(reading(1, 1000, NOW)), record(reading(0, 0, NOW)), ClockRecord::default()];
        for record in records {
            assert_eq!(contradiction(&record, NOW, reading(2, 5, NOW + STOP_MAX_MS)), None);
            assert_eq!(
                contradiction(&record, NOW, reading(2, 5, NOW + STOP_MAX_MS + 1)),
                Some(Contradiction::LongStop)
            );
            assert_eq!(
                contradiction(&record, NOW, reading(0, 5, NOW + 200 * DAY)),
                Some(Contradiction::LongStop)
            );
        }
    }

    #[test]
    fn a_store_without_a_time_raises_no_doubt() {
        assert_eq!(contradiction(&ClockRecord::default(), 0, reading(1, 0, NOW)), None);
    }
}
