//! The engine's time beside the machine's clock, and what would follow if the machine's clock is accepted.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::time;
use crate::clock::{ClockMark, Millis};
use crate::pipeline::{ClockDoubt, Contradiction, clock_doubt};
use crate::records::{JournalRow, Key, Partition, Progress, TimerKey, decode};
use crate::store::{Snapshot, StoreError, Table};

/// The two clocks, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockReport {
    /// The latest `now` of the engine; `None` if it has none yet.
    pub kept: Option<Timestamp>,
    /// The machine's clock.
    pub machine: Timestamp,
    /// `None`: the machine's clock is believed.
    pub doubt: Option<ClockDoubt>,
    /// Timers that are due by the machine's clock, by campaign.
    pub timers_due: BTreeMap<String, u64>,
    /// Decisions that are older than the journal's retention by the machine's clock.
    pub decisions_too_old: u64,
    /// The operator's word was taken just now.
    pub is_accepted: bool,
}

/// How far the engine has come, if it has.
///
/// # Errors
/// When the row can't be read.
pub fn progress(snapshot: &dyn Snapshot) -> Result<Progress, StoreError> {
    let row = snapshot.get(Table::Meta, Progress::KEY)?;
    row.map_or(Ok(Progress::default()), |row| decode(Table::Meta, &row))
}

/// The doubt about the machine's clock that a store gives reason for. If events told the time, it may be far behind the machine's clock, but not ahead.
#[must_use]
pub fn doubt_of(progress: &Progress, reading: ClockMark) -> Option<ClockDoubt> {
    let doubt = clock_doubt(&progress.clock, progress.now, reading)?;
    let counts = !progress.clock.is_of_events || doubt.contradiction == Contradiction::Behind;
    counts.then_some(doubt)
}

/// Compares the clocks. What hangs on the machine's clock is counted only if it is in doubt: that reads the timers that are due, and the oldest decisions.
///
/// # Errors
/// When a row can't be read.
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
            report.count_decisions(snapshot, partition, &|commit, now| record.dated(commit, now) < oldest)?;
        }
    }
    Ok(report)
}

impl ClockReport {
    fn count_timers(&mut self, snapshot: &dyn Snapshot, partition: Partition, until: Millis) -> Result<(), StoreError> {
        let (from, to) = Key::timers_until(partition, until);
        snapshot.range(Table::Timers, &from, &to, &mut |key, _| {
            if let Some(timer) = TimerKey::decode(key) {
                *self.timers_due.entry(timer.campaign.into()).or_default() += 1;
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
