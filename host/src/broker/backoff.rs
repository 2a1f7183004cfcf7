//! How long to wait before the next try: longer each time, and never the same for two engines, so that a broker that
//! comes back is not met by all of them at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST_MS: u64 = 100;
const LONGEST_MS: u64 = 15_000;

/// The pauses of one edge.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next try: between a half and the whole of a length that doubles up to a bound.
    pub fn next_pause(&mut self) -> Duration {
        let longest_ms = FIRST_MS.saturating_mul(1 << self.failures.min(16)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        // A fresh hasher has random keys, which is all the randomness that a pause needs.
        let jitter_ms = RandomState::new().hash_one(self.failures) % (longest_ms / 2 + 1);
        Duration::from_millis(longest_ms - jitter_ms)
    }

    /// All is well again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_again() {
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
