//! The brakes of a stopped engine: they stand in its ledger, so they can be lifted before its next start.

use std::path::Path;
use std::sync::Arc;

use super::kept::{Kept, Ledger};
use super::{ReloadError, Target};
use crate::engine::{closest, shown};
use crate::store::Store;

/// Whether an engine has kept campaigns in a data directory.
#[must_use]
pub fn has_kept(data: &Path) -> bool {
    Kept::is_in(data)
}

/// Lifts pauses and suspensions in what a stopped engine has kept, as [`Owner::resume`](super::Owner::resume) does in a running one; says of which
/// campaigns. `store` is the engine's, if it has one on a disk: it holds a copy.
///
/// # Errors
/// When an engine runs, when what was kept can't be trusted or written, or when there is no such campaign.
pub fn resume_stopped(data: &Path, store: Option<Arc<dyn Store>>, target: &Target) -> Result<Vec<String>, ReloadError> {
    let (mut kept, mut ledger) = Kept::open(data, store)?;
    let names = ledger.resume(target).map_err(ReloadError::Refused)?;
    let unwritten = |error| ReloadError::Kept { path: data.to_owned(), error };
    kept.write(&ledger, std::iter::empty()).map_err(unwritten)?;
    Ok(names)
}

impl Ledger {
    fn resume(&mut self, target: &Target) -> Result<Vec<String>, String> {
        if let Target::Campaign(name) = target
            && !self.campaigns.contains_key(name)
        {
            let known = self.campaigns.keys().map(String::as_str);
            let hint = match closest(name, known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("there are: {}", self.campaigns.keys().cloned().collect::<Vec<_>>().join(", ")),
            };
            return Err(format!("there is no campaign `{}`; {hint}", shown(name)));
        }
        // What `pause --all` has paused goes first, so that it is as it was before.
        let only_all = *target == Target::All && !self.paused_by_all.is_empty();
        let mut names = Vec::new();
        for (name, kept) in &mut self.campaigns {
            if matches!(target, Target::Campaign(meant) if meant != name) {
                continue;
            }
            let was_paused_by_all = self.paused_by_all.remove(name);
            let was_stopped = !only_all && (self.paused.remove(name) | kept.suspended.take().is_some());
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
