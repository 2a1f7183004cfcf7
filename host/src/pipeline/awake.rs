//! Whether this process has been running all along. While it stands still (it is stopped, its machine is suspended) a connection may end without anybody
//! noticing, so right after that **an open session is no sign of life**: what it still holds was delivered before, and its
//! acknowledgements may reach nobody.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longer than a busy machine lets anybody wait, and shorter than a broker waits for a heartbeat.
const STILL_MIN: Duration = Duration::from_secs(1);

/// Told again and again that time goes on: how long it is since the machine was started.
#[derive(Debug)]
pub(super) struct Awake {
    /// So long after it stood still nothing is certain: by then a connection that has ended is known to have.
    grace: Duration,
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    last: Option<Duration>,
    stood_still_until: Option<Duration>,
}

impl Awake {
    /// `grace` is two heartbeats.
    pub(super) fn new(grace: Duration) -> Awake {
        Awake { grace, known: Mutex::new(Known { last: None, stood_still_until: None }) }
    }

    /// Time goes on. To be told several times a second.
    pub(super) fn tick(&self, now: Duration) {
        let mut known = self.lock();
        if known.last.is_some_and(|last| now.saturating_sub(last) > STILL_MIN) {
            known.stood_still_until = Some(now);
        }
        known.last = Some(now);
    }

    /// Whether it has been running for the last two heartbeats, and is.
    pub(super) fn is_certain(&self, now: Duration) -> bool {
        let Known { last, stood_still_until } = *self.lock();
        last.is_none_or(|last| now.saturating_sub(last) <= STILL_MIN)
            && stood_still_until.is_none_or(|until| now.saturating_sub(until) > self.grace)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_it_stood_still_nothing_is_certain_for_two_heartbeats() {
        let (start, ms) = (Duration::from_secs(1000), Duration::from_millis);
        let awake = Awake::new(ms(4000));
        for tick in 0..10 {
            awake.tick(start + ms(200 * tick));
            assert!(awake.is_certain(start + ms(200 * tick)));
        }
        assert!(!awake.is_certain(start + ms(9000)), "before anybody was told that time went on");
        awake.tick(start + ms(9000));
        for tick in 0..20 {
            awake.tick(start + ms(9000 + 200 * tick));
            assert!(!awake.is_certain(start + ms(9000 + 200 * tick)));
        }
        awake.tick(start + ms(13_001));
        assert!(awake.is_certain(start + ms(13_001)));
    }
}
