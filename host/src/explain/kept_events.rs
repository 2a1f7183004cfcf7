//! The present status of kept events. A journal entry states the status at the time of the
//! decision; the failures table states it now.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::trail::Entry;
use crate::event::{CustomerKey, EventId};
use crate::records::{Decided, JournalEntry, Key, Partition, visit_failures};
use crate::store::{Snapshot, StoreError};

/// Events that wait for a decision of a campaign, and events that were decided later.
#[derive(Debug, Default)]
pub(super) struct KeptEvents {
    owed: HashSet<(EventId, Arc<str>)>,
    decided: HashSet<(EventId, Arc<str>)>,
}

/// The present status of a kept event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptEventStatus {
    Owed,
    Decided,
    Dropped,
}

impl KeptEvents {
    /// Reads the failures of these customers, if any entry mentions a kept event.
    pub(super) fn read(
        snapshot: &dyn Snapshot,
        customers: &[CustomerKey],
        entries: &[Entry],
    ) -> Result<KeptEvents, StoreError> {
        let mut kept = KeptEvents::default();
        if !entries
            .iter()
            .flat_map(|entry| &entry.entry.outcomes)
            .any(|outcome| is_kept(&outcome.decided))
        {
            return Ok(kept);
        }
        for &customer in customers {
            let (from, to) = Key::failures_of(Partition::of_customer(customer), customer);
            visit_failures(snapshot, (&from, &to), &mut |key, row| {
                kept.owed.extend(row.event_id().map(|id| (id, key.campaign)));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for entry in entries.iter().map(|entry| &entry.entry).filter(|entry| entry.again.is_some())
        {
            let campaigns = entry.outcomes.iter().map(|outcome| Arc::clone(&outcome.campaign));
            kept.decided.extend(campaigns.map(|campaign| (entry.event_id, campaign)));
        }
        Ok(kept)
    }

    /// The present status of an entry's event, which the entry says is kept for the campaign.
    pub(super) fn now(&self, entry: &JournalEntry, campaign: &str) -> KeptEventStatus {
        // A canary's events are kept, and later decided, under the campaign's name.
        let is_meant = |name: &str| {
            let mut calls = entry.outcomes.iter().filter(|other| !other.decided.is_release());
            name == campaign || calls.all(|other| &*other.campaign != name)
        };
        let has = |known: &HashSet<(EventId, Arc<str>)>| {
            known.iter().any(|(id, name)| *id == entry.event_id && is_meant(name))
        };
        match (has(&self.owed), has(&self.decided)) {
            (true, _) => KeptEventStatus::Owed,
            (false, true) => KeptEventStatus::Decided,
            (false, false) => KeptEventStatus::Dropped,
        }
    }
}

fn is_kept(decided: &Decided) -> bool {
    matches!(decided, Decided::Held | Decided::Missed { is_kept: true, .. })
}
