//! The one place that asks the operating system for the time. Everything else is handed a `now`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970-01-01 UTC.
pub type Millis = i64;

/// How far the engine's clock is from the machine's: 0 but in tests of what a wrong clock does (`failpoint.rs`).
static SHIFT_MS: AtomicI64 = AtomicI64::new(0);

/// The time now, in milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn now_ms() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX).saturating_add(SHIFT_MS.load(Ordering::Relaxed))
}

/// The time since the machine was started, which nobody sets, and which goes on while the machine is suspended.
pub(crate) fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Sets the engine's clock so far from the machine's.
pub(crate) fn shift(by_ms: Millis) {
    SHIFT_MS.store(by_ms, Ordering::Relaxed);
}
