//! Resets the limits of campaigns that an operator resumes while the engine is stopped. A running
//! engine resets them itself.

use crate::records::{HourCount, Progress, decode, encode};
use hailer_store::{Changes, Store, StoreError, Table};

/// Clears the fault counts of the circuit breaker for these campaigns, and gives each campaign
/// whose hour was full a new allowance for that hour.
///
/// # Errors
/// The store cannot be read or written.
pub fn reset_limits(store: &dyn Store, campaigns: &[String]) -> Result<(), StoreError> {
    let Some(row) = store.snapshot()?.get(Table::Meta, Progress::KEY)? else { return Ok(()) };
    let mut progress: Progress = decode(Table::Meta, &row)?;
    for campaign in campaigns {
        progress.faults.remove(campaign.as_str());
        if let Some(hour) = progress.hours.get_mut(campaign.as_str()).filter(|hour| hour.is_full) {
            *hour =
                HourCount { number: hour.number, round: hour.round + 1, ..HourCount::default() };
        }
    }
    let mut changes = Changes::default();
    changes.put(Table::Meta, Progress::KEY.to_vec(), encode(&progress));
    store.commit(changes)
}
