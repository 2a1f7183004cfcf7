//! A bound in bytes on everything that waits in the pipeline. A task takes a share before it adds
//! something in, and waits while none is left. The share is returned when the work is settled or
//! dropped. **Something larger than the whole budget takes all of it, and passes alone.**

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of the semaphore, whose permits are 32-bit numbers.
const UNIT_BYTES: usize = 256;

/// A number of bytes, shared by all clones.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    units_max: u32,
}

/// A share of the budget, returned on drop; empty by default.
#[derive(Debug, Default)]
pub(super) struct Held(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Budget {
        let units_max = units(bytes_max).min(Semaphore::MAX_PERMITS as u32);
        Budget { units: Arc::new(Semaphore::new(units_max as usize)), units_max }
    }

    /// Waits for this many bytes, behind the tasks that already wait.
    pub(super) async fn take(&self, bytes: usize) -> Held {
        let units = units(bytes).min(self.units_max);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        Held(Some(permit.expect("a budget is never closed")))
    }

    /// Like [`Self::take`], for a thread that may block.
    pub(super) fn take_blocking(&self, bytes: usize, runtime: &Handle) -> Held {
        let at_once =
            Arc::clone(&self.units).try_acquire_many_owned(units(bytes).min(self.units_max));
        at_once.map_or_else(|_| runtime.block_on(self.take(bytes)), |permit| Held(Some(permit)))
    }

    #[cfg(test)]
    pub(super) fn is_whole(&self) -> bool {
        self.units.available_permits() == self.units_max as usize
    }
}

impl Held {
    /// Joins two shares of one budget, so that they are returned together.
    pub(super) fn absorb(&mut self, other: Held) {
        match (&mut self.0, other.0) {
            (Some(ours), Some(theirs)) => ours.merge(theirs),
            (None, theirs @ Some(_)) => self.0 = theirs,
            (_, None) => {}
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).max(1)
}
