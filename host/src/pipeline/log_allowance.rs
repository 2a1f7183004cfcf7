//! How much one campaign may say over time. What a call may log is bounded in the engine; without this, a rule that logs at every call would still
//! fill a disk with its events. Each shard has an allowance of its own, so that none waits for another.

use std::time::{Duration, Instant};

/// The most lines at once.
pub(super) const LINES_AT_ONCE_MAX: u32 = 100;
/// The most lines a second, from then on.
pub(super) const LINES_PER_SECOND_MAX: u32 = 10;

const LINE_EVERY: Duration = Duration::from_millis(1000 / LINES_PER_SECOND_MAX as u64);

/// What one campaign may still log on one shard.
#[derive(Debug, Default)]
pub(super) struct LogAllowance {
    /// When all of it is there again; `None` if nothing was ever taken.
    whole_at: Option<Instant>,
    dropped: u64,
}

impl LogAllowance {
    /// Takes a line. `Some` if it may be logged, with the number of those that were dropped since the last one that was.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        let whole_at = self.whole_at.map_or(now, |whole_at| whole_at.max(now)) + LINE_EVERY;
        if whole_at - now > LINE_EVERY * LINES_AT_ONCE_MAX {
            self.dropped += 1;
            return None;
        }
        self.whole_at = Some(whole_at);
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_logged_and_then_so_many_lines_a_second_and_what_was_dropped_is_told() {
        let mut allowance = LogAllowance::default();
        let start = Instant::now();
        let logged = (0..1000).filter(|_| allowance.take(start) == Some(0)).count();
        assert_eq!(logged, 100);
        let second = |number: u64| start + Duration::from_secs(number);
        assert_eq!(allowance.take(second(1)), Some(900), "the first that is logged again tells");
        let logged = (0..1000).filter_map(|_| allowance.take(second(1))).count();
        assert_eq!(logged, 9, "ten a second, of which one is gone");
        let logged = (0..1000).filter_map(|_| allowance.take(second(3600))).count();
        assert_eq!(logged, 100, "no more than a burst is saved up");
    }
}
