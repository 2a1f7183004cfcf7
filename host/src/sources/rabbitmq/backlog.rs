//! Which deliveries have to be settled before everything that waited in the queue at some moment is.
//!
//! A mark says of a moment: whatever waited in the queue then has a delivery tag of at most so much. **A moment counts as
//! handled only when every tag up to its mark is settled (G6).** Marks may lie too high (messages expire, or are purged);
//! one is then reached later, or is overtaken by a later mark that lies lower, never too early.
//!
//! Memory is bounded: when there are too many marks every other one is forgotten. The next one stands for it, so the
//! longer ago something was, the less exactly it is known.

use std::collections::VecDeque;

use crate::clock::Millis;

const MARKS_MAX: usize = 64;

/// Later marks have higher tags: a mark that is reached together with, or before, an earlier one replaces it.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    marks: VecDeque<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    moment: Millis,
    tag_max: u64,
}

impl Backlog {
    /// Whatever waited at `moment` has come, or will come, under a tag of at most `tag_max`.
    pub(super) fn waited(&mut self, moment: Millis, tag_max: u64) {
        let at = self.marks.partition_point(|mark| mark.tag_max < tag_max);
        let known = self.marks.get(at).is_some_and(|mark| mark.tag_max == tag_max && mark.moment >= moment);
        let overtaken = at > 0 && self.marks[at - 1].moment >= moment;
        if known || overtaken {
            return;
        }
        let later = self.marks.iter().skip(at).position(|mark| mark.moment > moment);
        let replaced = later.map_or(self.marks.len(), |later| at + later);
        self.marks.drain(at..replaced);
        self.marks.insert(at, Mark { moment, tag_max });
        if self.marks.len() > MARKS_MAX {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// Whether there is something to tell when everything up to this tag is settled.
    pub(super) fn is_reached(&self, settled: u64) -> bool {
        self.marks.front().is_some_and(|mark| mark.tag_max <= settled)
    }

    /// The latest moment that is handled when everything up to this tag is settled, if that is news.
    pub(super) fn handled(&mut self, settled: u64) -> Option<Millis> {
        let reached = self.marks.partition_point(|mark| mark.tag_max <= settled);
        self.marks.drain(..reached).next_back().map(|mark| mark.moment)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_is_handled_when_its_mark_is_settled_and_is_told_once() {
        let mut backlog = Backlog::default();
        backlog.waited(10, 5);
        backlog.waited(20, 8);
        assert!(!backlog.is_reached(4));
        assert_eq!(backlog.handled(4), None);
        assert!(backlog.is_reached(5));
        assert_eq!(backlog.handled(7), Some(10));
        assert_eq!(backlog.handled(7), None);
        assert_eq!(backlog.handled(9), Some(20));
        assert_eq!(backlog.handled(u64::MAX), None);
    }

    #[test]
    fn a_later_mark_that_lies_lower_stands_for_those_before_it() {
        let mut backlog = Backlog::default();
        backlog.waited(10, 4000);
        backlog.waited(20, 5000);
        // The queue was purged.
        backlog.waited(30, 12);
        assert_eq!(backlog.handled(12), Some(30));
        assert!(backlog.marks.is_empty());
    }

    #[test]
    fn a_mark_that_comes_late_finds_its_place() {
        let mut backlog = Backlog::default();
        backlog.waited(20, 1000);
        backlog.waited(10, 3);
        backlog.waited(15, 2000);
        assert_eq!(backlog.handled(3), Some(10));
        assert_eq!(backlog.handled(1000), Some(20));
        assert!(backlog.marks.is_empty());
    }

    #[test]
    fn a_queue_that_grows_for_days_does_not_take_more_memory_and_is_still_known_about() {
        let mut backlog = Backlog::default();
        for moment in 0..1_000_000 {
            backlog.waited(moment, 1000 + moment as u64);
            assert!(backlog.marks.len() <= MARKS_MAX);
        }
        // Half of it is settled: that can be told, to within the resolution that is left of so long ago.
        let handled = backlog.handled(1000 + 500_000).unwrap();
        assert!((0..=500_000).contains(&handled), "{handled}");
        let handled = backlog.handled(2_000_000).unwrap();
        assert!((990_000..1_000_000).contains(&handled), "{handled}");
    }

    /// What happens to a queue and its only consumer.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Publish(u8),
        Purge,
        Deliver(u8),
        Settle(u8),
        /// A look at the queue: the count only bounds what is still to come.
        Look,
        /// A look that found it empty, when everything that was on its way has come.
        LookExactly,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => any::<u8>().prop_map(Step::Publish),
            1 => Just(Step::Purge),
            6 => any::<u8>().prop_map(Step::Deliver),
            6 => any::<u8>().prop_map(Step::Settle),
            4 => Just(Step::Look),
            2 => Just(Step::LookExactly),
        ]
    }

    proptest! {
        #[test]
        fn no_moment_is_told_before_everything_that_waited_then_is_settled(
            steps in prop::collection::vec(step(), 1..400),
            prefetch in 1_u64..50,
        ) {
            let mut backlog = Backlog::default();
            // When each message came into the queue, by place in it; and under its tag once it is delivered.
            let mut ready = VecDeque::new();
            let mut delivered: Vec<Millis> = Vec::new();
            let mut settled = 0_u64;
            let mut told = Millis::MIN;
            for (moment, step) in (0..).zip(steps) {
                match step {
                    Step::Publish(count) => ready.extend((0..count % 8).map(|_| moment)),
                    Step::Purge => ready.clear(),
                    Step::Deliver(count) => {
                        let room = (settled + prefetch) as usize - delivered.len();
                        let count = ready.len().min(room).min(usize::from(count % 16));
                        delivered.extend(ready.drain(..count));
                    }
                    Step::Settle(count) => settled = (settled + u64::from(count % 16)).min(delivered.len() as u64),
                    Step::Look => backlog.waited(moment, settled + prefetch + ready.len() as u64),
                    Step::LookExactly if ready.is_empty() => backlog.waited(moment, delivered.len() as u64),
                    Step::LookExactly => {}
                }
                told = told.max(backlog.handled(settled).unwrap_or(Millis::MIN));
                let unsettled = delivered.iter().skip(settled as usize).chain(&ready);
                for came in unsettled {
                    prop_assert!(*came > told, "told {told}, but what came at {came} is not settled");
                }
            }
            // And it does not stay silent: once all is settled and the queue is seen empty, that is told.
            backlog.waited(1000, delivered.len() as u64);
            prop_assert_eq!(backlog.handled(delivered.len() as u64), Some(1000));
        }
    }
}
