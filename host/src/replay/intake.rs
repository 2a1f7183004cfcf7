//! Turns recorded lines into events with their times. All threads read; then the clock, and the
//! detection of copies, follow the order of the lines on one thread.

use std::sync::Arc;

use foldhash::HashSet;

use super::chunk::Work;
use super::{CHUNK_LINES, Options, ReplayError, Report};
use crate::clock::Millis;
use crate::dry_run::Arrived;
use crate::event::{DedupKey, OwnTimes, Projection};
use crate::parallel::{parallel_map, split_into_parts};
use crate::recording::{Chunk, Entry, Recorded, UnreadableEntries, UnreadableEntry};
use crate::sources::lines::format_hint;
use crate::timeline::{EventTime, NotBelieved, Timeline};

/// Maximum of ids in the newer half of the dedup window; bounds its memory while the clock stands
/// still.
const DEDUP_MAX: usize = 1 << 20;
/// Number of lines that a thread reads at a time.
const PART_LINES: usize = 512;
/// Minimum time for which copies are recognised; longer than the memory of a single dry run, of
/// which there are several.
const DEDUP_MS: Millis = 72 * 3_600_000;

/// The state of the input.
pub(super) struct Intake {
    options: Options,
    times: OwnTimes,
    timeline: Timeline<InputEvent>,
    /// Events with a settled time, and events without a time before the first one with a time.
    early: Vec<InputEvent>,
    not_believed: NotBelieved,
    clock: Option<Millis>,
    begins: Millis,
    number: u64,
    events: u64,
    warm_up: u64,
    repeats: u64,
    left_out: u64,
    /// The time of the last event, whether or not it was left out.
    last_time: Option<Millis>,
    dedup: DedupWindow,
    unreadable: UnreadableEntries,
}

/// An event that has been read.
pub(super) struct InputEvent {
    arrived: Vec<Arrived>,
    at: Option<Millis>,
    /// The id by which copies are recognised; `None` if the event has none.
    id: Option<DedupKey>,
    place: (Arc<str>, u64),
}

/// Ids of recent events, in two generations.
#[derive(Default)]
struct DedupWindow {
    new: HashSet<DedupKey>,
    old: HashSet<DedupKey>,
    since: Option<Millis>,
}

impl Intake {
    pub(super) fn new(options: &Options) -> Intake {
        Intake {
            options: options.clone(),
            times: OwnTimes::default(),
            timeline: Timeline::new(options.begins, options.machine_ms),
            early: Vec::new(),
            not_believed: NotBelieved::default(),
            clock: options.begins,
            begins: 0,
            number: 0,
            events: 0,
            warm_up: 0,
            repeats: 0,
            left_out: 0,
            last_time: None,
            dedup: DedupWindow::default(),
            unreadable: UnreadableEntries::new(options.is_strict),
        }
    }

    /// The events of a chunk that are ready, including earlier ones that waited for it. `None` if
    /// all of them must wait for more input. `twice` reads each event twice, for a comparison of
    /// two rule sets.
    pub(super) fn read(&mut self, chunk: Chunk, twice: bool) -> Result<Option<Work>, ReplayError> {
        for broken in chunk.broken {
            self.unreadable.add(broken)?;
        }
        let (bytes_max, times) = (self.options.event_bytes_max, &self.times);
        let parts = parallel_map(
            self.options.threads,
            split_into_parts(chunk.entries, PART_LINES),
            |entries| {
                let mut projection = Projection::new();
                let read =
                    |(file, entry)| input(file, &entry, bytes_max, times, &mut projection, twice);
                entries.into_iter().map(read).collect::<Vec<_>>()
            },
        );
        for input in parts.into_iter().flatten() {
            match input {
                Ok(input) => {
                    let at = input.at;
                    self.timeline.push(input, at);
                    self.settle_times(false);
                }
                Err(broken) => self.unreadable.add(broken)?,
            }
        }
        self.work(false, twice)
    }

    /// The events that still wait at the end of the input.
    pub(super) fn finish(&mut self, twice: bool) -> Result<Option<Work>, ReplayError> {
        self.settle_times(true);
        self.work(true, twice)
    }

    fn settle_times(&mut self, is_end: bool) {
        while let Some((mut input, time)) = self.timeline.next(is_end) {
            input.at = match time {
                EventTime::At(at) => Some(at),
                EventTime::Nothing => None,
                EventTime::OutOfRange | EventTime::Leap => {
                    let (file, line) = &input.place;
                    self.not_believed.add(format!("{file}:{line}"));
                    None
                }
            };
            self.early.push(input);
        }
    }

    fn work(&mut self, is_end: bool, twice: bool) -> Result<Option<Work>, ReplayError> {
        let events = self.early.len();
        if self.clock.is_none() && self.early.iter().all(|input| input.at.is_none()) {
            let is_too_late = is_end || events >= CHUNK_LINES;
            return if events > 0 && is_too_late {
                Err(ReplayError::NoTime { events })
            } else {
                Ok(None)
            };
        }
        let mut read = std::mem::take(&mut self.early);
        self.leave_out(&mut read);
        let Some(mut clock) = self.clock.or_else(|| read.iter().find_map(|input| input.at)) else {
            return Ok(None);
        };
        if self.number == 0 {
            self.begins = clock;
        }
        let mut work =
            Work { first: self.number, counts_from: self.counts_from(), ..Work::default() };
        work.events.resize_with(1 + usize::from(twice), || Vec::with_capacity(read.len()));
        for InputEvent { arrived, at, id, place } in read {
            clock = clock.max(at.unwrap_or(clock));
            if id.is_some_and(|id| !self.dedup.is_new(id, clock)) {
                self.repeats += 1;
                continue;
            }
            for (mut arrived, run) in arrived.into_iter().zip(&mut work.events) {
                (arrived.now, arrived.number) = (clock, self.number);
                run.push(arrived);
            }
            work.places.push(place);
            self.number += 1;
            *(if clock < work.counts_from { &mut self.warm_up } else { &mut self.events }) += 1;
        }
        if self.number > 0 {
            self.clock = Some(clock);
        }
        work.until = clock;
        Ok(Some(work))
    }

    /// Removes events outside of the requested time. An event without a time has the time of the
    /// event before it; an event without any known time stays.
    fn leave_out(&mut self, read: &mut Vec<InputEvent>) {
        let Options { since, until, .. } = self.options;
        if since.is_none() && until.is_none() {
            return;
        }
        let before = read.len();
        let mut time = self.last_time.or_else(|| read.iter().find_map(|input| input.at));
        read.retain(|input| {
            time = input.at.or(time);
            time.is_none_or(|time| {
                since.is_none_or(|since| time >= since) && until.is_none_or(|until| time < until)
            })
        });
        self.last_time = time;
        self.left_out += (before - read.len()) as u64;
    }

    /// Work without events: only the clock moves.
    pub(super) fn go_on(&mut self, until: Millis) -> Work {
        self.clock = Some(until);
        Work {
            until,
            first: self.number,
            counts_from: self.counts_from(),
            events: vec![Vec::new(), Vec::new()],
            ..Work::default()
        }
    }

    pub(super) fn clock(&self) -> Millis {
        self.clock.unwrap_or_default()
    }

    pub(super) fn begins(&self) -> Millis {
        self.begins
    }

    /// Number of events so far.
    pub(super) fn so_far(&self) -> u64 {
        self.number
    }

    fn counts_from(&self) -> Millis {
        self.begins.saturating_add(self.options.warm_up_ms)
    }

    pub(super) fn into_report(self) -> Report {
        let is_something = self.number > 0;
        Report {
            events: self.events,
            warm_up: self.warm_up,
            repeats: self.repeats,
            left_out: self.left_out,
            from: is_something.then(|| InputEvent::timestamp(self.counts_from())),
            until: is_something.then(|| InputEvent::timestamp(self.clock())),
            not_read: self.unreadable,
            times_not_believed: self.not_believed,
            consents: None,
            campaigns: Vec::new(),
            other: None,
            changes: None,
        }
    }
}

impl DedupWindow {
    /// Whether an id is new within the dedup window.
    fn is_new(&mut self, id: DedupKey, now: Millis) -> bool {
        let since = *self.since.get_or_insert(now);
        if now >= since.saturating_add(DEDUP_MS) || self.new.len() >= DEDUP_MAX {
            self.old = std::mem::take(&mut self.new);
            self.since = Some(now);
        }
        !self.old.contains(&id) && self.new.insert(id)
    }
}

fn input(
    file: Arc<str>,
    entry: &Entry,
    bytes_max: usize,
    times: &OwnTimes,
    projection: &mut Projection,
    twice: bool,
) -> Result<InputEvent, UnreadableEntry> {
    let number = entry.number();
    let broken = |reason| UnreadableEntry {
        place: format!("{file}:{number}"),
        reason,
        next_step: match entry {
            Entry::Line(_) => {
                "correct the line or remove it; `hailer events --samples` shows what \
                               a line may be"
                    .to_owned()
            }
            Entry::Message { .. } => "it is skipped; an engine makes it a dead letter".to_owned(),
        },
    };
    let recorded = Recorded::read(entry, bytes_max).map_err(|reason| {
        let hint = match entry {
            Entry::Line(line) if number == 1 => format_hint(&line.text),
            _ => None,
        };
        let UnreadableEntry { place, reason, next_step } = broken(reason);
        UnreadableEntry { place, reason, next_step: hint.map_or(next_step, ToOwned::to_owned) }
    })?;
    let at = recorded.timestamp_ms.or_else(|| times.of(&recorded.event, projection));
    let has_id = recorded.message_id.is_some() || recorded.event.external_id().is_some();
    let position = format!("{file}:{number}");
    let arrived = |recorded: Recorded| {
        let Recorded { event, message_id, .. } = recorded;
        // Its time and its number are known after everything before it has been read.
        Arrived::new(event, message_id.as_deref(), Some(&position), 0, 0)
    };
    let second = if twice { Some(Recorded::read(entry, bytes_max).map_err(broken)?) } else { None };
    let first = arrived(recorded);
    let id = has_id.then(|| first.key());
    let arrived = std::iter::once(first).chain(second.map(arrived)).collect();
    Ok(InputEvent { arrived, at, id, place: (file, number) })
}
