//! Event time: decides which times in events advance the clock.
//!
//! Some times in events are wrong: a default of 9999, or milliseconds in place of seconds. A clock
//! that followed one of these would put everything after it into the far future. So a time out of
//! range is ignored. A time that leaps ahead by more than a day waits until the next times confirm
//! or contradict it. **The result for a time depends on the input alone**, with one exception: a
//! leap beyond the machine's clock never counts, unless the whole input is there.

use std::collections::VecDeque;
use std::fmt;

use serde::Serialize;

use hailer_base::clock::Millis;

/// Times from 2000-01-01 up to, and without, 2100-01-01, in ms since 1970. Seconds that were taken
/// for milliseconds lie in January 1970.
const RANGE: std::ops::Range<Millis> = 946_684_800_000..4_102_444_800_000;
/// A time that is at most this far ahead of the clock is believed at once, in ms.
const LEAP_MS: Millis = 86_400_000;
/// The number of the next times that must agree with a leap, or contradict it.
const VOTES: usize = 3;
/// The first time is not believed if the next ones are later by more than this: five years, in ms.
const BEGINNING_GAP_MS: Millis = 5 * 365 * 86_400_000;
/// The most events for which a leap waits. Then it counts unless more of them contradict it than
/// agree with it.
const WAITING_MAX: usize = 16;

/// The result for the time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventTime {
    /// The time is believed. The clock advances to it, if it is not there yet.
    At(Millis),
    /// The event has no time.
    Nothing,
    /// The time is out of range.
    OutOfRange,
    /// The time is more than a day ahead of those around it, or years before them.
    Leap,
}

/// Events that wait for their times to be settled, in order.
#[derive(Debug)]
pub struct Timeline<T> {
    /// The latest time that was believed, in ms since 1970.
    clock: Option<Millis>,
    waiting: VecDeque<(T, Option<Millis>)>,
    /// The machine's clock, in ms since 1970. Times more than a day ahead of it are in the future.
    machine_ms: Millis,
}

/// Whether a time is in the range of event times.
pub fn is_time(at: Millis) -> bool {
    RANGE.contains(&at)
}

impl<T> Timeline<T> {
    /// `clock` is the time to continue from; `None` if the first event sets it.
    pub fn new(clock: Option<Millis>, machine_ms: Millis) -> Timeline<T> {
        Timeline { clock, waiting: VecDeque::new(), machine_ms }
    }

    /// Adds an event. Call [`Self::next`] afterwards until it returns `None`.
    pub fn push(&mut self, event: T, at: Option<Millis>) {
        self.waiting.push_back((event, at));
    }

    /// The next event whose time is settled; `None` if none is. `is_end` says that no more events
    /// follow.
    pub fn next(&mut self, is_end: bool) -> Option<(T, EventTime)> {
        if self.clock.is_none() {
            self.begin(is_end)?;
        }
        let time = match self.waiting.front()?.1 {
            None => EventTime::Nothing,
            Some(at) if !is_time(at) => EventTime::OutOfRange,
            Some(at)
                if self.clock.is_some_and(|clock| at < clock.saturating_sub(BEGINNING_GAP_MS)) =>
            {
                EventTime::Leap
            }
            Some(at) if self.clock.is_some_and(|clock| at <= clock.saturating_add(LEAP_MS)) => {
                EventTime::At(at)
            }
            Some(at) if self.is_of_future(at) => EventTime::Leap,
            Some(at) if self.is_confirmed(0, at, is_end)? => EventTime::At(at),
            Some(_) => EventTime::Leap,
        };
        if let EventTime::At(at) = time {
            self.clock = Some(self.clock.map_or(at, |clock| clock.max(at)));
        }
        self.waiting.pop_front().map(|(event, _)| (event, time))
    }

    /// The latest time that was believed, up to the event that [`Self::next`] returned last, in ms
    /// since 1970. `None` if there is none yet.
    pub fn clock(&self) -> Option<Millis> {
        self.clock
    }

    /// Starts the clock with the first time that is believed; earlier events get that time too.
    /// `None` if more events are needed.
    fn begin(&mut self, is_end: bool) -> Option<()> {
        for place in 0..self.waiting.len() {
            let Some(at) = self.waiting[place].1.filter(|at| is_time(*at)) else { continue };
            if self.is_confirmed(place, at, is_end)? {
                self.clock = Some(at);
                return Some(());
            }
        }
        (is_end || self.waiting.len() >= WAITING_MAX).then_some(())
    }

    /// Whether a time leaps from the present into the future. No later time confirms such a leap.
    fn is_of_future(&self, at: Millis) -> bool {
        at > self.future() && self.clock.is_some_and(|clock| clock <= self.future())
    }

    fn future(&self) -> Millis {
        self.machine_ms.saturating_add(LEAP_MS)
    }

    /// Whether the times after `place` confirm the leap there; `None` if more events are needed.
    fn is_confirmed(&self, place: usize, at: Millis, is_end: bool) -> Option<bool> {
        let (mut agree, mut contradict) = (0, 0);
        // A clock starts in the future only if several times are there and none in the present: the
        // input is then made up.
        let is_future = at > self.future();
        let after = match self.clock {
            Some(_) => Millis::MAX,
            None => at.saturating_add(BEGINNING_GAP_MS),
        };
        let times =
            self.waiting.iter().skip(place + 1).filter_map(|(_, at)| *at).filter(|at| is_time(*at));
        for next in times {
            if (at.saturating_sub(LEAP_MS)..=after).contains(&next) {
                agree += 1;
            } else {
                contradict += 1;
            }
            if contradict == if is_future { 1 } else { VOTES } {
                return Some(false);
            }
            if agree == VOTES && !is_future {
                return Some(true);
            }
        }
        if !is_end && self.waiting.len() < WAITING_MAX {
            return None;
        }
        // A single time in the future starts no clock.
        Some(if agree + contradict == 0 {
            !is_future || self.clock.is_some()
        } else {
            agree >= contradict
        })
    }
}

/// Events whose times are not believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotBelieved {
    pub count: u64,
    /// The positions of the first of them, such as `events.jsonl:17`.
    pub shown: Vec<String>,
}

/// The most positions that are kept.
const SHOWN_MAX: usize = 20;

impl NotBelieved {
    /// Records one. Returns the number of them so far.
    pub fn add(&mut self, place: String) -> u64 {
        self.count += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(place);
        }
        self.count
    }
}

impl fmt::Display for NotBelieved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, places) = (self.count, self.shown.join(", "));
        let more = if self.count > self.shown.len() as u64 { ", …" } else { "" };
        write!(
            formatter,
            "{count} times that are not believed: out of range (2000 to 2099), more than a day \
             ahead of those around them, or years before ({places}{more})"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Millis = 1_772_323_200_000;
    const NOW: Millis = START + 100 * LEAP_MS;
    const MINUTE: Millis = 60_000;

    /// The results for these times, read one after the other.
    fn event_times(times: &[Option<Millis>]) -> Vec<EventTime> {
        let mut timeline = Timeline::new(None, NOW);
        let mut all = Vec::new();
        for at in times {
            timeline.push((), *at);
            all.extend(std::iter::from_fn(|| timeline.next(false)).map(|(_, time)| time));
        }
        all.extend(std::iter::from_fn(|| timeline.next(true)).map(|(_, time)| time));
        all
    }

    fn minutes(count: i64) -> Vec<Option<Millis>> {
        (0..count).map(|minute| Some(START + minute * MINUTE)).collect()
    }

    #[test]
    fn a_single_leap_does_not_advance_the_clock_at_any_position() {
        for leap in [START + 2 * LEAP_MS, NOW - 1, NOW + 365 * LEAP_MS] {
            for count in [3, 4, 40] {
                // At the end of the input, a leap cannot be distinguished from a gap, unless the
                // leap is in the future.
                let last = if leap > NOW + LEAP_MS { count } else { count - 1 };
                for place in 0..=last {
                    let mut times = minutes(count);
                    times.insert(place as usize, Some(leap));
                    let expected: Vec<_> = times
                        .iter()
                        .map(|at| {
                            if *at == Some(leap) {
                                EventTime::Leap
                            } else {
                                EventTime::At(at.unwrap())
                            }
                        })
                        .collect();
                    assert_eq!(event_times(&times), expected, "{leap} at {place} of {count}");
                }
            }
        }
    }

    #[test]
    fn days_without_events_are_no_leap() {
        let days = [0, 1, 5, 6, 40, 41, 90];
        let times: Vec<_> = days.iter().map(|day| Some(START + day * LEAP_MS)).collect();
        assert!(event_times(&times).iter().all(|time| matches!(time, EventTime::At(_))));
    }

    #[test]
    fn a_late_event_after_a_gap_does_not_contradict_the_gap() {
        let day = |day: i64| Some(START + day * LEAP_MS);
        let all = event_times(&[day(0), day(0), day(9), day(1), day(9), day(9), day(9), day(9)]);
        assert!(all.iter().all(|time| matches!(time, EventTime::At(_))), "{all:?}");
    }

    #[test]
    fn times_in_the_future_do_not_advance_the_clock() {
        let leap = NOW + 30 * 365 * LEAP_MS;
        for count in 2..=10 {
            for place in [0, 1, 7, 20] {
                let mut times = minutes(40);
                (0..count).for_each(|number| times.insert(place, Some(leap + number * MINUTE)));
                let all = event_times(&times);
                assert_eq!(
                    all.iter().filter(|time| **time == EventTime::Leap).count(),
                    count as usize,
                    "{count} at {place}"
                );
            }
        }
    }

    #[test]
    fn a_first_time_years_before_the_others_does_not_start_the_clock() {
        for first in [0, 1_772_323_200, START - 20 * 365 * LEAP_MS] {
            let mut timeline = Timeline::new(None, NOW);
            timeline.push(0, Some(first));
            (1..5).for_each(|number| timeline.push(number, Some(START + number * MINUTE)));
            let (_, time) = timeline.next(false).unwrap();
            assert!(matches!(time, EventTime::OutOfRange | EventTime::Leap), "{time:?}");
            assert_eq!(timeline.clock(), Some(START + MINUTE), "{first}");
        }
        assert_eq!(
            event_times(&[Some(START - 400 * LEAP_MS), Some(START), Some(START)])[0],
            EventTime::At(START - 400 * LEAP_MS)
        );
    }

    #[test]
    fn an_input_wholly_in_the_future_keeps_its_times() {
        let times: Vec<_> = [400, 430, 500].iter().map(|day| Some(NOW + day * LEAP_MS)).collect();
        assert_eq!(
            event_times(&times),
            times.iter().map(|at| EventTime::At(at.unwrap())).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_time_out_of_range_is_ignored() {
        let mut times = minutes(4);
        times.insert(1, Some(253_402_300_799_999));
        times.insert(3, Some(1_772_323_200_000_000));
        times.insert(0, Some(-1));
        let all = event_times(&times);
        assert_eq!(all.iter().filter(|time| **time == EventTime::OutOfRange).count(), 3, "{all:?}");
        assert_eq!(
            all.iter().filter(|time| matches!(time, EventTime::At(_))).count(),
            4,
            "{all:?}"
        );
    }

    proptest! {
        #[test]
        fn every_event_is_returned_once_in_order_and_few_wait(
            times in prop::collection::vec(prop::option::of(any::<i64>()), 0..200),
        ) {
            let mut timeline = Timeline::new(None, NOW);
            let mut out = Vec::new();
            for (number, at) in times.iter().enumerate() {
                timeline.push(number, *at);
                out.extend(std::iter::from_fn(|| timeline.next(false)).map(|(number, _)| number));
                prop_assert!(number + 1 - out.len() < WAITING_MAX);
            }
            out.extend(std::iter::from_fn(|| timeline.next(true)).map(|(number, _)| number));
            prop_assert_eq!(out, (0..times.len()).collect::<Vec<_>>());
        }
    }
}
