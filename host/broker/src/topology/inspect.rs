//! Checks by passive declarations that every part of the topology exists, and finds out from the
//! broker's refusals whether the user may read and write. Nothing is created, consumed or
//! published.

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ExchangeKind};

use super::apply::TopologyError;
use super::{Kind, Topology};
use crate::address::BrokerAddress;
use crate::connection::{
    BrokerError, Dialer, QueueKind, answered, close, has_single_active_mark, may_publish,
    queue_kind,
};

/// The result of checking one exchange, queue or permission that the engine needs.
#[derive(Debug)]
pub struct Inspected {
    /// The kind and the name of the thing, for example `queue smc.customerEvents`.
    pub name: String,
    pub found: Result<Found, BrokerError>,
}

/// The broker's answer to the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Exchange,
    Queue {
        messages: u32,
        consumers: u32,
        /// The queue is marked as having a single active consumer, and has a consumer: a second
        /// engine would be a standby.
        single_active: bool,
    },
    /// The user may read from the queue, or publish to the exchange.
    Allowed,
    /// The queue to read from is a stream.
    Stream,
}

/// The name of the default exchange in a topology's `writes`.
const DEFAULT_EXCHANGE: &str = "amq.default";
const NOT_FOUND: u16 = 404;
const ACCESS_REFUSED: u16 = 403;

impl Topology {
    /// Checks each exchange and queue that the engine uses, with the consumed queue, and the user's
    /// permissions.
    ///
    /// # Errors
    /// The broker is unreachable.
    pub async fn inspect(&self, address: &BrokerAddress) -> Result<Vec<Inspected>, TopologyError> {
        let connect = |error| TopologyError::Connect { address: address.to_string(), error };
        let connection = Dialer::new(address.clone(), "check").connect().await.map_err(connect)?;
        let mut inspected = Vec::new();
        for exchange in &self.exchanges {
            let found = find_exchange(&connection, &exchange.name, exchange.kind).await;
            inspected.push(Inspected { name: format!("exchange {}", exchange.name), found });
        }
        let mut queues: Vec<&String> = self.queues.iter().map(|queue| &queue.name).collect();
        queues.extend(
            self.reads.iter().filter(|name| !self.queues.iter().any(|queue| queue.name == **name)),
        );
        for name in queues {
            inspected.push(Inspected {
                name: format!("queue {name}"),
                found: find_queue(&connection, name).await,
            });
        }
        // A missing exchange or queue is already in the report.
        let is_reported = |found: &Result<Found, BrokerError>| {
            found.as_ref().is_err_and(|error| error.has_code(NOT_FOUND))
        };
        let mut rights = Vec::new();
        for queue in &self.reads {
            let found = find_readable(&connection, queue).await;
            rights.push(Inspected { name: format!("reading from queue {queue}"), found });
        }
        for exchange in &self.writes {
            let (name, key) = match exchange.as_str() {
                DEFAULT_EXCHANGE => ("", "hailer.check"),
                name => (name, "communication.push.check"),
            };
            let found = may_publish(&connection, name, key).await.map(|()| Found::Allowed);
            rights.push(Inspected { name: format!("publishing to exchange {exchange}"), found });
        }
        inspected.extend(rights.into_iter().filter(|right| !is_reported(&right.found)));
        close(&connection).await;
        Ok(inspected)
    }
}

async fn find_readable(connection: &Connection, queue: &str) -> Result<Found, BrokerError> {
    match queue_kind(connection, &queue.into()).await {
        Ok(QueueKind::Stream) => Ok(Found::Stream),
        Ok(_) => Ok(Found::Allowed),
        // Another engine consumes the queue; the report shows that already.
        Err(error) if error.has_code(ACCESS_REFUSED) && error.to_string().contains("exclusive") => {
            Ok(Found::Allowed)
        }
        Err(error) => Err(error),
    }
}

/// Checks an exchange on a channel of its own, because a refusal closes the channel.
async fn find_exchange(
    connection: &Connection,
    name: &str,
    kind: Kind,
) -> Result<Found, BrokerError> {
    let channel = answered("channel.open", connection.create_channel()).await?;
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let kind = match kind {
        Kind::Topic => ExchangeKind::Topic,
        Kind::Fanout => ExchangeKind::Fanout,
    };
    let declared = channel.exchange_declare(name.into(), kind, options, FieldTable::default());
    answered("exchange.declare", declared).await?;
    Ok(Found::Exchange)
}

async fn find_queue(connection: &Connection, name: &str) -> Result<Found, BrokerError> {
    let channel = answered("channel.open", connection.create_channel()).await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(name.into(), options, FieldTable::default());
    let queue = answered("queue.declare", declared).await?;
    let single_active =
        queue.consumer_count() > 0 && has_single_active_mark(connection, name).await?;
    Ok(Found::Queue {
        messages: queue.message_count(),
        consumers: queue.consumer_count(),
        single_active,
    })
}
