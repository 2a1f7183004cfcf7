//! Redirects from merged customers to the ones that remain. An old id resolves to the customer who
//! remains, over any number of merges, and communications for it are sent to that customer.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;

use crate::records::{Key, Partition, RedirectRow};
use hailer_event::{Customer, CustomerKey};
use hailer_store::{Store, StoreError, Table};

/// The most redirects that are followed. No customer has been merged this often. The bound stops a
/// cycle from being followed for ever; the engine itself never makes one.
const HOPS_MAX: usize = 64;

/// Follows redirects. Clones share them.
#[derive(Clone, Debug)]
pub struct Redirects(RedirectSource);

#[derive(Clone, Debug)]
enum RedirectSource {
    Store {
        store: Arc<dyn Store>,
        merged: Arc<MergedFilter>,
    },
    /// The redirects of a dry run, in memory.
    InMemory(Arc<RwLock<HashMap<CustomerKey, Arc<RedirectRow>>>>),
}

/// The customer to whom an id resolves.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub key: CustomerKey,
    /// The ids of the customer who remains. Communications are sent to these ids in place of those
    /// that the event names. `None` without a merge.
    pub customer: Option<Arc<Customer>>,
}

impl Redirects {
    pub(super) fn open(store: &Arc<dyn Store>) -> Result<Redirects, StoreError> {
        let snapshot = store.snapshot()?;
        let merged = MergedFilter::empty();
        let mut unreadable = false;
        snapshot.range(Table::Redirects, &[0], &[Partition::COUNT], &mut |key, _| {
            match key.get(1..).and_then(|key| key.try_into().ok()) {
                Some(customer) => merged.add(CustomerKey::from_bytes(customer)),
                None => unreadable = true,
            }
            if unreadable { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if unreadable {
            return Err(StoreError::unreadable(Table::Redirects, "the key is not a customer's"));
        }
        Ok(Redirects(RedirectSource::Store { store: Arc::clone(store), merged: Arc::new(merged) }))
    }

    /// Redirects in memory for a dry run; empty at first.
    #[must_use]
    pub fn in_memory() -> Redirects {
        Redirects(RedirectSource::InMemory(Arc::default()))
    }

    /// The key to which a key resolves; the key itself without a merge.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn resolve(&self, customer: CustomerKey) -> Result<CustomerKey, StoreError> {
        Ok(self.follow(customer)?.key)
    }

    /// The customer to whom a key resolves, with the ids to which communications are sent.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn follow(&self, customer: CustomerKey) -> Result<Resolved, StoreError> {
        match &self.0 {
            RedirectSource::Store { store, merged } => follow(customer, |now| {
                if !merged.may_hold(now) {
                    return Ok(None);
                }
                match store.snapshot()?.get(Table::Redirects, &Key::redirect(now))? {
                    Some(row) => Ok(Some(Arc::new(RedirectRow::decode(&row)?))),
                    None => Ok(None),
                }
            }),
            RedirectSource::InMemory(known) => {
                let known = known.read().unwrap_or_else(PoisonError::into_inner);
                follow(customer, |now| Ok(known.get(&now).cloned()))
            }
        }
    }

    /// Like [`Self::follow`], for an async task: the store is read on a blocking thread.
    ///
    /// # Errors
    /// As for [`Self::follow`].
    pub(super) async fn find(&self, customer: CustomerKey) -> Result<Resolved, StoreError> {
        match &self.0 {
            RedirectSource::Store { merged, .. } if merged.may_hold(customer) => {
                let redirects = self.clone();
                let found = tokio::task::spawn_blocking(move || redirects.follow(customer)).await;
                found.unwrap_or(Err(StoreError::Interrupted))
            }
            RedirectSource::Store { .. } => Ok(Resolved { key: customer, customer: None }),
            RedirectSource::InMemory(_) => self.follow(customer),
        }
    }

    /// Adds a redirect. In a store, the merge's commit writes the row, and everything behind the
    /// merge waits for that commit.
    pub(super) fn add(&self, from: CustomerKey, to: CustomerKey, customer: &Customer) {
        match &self.0 {
            RedirectSource::Store { merged, .. } => merged.add(from),
            RedirectSource::InMemory(known) => {
                let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
                known.remove(&to);
                known.insert(from, Arc::new(RedirectRow { to, customer: customer.clone() }));
            }
        }
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
    Ok(Resolved { key: now, customer: last.map(|row| Arc::new(row.customer.clone())) })
}

/// A Bloom filter of the customers who have, or had, a redirect. Nearly every customer has none,
/// and the filter shows that without a read of the store. **The filter never denies
/// a customer who has one.**
#[derive(Debug)]
struct MergedFilter(Box<[AtomicU64]>);

/// The size of the filter in bits (2 MiB). With a million redirects, one lookup in 400 reads the
/// store and finds nothing; with ten million, every second one.
const MERGED_BITS: u64 = 1 << 24;
/// Bits that each customer sets.
const MERGED_PROBES: u64 = 4;

impl MergedFilter {
    fn empty() -> MergedFilter {
        MergedFilter(
            std::iter::repeat_with(AtomicU64::default)
                .take((MERGED_BITS / u64::from(u64::BITS)) as usize)
                .collect(),
        )
    }

    fn add(&self, customer: CustomerKey) {
        for (word, bit) in bits_of(customer) {
            self.0[word].fetch_or(bit, Ordering::AcqRel);
        }
    }

    fn may_hold(&self, customer: CustomerKey) -> bool {
        bits_of(customer).all(|(word, bit)| self.0[word].load(Ordering::Acquire) & bit != 0)
    }
}

/// The word and the bit mask of each of a customer's bits. A key is a hash, so its bytes are used
/// as they are.
fn bits_of(customer: CustomerKey) -> impl Iterator<Item = (usize, u64)> {
    let key = u128::from_le_bytes(*customer.as_bytes());
    // The step is made odd: a step of zero would repeat one position.
    let (first, step) = (key as u64, (key >> u64::BITS) as u64 | 1);
    (0..MERGED_PROBES).map(move |probe| {
        let place = first.wrapping_add(probe.wrapping_mul(step)) % MERGED_BITS;
        ((place / u64::from(u64::BITS)) as usize, 1 << (place % u64::from(u64::BITS)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hailer_store::{Changes, MemoryStore};

    fn customer(number: u128) -> CustomerKey {
        // Spread out like real keys, which are hashes.
        CustomerKey::from_bytes(
            (number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_le_bytes(),
        )
    }

    #[tokio::test]
    async fn the_store_is_read_only_for_customers_who_may_have_a_redirect() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
        let mut changes = Changes::default();
        for number in 1..=100 {
            changes.put(
                Table::Redirects,
                Key::redirect(customer(number)),
                RedirectRow { to: customer(number + 1), customer: Customer::default() }.encode(),
            );
        }
        store.commit(changes).unwrap();
        let redirects = Redirects::open(&store).unwrap();
        assert_eq!(redirects.resolve(customer(60)).unwrap(), customer(101));
        assert_eq!(redirects.find(customer(60)).await.unwrap().key, customer(101));
        assert_eq!(redirects.find(customer(101)).await.unwrap().key, customer(101));
        let RedirectSource::Store { merged, .. } = &redirects.0 else {
            panic!("the redirects are not those of a store")
        };
        assert!(
            (1..=100).all(|number| merged.may_hold(customer(number))),
            "no customer with a redirect is denied"
        );
        let asked = (1000..11_000).filter(|number| merged.may_hold(customer(*number))).count();
        assert!(asked < 10, "{asked} of 10,000 lookups read the store in vain");
    }
}
