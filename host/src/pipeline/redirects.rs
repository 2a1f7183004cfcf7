//! Customers who have become others by merges. An old id means the customer who remains, however many merges lie between, and what comes under
//! the old id is addressed to that customer.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::event::{Customer, CustomerKey};
use crate::metrics;
use crate::records::{Key, Partition, RedirectRow};
use crate::store::{Store, StoreError, Table};

/// No customer has been merged more often, one into the next. What is longer is cut there, which keeps a cycle from being endless; the
/// engine itself never makes one.
const HOPS_MAX: usize = 64;

/// Follows redirects; clones share them.
#[derive(Clone, Debug)]
pub struct Redirects(Known);

#[derive(Clone, Debug)]
enum Known {
    Store {
        store: Arc<dyn Store>,
        gone: Arc<Gone>,
    },
    /// Those of a rehearsal.
    Here(Arc<RwLock<HashMap<CustomerKey, Arc<RedirectRow>>>>),
}

/// The customer whom an id means.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub key: CustomerKey,
    /// Whether a merge has changed whom the id means.
    pub is_merged: bool,
    /// The ids of the customer who remains. `None` without a merge, and if the version that decided the merge kept no ids.
    pub customer: Option<Arc<Customer>>,
}

impl Redirects {
    pub(super) fn open(store: &Arc<dyn Store>) -> Result<Redirects, StoreError> {
        let snapshot = store.snapshot()?;
        let gone = Gone::nobody();
        let mut unreadable = false;
        snapshot.range(Table::Redirects, &[0], &[Partition::COUNT], &mut |key, _| {
            match key.get(1..).and_then(|key| key.try_into().ok()) {
                Some(customer) => gone.add(CustomerKey::from_bytes(customer)),
                None => unreadable = true,
            }
            if unreadable { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if unreadable {
            return Err(StoreError::unreadable(Table::Redirects, "a key that is no customer's"));
        }
        Ok(Redirects(Known::Store { store: Arc::clone(store), gone: Arc::new(gone) }))
    }

    /// No customer has become another yet, and no store is asked.
    #[must_use]
    pub fn of_rehearsal() -> Redirects {
        Redirects(Known::Here(Arc::default()))
    }

    /// The key of the customer whom a key means: the key itself without a merge.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn resolve(&self, customer: CustomerKey) -> Result<CustomerKey, StoreError> {
        Ok(self.follow(customer)?.key)
    }

    /// The customer whom a key means, with the ids to which communications go.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn follow(&self, customer: CustomerKey) -> Result<Resolved, StoreError> {
        match &self.0 {
            Known::Store { store, gone } => follow(customer, |now| {
                if !gone.may_hold(now) {
                    return Ok(None);
                }
                match store.snapshot()?.get(Table::Redirects, &Key::redirect(now))? {
                    Some(row) => Ok(Some(Arc::new(RedirectRow::decode(&row)?))),
                    None => Ok(None),
                }
            }),
            Known::Here(known) => {
                let known = known.read().unwrap_or_else(PoisonError::into_inner);
                follow(customer, |now| Ok(known.get(&now).cloned()))
            }
        }
    }

    /// The same for a task, which must not wait for the store where it runs.
    ///
    /// # Errors
    /// As [`Self::follow`].
    pub(super) async fn find(&self, customer: CustomerKey) -> Result<Resolved, StoreError> {
        match &self.0 {
            Known::Store { gone, .. } if gone.may_hold(customer) => {
                let redirects = self.clone();
                let found = tokio::task::spawn_blocking(move || redirects.follow(customer)).await;
                found.unwrap_or(Err(StoreError::Interrupted))
            }
            Known::Store { .. } => Ok(Resolved { key: customer, is_merged: false, customer: None }),
            Known::Here(_) => self.follow(customer),
        }
    }

    /// The ids of the customer whom `named` means by now, if they are others than these. A redirect without ids leaves those that are named, and
    /// is counted.
    pub(super) fn addressee(&self, named: &Customer) -> Result<Option<Arc<Customer>>, StoreError> {
        let Some(key) = named.key() else { return Ok(None) };
        Ok(self.follow(key)?.addressee())
    }

    /// From now on the one means the other. In a store the merge's commit says so, for which everything behind the merge waits.
    pub(super) fn united(&self, from: CustomerKey, to: CustomerKey, customer: &Customer) {
        match &self.0 {
            Known::Store { gone, .. } => gone.add(from),
            Known::Here(known) => {
                let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
                known.remove(&to);
                known.insert(from, Arc::new(RedirectRow { to, customer: Some(customer.clone()) }));
            }
        }
    }
}

impl Resolved {
    /// The ids to which communications go in place of those that an event names. Counts a redirect that has none.
    pub(super) fn addressee(self) -> Option<Arc<Customer>> {
        if self.is_merged && self.customer.is_none() {
            ::metrics::counter!(metrics::REDIRECTS_WITHOUT_IDS_TOTAL).increment(1);
        }
        self.customer
    }
}

fn follow(
    customer: CustomerKey,
    next: impl Fn(CustomerKey) -> Result<Option<Arc<RedirectRow>>, StoreError>,
) -> Result<Resolved, StoreError> {
    let (mut now, mut last) = (customer, None);
    for _ in 0..HOPS_MAX {
        match next(now)? {
            Some(row) => {
                now = row.to;
                last = Some(row);
            }
            None => break,
        }
    }
    let customer = last.as_ref().and_then(|row| row.customer.clone()).map(Arc::new);
    Ok(Resolved { key: now, is_merged: last.is_some(), customer })
}

/// A Bloom filter of the customers who have a redirect, or had one: nearly every customer has none, which is known without a look at the store.
/// **A customer who has one is never denied.**
#[derive(Debug)]
struct Gone(Box<[AtomicU64]>);

/// 2 MiB: of a million redirects, one look in 400 is for nothing; of ten million, every second.
const GONE_BITS: u64 = 1 << 24;
/// Bits for each customer.
const GONE_PROBES: u64 = 4;

impl Gone {
    fn nobody() -> Gone {
        Gone(std::iter::repeat_with(AtomicU64::default).take((GONE_BITS / u64::from(u64::BITS)) as usize).collect())
    }

    fn add(&self, customer: CustomerKey) {
        for (word, bit) in places(customer) {
            self.0[word].fetch_or(bit, Ordering::AcqRel);
        }
    }

    fn may_hold(&self, customer: CustomerKey) -> bool {
        places(customer).all(|(word, bit)| self.0[word].load(Ordering::Acquire) & bit != 0)
    }
}

/// The words of a customer's bits, and each bit in its word. A key is a hash already.
fn places(customer: CustomerKey) -> impl Iterator<Item = (usize, u64)> {
    let key = u128::from_le_bytes(*customer.as_bytes());
    // An odd step: none would be the same place again and again.
    let (first, step) = (key as u64, (key >> u64::BITS) as u64 | 1);
    (0..GONE_PROBES).map(move |probe| {
        let place = first.wrapping_add(probe.wrapping_mul(step)) % GONE_BITS;
        ((place / u64::from(u64::BITS)) as usize, 1 << (place % u64::from(u64::BITS)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::encode;
    use crate::store::{Changes, MemoryStore};

    fn customer(number: u128) -> CustomerKey {
        // Spread like the hashes that keys are.
        CustomerKey::from_bytes((number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_le_bytes())
    }

    #[tokio::test]
    async fn a_store_is_asked_only_for_customers_who_may_have_a_redirect() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
        let mut changes = Changes::default();
        for number in 1..=100 {
            changes.put(Table::Redirects, Key::redirect(customer(number)), encode(&customer(number + 1)));
        }
        store.commit(changes).unwrap();
        let redirects = Redirects::open(&store).unwrap();
        assert_eq!(redirects.resolve(customer(60)).unwrap(), customer(101));
        assert_eq!(redirects.find(customer(60)).await.unwrap().key, customer(101));
        assert_eq!(redirects.find(customer(101)).await.unwrap().key, customer(101));
        let Known::Store { gone, .. } = &redirects.0 else { panic!("it is of a store") };
        assert!((1..=100).all(|number| gone.may_hold(customer(number))), "nobody is denied");
        let asked = (1000..11_000).filter(|number| gone.may_hold(customer(*number))).count();
        assert!(asked < 10, "{asked} of 10,000 looks are for nothing");
    }
}
