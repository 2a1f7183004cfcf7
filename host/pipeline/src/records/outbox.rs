//! Communications that are committed and not yet known to be published. One row holds those of one
//! commit and partition.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use hailer_base::clock::Millis;
use hailer_broker::communication::Communication;

/// A row: communications in the order in which they were decided.
pub type OutboxRow = Vec<OutboxItem>;

/// One communication, with the exact bytes that are published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxItem {
    /// The item's position among all communications of the commit, over all partitions.
    pub place: u32,
    pub id: Box<str>,
    pub routing_key: Arc<str>,
    pub body: Bytes,
    pub created_ms: Millis,
}

impl OutboxItem {
    #[must_use]
    pub fn new(place: u32, communication: Communication) -> OutboxItem {
        let Communication { id, routing_key, body, created_ms } = communication;
        OutboxItem { place, id, routing_key, body, created_ms }
    }
}

impl From<OutboxItem> for Communication {
    fn from(item: OutboxItem) -> Communication {
        let OutboxItem { id, routing_key, body, created_ms, .. } = item;
        Communication { id, routing_key, body, created_ms }
    }
}
