//! Reads a stream queue of RabbitMQ, from a given time to the stream's end at the start of the
//! reading. The operator creates the stream and binds it; reading neither removes messages nor
//! declares anything. The broker itself refuses to read a queue that is not a stream, because that
//! would remove its messages.

mod session;

use std::io;
use std::sync::Arc;

use tokio::runtime::Runtime;

use self::session::{OFFSET, Session, Trouble};
use super::entry::Entry;
use crate::address::QueueAddress;
use crate::connection::BrokerError;

const PRECONDITION_FAILED: u16 = 406;
const NOT_FOUND: u16 = 404;

/// A stream queue, and the time from which it is read.
#[derive(Clone, Debug)]
pub struct StreamQueue {
    pub address: QueueAddress,
    /// Start by the broker's clock, when it received a message; `None` reads everything. A few
    /// earlier messages may be included, because a stream is searched by chunks.
    pub since: Option<jiff::Timestamp>,
}

/// Why a stream cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(
        "cannot read the stream {place}: {error}; check that the broker runs and that the user may \
         read the queue"
    )]
    Broker { place: Arc<str>, error: BrokerError },
    #[error(
        "there is no queue `{queue}` in the virtual host `{virtual_host}` of {broker}; `hailer \
         topology --record-on EXCHANGE` prints the stream that keeps events for replays"
    )]
    Missing { queue: String, virtual_host: String, broker: String },
    #[error(
        "queue `{queue}` is not a stream, and reading it would remove its messages; name a stream \
         queue (x-queue-type = stream), which `hailer topology --record-on EXCHANGE` prints and \
         creates"
    )]
    NoStream { queue: String },
    #[error(
        "the stream {place} has delivered no message for {seconds} s, {reached}; check the broker, \
         then start again"
    )]
    Stalled { place: Arc<str>, seconds: u64, reached: String },
    #[error(
        "the stream {place} ended too early, {reached}: the queue was deleted, or moved; \
         start again"
    )]
    Cancelled { place: Arc<str>, reached: String },
    #[error("cannot start a thread to read the stream: {0}")]
    Runtime(#[from] io::Error),
}

/// A blocking reader of a stream.
pub(super) struct StreamReader {
    queue: StreamQueue,
    place: Arc<str>,
    /// `None` after the end.
    session: Option<Session>,
    /// Runs the connection's heartbeats between reads.
    runtime: Runtime,
}

impl StreamQueue {
    /// Connects, and finds the end of the stream.
    pub(super) fn open(self) -> Result<StreamReader, StreamError> {
        let place: Arc<str> = self.address.to_string().into();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let begun = runtime.block_on(Session::begin(&self));
        let session = begun.map_err(|trouble| {
            self.error_of(&place, trouble, "before its first message was read")
        })?;
        Ok(StreamReader { queue: self, place, session, runtime })
    }

    fn error_of(&self, place: &Arc<str>, trouble: Trouble, reached: &str) -> StreamError {
        let (place, reached) = (Arc::clone(place), reached.to_owned());
        let QueueAddress { broker, queue } = &self.address;
        match trouble {
            Trouble::NoStream => StreamError::NoStream { queue: queue.clone() },
            // Only a stream has this argument. The broker also answers 406 for a stream that has no
            // replica on its node.
            Trouble::Broker(error)
                if error.has_code(PRECONDITION_FAILED) && error.to_string().contains(OFFSET) =>
            {
                StreamError::NoStream { queue: queue.clone() }
            }
            Trouble::Broker(error) if error.has_code(NOT_FOUND) => {
                let virtual_host = broker.virtual_host().to_owned();
                StreamError::Missing {
                    queue: queue.clone(),
                    virtual_host,
                    broker: broker.to_string(),
                }
            }
            Trouble::Broker(error) => StreamError::Broker { place, error },
            Trouble::Silent { seconds } => StreamError::Stalled { place, seconds, reached },
            Trouble::Cancelled => StreamError::Cancelled { place, reached },
        }
    }
}

impl StreamReader {
    pub(super) fn place(&self) -> &Arc<str> {
        &self.place
    }

    /// The next messages in their order; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Entry>>, StreamError> {
        let Some(session) = &mut self.session else { return Ok(None) };
        match self.runtime.block_on(session.batch()) {
            Ok(entries) if entries.is_empty() => {
                self.leave();
                Ok(None)
            }
            Ok(entries) => Ok(Some(entries)),
            Err(trouble) => Err(self.queue.error_of(&self.place, trouble, &session.reached())),
        }
    }

    /// Closes the session, after the end or early.
    fn leave(&mut self) {
        if let Some(session) = self.session.take() {
            self.runtime.block_on(session.close());
        }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_replica_is_distinguished_from_a_queue_that_is_not_a_stream() {
        use lapin::protocol::AMQPError;
        let queue =
            StreamQueue { address: "amqp://me:s3cret@h/shop/q".parse().unwrap(), since: None };
        let told = |code: u16, text: &str| {
            let said = AMQPError::from_id(code, text.into()).unwrap();
            let error = lapin::Error::from(lapin::ErrorKind::ProtocolError(said));
            queue.error_of(&"place".into(), Trouble::Broker(error.into()), "nowhere").to_string()
        };
        let of_another_type = told(
            406,
            "invalid arg 'x-stream-offset' for queue 'q' of queue type rabbit_classic_queue",
        );
        assert!(of_another_type.starts_with("queue `q` is not a stream"), "{of_another_type}");
        let elsewhere = "queue 'q' in vhost 'shop' does not have a replica on the local node";
        assert!(told(406, elsewhere).contains(elsewhere), "{}", told(406, elsewhere));
        let missing = told(404, "no queue 'q' in vhost 'shop'");
        assert!(
            missing.starts_with(
                "there is no queue `q` in the virtual host `shop` of amqp://me@h:5672/shop;"
            ),
            "{missing}"
        );
    }
}
