//! Replays recorded events through rules: decides them in dry runs, on a clock driven by event
//! time, and counts, writes and compares the decisions. Nothing is published, and nothing is
//! stored.
//!
//! **The same input gives the same output, byte for byte, on however many threads.** This holds for
//! four reasons. The end of a chunk depends on its lines alone. One dry run decides all events of
//! a customer, in their order. The decisions of all threads are sorted by their times. And whatever
//! depends on the order of all customers (`per_hour_max`, copies of an event) is decided on one
//! thread after that.
//!
//! A replay decides with the engine's own core and differs from an engine in these ways. It
//! suspends no campaign, so that all decisions are visible; the report says which campaign an
//! engine would have suspended. It recognises copies of an event for 72 hours, whatever
//! `store.deduplication_hours` says. It keeps no failures, so their bounds do not count. As in an
//! engine, a guest's deadline depends on the machine: a rule at its limit may exceed it in one run
//! only. With `cost`, fuel is counted instead, which is the same in every run.

mod assignment;
mod chunk;
mod intake;
mod rule_set_run;

mod campaign_report;
mod compare;
mod hourly_limit;
mod row;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::clock::Millis;
use crate::consents::Statement;
use crate::dry_run::DryRunError;
use crate::engine::{RuleSet, Sandbox};
use crate::recording::{Archive, ArchiveError, Chunks, UnreadableEntries, UnreadableEntry};
use crate::timeline::NotBelieved;
pub use campaign_report::{CampaignReport, Cost, DeferralCounts, NoteCount, UnknownConsent};
use chunk::Work;
use compare::Comparison;
pub use compare::{Change, Changed, Changes, WhatHappened};
use intake::{InputEvent, Intake};
use rule_set_run::RuleSetRun;

/// Lines of a chunk: enough to be worth starting threads, and to call rules in full crossings.
const CHUNK_LINES: usize = 16 << 10;
const CHUNK_BYTES: usize = 64 << 20;
/// The length of the steps in which the clock moves after the input, so that not all timers are in
/// memory at once.
const STEP_MS: Millis = 86_400_000;

/// Settings of a replay.
#[derive(Clone, Debug)]
pub struct Options {
    pub environment: Arc<str>,
    /// Maximum size of an event in bytes; a larger one is reported as unreadable.
    pub event_bytes_max: usize,
    pub recheck_one_in: u32,
    pub threads: usize,
    /// Start of the clock; `None` starts it with the first event that has a time.
    pub begins: Option<Millis>,
    /// Events before `since`, and from `until` on, are left out.
    pub since: Option<Millis>,
    pub until: Option<Millis>,
    /// Length of the warm-up, in which everything is decided and nothing is counted.
    pub warm_up_ms: Millis,
    /// The time by which the clock continues after the last event.
    pub run_on_ms: Millis,
    /// The machine's clock. An unconfirmed time at the end of the input counts only if it is at
    /// most a day later.
    pub machine_ms: Millis,
    /// Whether the first unreadable line ends the replay with an error.
    pub is_strict: bool,
}

/// A rule set to replay.
#[derive(Clone, Debug)]
pub struct Trial {
    pub rules: Arc<RuleSet>,
    /// The sandbox of the rules' modules.
    pub sandbox: Arc<Sandbox>,
    /// Consents and time zones that are known before the first event.
    pub consents: Arc<[Statement]>,
}

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An entry is unreadable; only in a strict replay.
    #[error("{0}")]
    Unreadable(#[from] UnreadableEntry),
    #[error(
        "none of the first {events} events has a time; say when the clock begins with \
         --start, such as --start 2026-03-01"
    )]
    NoTime { events: usize },
    #[error(transparent)]
    DryRun(#[from] DryRunError),
    #[error("cannot write the decisions: {0}")]
    Write(#[source] io::Error),
}

/// The result of a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Events that were decided and counted.
    pub events: u64,
    /// Events that were decided in the warm-up, and not counted.
    pub warm_up: u64,
    /// Copies of an event, recognised by its id, which are not decided again.
    pub repeats: u64,
    /// Events outside of the requested time.
    pub left_out: u64,
    /// Lines and messages that could not be read.
    pub not_read: UnreadableEntries,
    /// Events whose time did not move the clock; they were decided at the time of the event before.
    pub times_not_believed: NotBelieved,
    /// Event time at which counting started, and the last time of the clock.
    pub from: Option<jiff::Timestamp>,
    pub until: Option<jiff::Timestamp>,
    /// The customers of the consents that were known before the first event; `None` if there are no
    /// such consents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consents: Option<ConsentsReport>,
    pub campaigns: Vec<CampaignReport>,
    /// Reports of the other rule set, in a comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<Vec<CampaignReport>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

/// The customers of consents that were known before the first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsentsReport {
    pub customers: u64,
    /// Those of them about whom there was an event.
    pub in_events: u64,
}

/// Progress of a replay.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub events: u64,
    pub bytes_read: u64,
    /// 0 if unknown.
    pub bytes_total: u64,
}

/// Replays an archive with a rule set, and optionally with another one for comparison.
///
/// # Errors
/// The archive cannot be read, or the output cannot be written. A timer sets itself again without
/// end. In a strict replay: a line is unreadable.
pub fn replay(
    archive: Archive,
    trial: &Trial,
    other: Option<&Trial>,
    options: &Options,
    mut out: Option<&mut dyn Write>,
    mut progress: impl FnMut(Progress),
) -> Result<Report, ReplayError> {
    let mut chunks = Chunks::of(archive, CHUNK_LINES, CHUNK_BYTES);
    let mut intake = Intake::new(options);
    let mut runs: Vec<RuleSetRun> = Vec::new();
    let mut comparison = other.map(|_| Comparison::default());
    let mut is_end = false;
    while !is_end {
        let work = match chunks.next() {
            Some(chunk) => intake.read(chunk?, other.is_some())?,
            None => {
                is_end = true;
                intake.finish(other.is_some())?
            }
        };
        if let Some(mut work) = work {
            if runs.is_empty() {
                let begins = intake.begins();
                for trial in std::iter::once(trial).chain(other) {
                    runs.push(RuleSetRun::new(trial, options, begins)?);
                }
            }
            step(&mut runs, &mut work, options, &mut comparison, &mut out)?;
        }
        let (bytes_read, bytes_total) =
            (chunks.bytes_read().load(Ordering::Relaxed), chunks.bytes_total());
        progress(Progress { events: intake.so_far(), bytes_read, bytes_total });
    }
    let end = intake.clock().saturating_add(options.run_on_ms);
    while !runs.is_empty() && intake.clock() < end {
        let mut work = intake.go_on(end.min(intake.clock().saturating_add(STEP_MS)));
        step(&mut runs, &mut work, options, &mut comparison, &mut out)?;
    }
    if let Some(out) = &mut out {
        out.flush().map_err(ReplayError::Write)?;
    }
    let consents = runs.first().and_then(RuleSetRun::consents);
    let mut reports = runs.into_iter().map(RuleSetRun::into_report);
    let nothing =
        |trial: &Trial| campaign_report::CampaignCounts::new(&trial.rules).into_report(&[]);
    Ok(Report {
        consents,
        campaigns: reports.next().unwrap_or_else(|| nothing(trial)),
        other: other.map(|other| reports.next().unwrap_or_else(|| nothing(other))),
        changes: comparison.map(Comparison::into_changes),
        ..intake.into_report()
    })
}

/// Decides one chunk with every rule set.
fn step(
    runs: &mut [RuleSetRun],
    work: &mut Work,
    options: &Options,
    comparison: &mut Option<Comparison>,
    out: &mut Option<&mut dyn Write>,
) -> Result<(), ReplayError> {
    let mut decided = Vec::new();
    for (run, events) in runs.iter_mut().zip(std::mem::take(&mut work.events)) {
        decided.push(run.decide(events, work.until)?);
    }
    if let (Some(comparison), [before, after]) = (comparison, &decided[..]) {
        comparison.add(before, after, work);
    }
    for (number, (run, decisions)) in runs.iter_mut().zip(decided).enumerate() {
        // In a comparison, only the first rule set's decisions are written.
        let is_written = out.is_some() && number == 0;
        for rows in run.count(decisions, work, options.threads, is_written) {
            if let Some(out) = out.as_mut().filter(|_| is_written) {
                out.write_all(&rows).map_err(ReplayError::Write)?;
            }
        }
    }
    Ok(())
}

impl InputEvent {
    /// Converts a time; one beyond the representable range becomes the limit.
    fn timestamp(ms: Millis) -> jiff::Timestamp {
        let limit = if ms < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_millisecond(ms).unwrap_or(limit)
    }
}
