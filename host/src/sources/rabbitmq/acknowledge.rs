//! Acknowledgements, many at a time. Waiting for each one would bound the engine at ten thousand events a second.

use std::time::Duration;

use lapin::Channel;
use lapin::options::BasicAckOptions;
use tokio::sync::watch;

use crate::broker::{BrokerError, answered};
use crate::failpoint::Failpoint;
use crate::metrics;

/// The longest that a settled delivery waits for company.
const PATIENCE: Duration = Duration::from_millis(5);

/// Acknowledges the settled prefix of one session. It holds that session's channel, so it can't speak for another.
pub(super) struct Acknowledger {
    channel: Channel,
    prefix: watch::Receiver<u64>,
    acknowledged: u64,
    /// So many at once don't wait for more.
    enough: u64,
}

impl Acknowledger {
    pub(super) fn new(channel: Channel, prefix: watch::Receiver<u64>, prefetch: u16) -> Self {
        // The broker sends nothing while the prefetch is used up, so it must never come to that.
        let enough = u64::from(prefetch / 4).clamp(1, 256);
        Self { channel, prefix, acknowledged: 0, enough }
    }

    /// Acknowledges as the prefix moves, until the broker can't be told any more.
    pub(super) async fn run(&mut self) -> BrokerError {
        loop {
            let acknowledged = self.acknowledged;
            if self.prefix.wait_for(|prefix| *prefix > acknowledged).await.is_err() {
                // The ledger is gone, so nothing will be settled; the session's other half ends it.
                std::future::pending::<()>().await;
            }
            let many = self.prefix.wait_for(|prefix| *prefix >= acknowledged + self.enough);
            // Either way there is something to acknowledge.
            let _ = tokio::time::timeout(PATIENCE, many).await;
            if let Err(error) = self.flush().await {
                return error;
            }
        }
    }

    /// The tag up to which everything has been acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Acknowledges all that is settled now.
    pub(super) async fn flush(&mut self) -> Result<(), BrokerError> {
        let prefix = *self.prefix.borrow_and_update();
        if prefix <= self.acknowledged {
            return Ok(());
        }
        ::metrics::counter!(metrics::SOURCE_ACKNOWLEDGED_TOTAL).increment(prefix - self.acknowledged);
        Failpoint::BeforeAck.pass();
        // Noted before the await: the frame is queued at once, and acknowledging twice would end the channel.
        self.acknowledged = prefix;
        answered("basic.ack", self.channel.basic_ack(prefix, BasicAckOptions { multiple: true })).await
    }
}
