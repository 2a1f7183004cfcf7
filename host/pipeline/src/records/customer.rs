//! The row of one customer: for each campaign, its state and its pending timers, and what the
//! policies keep. It is a single row, so an event reads one row and writes one, and erasing a
//! customer deletes one row.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::decode;
use super::deferred::DeferredRow;
use super::keys::Key;
use hailer_base::clock::Millis;
use hailer_event::{Customer, CustomerKey, EventId};
use hailer_policies::PolicyRow;
use hailer_store::{Snapshot, StoreError, Table};

/// The most bytes kept about one customer: the states and timers of all campaigns, and what the
/// policies keep. A campaign that
/// asks for more faults, and a merge that would need more is refused.
pub const CUSTOMER_BYTES_MAX: usize = 16 << 20;
/// Upper bounds, in bytes, of what a campaign, a timer and an absorbed customer take in addition to
/// their texts and states.
const CAMPAIGN_BYTES: usize = 64;
const TIMER_BYTES: usize = 80;
pub const ABSORBED_BYTES: usize = 18;

/// The row of one customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRow {
    /// Sorted by name.
    campaigns: Vec<CampaignRow>,
    /// Customers that were merged into this one.
    pub absorbed: Vec<CustomerKey>,
    /// What the policies keep: consent, time zone, and what counts towards caps.
    pub policy: PolicyRow,
    /// Messages that wait for the end of quiet hours, in the order of their decisions.
    pub deferred: Vec<DeferredRow>,
}

/// The state and the timers that one campaign keeps about a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignRow {
    pub name: Arc<str>,
    pub state: Option<StateRow>,
    /// The pending timers, at most one of each name.
    pub timers: Vec<PendingTimer>,
    /// The number of events and timers that are held behind a failure of this campaign.
    pub held: u32,
    /// The trial for which the state was copied from the shadow's campaign; `None` if the campaign
    /// is no shadow.
    pub follows: Option<u64>,
}

/// A rule's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRow {
    /// The version of the state's shape when it was written.
    pub version: u32,
    pub bytes: Bytes,
    /// When it was last written, in ms since 1970.
    pub changed_ms: Millis,
}

/// A timer that has not fired. This is the authority; the row in the timers' table is only a hint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingTimer {
    pub name: Box<str>,
    pub due: Millis,
    /// The time in the timer's key in the timers' table, in ms since 1970. It is later than `due`
    /// while the timer cannot be delivered.
    pub looked_at: Millis,
    /// The event that set the timer.
    pub set_by: EventId,
    /// The recipient of its communications: the customer as that event named them, or as the last
    /// merge of this customer named the one who remains.
    pub recipient: Customer,
}

impl CustomerRow {
    /// Reads a customer's row; an empty row if there is none.
    ///
    /// # Errors
    /// The row cannot be read.
    pub fn get(snapshot: &dyn Snapshot, customer: CustomerKey) -> Result<CustomerRow, StoreError> {
        let row = snapshot.get(Table::Customers, &Key::customer(customer))?;
        row.map_or(Ok(CustomerRow::default()), |row| decode(Table::Customers, &row))
    }

    /// A row that holds only the list of customers that were merged into this one.
    #[must_use]
    pub fn of_absorbed(absorbed: Vec<CustomerKey>) -> CustomerRow {
        CustomerRow { absorbed, ..CustomerRow::default() }
    }

    /// Whether nothing is kept about the customer, so that no row is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.campaigns.is_empty()
            && self.absorbed.is_empty()
            && self.policy.is_empty()
            && self.deferred.is_empty()
    }

    /// The size of the row in bytes, rounded up a little.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let campaigns: usize = self.campaigns.iter().map(CampaignRow::bytes).sum();
        let deferred: usize = self.deferred.iter().map(DeferredRow::bytes).sum();
        campaigns + self.absorbed.len() * ABSORBED_BYTES + self.policy.bytes() + deferred
    }

    #[must_use]
    pub fn campaigns(&self) -> &[CampaignRow] {
        &self.campaigns
    }

    #[must_use]
    pub fn campaign(&self, name: &str) -> Option<&CampaignRow> {
        self.place_of(name).ok().map(|at| &self.campaigns[at])
    }

    /// Changes what a campaign keeps. A campaign that then keeps nothing is removed from the row.
    pub fn change<T>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut CampaignRow) -> T) -> T {
        let at = self.place_of(name).unwrap_or_else(|at| {
            self.campaigns.insert(at, CampaignRow::new(Arc::clone(name)));
            at
        });
        let result = change(&mut self.campaigns[at]);
        if self.campaigns[at].is_empty() {
            self.campaigns.remove(at);
        }
        result
    }

    fn place_of(&self, name: &str) -> Result<usize, usize> {
        self.campaigns.binary_search_by(|campaign| (*campaign.name).cmp(name))
    }
}

impl CampaignRow {
    fn new(name: Arc<str>) -> CampaignRow {
        CampaignRow { name, state: None, timers: Vec::new(), held: 0, follows: None }
    }

    fn is_empty(&self) -> bool {
        self.state.is_none() && self.timers.is_empty() && self.held == 0 && self.follows.is_none()
    }

    /// The campaign's part of the row in bytes, rounded up a little.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let timers: usize =
            self.timers.iter().map(|timer| timer_bytes(&timer.name, &timer.recipient)).sum();
        CAMPAIGN_BYTES + self.name.len() + self.state_bytes() + timers
    }

    /// The length of its state in bytes; 0 without one.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.bytes.len())
    }

    #[must_use]
    pub fn timer(&self, name: &str) -> Option<&PendingTimer> {
        self.timers.iter().find(|timer| *timer.name == *name)
    }

    /// Removes a timer and returns it; `None` if it is not pending.
    pub fn take_timer(&mut self, name: &str) -> Option<PendingTimer> {
        let at = self.timers.iter().position(|timer| *timer.name == *name)?;
        Some(self.timers.remove(at))
    }
}

/// A timer's part of the row in bytes, rounded up a little.
#[must_use]
pub fn timer_bytes(name: &str, recipient: &Customer) -> usize {
    TIMER_BYTES + name.len() + recipient.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_without_state_or_timers_is_removed_from_the_row() {
        let mut row = CustomerRow::default();
        let [first, second]: [Arc<str>; 2] = ["b".into(), "a".into()];
        row.change(&first, |campaign| campaign.held = 1);
        row.change(&second, |campaign| campaign.held = 2);
        assert_eq!(
            row.campaigns().iter().map(|campaign| &*campaign.name).collect::<Vec<_>>(),
            ["a", "b"]
        );
        row.change(&first, |campaign| campaign.held = 0);
        assert_eq!(row.campaign("a").map(|campaign| campaign.held), Some(2));
        assert_eq!(row.campaign("b"), None);
        row.change(&second, |campaign| campaign.held = 0);
        assert!(row.is_empty());
    }
}
