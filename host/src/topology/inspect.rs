//! Looks whether everything is there, by passive declarations, and whether the user may read and write, by what the broker refuses: nothing is made,
//! consumed or published.

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ExchangeKind};

use super::apply::TopologyError;
use super::{Kind, Topology};
use crate::address::BrokerAddress;
use crate::broker::{BrokerError, Dialer, QueueKind, answered, close, has_single_active_mark, may_publish, queue_kind};

/// One thing that an engine needs, and how it stands.
#[derive(Debug)]
pub struct Standing {
    /// `queue smc.customerEvents`.
    pub what: String,
    pub found: Result<Found, BrokerError>,
}

/// What the broker says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Exchange,
    Queue {
        messages: u32,
        consumers: u32,
        /// Engines may stand by at it.
        single_active: bool,
    },
    /// The user may read from the queue, or publish to the exchange.
    Allowed,
    /// The queue to read from is a stream.
    Stream,
}

/// How `writes` of a topology name the default exchange.
const DEFAULT_EXCHANGE: &str = "amq.default";
const NOT_FOUND: u16 = 404;
const ACCESS_REFUSED: u16 = 403;

impl Topology {
    /// How each exchange and queue that the engine uses stands, the queue that it consumes included, and what the user may do.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn inspect(&self, address: &BrokerAddress) -> Result<Vec<Standing>, TopologyError> {
        let connect = |error| TopologyError::Connect { address: address.to_string(), error };
        let connection = Dialer::new(address.clone(), "check").connect().await.map_err(connect)?;
        let mut standings = Vec::new();
        for exchange in &self.exchanges {
            let found = find_exchange(&connection, &exchange.name, exchange.kind).await;
            standings.push(Standing { what: format!("exchange {}", exchange.name), found });
        }
        let mut queues: Vec<&String> = self.queues.iter().map(|queue| &queue.name).collect();
        queues.extend(self.reads.iter().filter(|name| !self.queues.iter().any(|queue| queue.name == **name)));
        for name in queues {
            standings.push(Standing { what: format!("queue {name}"), found: find_queue(&connection, name).await });
        }
        // What is not there is told already.
        let is_told = |found: &Result<Found, BrokerError>| found.as_ref().is_err_and(|error| error.has_code(NOT_FOUND));
        let mut rights = Vec::new();
        for queue in &self.reads {
            let found = find_readable(&connection, queue).await;
            rights.push(Standing { what: format!("reading from queue {queue}"), found });
        }
        for exchange in &self.writes {
            let (name, key) = match exchange.as_str() {
                DEFAULT_EXCHANGE => ("", "hailer.check"),
                name => (name, "communication.push.check"),
            };
            let found = may_publish(&connection, name, key).await.map(|()| Found::Allowed);
            rights.push(Standing { what: format!("publishing to exchange {exchange}"), found });
        }
        standings.extend(rights.into_iter().filter(|right| !is_told(&right.found)));
        close(&connection).await;
        Ok(standings)
    }
}

async fn find_readable(connection: &Connection, queue: &str) -> Result<Found, BrokerError> {
    match queue_kind(connection, &queue.into()).await {
        Ok(QueueKind::Stream) => Ok(Found::Stream),
        Ok(_) => Ok(Found::Allowed),
        // Another engine consumes it, which is told already.
        Err(error) if error.has_code(ACCESS_REFUSED) && error.to_string().contains("exclusive") => Ok(Found::Allowed),
        Err(error) => Err(error),
    }
}

/// A refusal closes its channel, so each look has one of its own.
async fn find_exchange(connection: &Connection, name: &str, kind: Kind) -> Result<Found, BrokerError> {
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
    let single_active = queue.consumer_count() > 0 && has_single_active_mark(connection, name).await?;
    Ok(Found::Queue { messages: queue.message_count(), consumers: queue.consumer_count(), single_active })
}
