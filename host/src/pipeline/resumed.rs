//! The limits of campaigns that an operator resumes while the engine is stopped: they begin anew, as they do in a running engine.

use crate::records::{HourCount, Progress, decode, encode};
use crate::store::{Changes, Store, StoreError, Table};

/// Forgets the faults that the circuit breaker has counted of these campaigns, and that their hour was full.
///
/// # Errors
/// When the store can't be read or written.
pub fn begin_limits_anew(store: &dyn Store, campaigns: &[String]) -> Result<(), StoreError> {
    let Some(row) = store.snapshot()?.get(Table::Meta, Progress::KEY)? else { return Ok(()) };
    let mut progress: Progress = decode(Table::Meta, &row)?;
    for campaign in campaigns {
        progress.faults.remove(campaign.as_str());
        if let Some(hour) = progress.hours.get_mut(campaign.as_str()).filter(|hour| hour.is_full) {
            *hour = HourCount { number: hour.number, round: hour.round + 1, ..HourCount::default() };
        }
    }
    let mut changes = Changes::default();
    changes.put(Table::Meta, Progress::KEY.to_vec(), encode(&progress));
    store.commit(changes)
}
