//! The number of deferred messages, over all shards, with its bound (`store.deferred_max`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The count. Clones share it. The committed count is part of the engine's progress; this one also
/// counts what is decided and not committed yet.
#[derive(Clone, Debug)]
pub(super) struct Deferrals {
    count: Arc<AtomicU64>,
    max: u64,
}

impl Deferrals {
    pub(super) fn new(count: u64, max: u64) -> Deferrals {
        Deferrals { count: Arc::new(AtomicU64::new(count)), max }
    }

    /// Counts one more, if there is room.
    pub(super) fn take(&self) -> bool {
        let more = |count: u64| (count < self.max).then_some(count + 1);
        self.count.try_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts so many less.
    pub(super) fn give_back(&self, count: u64) {
        let less = |before: u64| Some(before.saturating_sub(count));
        let _ = self.count.try_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_again_after_a_message_is_released() {
        let deferrals = Deferrals::new(1, 2);
        assert_eq!([deferrals.take(), deferrals.take()], [true, false]);
        deferrals.give_back(1);
        assert!(deferrals.take() && !deferrals.take());
    }
}
