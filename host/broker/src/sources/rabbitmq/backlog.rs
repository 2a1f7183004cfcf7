//! Tracks when the messages that waited in the queue at a given moment are all settled.
//!
//! A watermark has a moment and a tag: every message that waited in the queue at the moment has at
//! most that delivery tag. **A moment counts as handled only when every tag up to its watermark is
//! settled (G6).** A watermark's tag may be too high, because messages expire or are purged. It is
//! then reached later, or replaced by a later watermark with a lower tag, but never reached too
//! early.
//!
//! Memory is bounded: above [`WATERMARKS_MAX`], every other watermark is dropped. The next one then
//! replaces it, so older moments are known less precisely.

use std::collections::VecDeque;

use hailer_base::clock::Millis;

const WATERMARKS_MAX: usize = 64;

/// Watermarks in the order of both moment and tag. A later moment whose tag is equal or lower
/// replaces the earlier ones.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    watermarks: VecDeque<Watermark>,
}

#[derive(Clone, Copy, Debug)]
struct Watermark {
    moment: Millis,
    tag_max: u64,
}

impl Backlog {
    /// Adds a watermark: every message that waited at `moment` has, or will get, a tag of at most
    /// `tag_max`.
    pub(super) fn waited(&mut self, moment: Millis, tag_max: u64) {
        let at = self.watermarks.partition_point(|watermark| watermark.tag_max < tag_max);
        let known = self
            .watermarks
            .get(at)
            .is_some_and(|watermark| watermark.tag_max == tag_max && watermark.moment >= moment);
        let overtaken = at > 0 && self.watermarks[at - 1].moment >= moment;
        if known || overtaken {
            return;
        }
        let later = self.watermarks.iter().skip(at).position(|watermark| watermark.moment > moment);
        let replaced = later.map_or(self.watermarks.len(), |later| at + later);
        self.watermarks.drain(at..replaced);
        self.watermarks.insert(at, Watermark { moment, tag_max });
        if self.watermarks.len() > WATERMARKS_MAX {
            let mut keep = false;
            self.watermarks.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// Whether a watermark is reached when every tag up to `settled` is settled.
    pub(super) fn is_reached(&self, settled: u64) -> bool {
        self.watermarks.front().is_some_and(|watermark| watermark.tag_max <= settled)
    }

    /// The latest moment that is handled when every tag up to `settled` is settled; `None` if no
    /// watermark is newly reached.
    pub(super) fn handled(&mut self, settled: u64) -> Option<Millis> {
        let reached = self.watermarks.partition_point(|watermark| watermark.tag_max <= settled);
        self.watermarks.drain(..reached).next_back().map(|watermark| watermark.moment)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_is_handled_when_its_watermark_is_settled_and_reported_once() {
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
    fn a_later_watermark_with_a_lower_tag_replaces_earlier_ones() {
        let mut backlog = Backlog::default();
        backlog.waited(10, 4000);
        backlog.waited(20, 5000);
        // The tag is lower because the queue was purged.
        backlog.waited(30, 12);
        assert_eq!(backlog.handled(12), Some(30));
        assert!(backlog.watermarks.is_empty());
    }

    #[test]
    fn watermarks_are_kept_in_order_of_their_moments() {
        let mut backlog = Backlog::default();
        backlog.waited(20, 1000);
        backlog.waited(10, 3);
        backlog.waited(15, 2000);
        assert_eq!(backlog.handled(3), Some(10));
        assert_eq!(backlog.handled(1000), Some(20));
        assert!(backlog.watermarks.is_empty());
    }

    #[test]
    fn a_growing_queue_takes_bounded_memory_and_moments_stay_known() {
        let mut backlog = Backlog::default();
        for moment in 0..1_000_000 {
            backlog.waited(moment, 1000 + moment as u64);
            assert!(backlog.watermarks.len() <= WATERMARKS_MAX);
        }
        // Half of the tags are settled. The result is correct within the resolution that is left
        // for such an old moment.
        let handled = backlog.handled(1000 + 500_000).unwrap();
        assert!((0..=500_000).contains(&handled), "{handled}");
        let handled = backlog.handled(2_000_000).unwrap();
        assert!((990_000..1_000_000).contains(&handled), "{handled}");
    }

    /// Something that happens to a queue and its only consumer.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Publish(u8),
        Purge,
        Deliver(u8),
        Settle(u8),
        /// Counts the queue's messages; the count only bounds the tags still to come.
        Count,
        /// Finds the queue empty after everything that was on its way has arrived.
        FindEmpty,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => any::<u8>().prop_map(Step::Publish),
            1 => Just(Step::Purge),
            6 => any::<u8>().prop_map(Step::Deliver),
            6 => any::<u8>().prop_map(Step::Settle),
            4 => Just(Step::Count),
            2 => Just(Step::FindEmpty),
        ]
    }

    proptest! {
        #[test]
        fn no_moment_is_handled_before_every_message_that_waited_is_settled(
            steps in prop::collection::vec(step(), 1..400),
            prefetch in 1_u64..50,
        ) {
            let mut backlog = Backlog::default();
            // `ready` has the arrival time of each message in the queue, in order; `delivered` has
            // those of the delivered messages, by tag.
            let mut ready = VecDeque::new();
            let mut delivered: Vec<Millis> = Vec::new();
            let mut settled = 0_u64;
            let mut reported = Millis::MIN;
            for (moment, step) in (0..).zip(steps) {
                match step {
                    Step::Publish(count) => ready.extend((0..count % 8).map(|_| moment)),
                    Step::Purge => ready.clear(),
                    Step::Deliver(count) => {
                        let room = (settled + prefetch) as usize - delivered.len();
                        let count = ready.len().min(room).min(usize::from(count % 16));
                        delivered.extend(ready.drain(..count));
                    }
                    Step::Settle(count) => {
                        let more = settled + u64::from(count % 16);
                        settled = more.min(delivered.len() as u64);
                    }
                    Step::Count => backlog.waited(moment, settled + prefetch + ready.len() as u64),
                    Step::FindEmpty if ready.is_empty() => {
                        backlog.waited(moment, delivered.len() as u64);
                    }
                    Step::FindEmpty => {}
                }
                reported = reported.max(backlog.handled(settled).unwrap_or(Millis::MIN));
                let unsettled = delivered.iter().skip(settled as usize).chain(&ready);
                for came in unsettled {
                    prop_assert!(*came > reported, "reported {reported}, but the message of \
                        {came} is not settled");
                }
            }
            // When everything is settled and the queue was seen empty, the last moment must be
            // reported.
            backlog.waited(1000, delivered.len() as u64);
            prop_assert_eq!(backlog.handled(delivered.len() as u64), Some(1000));
        }
    }
}
