//! Pause, resume and suspend orders that the owner of the rules directory has not applied yet.
//!
//! The owner does one thing at a time, and a compilation may take a minute. **A pause takes effect
//! as soon as it is requested**: every shard reads the pending orders before it calls a campaign.
//! An order stays pending until a rule set that follows it has been swapped in, so there is no gap.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::Target;
use crate::engine::Stop;

/// The pending orders, shared by the handles that give them, the shards and the owner.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingOrders {
    orders: Arc<ArcSwap<Vec<(u64, Order)>>>,
    /// Upper bound of the number of pending orders. It is nearly always 0, and every shard reads it
    /// before every call.
    pending: Arc<AtomicUsize>,
    last: Arc<AtomicU64>,
    /// Notified when the last pending order has been applied.
    applied: Arc<Notify>,
}

/// One order.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Pause(Target),
    Resume(Target),
    /// A suspension by the breaker, for this generation of the campaign only; a later one may be
    /// fixed.
    Suspend {
        campaign: String,
        generation: u64,
    },
}

/// Keeps an order pending until this guard is dropped, which the owner does after it has handled
/// the request.
#[derive(Debug)]
pub struct OrderGuard {
    pending_orders: PendingOrders,
    number: u64,
}

impl PendingOrders {
    /// Adds an order after all earlier ones.
    pub(super) fn add(&self, order: Order) -> OrderGuard {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        self.pending.fetch_add(1, Ordering::Release);
        self.orders.rcu(|orders| {
            let mut orders = Vec::clone(orders);
            orders.push((number, order.clone()));
            orders
        });
        OrderGuard { pending_orders: self.clone(), number }
    }

    /// Waits until no order is pending.
    pub(super) async fn wait_until_applied(&self) {
        let mut applied = pin!(self.applied.notified());
        loop {
            // Enabled before the check, so that a notification in between is not lost.
            applied.as_mut().enable();
            if self.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            applied.as_mut().await;
            applied.set(self.applied.notified());
        }
    }

    /// The stop by the latest pending order for this campaign; `None` if no pending order stops it.
    pub(super) fn stop(&self, campaign: &str, generation: u64) -> Option<Stop> {
        if self.pending.load(Ordering::Acquire) == 0 {
            return None;
        }
        let orders = self.orders.load();
        let mut all_resumed = false;
        for (_, order) in orders.iter().rev() {
            match order {
                // `resume --all` lifts an earlier `pause --all`, but not a pause by name.
                Order::Resume(Target::All) => all_resumed = true,
                Order::Pause(Target::All) if all_resumed => {}
                order => {
                    if let Some(stop) = order.stop(campaign, generation) {
                        return stop;
                    }
                }
            }
        }
        None
    }
}

impl Order {
    /// The order's effect on this campaign; `None` if the order does not concern it.
    fn stop(&self, name: &str, running: u64) -> Option<Option<Stop>> {
        let is_meant = |target: &Target| match target {
            Target::All => true,
            Target::Campaign(campaign) => campaign == name,
        };
        match self {
            Order::Pause(target) => is_meant(target).then_some(Some(Stop::Paused)),
            Order::Resume(target) => is_meant(target).then_some(None),
            Order::Suspend { campaign, generation } => {
                (campaign == name && *generation == running).then_some(Some(Stop::Suspended))
            }
        }
    }
}

impl Drop for OrderGuard {
    fn drop(&mut self) {
        self.pending_orders.orders.rcu(|orders| {
            let mut orders = Vec::clone(orders);
            orders.retain(|(number, _)| *number != self.number);
            orders
        });
        if self.pending_orders.pending.fetch_sub(1, Ordering::Release) == 1 {
            self.pending_orders.applied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(campaign: &str) -> Target {
        Target::Campaign(campaign.to_owned())
    }

    #[test]
    fn the_latest_order_counts_while_its_guard_lives() {
        let pending_orders = PendingOrders::default();
        let first = pending_orders.add(Order::Pause(Target::All));
        let resumed = pending_orders.add(Order::Resume(named("one")));
        assert_eq!(
            (pending_orders.stop("one", 1).is_some(), pending_orders.stop("two", 2).is_some()),
            (false, true)
        );
        let again = pending_orders.add(Order::Pause(named("one")));
        drop(first);
        drop(resumed);
        assert_eq!(
            (pending_orders.stop("one", 1).is_some(), pending_orders.stop("two", 2).is_some()),
            (true, false)
        );
        drop(again);
        assert!(pending_orders.stop("one", 1).is_none());
    }

    #[test]
    fn a_suspension_concerns_one_generation() {
        let pending_orders = PendingOrders::default();
        let _held = pending_orders.add(Order::Suspend { campaign: "one".into(), generation: 4 });
        assert_eq!(
            (
                pending_orders.stop("one", 4).is_some(),
                pending_orders.stop("one", 5).is_some(),
                pending_orders.stop("two", 4).is_some()
            ),
            (true, false, false)
        );
    }
}
