//! The one place that asks the operating system for the time. Everything else is handed a `now`.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Milliseconds since 1970-01-01 UTC.
pub type Millis = i64;

/// What the machine's clocks said together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockMark {
    /// The start of the machine; 0 if it is unknown.
    pub boot: u64,
    /// Milliseconds since that start, with those for which the machine was suspended.
    pub since_boot_ms: Millis,
    /// The machine's clock, in milliseconds since 1970-01-01 UTC.
    pub wall_ms: Millis,
}

/// How far the engine's clock is from the machine's: 0 but in tests of what a wrong clock does (`failpoint.rs`).
static SHIFT_MS: AtomicI64 = AtomicI64::new(0);

/// A process has one machine, and so one clock to doubt: see `pipeline/clock_doubt.rs`.
static IN_DOUBT: AtomicBool = AtomicBool::new(false);

/// Tells one start of the machine from another; 0 if the kernel does not say.
static BOOT: LazyLock<u64> = LazyLock::new(|| {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id");
    id.map_or(0, |id| xxh3_64(&id).max(1))
});

/// The time now, in milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn now_ms() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX).saturating_add(SHIFT_MS.load(Ordering::Relaxed))
}

/// The time since the machine was started, which nobody sets, and which goes on while the machine is suspended.
#[must_use]
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Both clocks of the machine, and which start of the machine they belong to. Equal starts make two readings comparable.
#[must_use]
pub fn reading() -> ClockMark {
    let since_boot_ms = Millis::try_from(since_boot().as_millis()).unwrap_or(Millis::MAX);
    ClockMark { boot: *BOOT, since_boot_ms, wall_ms: now_ms() }
}

/// Sets whether the machine's clock is in doubt. What expires by that clock alone, such as recordings, stays while it is.
pub fn set_in_doubt(is_in_doubt: bool) {
    IN_DOUBT.store(is_in_doubt, Ordering::Relaxed);
}

/// Whether the machine's clock is in doubt.
#[must_use]
pub fn is_in_doubt() -> bool {
    IN_DOUBT.load(Ordering::Relaxed)
}

/// Sets the engine's clock so far from the machine's.
pub(crate) fn shift(by_ms: Millis) {
    SHIFT_MS.store(by_ms, Ordering::Relaxed);
}
