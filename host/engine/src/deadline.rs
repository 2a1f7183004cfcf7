//! The deadline of a guest, in CPU time: a guest that the OS did not schedule is not late. CPU time
//! is read only when a crossing outlives a tick of the engine. Nearly all crossings are shorter,
//! and so pay nothing.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

/// The number of ticks until the stopwatch checks a running guest.
pub(super) const TICKS_TO_LOOK: u64 = 1;

/// Measures one crossing, on the thread that makes it.
#[derive(Debug)]
pub(super) struct Stopwatch {
    limit: Duration,
    /// The thread's CPU time at the first tick of the crossing; `None` before it.
    since: Option<Duration>,
}

impl Stopwatch {
    pub(super) fn new(limit_ms: u64) -> Stopwatch {
        Stopwatch { limit: Duration::from_millis(limit_ms), since: None }
    }

    /// Starts the measurement of a crossing.
    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    /// Decides, at each tick of a crossing, whether it may go on. The first tick comes within the
    /// first millisecond, so a guest has its limit and up to one tick more.
    pub(super) fn tick(&mut self) -> UpdateDeadline {
        let now = processor_time();
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) < self.limit {
            UpdateDeadline::Continue(1)
        } else {
            UpdateDeadline::Interrupt
        }
    }
}

/// The CPU time of this thread.
pub(super) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative, because CPU time is a duration.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
