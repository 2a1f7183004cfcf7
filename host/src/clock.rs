//! The one place that asks the operating system for the time. Everything else is handed a `now`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

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

/// Sets the engine's clock so far from the machine's.
pub(crate) fn shift(by_ms: Millis) {
    SHIFT_MS.store(by_ms, Ordering::Relaxed);
}
