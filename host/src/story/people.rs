//! Who is meant: which id somebody gave, whom that customer has become, and who has become them.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::{Pending, time};
use crate::event::{Customer, CustomerKey};
use crate::records::{CustomerRow, Key, Partition, RedirectRow, TrailKey, decode, visit_failures};
use crate::store::{Snapshot, StoreError, Table};

/// Merges that are followed, in each direction: nobody has this many accounts.
const MERGES_MAX: usize = 64;

/// Which id a customer is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    CustomerId,
    CustomerUid,
    AccountGroupId,
}

impl By {
    /// In the order in which they are tried, which is that in which the engine prefers them.
    pub const ALL: [By; 3] = [By::CustomerId, By::CustomerUid, By::AccountGroupId];

    /// As the source writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            By::CustomerId => "customerId",
            By::CustomerUid => "customerUid",
            By::AccountGroupId => "accountGroupId",
        }
    }

    fn key(self, id: &str) -> Option<CustomerKey> {
        let id = Some(id.into());
        let customer = match self {
            By::CustomerId => Customer { customer_id: id, ..Customer::default() },
            By::CustomerUid => Customer { customer_uid: id, ..Customer::default() },
            By::AccountGroupId => Customer { account_group_id: id, ..Customer::default() },
        };
        customer.key()
    }
}

/// A customer of whom something is known.
pub(super) struct Found {
    pub(super) by: By,
    pub(super) also_by: Vec<By>,
    pub(super) asked: CustomerKey,
    pub(super) became: Option<CustomerKey>,
    /// Everybody who is this customer now: whoever was asked for among them.
    pub(super) everybody: Vec<CustomerKey>,
    pub(super) timers: Vec<Pending>,
}

/// Everybody who is one customer now, and by which id that customer is known; `None` if nothing is known of anybody with this id.
pub(crate) fn everybody(
    snapshot: &dyn Snapshot,
    id: &str,
    by: Option<By>,
) -> Result<Option<(By, Vec<CustomerKey>)>, StoreError> {
    Ok(find(snapshot, id, by)?.map(|found| (found.by, found.everybody)))
}

/// Finds who is meant; `None` if nothing is known of anybody with this id.
pub(super) fn find(snapshot: &dyn Snapshot, id: &str, by: Option<By>) -> Result<Option<Found>, StoreError> {
    let mut known = Vec::new();
    for by in By::ALL.into_iter().filter(|one| by.is_none_or(|by| by == *one)) {
        if let Some(key) = by.key(id)
            && is_known(snapshot, key)?
        {
            known.push((by, key));
        }
    }
    let Some(&(by, asked)) = known.first() else { return Ok(None) };
    let mut everybody = chain(snapshot, asked)?;
    let current = everybody.last().copied().unwrap_or(asked);
    let mut timers = Vec::new();
    let mut to_look_at: VecDeque<CustomerKey> = everybody.iter().rev().copied().collect();
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
            if everybody.len() < MERGES_MAX && !everybody.contains(&absorbed) {
                everybody.push(absorbed);
                to_look_at.push_back(absorbed);
            }
        }
    }
    timers.sort_by(|one, other| (one.due, &one.campaign, &one.name).cmp(&(other.due, &other.campaign, &other.name)));
    let also_by = known[1..].iter().map(|(by, _)| *by).collect();
    Ok(Some(Found { by, also_by, asked, became: (current != asked).then_some(current), everybody, timers }))
}

/// A customer, and whom they have become, one after another. Ends where merges lead in a circle.
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
