//! Resumes campaigns of a stopped engine: pauses and suspensions are in its ledger, so they can be
//! lifted before the next start.

use std::path::Path;
use std::sync::Arc;

use super::ledger::{Ledger, LedgerFiles};
use super::{ReloadError, Target};
use crate::engine::no_campaign;
use crate::store::Store;

/// Whether a data directory contains the ledger of an engine.
#[must_use]
pub fn has_ledger(data: &Path) -> bool {
    LedgerFiles::is_in(data)
}

/// Lifts pauses and suspensions in the ledger of a stopped engine, as
/// [`Owner::resume`](super::Owner::resume) does in a running one, and returns the campaigns.
/// `store` is the engine's durable store, if it has one: it contains a copy of the ledger.
///
/// # Errors
/// An engine runs, the ledger is damaged or cannot be written, or there is no such campaign.
pub fn resume_offline(
    data: &Path,
    store: Option<Arc<dyn Store>>,
    target: &Target,
) -> Result<Vec<String>, ReloadError> {
    let (mut files, mut ledger) = LedgerFiles::open(data, store)?;
    let names = ledger.resume(target).map_err(ReloadError::Refused)?;
    let cannot_write_ledger = |error| ReloadError::Ledger { path: data.to_owned(), error };
    files.write(&ledger, std::iter::empty()).map_err(cannot_write_ledger)?;
    Ok(names)
}

impl Ledger {
    fn resume(&mut self, target: &Target) -> Result<Vec<String>, String> {
        if let Target::Campaign(name) = target
            && !self.campaigns.contains_key(name)
        {
            return Err(no_campaign(name, self.campaigns.keys().map(String::as_str)));
        }
        // `resume --all` first lifts only what `pause --all` paused.
        let only_all = *target == Target::All && !self.paused_by_all.is_empty();
        let mut names = Vec::new();
        for (name, accepted) in &mut self.campaigns {
            if matches!(target, Target::Campaign(meant) if meant != name) {
                continue;
            }
            let was_paused_by_all = self.paused_by_all.remove(name);
            let was_stopped =
                !only_all && (self.paused.remove(name) | accepted.suspended.take().is_some());
            if was_paused_by_all || was_stopped {
                names.push(name.clone());
            }
        }
        match target {
            Target::All if only_all => self.paused_by_all.clear(),
            Target::All => self.paused.clear(),
            Target::Campaign(_) => {}
        }
        Ok(names)
    }
}
