//! Makes a topology. What is there already and the same is left alone; what is there and different is told, and left
//! alone as well.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use crate::address::BrokerAddress;
use crate::broker::{BrokerError, Dialer, NAME_BYTES_MAX};

use super::{Binding, Exchange, Kind, Queue, Topology};

const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// Why a topology could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("can't connect to {address}: {error}")]
    Connect { address: String, error: BrokerError },
    #[error("{what} is there already with other properties ({error}): remove it, or name another in the configuration")]
    Different { what: String, error: BrokerError },
    #[error("{what} can't be made, something that it needs is missing ({error}): make that first")]
    Missing { what: String, error: BrokerError },
    #[error("{what} can't be made: {error}")]
    Refused { what: String, error: BrokerError },
    #[error("the name `{name}` must have at most {NAME_BYTES_MAX} bytes")]
    Name { name: String },
}

impl Topology {
    /// Makes what is missing, in an order in which everything that is referred to is there. Doing it again changes
    /// nothing.
    ///
    /// # Errors
    /// At the first thing that can't be made; those before it stay.
    pub async fn apply(&self, address: &BrokerAddress) -> Result<(), TopologyError> {
        self.check_names()?;
        let connect = |error| TopologyError::Connect { address: address.to_string(), error };
        let connection = Dialer::new(address.clone(), "topology").connect().await.map_err(connect)?;
        let channel = connection.create_channel().await.map_err(|error| connect(error.into()))?;
        for exchange in &self.exchanges {
            let made = declare_exchange(&channel, exchange).await;
            made.map_err(|error| refused(format!("exchange `{}`", exchange.name), error))?;
        }
        for queue in &self.queues {
            let made = declare_queue(&channel, queue).await;
            made.map_err(|error| refused(format!("queue `{}`", queue.name), error))?;
        }
        for binding in &self.bindings {
            let made = bind(&channel, binding).await;
            let Binding { exchange, queue, routing_key } = binding;
            made.map_err(|error| refused(format!("binding `{exchange}` -> `{queue}` with `{routing_key}`"), error))?;
        }
        // All is made; a farewell that fails takes nothing back.
        let _ = connection.close(200, "OK".into()).await;
        Ok(())
    }

    fn check_names(&self) -> Result<(), TopologyError> {
        let exchanges = self.exchanges.iter().map(|exchange| &exchange.name);
        let queues = self.queues.iter().map(|queue| &queue.name);
        let bindings = self.bindings.iter().flat_map(|binding| [&binding.exchange, &binding.routing_key]);
        match exchanges.chain(queues).chain(bindings).find(|name| name.len() > NAME_BYTES_MAX) {
            Some(name) => Err(TopologyError::Name { name: name.clone() }),
            None => Ok(()),
        }
    }
}

async fn declare_exchange(channel: &Channel, exchange: &Exchange) -> Result<(), lapin::Error> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = match exchange.kind {
        Kind::Topic => ExchangeKind::Topic,
        Kind::Fanout => ExchangeKind::Fanout,
    };
    let mut arguments = FieldTable::default();
    if let Some(alternate) = &exchange.alternate {
        arguments.insert("alternate-exchange".into(), AMQPValue::LongString(alternate.as_str().into()));
    }
    channel.exchange_declare(exchange.name.as_str().into(), kind, options, arguments).await
}

async fn declare_queue(channel: &Channel, queue: &Queue) -> Result<(), lapin::Error> {
    let mut arguments = FieldTable::default();
    if let Some(to) = &queue.dead_letters_to {
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
        arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(to.as_str().into()));
    }
    if let Some(keeps) = queue.keeps {
        let bytes = |bytes: u64| AMQPValue::LongLongInt(bytes.try_into().unwrap_or(i64::MAX));
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        arguments.insert("x-max-age".into(), AMQPValue::LongString(keeps.age().into()));
        arguments.insert("x-max-length-bytes".into(), bytes(keeps.bytes_max));
        arguments.insert("x-stream-max-segment-size-bytes".into(), bytes(keeps.segment_bytes()));
    }
    channel.queue_declare(queue.name.as_str().into(), QueueDeclareOptions::durable(), arguments).await.map(drop)
}

async fn bind(channel: &Channel, Binding { exchange, queue, routing_key }: &Binding) -> Result<(), lapin::Error> {
    let (queue, exchange, key) = (queue.as_str().into(), exchange.as_str().into(), routing_key.as_str().into());
    channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
}

fn refused(what: String, error: lapin::Error) -> TopologyError {
    match BrokerError::from(error) {
        error if error.has_code(PRECONDITION_FAILED) => TopologyError::Different { what, error },
        error if error.has_code(NOT_FOUND) => TopologyError::Missing { what, error },
        error => TopologyError::Refused { what, error },
    }
}
