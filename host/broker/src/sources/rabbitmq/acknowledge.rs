//! Acknowledges many deliveries with one `basic.ack`. Waiting for each single acknowledgement takes
//! about 85 µs, which would limit the engine to some 10,000 events a second.

use std::time::Duration;

use lapin::Channel;
use lapin::options::BasicAckOptions;
use tokio::sync::watch;

use crate::connection::{BrokerError, answered};
use hailer_base::failpoint::Failpoint;
use hailer_base::metrics;

/// The longest time that a settled delivery waits to be acknowledged together with others.
const ACK_DELAY_MAX: Duration = Duration::from_millis(5);

/// Acknowledges the settled prefix of one session. It owns that session's channel, so it cannot
/// acknowledge in another session.
pub(super) struct Acknowledger {
    channel: Channel,
    prefix: watch::Receiver<u64>,
    acknowledged: u64,
    /// The number of settled deliveries that are acknowledged without waiting for more.
    batch_tags: u64,
}

impl Acknowledger {
    pub(super) fn new(channel: Channel, prefix: watch::Receiver<u64>, prefetch: u16) -> Self {
        // The broker stops sending when the prefetch is used up, so the batch is a fraction of it.
        let batch_tags = u64::from(prefetch / 4).clamp(1, 256);
        Self { channel, prefix, acknowledged: 0, batch_tags }
    }

    /// Acknowledges whenever the prefix grows, until the broker is unreachable.
    pub(super) async fn run(&mut self) -> BrokerError {
        loop {
            let acknowledged = self.acknowledged;
            if self.prefix.wait_for(|prefix| *prefix > acknowledged).await.is_err() {
                // The ledger is gone, so nothing more can be settled; the owner ends the session.
                std::future::pending::<()>().await;
            }
            let many = self.prefix.wait_for(|prefix| *prefix >= acknowledged + self.batch_tags);
            // There is something to acknowledge with or without the timeout.
            let _ = tokio::time::timeout(ACK_DELAY_MAX, many).await;
            if let Err(error) = self.flush().await {
                return error;
            }
        }
    }

    /// The tag up to which everything is acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Acknowledges everything that is settled now.
    pub(super) async fn flush(&mut self) -> Result<(), BrokerError> {
        let prefix = *self.prefix.borrow_and_update();
        if prefix <= self.acknowledged {
            return Ok(());
        }
        ::metrics::counter!(metrics::SOURCE_ACKNOWLEDGED_TOTAL)
            .increment(prefix - self.acknowledged);
        Failpoint::BeforeAck.pass();
        // Set before the await, because the frame is queued at once. Acknowledging a tag twice
        // would close the channel.
        self.acknowledged = prefix;
        answered("basic.ack", self.channel.basic_ack(prefix, BasicAckOptions { multiple: true }))
            .await
    }
}
