//! Customers who have become others. Whoever is named by an old id is meant by the new one, however many merges lie between.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::event::CustomerKey;
use crate::store::records::{Key, Partition, decode};
use crate::store::{Store, StoreError, Table};

/// No customer has been merged more often, one into the next. What is longer is cut there, which keeps a cycle from being endless; the
/// engine itself never makes one.
const HOPS_MAX: usize = 64;

/// Follows redirects.
#[derive(Clone, Debug)]
pub(super) struct Redirects {
    store: Arc<dyn Store>,
    /// Most stores have none, and needn't be asked.
    are_any: Arc<AtomicBool>,
}

impl Redirects {
    pub(super) fn open(store: &Arc<dyn Store>) -> Result<Redirects, StoreError> {
        let snapshot = store.snapshot()?;
        let mut are_any = false;
        snapshot.range(Table::Redirects, &[0], &[Partition::COUNT], &mut |_, _| {
            are_any = true;
            ControlFlow::Break(())
        })?;
        Ok(Redirects { store: Arc::clone(store), are_any: Arc::new(AtomicBool::new(are_any)) })
    }

    /// Whom a customer has become; the customer themselves, if nobody.
    pub(super) fn resolve(&self, customer: CustomerKey) -> Result<CustomerKey, StoreError> {
        if !self.are_any.load(Ordering::Acquire) {
            return Ok(customer);
        }
        // A merge is shown before anything behind it is let in.
        let snapshot = self.store.recent()?;
        let mut now = customer;
        for _ in 0..HOPS_MAX {
            match snapshot.get(Table::Redirects, &Key::redirect(now))? {
                Some(row) => now = decode(Table::Redirects, &row)?,
                None => break,
            }
        }
        Ok(now)
    }

    /// From now on there are some.
    pub(super) fn are_some(&self) {
        self.are_any.store(true, Ordering::Release);
    }
}
