//! Detects stalls of the whole process: it was stopped, or its machine was suspended.
//!
//! During a stall a connection may end without the engine noticing. So right after a stall **an
//! open session does not prove that the connection works**: its deliveries are from before the
//! stall, and its acknowledgements may not reach the broker.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A longer gap between ticks is a stall. Threads on a busy machine wait for less than this; a
/// broker waits for a heartbeat for longer.
const STILL_MIN: Duration = Duration::from_secs(1);

/// Detects stalls from regular ticks. All times are counted since the machine was started.
#[derive(Debug)]
pub(super) struct StallDetector {
    /// The time after a stall in which the state of connections is uncertain. Within this time a
    /// broken connection is detected.
    grace: Duration,
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    last: Option<Duration>,
    stalled_until: Option<Duration>,
}

impl StallDetector {
    /// `grace` is two heartbeats.
    pub(super) fn new(grace: Duration) -> StallDetector {
        StallDetector { grace, known: Mutex::new(Known { last: None, stalled_until: None }) }
    }

    /// Records that the process runs at `now`. Call it several times a second.
    pub(super) fn tick(&self, now: Duration) {
        let mut known = self.lock();
        if known.last.is_some_and(|last| now.saturating_sub(last) > STILL_MIN) {
            known.stalled_until = Some(now);
        }
        known.last = Some(now);
    }

    /// Whether the process runs at `now` and has run without a stall for the last two heartbeats.
    pub(super) fn has_no_recent_stall(&self, now: Duration) -> bool {
        let Known { last, stalled_until } = *self.lock();
        last.is_none_or(|last| now.saturating_sub(last) <= STILL_MIN)
            && stalled_until.is_none_or(|until| now.saturating_sub(until) > self.grace)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_reported_for_two_heartbeats() {
        let (start, ms) = (Duration::from_secs(1000), Duration::from_millis);
        let stalls = StallDetector::new(ms(4000));
        for tick in 0..10 {
            stalls.tick(start + ms(200 * tick));
            assert!(stalls.has_no_recent_stall(start + ms(200 * tick)));
        }
        assert!(!stalls.has_no_recent_stall(start + ms(9000)), "before the next tick");
        stalls.tick(start + ms(9000));
        for tick in 0..20 {
            stalls.tick(start + ms(9000 + 200 * tick));
            assert!(!stalls.has_no_recent_stall(start + ms(9000 + 200 * tick)));
        }
        stalls.tick(start + ms(13_001));
        assert!(stalls.has_no_recent_stall(start + ms(13_001)));
    }
}
