//! The clock: the only code that asks the operating system for the time. All other code gets `now`
//! as an argument.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Milliseconds since 1970-01-01 UTC.
pub type Millis = i64;

/// One reading of both clocks of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockMark {
    /// Identifies the boot of the machine; 0 if it is unknown.
    pub boot: u64,
    /// Milliseconds since that boot. The time for which the machine was suspended counts.
    pub since_boot_ms: Millis,
    /// The wall clock, in milliseconds since 1970-01-01 UTC.
    pub wall_ms: Millis,
}

/// The offset of the engine's clock from the machine's, in milliseconds. It is 0 except in tests
/// with a wrong clock (`failpoint.rs`).
static SHIFT_MS: AtomicI64 = AtomicI64::new(0);

/// Whether the machine's clock is in doubt (`pipeline/clock_doubt.rs`). It is global because all of
/// the process uses one machine clock.
static IN_DOUBT: AtomicBool = AtomicBool::new(false);

/// Identifies the boot of the machine; 0 if the kernel has no boot id.
static BOOT: LazyLock<u64> = LazyLock::new(|| {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id");
    id.map_or(0, |id| xxh3_64(&id).max(1))
});

/// The time now, in milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn now_ms() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis())
        .unwrap_or(Millis::MAX)
        .saturating_add(SHIFT_MS.load(Ordering::Relaxed))
}

/// The time since the boot of the machine. No program can set this clock, and it also runs while
/// the machine is suspended.
#[must_use]
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Reads both clocks of the machine, with the id of its boot. Two readings are comparable if their
/// boot is the same.
#[must_use]
pub fn reading() -> ClockMark {
    let since_boot_ms = Millis::try_from(since_boot().as_millis()).unwrap_or(Millis::MAX);
    ClockMark { boot: *BOOT, since_boot_ms, wall_ms: now_ms() }
}

/// Sets whether the machine's clock is in doubt. While it is, nothing expires that only this clock
/// dates, such as recordings.
pub fn set_in_doubt(is_in_doubt: bool) {
    IN_DOUBT.store(is_in_doubt, Ordering::Relaxed);
}

/// Whether the machine's clock is in doubt.
#[must_use]
pub fn is_in_doubt() -> bool {
    IN_DOUBT.load(Ordering::Relaxed)
}

/// Sets the offset of the engine's clock from the machine's, in milliseconds.
pub(crate) fn shift(by_ms: Millis) {
    SHIFT_MS.store(by_ms, Ordering::Relaxed);
}
