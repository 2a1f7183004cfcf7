//! Which of the times that events tell move the clock.
//!
//! Events tell times that are no times of theirs: a default of 9999, milliseconds in place of seconds. A clock that went by one of these would have everything behind it in the
//! far future. So a time that is out of range counts as none, and one that leaps by more than a day waits for the next times, which confirm it or not. **What becomes of a
//! time depends on the input alone**, but for a leap beyond the machine's clock: it never counts, unless the whole input lies there.

use std::collections::VecDeque;
use std::fmt;

use serde::Serialize;

use crate::clock::Millis;

/// Events from 2000-01-01 on, and before 2100-01-01, have a time. Seconds that were written as milliseconds lie in January 1970.
const RANGE: std::ops::Range<Millis> = 946_684_800_000..4_102_444_800_000;
/// A time that is not further ahead is believed at once.
const LEAP_MS: Millis = 86_400_000;
/// So many of the next times have to agree with a leap, or to contradict it.
const VOTES: usize = 3;
/// The first time is not believed if the next ones lie so much later: five years.
const BEGINNING_GAP_MS: Millis = 5 * 365 * 86_400_000;
/// A leap waits for so many events at most. Then it counts if it is contradicted by fewer than agree with it.
const WAITING_MAX: usize = 16;

/// The time of an event, as far as it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The clock goes on to it, if it is not there yet.
    At(Millis),
    /// The event tells no time.
    Nothing,
    /// The event tells a time that is not in the range of times.
    OutOfRange,
    /// The time is more than a day beyond those around it, or years before them.
    Leap,
}

/// Events on their way to their times, in their order.
#[derive(Debug)]
pub(crate) struct Timeline<T> {
    /// The latest time that was believed.
    clock: Option<Millis>,
    waiting: VecDeque<(T, Option<Millis>)>,
    /// The machine's clock: beyond it, and a day, lies the future.
    machine_ms: Millis,
}

/// Whether a moment can be that of an event.
pub(crate) fn is_time(at: Millis) -> bool {
    RANGE.contains(&at)
}

impl<T> Timeline<T> {
    /// `clock` is `None` if there is no time before the first event's.
    pub(crate) fn new(clock: Option<Millis>, machine_ms: Millis) -> Timeline<T> {
        Timeline { clock, waiting: VecDeque::new(), machine_ms }
    }

    /// Takes an event in. To be followed by [`Self::next`] until there is none.
    pub(crate) fn push(&mut self, event: T, at: Option<Millis>) {
        self.waiting.push_back((event, at));
    }

    /// The next event whose time is settled. With `is_end` nothing comes behind those that wait.
    pub(crate) fn next(&mut self, is_end: bool) -> Option<(T, Told)> {
        if self.clock.is_none() {
            self.begin(is_end)?;
        }
        let told = match self.waiting.front()?.1 {
            None => Told::Nothing,
            Some(at) if !is_time(at) => Told::OutOfRange,
            Some(at) if self.clock.is_some_and(|clock| at < clock.saturating_sub(BEGINNING_GAP_MS)) => Told::Leap,
            Some(at) if self.clock.is_some_and(|clock| at <= clock.saturating_add(LEAP_MS)) => Told::At(at),
            Some(at) if self.is_of_future(at) => Told::Leap,
            Some(at) if self.is_confirmed(0, at, is_end)? => Told::At(at),
            Some(_) => Told::Leap,
        };
        if let Told::At(at) = told {
            self.clock = Some(self.clock.map_or(at, |clock| clock.max(at)));
        }
        self.waiting.pop_front().map(|(event, _)| (event, told))
    }

    /// The latest time that was believed: that of the event that [`Self::next`] returned last. `None` if there is none yet.
    pub(crate) fn clock(&self) -> Option<Millis> {
        self.clock
    }

    /// Begins with the first time that is believed: events before it have that time, too. `None` if it has to be waited for.
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

    /// Whether a time is a leap from the present into the future, which no further time confirms.
    fn is_of_future(&self, at: Millis) -> bool {
        at > self.future() && self.clock.is_some_and(|clock| clock <= self.future())
    }

    fn future(&self) -> Millis {
        self.machine_ms.saturating_add(LEAP_MS)
    }

    /// Whether the times behind a place agree with the leap there; `None` if too few have come.
    fn is_confirmed(&self, place: usize, at: Millis, is_end: bool) -> Option<bool> {
        let (mut agree, mut contradict) = (0, 0);
        // An input begins in the future if several events lie there and none in the present: it is made up.
        let is_future = at > self.future();
        let after = match self.clock {
            Some(_) => Millis::MAX,
            None => at.saturating_add(BEGINNING_GAP_MS),
        };
        let times = self.waiting.iter().skip(place + 1).filter_map(|(_, at)| *at).filter(|at| is_time(*at));
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
        // A lone time of the future begins nothing.
        Some(if agree + contradict == 0 { !is_future || self.clock.is_some() } else { agree >= contradict })
    }
}

/// Events whose times are not believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotBelieved {
    pub count: u64,
    /// Where the first of them stand: `events.jsonl:17`.
    pub shown: Vec<String>,
}

/// So many are kept to be shown.
const SHOWN_MAX: usize = 20;

impl NotBelieved {
    /// Notes one. Returns how many there are now.
    pub(crate) fn add(&mut self, place: String) -> u64 {
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
            "{count} times that are not believed: out of range (2000 to 2099), more than a day beyond those around them, or years before ({places}{more})"
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

    /// What becomes of these times, read one after the other.
    fn told(times: &[Option<Millis>]) -> Vec<Told> {
        let mut timeline = Timeline::new(None, NOW);
        let mut all = Vec::new();
        for at in times {
            timeline.push((), *at);
            all.extend(std::iter::from_fn(|| timeline.next(false)).map(|(_, told)| told));
        }
        all.extend(std::iter::from_fn(|| timeline.next(true)).map(|(_, told)| told));
        all
    }

    fn minutes(count: i64) -> Vec<Option<Millis>> {
        (0..count).map(|minute| Some(START + minute * MINUTE)).collect()
    }

    #[test]
    fn one_leap_among_neighbours_moves_no_clock_wherever_it_stands() {
        for leap in [START + 2 * LEAP_MS, NOW - 1, NOW + 365 * LEAP_MS] {
            for count in [3, 4, 40] {
                // At the end nothing tells a leap from a gap, unless it lies in the future.
                let last = if leap > NOW + LEAP_MS { count } else { count - 1 };
                for place in 0..=last {
                    let mut times = minutes(count);
                    times.insert(place as usize, Some(leap));
                    let expected: Vec<_> = times
                        .iter()
                        .map(|at| if *at == Some(leap) { Told::Leap } else { Told::At(at.unwrap()) })
                        .collect();
                    assert_eq!(told(&times), expected, "{leap} at {place} of {count}");
                }
            }
        }
    }

    #[test]
    fn days_without_events_are_a_gap_and_no_leap() {
        let days = [0, 1, 5, 6, 40, 41, 90];
        let times: Vec<_> = days.iter().map(|day| Some(START + day * LEAP_MS)).collect();
        assert!(told(&times).iter().all(|told| matches!(told, Told::At(_))));
    }

    #[test]
    fn a_late_event_behind_a_gap_does_not_deny_the_gap() {
        let day = |day: i64| Some(START + day * LEAP_MS);
        let all = told(&[day(0), day(0), day(9), day(1), day(9), day(9), day(9), day(9)]);
        assert!(all.iter().all(|told| matches!(told, Told::At(_))), "{all:?}");
    }

    #[test]
    fn times_of_the_future_move_no_clock_however_many_stand_in_a_row() {
        let leap = NOW + 30 * 365 * LEAP_MS;
        for count in 2..=10 {
            for place in [0, 1, 7, 20] {
                let mut times = minutes(40);
                (0..count).for_each(|number| times.insert(place, Some(leap + number * MINUTE)));
                let all = told(&times);
                assert_eq!(
                    all.iter().filter(|told| **told == Told::Leap).count(),
                    count as usize,
                    "{count} at {place}"
                );
            }
        }
    }

    #[test]
    fn a_first_time_that_lies_years_before_the_others_does_not_begin() {
        for first in [0, 1_772_323_200, START - 20 * 365 * LEAP_MS] {
            let mut timeline = Timeline::new(None, NOW);
            timeline.push(0, Some(first));
            (1..5).for_each(|number| timeline.push(number, Some(START + number * MINUTE)));
            let (_, told) = timeline.next(false).unwrap();
            assert!(matches!(told, Told::OutOfRange | Told::Leap), "{told:?}");
            assert_eq!(timeline.clock(), Some(START + MINUTE), "{first}");
        }
        assert_eq!(told(&[Some(START - 400 * LEAP_MS), Some(START), Some(START)])[0], Told::At(START - 400 * LEAP_MS));
    }

    #[test]
    fn made_up_events_of_the_future_have_their_times() {
        let times: Vec<_> = [400, 430, 500].iter().map(|day| Some(NOW + day * LEAP_MS)).collect();
        assert_eq!(told(&times), times.iter().map(|at| Told::At(at.unwrap())).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_out_of_range_is_no_time() {
        let mut times = minutes(4);
        times.insert(1, Some(253_402_300_799_999));
        times.insert(3, Some(1_772_323_200_000_000));
        times.insert(0, Some(-1));
        let all = told(&times);
        assert_eq!(all.iter().filter(|told| **told == Told::OutOfRange).count(), 3, "{all:?}");
        assert_eq!(all.iter().filter(|told| matches!(told, Told::At(_))).count(), 4, "{all:?}");
    }

    proptest! {
        #[test]
        fn every_event_comes_out_once_in_its_place_and_few_wait(
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
