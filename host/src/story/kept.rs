//! What has become of events that the journal notes as kept: an entry tells what was so when it was written, and the failures tell what is so now.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::trail::Entry;
use crate::event::{CustomerKey, EventId};
use crate::records::{Decided, JournalEntry, Key, Partition, visit_failures};
use crate::store::{Snapshot, StoreError};

/// Events that campaigns still owe a decision, and those that were decided later.
#[derive(Debug, Default)]
pub(super) struct Kept {
    owed: HashSet<(EventId, Arc<str>)>,
    decided: HashSet<(EventId, Arc<str>)>,
}

/// What has become of a kept event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Now {
    Owed,
    Decided,
    Dropped,
}

impl Kept {
    /// Reads the failures of these customers, if any of the entries is about a kept event.
    pub(super) fn read(
        snapshot: &dyn Snapshot,
        customers: &[CustomerKey],
        entries: &[Entry],
    ) -> Result<Kept, StoreError> {
        let mut kept = Kept::default();
        if !entries.iter().flat_map(|entry| &entry.entry.outcomes).any(|outcome| is_kept(&outcome.decided)) {
            return Ok(kept);
        }
        for &customer in customers {
            let (from, to) = Key::failures_of(Partition::of_customer(customer), customer);
            visit_failures(snapshot, (&from, &to), &mut |key, row| {
                kept.owed.extend(row.event_id().map(|id| (id, key.campaign)));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for entry in entries.iter().map(|entry| &entry.entry).filter(|entry| entry.again.is_some()) {
            let campaigns = entry.outcomes.iter().map(|outcome| Arc::clone(&outcome.campaign));
            kept.decided.extend(campaigns.map(|campaign| (entry.event_id, campaign)));
        }
        Ok(kept)
    }

    /// What has become of the event of an entry, of which the entry says that it is kept for a campaign.
    pub(super) fn now(&self, entry: &JournalEntry, campaign: &str) -> Now {
        // A canary's events are kept, and decided later, under the name of its campaign.
        let is_meant = |name: &str| name == campaign || entry.outcomes.iter().all(|other| &*other.campaign != name);
        let has = |known: &HashSet<(EventId, Arc<str>)>| {
            known.iter().any(|(id, name)| *id == entry.event_id && is_meant(name))
        };
        match (has(&self.owed), has(&self.decided)) {
            (true, _) => Now::Owed,
            (false, true) => Now::Decided,
            (false, false) => Now::Dropped,
        }
    }
}

fn is_kept(decided: &Decided) -> bool {
    matches!(decided, Decided::Held | Decided::Missed { is_kept: true, .. })
}
