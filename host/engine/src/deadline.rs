//! How long a guest runs, in the processor's time: a guest that the machine keeps waiting is not a slow guest. Read only when a call
//! outlives a tick of the engine, so that the calls that do not, nearly all, pay nothing.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

/// Ticks until a running guest is looked at.
pub(super) const TICKS_TO_LOOK: u64 = 1;

/// Measures one crossing, on the thread that makes it.
#[derive(Debug)]
pub(super) struct Stopwatch {
    limit: Duration,
    /// The thread's time at the crossing's first tick.
    since: Option<Duration>,
}

impl Stopwatch {
    pub(super) fn new(limit_ms: u64) -> Stopwatch {
        Stopwatch { limit: Duration::from_millis(limit_ms), since: None }
    }

    /// A crossing starts.
    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    /// The crossing has outlived another tick: whether it may go on. The first tick falls somewhere within the first millisecond, so a
    /// guest has its limit and up to one tick more.
    pub(super) fn tick(&mut self) -> UpdateDeadline {
        let now = processor_time();
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) < self.limit { UpdateDeadline::Continue(1) } else { UpdateDeadline::Interrupt }
    }
}

/// The time that the processor has spent on this thread.
pub(super) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative: it is a span of time.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
