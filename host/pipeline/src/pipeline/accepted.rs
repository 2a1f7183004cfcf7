//! Work on its way to its shard: an event, a timer or a retry, and the shard that it belongs to.

use std::sync::Arc;

use super::budget::Held;
use super::poison::InFlightId;
use super::retries::RetryWork;
use crate::records::TimerKey;
use hailer_base::clock::Millis;
use hailer_broker::delivery::Receipt;
use hailer_event::{Customer, CustomerKey, DedupKey, Event};

/// Work that a shard has not decided yet.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) what: What,
    /// The id that names it in the in-flight file; `None` if the poison guard does not watch it.
    pub(super) name: Option<InFlightId>,
    /// The time of all its decisions.
    pub(super) now: Millis,
    /// `None` for timers and retries: no source waits for their acknowledgement.
    pub(super) receipt: Option<Receipt>,
    pub(super) held: Held,
}

#[derive(Debug)]
pub(super) enum What {
    /// An event that has been read.
    Event {
        event: Box<Event>,
        /// The customer, after redirects from merges.
        customer: Option<CustomerKey>,
        /// The ids of that customer, if a merge has changed them from those that the event names.
        became: Option<Arc<Customer>>,
        key: DedupKey,
        redelivered: bool,
        session: u64,
    },
    /// A timer that is due by the index; its row decides.
    Timer(TimerKey),
    /// Failures that are retried.
    Retry(Box<RetryWork>),
}

impl Accepted {
    /// The customer, if there is one.
    pub(super) fn customer(&self) -> Option<CustomerKey> {
        match &self.what {
            What::Event { customer, .. } => *customer,
            What::Timer(timer) => Some(timer.customer),
            What::Retry(work) => work.customer,
        }
    }
}

/// A customer belongs to one shard, so that their events stay in order (G5). Copies of an event
/// belong to one shard, too.
pub(super) fn shard_of(accepted: &Accepted, shards: usize) -> usize {
    match (accepted.customer(), &accepted.what) {
        (customer, What::Event { key, .. }) => shard_of_event(customer, *key, shards),
        (Some(customer), _) => customer.shard(shards),
        (None, What::Timer(timer)) => timer.customer.shard(shards),
        (None, What::Retry(work)) => usize::from(work.partition.number()) % shards,
    }
}

pub(super) fn shard_of_event(customer: Option<CustomerKey>, key: DedupKey, shards: usize) -> usize {
    customer
        .map_or_else(|| usize::from(key.as_bytes()[0]) % shards, |customer| customer.shard(shards))
}
