//! A bound in bytes on what waits. Whoever brings something in takes its share and waits while there is none; the share comes back when what it was
//! taken for is settled or dropped. **Something larger than all of it has it all, and passes alone.**

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the budget counts in, as it counts in 32 bits.
const UNIT_BYTES: usize = 256;

/// So many bytes, shared by all clones.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    units_max: u32,
}

/// Shares that are given back when this is dropped; empty at first.
#[derive(Debug, Default)]
pub(super) struct Held(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Budget {
        let units_max = units(bytes_max).min(Semaphore::MAX_PERMITS as u32);
        Budget { units: Arc::new(Semaphore::new(units_max as usize)), units_max }
    }

    /// Waits for so many bytes, behind everybody who waits already.
    pub(super) async fn take(&self, bytes: usize) -> Held {
        let units = units(bytes).min(self.units_max);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        Held(Some(permit.expect("nobody closes a budget")))
    }

    /// The same on a thread that may block.
    pub(super) fn take_blocking(&self, bytes: usize, runtime: &Handle) -> Held {
        let at_once = Arc::clone(&self.units).try_acquire_many_owned(units(bytes).min(self.units_max));
        at_once.map_or_else(|_| runtime.block_on(self.take(bytes)), |permit| Held(Some(permit)))
    }

    #[cfg(test)]
    pub(super) fn is_whole(&self) -> bool {
        self.units.available_permits() == self.units_max as usize
    }
}

impl Held {
    /// Both, of one budget, to be given back together.
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
