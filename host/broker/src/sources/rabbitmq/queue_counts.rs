//! The counts of a queue, which the broker returns for a passive declaration.

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};

use crate::connection::{BrokerError, answered};

pub(super) struct QueueCounts {
    /// The number of messages that are sent to no consumer.
    pub(super) ready: u32,
    pub(super) consumers: u32,
}

/// Asks the broker for the counts of a queue.
///
/// # Errors
/// The queue does not exist, or the broker does not answer.
pub(super) async fn queue_counts(
    channel: &Channel,
    queue: &ShortString,
) -> Result<QueueCounts, BrokerError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(queue.clone(), passive, FieldTable::default());
    let declared = answered("queue.declare", declared).await?;
    Ok(QueueCounts { ready: declared.message_count(), consumers: declared.consumer_count() })
}
