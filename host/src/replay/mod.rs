//! Trying rules on what has happened: recorded events go through rehearsals, on a clock that the events tell, and what would have come of it is counted, written out
//! and compared. Nothing is published, and nothing is kept.
//!
//! **The same input gives the same output, byte for byte, on however many threads**: where a chunk of lines ends depends on the lines alone; a customer's
//! events are decided in one rehearsal, in their order; what the threads decided is put back into the order of its moments; and what depends on everybody's order
//! (`per_hour_max`, copies of an event) is judged there, on one thread.
//!
//! Two things differ from an engine: no campaign is suspended, so that everything is seen, and the report says which would have been; and a guest's deadline is
//! one of the machine's clock, so a rule that is at its limit may be over it in one run and not in another (with `cost`, it is counted, and the same).

mod arrive;
mod chunk;
mod route;
mod side;

mod compare;
mod hours;
mod row;
mod tally;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::clock::Millis;
use crate::engine::{RuleSet, Sandbox};
use crate::recording::{Archive, ArchiveError, Broken, Chunks, Troubles};
use crate::rehearsal::RehearsalError;
use crate::timeline::NotBelieved;
use arrive::{Arrivals, Arriving};
use chunk::Work;
use compare::Comparison;
pub use compare::{Change, Changed, Changes, WhatHappened};
use side::Side;
pub use tally::{CampaignReport, Cost, NoteCount};

/// Lines that are worked through together: enough that threads are worth starting, and that rules are called in full crossings.
const CHUNK_LINES: usize = 16 << 10;
const CHUNK_BYTES: usize = 64 << 20;
/// At the end, the clock goes on in steps of this, so that not all timers are in memory at once.
const STEP_MS: Millis = 86_400_000;

/// How a replay is set up.
#[derive(Clone, Debug)]
pub struct Options {
    pub environment: Arc<str>,
    /// A larger event can't be read.
    pub event_bytes_max: usize,
    pub recheck_one_in: u32,
    pub threads: usize,
    /// What the clock shows at first; `None` for the time of the first event that has one.
    pub begins: Option<Millis>,
    /// Events from before are left out, and from then on.
    pub since: Option<Millis>,
    pub until: Option<Millis>,
    /// For so long from the beginning on everything is decided, and nothing counted.
    pub warm_up_ms: Millis,
    /// For how long the clock goes on after the last event.
    pub run_on_ms: Millis,
    /// The machine's clock: a time at the very end that nothing confirms counts if it is not beyond this and a day.
    pub machine_ms: Millis,
    /// The first line that can't be read is the end.
    pub is_strict: bool,
}

/// Rules that are tried.
#[derive(Clone, Debug)]
pub struct Trial {
    pub rules: Arc<RuleSet>,
    /// To which their modules belong.
    pub sandbox: Arc<Sandbox>,
}

/// Why a replay does not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Of a strict one.
    #[error("{0}")]
    Broken(#[from] Broken),
    #[error(
        "none of the first {events} events says when it happened; say when the clock begins with --start, such as --start 2026-03-01"
    )]
    NoTime { events: usize },
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    #[error("can't write what was decided: {0}")]
    Write(#[source] io::Error),
}

/// What a replay has shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Events that were decided and counted.
    pub events: u64,
    /// Events that were decided before anything counted.
    pub warm_up: u64,
    /// Copies of an event, by its id, that are not decided again.
    pub repeats: u64,
    /// Events that happened before or after what was asked for.
    pub left_out: u64,
    /// What could not be read.
    pub not_read: Troubles,
    /// Events whose time did not move the clock: they were decided at the time of the event before.
    pub times_not_believed: NotBelieved,
    /// By the events' own clock: when the first thing that counts happened, and the last.
    pub from: Option<jiff::Timestamp>,
    pub until: Option<jiff::Timestamp>,
    pub campaigns: Vec<CampaignReport>,
    /// Of the other rules, if they were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<Vec<CampaignReport>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub events: u64,
    pub bytes_read: u64,
    /// 0 if that is not known.
    pub bytes_total: u64,
}

/// Replays an archive with some rules, and with others beside them to be compared.
///
/// # Errors
/// When the archive can't be read, or the output not be written; when a timer sets itself again without end; strictly, when a line is broken.
pub fn replay(
    archive: Archive,
    trial: &Trial,
    other: Option<&Trial>,
    options: &Options,
    mut out: Option<&mut dyn Write>,
    mut progress: impl FnMut(Progress),
) -> Result<Report, ReplayError> {
    let mut chunks = Chunks::of(archive, CHUNK_LINES, CHUNK_BYTES);
    let mut arrivals = Arrivals::new(options);
    let mut sides: Vec<Side> = Vec::new();
    let mut comparison = other.map(|_| Comparison::default());
    let mut is_end = false;
    while !is_end {
        let work = match chunks.next() {
            Some(chunk) => arrivals.read(chunk?, other.is_some())?,
            None => {
                is_end = true;
                arrivals.finish(other.is_some())?
            }
        };
        if let Some(mut work) = work {
            if sides.is_empty() {
                let begins = arrivals.begins();
                for trial in std::iter::once(trial).chain(other) {
                    sides.push(Side::new(trial, options, begins)?);
                }
            }
            step(&mut sides, &mut work, options, &mut comparison, &mut out)?;
        }
        let (bytes_read, bytes_total) = (chunks.bytes_read().load(Ordering::Relaxed), chunks.bytes_total());
        progress(Progress { events: arrivals.so_far(), bytes_read, bytes_total });
    }
    let end = arrivals.clock().saturating_add(options.run_on_ms);
    while !sides.is_empty() && arrivals.clock() < end {
        let mut work = arrivals.go_on(end.min(arrivals.clock().saturating_add(STEP_MS)));
        step(&mut sides, &mut work, options, &mut comparison, &mut out)?;
    }
    if let Some(out) = &mut out {
        out.flush().map_err(ReplayError::Write)?;
    }
    let mut reports = sides.into_iter().map(Side::into_report);
    let nothing = |trial: &Trial| tally::Tally::new(&trial.rules).into_report(&[]);
    Ok(Report {
        campaigns: reports.next().unwrap_or_else(|| nothing(trial)),
        other: other.map(|other| reports.next().unwrap_or_else(|| nothing(other))),
        changes: comparison.map(Comparison::into_changes),
        ..arrivals.into_report()
    })
}

/// Decides one chunk on every side.
fn step(
    sides: &mut [Side],
    work: &mut Work,
    options: &Options,
    comparison: &mut Option<Comparison>,
    out: &mut Option<&mut dyn Write>,
) -> Result<(), ReplayError> {
    let mut decided = Vec::new();
    for (side, events) in sides.iter_mut().zip(std::mem::take(&mut work.events)) {
        decided.push(side.decide(events, work.until)?);
    }
    if let (Some(comparison), [before, after]) = (comparison, &decided[..]) {
        comparison.add(before, after, work);
    }
    for (number, (side, decisions)) in sides.iter_mut().zip(decided).enumerate() {
        // Of two, what the first decided is written.
        let is_written = out.is_some() && number == 0;
        for rows in side.count(decisions, work, options.threads, is_written) {
            if let Some(out) = out.as_mut().filter(|_| is_written) {
                out.write_all(&rows).map_err(ReplayError::Write)?;
            }
        }
    }
    Ok(())
}

impl Arriving {
    /// A moment that may be beyond what can be written.
    fn timestamp(ms: Millis) -> jiff::Timestamp {
        let limit = if ms < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_millisecond(ms).unwrap_or(limit)
    }
}
