//! What the policies keep in a customer's row: consents, counts, and deferred messages with their
//! releases.

use super::{Rows, loaded};
use crate::records::{CUSTOMER_BYTES_MAX, DEFERRED_MAX, DeferredRow, TimerKey};
use hailer_event::{Customer, CustomerKey};
use hailer_policies::PolicyRow;
use hailer_store::{Changes, Table};

impl Rows {
    /// What the policies keep of a customer; `None` if the row is not loaded.
    pub(in crate::pipeline) fn policy(&self, customer: CustomerKey) -> Option<&PolicyRow> {
        self.rows.get(&customer).map(|row| &row.row.policy)
    }

    /// The same, to be changed.
    pub(in crate::pipeline) fn policy_mut(
        &mut self,
        customer: CustomerKey,
    ) -> Option<&mut PolicyRow> {
        let row = self.rows.get_mut(&customer)?;
        row.is_changed = true;
        Some(&mut row.row.policy)
    }

    /// Whether another message of the customer can be deferred.
    pub(in crate::pipeline) fn can_defer(
        &self,
        customer: CustomerKey,
        message: &DeferredRow,
    ) -> bool {
        self.row(customer).is_some_and(|row| {
            row.deferred.len() < DEFERRED_MAX && row.bytes() + message.bytes() <= CUSTOMER_BYTES_MAX
        })
    }

    /// Adds a deferred message, and its release to the index.
    pub(in crate::pipeline) fn defer(&mut self, customer: CustomerKey, message: DeferredRow) {
        self.bytes += message.bytes();
        let row = loaded(&mut self.rows, customer);
        row.is_changed = true;
        let release = TimerKey::release(customer, message.due);
        self.index.put(Table::Timers, release.encode(), Vec::new());
        row.row.deferred.push(message);
    }

    /// Takes the deferred messages of a customer for which `is_taken` holds, and drops releases at
    /// which nothing is left.
    pub(in crate::pipeline) fn take_deferred(
        &mut self,
        customer: CustomerKey,
        mut is_taken: impl FnMut(&DeferredRow) -> bool,
    ) -> Vec<DeferredRow> {
        let Some(row) = self.rows.get_mut(&customer) else { return Vec::new() };
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut row.row.deferred).into_iter().partition(&mut is_taken);
        row.row.deferred = left;
        row.is_changed |= !taken.is_empty();
        for message in &taken {
            if !row.row.deferred.iter().any(|left| left.due == message.due) {
                let release = TimerKey::release(customer, message.due);
                self.index.delete(Table::Timers, release.encode());
            }
        }
        taken
    }

    /// Deletes a release from the index.
    pub(in crate::pipeline) fn drop_release(&mut self, release: &TimerKey) {
        self.index.delete(Table::Timers, release.encode());
    }
}

/// Gives the deferred messages of the customer who goes to the one who stays, and moves their
/// releases.
pub(super) fn move_deferred(
    own: &mut Vec<DeferredRow>,
    index: &mut Changes,
    (from, to): (CustomerKey, CustomerKey),
    recipient: &Customer,
    theirs: Vec<DeferredRow>,
) {
    for mut message in theirs {
        index.delete(Table::Timers, TimerKey::release(from, message.due).encode());
        index.put(Table::Timers, TimerKey::release(to, message.due).encode(), Vec::new());
        message.recipient = recipient.clone();
        own.push(message);
    }
    own.sort_by_key(|message| message.decided);
}
