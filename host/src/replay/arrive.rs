//! From lines to events with their moments: reading on all threads, then in the order of the lines whatever depends on that order: the clock, and which are copies.

use std::collections::HashSet;
use std::sync::Arc;

use super::chunk::Work;
use super::{CHUNK_LINES, Options, ReplayError, Report};
use crate::clock::Millis;
use crate::event::{DedupKey, OwnTimes, Projection};
use crate::fork::{fork, parts_of};
use crate::recording::{Broken, Chunk, Entry, Recorded, Troubles};
use crate::rehearsal::Arrived;
use crate::sources::lines::shape;
use crate::timeline::{NotBelieved, Timeline, Told};

/// Of so many at least, the last ones: a clock that stands still forgets nothing.
const KNOWN_MAX: usize = 1 << 20;
/// Lines that a thread reads before it takes others.
const PART_LINES: usize = 512;
/// For so long at least a copy of an event is known for one: longer than a rehearsal, which is one of several, remembers by itself.
const KNOWN_FOR_MS: Millis = 72 * 3_600_000;

/// The input, as far as it has come.
pub(super) struct Arrivals {
    options: Options,
    times: OwnTimes,
    timeline: Timeline<Arriving>,
    /// Events whose time is settled, but for those that tell none before the first that does.
    early: Vec<Arriving>,
    not_believed: NotBelieved,
    clock: Option<Millis>,
    begins: Millis,
    number: u64,
    events: u64,
    warm_up: u64,
    repeats: u64,
    left_out: u64,
    /// The time of the event that was read last, whether or not it was left out.
    told: Option<Millis>,
    known: Known,
    troubles: Troubles,
}

/// An event that has been read.
pub(super) struct Arriving {
    arrived: Vec<Arrived>,
    at: Option<Millis>,
    /// By which copies of it are known.
    id: Option<DedupKey>,
    place: (Arc<str>, u64),
}

/// Ids of events that have come.
#[derive(Default)]
struct Known {
    new: HashSet<DedupKey>,
    old: HashSet<DedupKey>,
    since: Option<Millis>,
}

impl Arrivals {
    pub(super) fn new(options: &Options) -> Arrivals {
        Arrivals {
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
            told: None,
            known: Known::default(),
            troubles: Troubles::new(options.is_strict),
        }
    }

    /// Events of a chunk, and those before it that waited for it; twice, if two are to decide them. `None` if all wait for what comes next.
    pub(super) fn read(&mut self, chunk: Chunk, twice: bool) -> Result<Option<Work>, ReplayError> {
        for broken in chunk.broken {
            self.troubles.add(broken)?;
        }
        let (bytes_max, times) = (self.options.event_bytes_max, &self.times);
        let parts = fork(self.options.threads, parts_of(chunk.entries, PART_LINES), |entries| {
            let mut projection = Projection::new();
            let read = |(file, entry)| arriving(file, &entry, bytes_max, times, &mut projection, twice);
            entries.into_iter().map(read).collect::<Vec<_>>()
        });
        for arriving in parts.into_iter().flatten() {
            match arriving {
                Ok(arriving) => {
                    let at = arriving.at;
                    self.timeline.push(arriving, at);
                    self.settle_times(false);
                }
                Err(broken) => self.troubles.add(broken)?,
            }
        }
        self.work(false, twice)
    }

    /// What still waits at the end of the input.
    pub(super) fn finish(&mut self, twice: bool) -> Result<Option<Work>, ReplayError> {
        self.settle_times(true);
        self.work(true, twice)
    }

    fn settle_times(&mut self, is_end: bool) {
        while let Some((mut arriving, told)) = self.timeline.next(is_end) {
            arriving.at = match told {
                Told::At(at) => Some(at),
                Told::Nothing => None,
                Told::OutOfRange | Told::Leap => {
                    let (file, line) = &arriving.place;
                    self.not_believed.add(format!("{file}:{line}"));
                    None
                }
            };
            self.early.push(arriving);
        }
    }

    fn work(&mut self, is_end: bool, twice: bool) -> Result<Option<Work>, ReplayError> {
        let events = self.early.len();
        if self.clock.is_none() && self.early.iter().all(|arriving| arriving.at.is_none()) {
            let is_too_late = is_end || events >= CHUNK_LINES;
            return if events > 0 && is_too_late { Err(ReplayError::NoTime { events }) } else { Ok(None) };
        }
        let mut read = std::mem::take(&mut self.early);
        self.leave_out(&mut read);
        let Some(mut clock) = self.clock.or_else(|| read.iter().find_map(|arriving| arriving.at)) else {
            return Ok(None);
        };
        if self.number == 0 {
            self.begins = clock;
        }
        let mut work = Work { first: self.number, counts_from: self.counts_from(), ..Work::default() };
        work.events.resize_with(1 + usize::from(twice), || Vec::with_capacity(read.len()));
        for Arriving { arrived, at, id, place } in read {
            clock = clock.max(at.unwrap_or(clock));
            if id.is_some_and(|id| !self.known.is_new(id, clock)) {
                self.repeats += 1;
                continue;
            }
            for (mut arrived, side) in arrived.into_iter().zip(&mut work.events) {
                (arrived.now, arrived.number) = (clock, self.number);
                side.push(arrived);
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

    /// Takes away what happened before or after what is wanted. An event that tells no time has that of the one before; of which nothing is known at all, stays.
    fn leave_out(&mut self, read: &mut Vec<Arriving>) {
        let Options { since, until, .. } = self.options;
        if since.is_none() && until.is_none() {
            return;
        }
        let before = read.len();
        let mut told = self.told.or_else(|| read.iter().find_map(|arriving| arriving.at));
        read.retain(|arriving| {
            told = arriving.at.or(told);
            told.is_none_or(|told| since.is_none_or(|since| told >= since) && until.is_none_or(|until| told < until))
        });
        self.told = told;
        self.left_out += (before - read.len()) as u64;
    }

    /// Nothing but time.
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

    /// How many events have come so far.
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
            from: is_something.then(|| Arriving::timestamp(self.counts_from())),
            until: is_something.then(|| Arriving::timestamp(self.clock())),
            not_read: self.troubles,
            times_not_believed: self.not_believed,
            campaigns: Vec::new(),
            other: None,
            changes: None,
        }
    }
}

impl Known {
    /// Whether an id comes for the first time, as far as is remembered.
    fn is_new(&mut self, id: DedupKey, now: Millis) -> bool {
        let since = *self.since.get_or_insert(now);
        if now >= since.saturating_add(KNOWN_FOR_MS) || self.new.len() >= KNOWN_MAX {
            self.old = std::mem::take(&mut self.new);
            self.since = Some(now);
        }
        !self.old.contains(&id) && self.new.insert(id)
    }
}

fn arriving(
    file: Arc<str>,
    entry: &Entry,
    bytes_max: usize,
    times: &OwnTimes,
    projection: &mut Projection,
    twice: bool,
) -> Result<Arriving, Broken> {
    let number = entry.number();
    let broken = |reason| Broken {
        place: format!("{file}:{number}"),
        reason,
        next_step: match entry {
            Entry::Line(_) => {
                "mend the line or take it out; `hailer events --samples` shows what a line may be".to_owned()
            }
            Entry::Message { .. } => "it is passed over; an engine makes it a dead letter".to_owned(),
        },
    };
    let recorded = Recorded::read(entry, bytes_max).map_err(|reason| {
        let hint = match entry {
            Entry::Line(line) if number == 1 => shape(&line.text),
            _ => None,
        };
        let Broken { place, reason, next_step } = broken(reason);
        Broken { place, reason, next_step: hint.map_or(next_step, ToOwned::to_owned) }
    })?;
    let at = recorded.timestamp_ms.or_else(|| times.of(&recorded.event, projection));
    let has_id = recorded.message_id.is_some() || recorded.event.external_id().is_some();
    let position = format!("{file}:{number}");
    let arrived = |recorded: Recorded| {
        let Recorded { event, message_id, .. } = recorded;
        // When it happens, and as which, is known when all before it has been read.
        Arrived::new(event, message_id.as_deref(), Some(&position), 0, 0)
    };
    let second = if twice { Some(Recorded::read(entry, bytes_max).map_err(broken)?) } else { None };
    let first = arrived(recorded);
    let id = has_id.then(|| first.key());
    let arrived = std::iter::once(first).chain(second.map(arrived)).collect();
    Ok(Arriving { arrived, at, id, place: (file, number) })
}
