//! Compares the engine's time with the machine's clock, and lists the effects of accepting the
//! machine's clock.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock_doubt::{ClockDoubt, Contradiction, clock_doubt};
use crate::records::{JournalRow, Key, Partition, Progress, TimerKey, decode};
use hailer_base::clock::{ClockMark, Millis};
use hailer_store::{Snapshot, StoreError, Table};

/// The two clocks, for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockReport {
    /// The latest `now` of the engine; `None` if it has none yet.
    pub kept: Option<Timestamp>,
    /// The machine's clock.
    pub machine: Timestamp,
    /// The doubt about the machine's clock; `None` if the clock is trusted.
    pub doubt: Option<ClockDoubt>,
    /// Timers that are due by the machine's clock, by campaign. Counted only if the clock is in
    /// doubt.
    pub timers_due: BTreeMap<String, u64>,
    /// Decisions that are past the journal's retention by the machine's clock. Counted only if the
    /// clock is in doubt.
    pub decisions_too_old: u64,
    /// Whether this request has accepted the machine's clock.
    pub is_accepted: bool,
}

/// The engine's progress; the default for a new store.
///
/// # Errors
/// The row cannot be read.
pub fn progress(snapshot: &dyn Snapshot) -> Result<Progress, StoreError> {
    let row = snapshot.get(Table::Meta, Progress::KEY)?;
    row.map_or(Ok(Progress::default()), |row| decode(Table::Meta, &row))
}

/// The doubt about the machine's clock, as seen from a store. With event time, the store may be far
/// behind the machine's clock, but not ahead of it.
#[must_use]
pub fn doubt_of(progress: &Progress, reading: ClockMark) -> Option<ClockDoubt> {
    let doubt = clock_doubt(&progress.clock, progress.now, reading)?;
    let counts = !progress.clock.is_of_events || doubt.contradiction == Contradiction::Behind;
    counts.then_some(doubt)
}

/// Compares the clocks. Timers and decisions are counted only if the clock is in doubt, because
/// that reads the due timers and the oldest decisions.
///
/// # Errors
/// A row cannot be read.
pub fn clock_report(
    snapshot: &dyn Snapshot,
    (kept_ms, doubt): (Millis, Option<ClockDoubt>),
    machine_ms: Millis,
    journal_ms: Millis,
) -> Result<ClockReport, StoreError> {
    let mut report = ClockReport {
        kept: (kept_ms != 0).then(|| time(kept_ms)),
        machine: time(machine_ms),
        doubt,
        timers_due: BTreeMap::new(),
        decisions_too_old: 0,
        is_accepted: false,
    };
    if doubt.is_some() {
        let oldest = machine_ms.saturating_sub(journal_ms);
        let record = progress(snapshot)?.clock;
        for partition in Partition::all() {
            report.count_timers(snapshot, partition, machine_ms)?;
            report.count_decisions(snapshot, partition, &|commit, now| {
                record.dated(commit, now) < oldest
            })?;
        }
    }
    Ok(report)
}

impl ClockReport {
    fn count_timers(
        &mut self,
        snapshot: &dyn Snapshot,
        partition: Partition,
        until: Millis,
    ) -> Result<(), StoreError> {
        let (from, to) = Key::timers_until(partition, until);
        snapshot.range(Table::Timers, &from, &to, &mut |key, _| {
            if let Some(timer) = TimerKey::decode(key) {
                let is_release = timer.is_release();
                let name = if is_release { "(deferred messages)" } else { &timer.campaign };
                *self.timers_due.entry(name.into()).or_default() += 1;
            }
            ControlFlow::Continue(())
        })
    }

    fn count_decisions(
        &mut self,
        snapshot: &dyn Snapshot,
        partition: Partition,
        is_old: &dyn Fn(u64, Millis) -> bool,
    ) -> Result<(), StoreError> {
        let (from, to) = Key::whole(partition);
        let mut broken = Ok(());
        snapshot.range(Table::Journal, &from, &to, &mut |key, row| {
            let entries = match decode::<JournalRow>(Table::Journal, row) {
                Ok(entries) => entries,
                Err(error) => {
                    broken = Err(error);
                    return ControlFlow::Break(());
                }
            };
            let commit = Key::commit_of(key).unwrap_or_default();
            if entries.first().is_some_and(|entry| !is_old(commit, entry.now)) {
                return ControlFlow::Break(());
            }
            self.decisions_too_old += entries.len() as u64;
            ControlFlow::Continue(())
        })?;
        broken
    }
}

/// A time as a timestamp, limited to the range of timestamps: a rule may set a timer for ever.
pub fn time(ms: Millis) -> Timestamp {
    let limit = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(limit)
}
