//! What has been ordered of running campaigns and is not done yet: the emergency brake.
//!
//! The directory's owner does one thing at a time, and that may be a compilation of a minute. **A pause holds from the
//! moment that somebody asks for it**: every shard looks here before it calls a campaign. An order stands here until
//! the owner has put a rule set on the stage that follows it, so that there is no gap between the two.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::Target;
use crate::engine::Stop;

/// The orders that are under way, shared by everybody who gives, follows or carries them out.
#[derive(Clone, Debug, Default)]
pub(super) struct Brake {
    orders: Arc<ArcSwap<Vec<(u64, Order)>>>,
    /// How many orders there are at most: there is hardly ever one, and every shard asks before every call.
    standing: Arc<AtomicUsize>,
    last: Arc<AtomicU64>,
    /// Notified when the last order that stood is carried out.
    carried_out: Arc<Notify>,
}

/// One thing that was ordered.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Pause(Target),
    Resume(Target),
    /// Of this generation: the next one may be cured.
    Suspend {
        campaign: String,
        generation: u64,
    },
}

/// Keeps an order in force for as long as it lives: until the owner is done with the request that carries it.
#[derive(Debug)]
pub struct Hold {
    brake: Brake,
    number: u64,
}

impl Brake {
    /// Puts an order in force, after all that were given before.
    pub(super) fn order(&self, order: Order) -> Hold {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        self.standing.fetch_add(1, Ordering::Release);
        self.orders.rcu(|orders| {
            let mut orders = Vec::clone(orders);
            orders.push((number, order.clone()));
            orders
        });
        Hold { brake: self.clone(), number }
    }

    /// Waits until no order stands.
    pub(super) async fn is_free(&self) {
        let mut carried_out = pin!(self.carried_out.notified());
        loop {
            // Registered before the look, so that no notification falls between the two.
            carried_out.as_mut().enable();
            if self.standing.load(Ordering::Acquire) == 0 {
                return;
            }
            carried_out.as_mut().await;
            carried_out.set(self.carried_out.notified());
        }
    }

    /// How the last order that is of this campaign stops it; `None` if it does not.
    pub(super) fn stop(&self, campaign: &str, generation: u64) -> Option<Stop> {
        if self.standing.load(Ordering::Acquire) == 0 {
            return None;
        }
        let orders = self.orders.load();
        let mut all_resumed = false;
        for (_, order) in orders.iter().rev() {
            match order {
                // It lifts what was ordered of all, and not what was ordered by name.
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
    /// `None` if it says nothing of this campaign.
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

impl Drop for Hold {
    fn drop(&mut self) {
        self.brake.orders.rcu(|orders| {
            let mut orders = Vec::clone(orders);
            orders.retain(|(number, _)| *number != self.number);
            orders
        });
        if self.brake.standing.fetch_sub(1, Ordering::Release) == 1 {
            self.brake.carried_out.notify_waiters();
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
    fn the_last_order_counts_and_only_while_it_is_held() {
        let brake = Brake::default();
        let first = brake.order(Order::Pause(Target::All));
        let resumed = brake.order(Order::Resume(named("one")));
        assert_eq!((brake.stop("one", 1).is_some(), brake.stop("two", 2).is_some()), (false, true));
        let again = brake.order(Order::Pause(named("one")));
        drop(first);
        drop(resumed);
        assert_eq!((brake.stop("one", 1).is_some(), brake.stop("two", 2).is_some()), (true, false));
        drop(again);
        assert!(brake.stop("one", 1).is_none());
    }

    #[test]
    fn a_suspension_is_of_one_generation() {
        let brake = Brake::default();
        let _held = brake.order(Order::Suspend { campaign: "one".into(), generation: 4 });
        assert_eq!(
            (brake.stop("one", 4).is_some(), brake.stop("one", 5).is_some(), brake.stop("two", 4).is_some()),
            (true, false, false)
        );
    }
}
