//! Exponential backoff with jitter between connection attempts. The jitter keeps several engines
//! from reconnecting to a restarted broker at the same moment.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST_MS: u64 = 100;
const LONGEST_MS: u64 = 15_000;

/// The backoff state of one source or sink.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next attempt. Its upper limit doubles from 100 ms to 15 s; the pause is
    /// a random length between half of that limit and all of it.
    pub fn next_pause(&mut self) -> Duration {
        let longest_ms = FIRST_MS.saturating_mul(1 << self.failures.min(16)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        // A new hasher has random keys, which is enough randomness for a pause.
        let jitter_ms = RandomState::new().hash_one(self.failures) % (longest_ms / 2 + 1);
        Duration::from_millis(longest_ms - jitter_ms)
    }

    /// Starts again with the shortest pause, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_short_again_after_a_reset() {
        let mut backoff = Backoff::default();
        for failure in 0..100_u32 {
            let pause_ms = backoff.next_pause().as_millis() as u64;
            let longest_ms = (FIRST_MS << failure.min(16)).min(LONGEST_MS);
            assert!((longest_ms / 2..=longest_ms).contains(&pause_ms), "{failure}: {pause_ms}");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= Duration::from_millis(FIRST_MS));
    }
}
