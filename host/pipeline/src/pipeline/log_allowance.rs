//! Limits how many lines one campaign logs over time. The engine bounds the log of one call;
//! without this limit, a rule that logs at every call would still fill a disk. Each shard has its
//! own allowance, so shards do not wait for each other.

use std::time::{Duration, Instant};

/// The most lines in one burst.
pub(super) const LINES_AT_ONCE_MAX: u32 = 100;
/// The most lines a second after a burst.
pub(super) const LINES_PER_SECOND_MAX: u32 = 10;

const LINE_EVERY: Duration = Duration::from_millis(1000 / LINES_PER_SECOND_MAX as u64);

/// The lines that one campaign may still log on one shard.
#[derive(Debug, Default)]
pub(super) struct LogAllowance {
    /// When the full burst is available again; `None` if no line was ever taken.
    whole_at: Option<Instant>,
    dropped: u64,
}

impl LogAllowance {
    /// Takes a line. If it may be logged, returns the number of lines dropped since the last logged
    /// one; otherwise `None`.
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
    fn after_a_burst_the_rate_is_limited_and_drops_are_reported() {
        let mut allowance = LogAllowance::default();
        let start = Instant::now();
        let logged = (0..1000).filter(|_| allowance.take(start) == Some(0)).count();
        assert_eq!(logged, 100);
        let second = |number: u64| start + Duration::from_secs(number);
        assert_eq!(
            allowance.take(second(1)),
            Some(900),
            "the next logged line reports the dropped ones"
        );
        let logged = (0..1000).filter_map(|_| allowance.take(second(1))).count();
        assert_eq!(logged, 9, "ten a second, and one is taken already");
        let logged = (0..1000).filter_map(|_| allowance.take(second(3600))).count();
        assert_eq!(logged, 100, "no more than a burst is saved up");
    }
}
