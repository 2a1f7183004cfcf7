//! What is kept about one customer: for each campaign its state and its pending timers. One row, so that an event reads one and
//! writes one, and so that erasing a customer is erasing a row.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::decode;
use super::keys::Key;
use crate::clock::Millis;
use crate::event::{Customer, CustomerKey, EventId};
use hailer_store::{Snapshot, StoreError, Table};

/// What may be kept about one customer, in bytes: the states and timers of all campaigns. More is refused as data: the campaign that asks for it faults,
/// and a merge to more is not done.
pub const CUSTOMER_BYTES_MAX: usize = 16 << 20;
/// What a campaign, a timer and an absorbed customer take beside their texts and states, in bytes, at most.
const CAMPAIGN_BYTES: usize = 64;
const TIMER_BYTES: usize = 80;
pub const ABSORBED_BYTES: usize = 18;

/// One customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRow {
    /// By name.
    campaigns: Vec<CampaignRow>,
    /// Customers that have become this one.
    #[serde(default)]
    pub absorbed: Vec<CustomerKey>,
}

/// What one campaign keeps about a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignRow {
    pub name: Arc<str>,
    pub state: Option<StateRow>,
    /// At most one of each name.
    pub timers: Vec<PendingTimer>,
    /// Events and timers that wait behind a failure of this campaign.
    #[serde(default)]
    pub held: u32,
    /// Of a shadow: the trial for which it has taken over what its campaign kept.
    #[serde(default)]
    pub follows: Option<u64>,
}

/// A rule's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRow {
    /// The version of the state's shape by which it was written.
    pub version: u32,
    pub bytes: Bytes,
    /// When it was last written.
    pub changed_ms: Millis,
}

/// A timer that has not fired. A row among the timers is a hint; this is what counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingTimer {
    pub name: Box<str>,
    pub due: Millis,
    /// Where it stands among the timers that are due: later than `due` while nobody could take it.
    pub looked_at: Millis,
    /// The event that set it.
    pub set_by: EventId,
    /// To whom it sends: the customer as that event named them.
    pub recipient: Customer,
}

impl CustomerRow {
    /// What is kept about a customer; nothing, if there is no row.
    ///
    /// # Errors
    /// When the row can't be read.
    pub(crate) fn get(snapshot: &dyn Snapshot, customer: CustomerKey) -> Result<CustomerRow, StoreError> {
        let row = snapshot.get(Table::Customers, &Key::customer(customer))?;
        row.map_or(Ok(CustomerRow::default()), |row| decode(Table::Customers, &row))
    }

    /// A row that knows nothing but who has become this customer.
    #[must_use]
    pub fn of_absorbed(absorbed: Vec<CustomerKey>) -> CustomerRow {
        CustomerRow { campaigns: Vec::new(), absorbed }
    }

    /// Whether nothing is kept about the customer, so that the row needn't be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.campaigns.is_empty() && self.absorbed.is_empty()
    }

    /// What the row takes in bytes; a little more than it really does.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let campaigns: usize = self.campaigns.iter().map(CampaignRow::bytes).sum();
        campaigns + self.absorbed.len() * ABSORBED_BYTES
    }

    #[must_use]
    pub fn campaigns(&self) -> &[CampaignRow] {
        &self.campaigns
    }

    #[must_use]
    pub fn campaign(&self, name: &str) -> Option<&CampaignRow> {
        self.place_of(name).ok().map(|at| &self.campaigns[at])
    }

    /// Changes what a campaign keeps; a campaign that keeps nothing afterwards leaves the row.
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

    /// What it takes of its row in bytes; a little more than it really does.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let timers: usize = self.timers.iter().map(|timer| timer_bytes(&timer.name, &timer.recipient)).sum();
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

    /// Takes a timer out; `None` if it is not pending.
    pub fn take_timer(&mut self, name: &str) -> Option<PendingTimer> {
        let at = self.timers.iter().position(|timer| *timer.name == *name)?;
        Some(self.timers.remove(at))
    }
}

/// What a timer takes of its row in bytes; a little more than it really does.
#[must_use]
pub fn timer_bytes(name: &str, recipient: &Customer) -> usize {
    TIMER_BYTES + name.len() + recipient.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_that_keeps_nothing_leaves_the_row() {
        let mut row = CustomerRow::default();
        let [first, second]: [Arc<str>; 2] = ["b".into(), "a".into()];
        row.change(&first, |campaign| campaign.held = 1);
        row.change(&second, |campaign| campaign.held = 2);
        assert_eq!(row.campaigns().iter().map(|campaign| &*campaign.name).collect::<Vec<_>>(), ["a", "b"]);
        row.change(&first, |campaign| campaign.held = 0);
        assert_eq!(row.campaign("a").map(|campaign| campaign.held), Some(2));
        assert_eq!(row.campaign("b"), None);
        row.change(&second, |campaign| campaign.held = 0);
        assert!(row.is_empty());
    }
}
