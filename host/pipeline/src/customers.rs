//! Finds a customer by an id: which id it is, whom the customer was merged into, and who was merged
//! into the customer.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::clock_report::time;
use crate::records::{CustomerRow, Key, Partition, RedirectRow, TrailKey, decode, visit_failures};
use hailer_event::{Customer, CustomerKey};
use hailer_store::{Snapshot, StoreError, Table};
use jiff::Timestamp;

/// The most merges that are followed in each direction. No customer has this many accounts.
const MERGES_MAX: usize = 64;

/// The kind of id by which a customer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CustomerIdKind {
    CustomerId,
    CustomerUid,
    AccountGroupId,
}

impl CustomerIdKind {
    /// All kinds, in the order in which they are tried: the engine's order of preference.
    pub const ALL: [CustomerIdKind; 3] =
        [CustomerIdKind::CustomerId, CustomerIdKind::CustomerUid, CustomerIdKind::AccountGroupId];

    /// The name in the source's events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CustomerIdKind::CustomerId => "customerId",
            CustomerIdKind::CustomerUid => "customerUid",
            CustomerIdKind::AccountGroupId => "accountGroupId",
        }
    }

    fn key(self, id: &str) -> Option<CustomerKey> {
        self.customer(id).key()
    }

    /// A customer of whom only this id is known.
    #[must_use]
    pub fn customer(self, id: &str) -> Customer {
        let id = Some(id.into());
        match self {
            CustomerIdKind::CustomerId => Customer { customer_id: id, ..Customer::default() },
            CustomerIdKind::CustomerUid => Customer { customer_uid: id, ..Customer::default() },
            CustomerIdKind::AccountGroupId => {
                Customer { account_group_id: id, ..Customer::default() }
            }
        }
    }
}

/// A timer that has not fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    pub campaign: String,
    pub name: String,
    pub due: Timestamp,
}

/// A customer whom the store knows.
pub struct FoundCustomer {
    pub by: CustomerIdKind,
    pub also_by: Vec<CustomerIdKind>,
    pub asked: CustomerKey,
    pub became: Option<CustomerKey>,
    /// Every customer who is this customer now, including the one that was asked for.
    pub merged_customers: Vec<CustomerKey>,
    pub timers: Vec<Pending>,
}

/// Every customer who is one customer now, and the kind of id that matched; `None` if the store
/// knows no customer with this id.
pub fn merged_customers(
    snapshot: &dyn Snapshot,
    id: &str,
    by: Option<CustomerIdKind>,
) -> Result<Option<(CustomerIdKind, Vec<CustomerKey>)>, StoreError> {
    Ok(find(snapshot, id, by)?.map(|found| (found.by, found.merged_customers)))
}

/// Finds a customer by an id; `None` if the store knows no customer with this id.
pub fn find(
    snapshot: &dyn Snapshot,
    id: &str,
    by: Option<CustomerIdKind>,
) -> Result<Option<FoundCustomer>, StoreError> {
    let mut known = Vec::new();
    for by in CustomerIdKind::ALL.into_iter().filter(|one| by.is_none_or(|by| by == *one)) {
        if let Some(key) = by.key(id)
            && is_known(snapshot, key)?
        {
            known.push((by, key));
        }
    }
    let Some(&(by, asked)) = known.first() else { return Ok(None) };
    let mut merged_customers = chain(snapshot, asked)?;
    let current = merged_customers.last().copied().unwrap_or(asked);
    let mut timers = Vec::new();
    let mut to_look_at: VecDeque<CustomerKey> = merged_customers.iter().rev().copied().collect();
    while let Some(person) = to_look_at.pop_front() {
        let Some(row) = row_of(snapshot, person)? else { continue };
        for campaign in row.campaigns() {
            let pending = campaign.timers.iter().map(|timer| Pending {
                campaign: campaign.name.to_string(),
                name: timer.name.to_string(),
                due: time(timer.due),
            });
            timers.extend(pending);
        }
        for absorbed in row.absorbed {
            if merged_customers.len() < MERGES_MAX && !merged_customers.contains(&absorbed) {
                merged_customers.push(absorbed);
                to_look_at.push_back(absorbed);
            }
        }
    }
    timers.sort_by(|one, other| {
        (one.due, &one.campaign, &one.name).cmp(&(other.due, &other.campaign, &other.name))
    });
    let also_by = known[1..].iter().map(|(by, _)| *by).collect();
    Ok(Some(FoundCustomer {
        by,
        also_by,
        asked,
        became: (current != asked).then_some(current),
        merged_customers,
        timers,
    }))
}

/// A customer, and the customers into whom they were merged, in order. Stops if the merges form a
/// cycle.
fn chain(snapshot: &dyn Snapshot, from: CustomerKey) -> Result<Vec<CustomerKey>, StoreError> {
    let mut chain = vec![from];
    let mut last = from;
    while chain.len() < MERGES_MAX
        && let Some(next) = snapshot.get(Table::Redirects, &Key::redirect(last))?
    {
        last = RedirectRow::decode(&next)?.to;
        if chain.contains(&last) {
            break;
        }
        chain.push(last);
    }
    Ok(chain)
}

/// The customer who a customer is now, after redirects from merges.
pub(crate) fn current(
    snapshot: &dyn Snapshot,
    customer: CustomerKey,
) -> Result<CustomerKey, StoreError> {
    Ok(chain(snapshot, customer)?.last().copied().unwrap_or(customer))
}

fn is_known(snapshot: &dyn Snapshot, key: CustomerKey) -> Result<bool, StoreError> {
    if snapshot.get(Table::Customers, &Key::customer(key))?.is_some()
        || snapshot.get(Table::Redirects, &Key::redirect(key))?.is_some()
    {
        return Ok(true);
    }
    let (from, to) = Key::failures_of(Partition::of_customer(key), key);
    let mut has_failures = false;
    visit_failures(snapshot, (&from, &to), &mut |_, _| {
        has_failures = true;
        Ok(ControlFlow::Break(()))
    })?;
    if has_failures {
        return Ok(true);
    }
    Ok(TrailKey::before(snapshot, key, u64::MAX)?.is_some())
}

fn row_of(snapshot: &dyn Snapshot, key: CustomerKey) -> Result<Option<CustomerRow>, StoreError> {
    let row = snapshot.get(Table::Customers, &Key::customer(key))?;
    row.map(|row| decode(Table::Customers, &row)).transpose()
}
