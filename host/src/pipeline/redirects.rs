//! Customers who have become others. Whoever is named by an old id is meant by the new one, however many merges lie between.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::memory::AheadGroup;
use crate::event::CustomerKey;
use crate::store::records::{Key, Partition, decode};
use crate::store::{Store, StoreError, Table};

/// No customer has been merged more often, one into the next. What is longer is cut there, which keeps a cycle from being endless; the
/// engine itself never makes one.
const HOPS_MAX: usize = 64;

/// Follows redirects; clones share them.
#[derive(Clone, Debug)]
pub struct Redirects(Known);

type Ahead = HashMap<CustomerKey, (Option<CustomerKey>, AheadGroup)>;

#[derive(Clone, Debug)]
enum Known {
    Store {
        store: Arc<dyn Store>,
        /// Most stores have none, and needn't be asked.
        are_any: Arc<AtomicBool>,
        /// Those that the store may not show yet: whom somebody has become, or that they are themselves again.
        ahead: Arc<RwLock<Ahead>>,
    },
    /// Those of a rehearsal.
    Here(Arc<RwLock<HashMap<CustomerKey, CustomerKey>>>),
}

impl Redirects {
    pub(super) fn open(store: &Arc<dyn Store>) -> Result<Redirects, StoreError> {
        let snapshot = store.snapshot()?;
        let mut are_any = false;
        snapshot.range(Table::Redirects, &[0], &[Partition::COUNT], &mut |_, _| {
            are_any = true;
            ControlFlow::Break(())
        })?;
        let (store, are_any, ahead) = (Arc::clone(store), Arc::new(AtomicBool::new(are_any)), Arc::default());
        Ok(Redirects(Known::Store { store, are_any, ahead }))
    }

    /// Nobody has become another yet, and no store is asked.
    #[must_use]
    pub fn of_rehearsal() -> Redirects {
        Redirects(Known::Here(Arc::default()))
    }

    /// Whom a customer has become; the customer themselves, if nobody.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn resolve(&self, customer: CustomerKey) -> Result<CustomerKey, StoreError> {
        match &self.0 {
            Known::Store { are_any, .. } if !are_any.load(Ordering::Acquire) => Ok(customer),
            Known::Store { store, ahead, .. } => follow(customer, |now| {
                let ahead = ahead.read().unwrap_or_else(PoisonError::into_inner);
                if let Some((next, group)) = ahead.get(&now)
                    && group.is_unshown()
                {
                    return Ok(*next);
                }
                drop(ahead);
                match store.recent()?.get(Table::Redirects, &Key::redirect(now))? {
                    Some(row) => decode(Table::Redirects, &row).map(Some),
                    None => Ok(None),
                }
            }),
            Known::Here(known) => {
                let known = known.read().unwrap_or_else(PoisonError::into_inner);
                follow(customer, |now| Ok(known.get(&now).copied()))
            }
        }
    }

    /// From now on the one is meant by the other's name. In a store, the commit of the group says so.
    pub(super) fn united(&self, from: CustomerKey, to: CustomerKey, group: Option<AheadGroup>) {
        match (&self.0, group) {
            (Known::Store { are_any, ahead, .. }, Some(group)) => {
                let mut ahead = ahead.write().unwrap_or_else(PoisonError::into_inner);
                ahead.retain(|_, (_, group)| group.is_unshown());
                ahead.insert(to, (None, group.clone()));
                ahead.insert(from, (Some(to), group));
                are_any.store(true, Ordering::Release);
            }
            (Known::Store { .. }, None) => unreachable!("a rehearsal follows no redirects of a store"),
            (Known::Here(known), _) => {
                let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
                known.remove(&to);
                known.insert(from, to);
            }
        }
    }
}

fn follow(
    customer: CustomerKey,
    next: impl Fn(CustomerKey) -> Result<Option<CustomerKey>, StoreError>,
) -> Result<CustomerKey, StoreError> {
    let mut now = customer;
    for _ in 0..HOPS_MAX {
        match next(now)? {
            Some(other) => now = other,
            None => break,
        }
    }
    Ok(now)
}
