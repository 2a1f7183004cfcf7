//! Makes a topology. Each thing is looked at and made by itself: what is there and the same stays, what is there and different
//! is reported and left alone, and whatever happens to one thing, the rest is made. Bindings are always made: the broker
//! makes the same binding once.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};

use crate::address::BrokerAddress;
use crate::broker::{BrokerError, Dialer, NAME_BYTES_MAX, answered, close, single_active_mark};

use super::{Binding, Exchange, Kind, Queue, Topology};

const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
/// The first version whose quorum queues drop a message after some deliveries unless a queue says otherwise. What a
/// version before it makes of a limit of -1 was not tried.
const LIMITS_DELIVERIES_SINCE: u32 = 4;
const DELIVERY_LIMIT: &str = "x-delivery-limit";

/// Why a topology could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("can't connect to {address}: {error}")]
    Connect { address: String, error: BrokerError },
    #[error("the name `{name}` must have at most {NAME_BYTES_MAX} bytes")]
    Name { name: String },
}

/// What was not made as described; everything else is there.
#[derive(Debug, Default)]
pub struct Applied {
    /// There with other properties, and left alone: a sentence each.
    pub left_alone: Vec<String>,
    /// Not there, and can't be made: a sentence each.
    pub failed: Vec<String>,
}

/// How one thing stands when it has been looked at and made.
enum Made {
    AsDescribed,
    Different(BrokerError),
}

impl Topology {
    /// Makes what is missing, in an order in which everything that is referred to is there. Doing it again changes
    /// nothing.
    ///
    /// # Errors
    /// When the broker can't be reached, or a name is too long. Nothing has been made then.
    pub async fn apply(&self, address: &BrokerAddress) -> Result<Applied, TopologyError> {
        self.check_names()?;
        let connect = |error| TopologyError::Connect { address: address.to_string(), error };
        let mut dialer = Dialer::new(address.clone(), "topology");
        let connection = dialer.connect().await.map_err(connect)?;
        // A broker that does not say its version is taken for an old one, which has no such limit.
        let version = dialer.major_version().await.ok().flatten();
        let limits_deliveries = version.is_some_and(|version| version >= LIMITS_DELIVERIES_SINCE);
        let mut applied = Applied::default();
        for exchange in &self.exchanges {
            applied.note(format!("exchange `{}`", exchange.name), make_exchange(&connection, exchange).await);
        }
        for queue in &self.queues {
            let made = make_queue(&connection, queue, limits_deliveries).await;
            let is_single_active = queue.single_active && matches!(made, Ok(Made::AsDescribed));
            applied.note(format!("queue `{}`", queue.name), made);
            if is_single_active {
                let mark = mark_of(queue);
                applied.note(format!("exchange `{}`", mark.name), make_exchange(&connection, &mark).await);
            }
        }
        for binding in &self.bindings {
            let Binding { exchange, queue, routing_key } = binding;
            let made = bind(&connection, binding).await;
            applied.note(format!("binding `{exchange}` -> `{queue}` with `{routing_key}`"), made);
        }
        close(&connection).await;
        Ok(applied)
    }

    fn check_names(&self) -> Result<(), TopologyError> {
        let exchanges = self.exchanges.iter().map(|exchange| exchange.name.clone());
        let queues = self.queues.iter().map(|queue| queue.name.clone());
        let marks = self.queues.iter().filter(|queue| queue.single_active).map(|queue| single_active_mark(&queue.name));
        let bindings = self.bindings.iter().flat_map(|binding| [binding.exchange.clone(), binding.routing_key.clone()]);
        match exchanges.chain(queues).chain(marks).chain(bindings).find(|name| name.len() > NAME_BYTES_MAX) {
            Some(name) => Err(TopologyError::Name { name }),
            None => Ok(()),
        }
    }
}

impl Applied {
    fn note(&mut self, what: String, made: Result<Made, BrokerError>) {
        match made {
            Ok(Made::AsDescribed) => {}
            Ok(Made::Different(error)) => {
                let next_step = "it is left alone; remove it and apply again, or name another in the configuration";
                self.left_alone.push(format!("{what} is there already with other properties ({error}): {next_step}"));
            }
            Err(error) if error.has_code(NOT_FOUND) => {
                let reason = "can't be made, something that it needs is missing";
                self.failed.push(format!("{what} {reason} ({error}): make that first, and apply again"));
            }
            Err(error) => self.failed.push(format!("{what} can't be made: {error}")),
        }
    }
}

/// The exchange that marks a queue as one with a single active consumer.
fn mark_of(queue: &Queue) -> Exchange {
    let purpose = "marks a queue with a single active consumer";
    Exchange { name: single_active_mark(&queue.name), kind: Kind::Fanout, alternate: None, purpose }
}

async fn make_exchange(connection: &Connection, exchange: &Exchange) -> Result<Made, BrokerError> {
    let is_there = match declare_exchange(&channel(connection).await?, exchange, true).await {
        Ok(()) => true,
        Err(error) if error.has_code(NOT_FOUND) => false,
        Err(error) => return Err(error),
    };
    compared(is_there, declare_exchange(&channel(connection).await?, exchange, false).await)
}

async fn make_queue(connection: &Connection, queue: &Queue, limits_deliveries: bool) -> Result<Made, BrokerError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let is_there = match declare_queue(connection, queue, passive, FieldTable::default()).await {
        Ok(()) => true,
        Err(error) if error.has_code(NOT_FOUND) => false,
        // It is there, and another connection's alone.
        Err(error) if error.has_code(RESOURCE_LOCKED) => return Ok(Made::Different(error)),
        Err(error) => return Err(error),
    };
    let mut arguments = arguments_of(queue);
    if queue.single_active && limits_deliveries {
        arguments.insert(DELIVERY_LIMIT.into(), AMQPValue::LongLongInt(-1));
        let made = declare_queue(connection, queue, QueueDeclareOptions::durable(), arguments.clone()).await;
        match made {
            // A classic queue has no such limit.
            Err(error) if error.has_code(PRECONDITION_FAILED) && error.to_string().contains(DELIVERY_LIMIT) => {}
            made => return compared(is_there, made),
        }
        arguments = arguments_of(queue);
    }
    compared(is_there, declare_queue(connection, queue, QueueDeclareOptions::durable(), arguments).await)
}

/// A declaration of what is there changes nothing; the broker compares, and names the first difference.
fn compared(is_there: bool, declared: Result<(), BrokerError>) -> Result<Made, BrokerError> {
    match declared {
        Ok(()) => Ok(Made::AsDescribed),
        Err(error) if is_there && error.has_code(PRECONDITION_FAILED) => Ok(Made::Different(error)),
        Err(error) => Err(error),
    }
}

async fn declare_exchange(channel: &Channel, exchange: &Exchange, passive: bool) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { durable: true, passive, ..ExchangeDeclareOptions::default() };
    let kind = match exchange.kind {
        Kind::Topic => ExchangeKind::Topic,
        Kind::Fanout => ExchangeKind::Fanout,
    };
    let mut arguments = FieldTable::default();
    if let Some(alternate) = &exchange.alternate {
        arguments.insert("alternate-exchange".into(), AMQPValue::LongString(alternate.as_str().into()));
    }
    let declared = channel.exchange_declare(exchange.name.as_str().into(), kind, options, arguments);
    answered("exchange.declare", declared).await
}

fn arguments_of(queue: &Queue) -> FieldTable {
    let mut arguments = FieldTable::default();
    if let Some(to) = &queue.dead_letters_to {
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
        arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(to.as_str().into()));
    }
    if queue.single_active {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    if let Some(keeps) = queue.keeps {
        let bytes = |bytes: u64| AMQPValue::LongLongInt(bytes.try_into().unwrap_or(i64::MAX));
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        arguments.insert("x-max-age".into(), AMQPValue::LongString(keeps.age().into()));
        arguments.insert("x-max-length-bytes".into(), bytes(keeps.bytes_max));
        arguments.insert("x-stream-max-segment-size-bytes".into(), bytes(keeps.segment_bytes()));
    }
    arguments
}

/// On a channel of its own, as a refusal closes it.
async fn declare_queue(
    connection: &Connection,
    queue: &Queue,
    options: QueueDeclareOptions,
    arguments: FieldTable,
) -> Result<(), BrokerError> {
    let channel = channel(connection).await?;
    let declared = channel.queue_declare(queue.name.as_str().into(), options, arguments);
    answered("queue.declare", declared).await.map(drop)
}

async fn bind(connection: &Connection, binding: &Binding) -> Result<Made, BrokerError> {
    let Binding { exchange, queue, routing_key } = binding;
    let channel = channel(connection).await?;
    let (queue, exchange, key) = (queue.as_str().into(), exchange.as_str().into(), routing_key.as_str().into());
    let bound = channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default());
    answered("queue.bind", bound).await.map(|()| Made::AsDescribed)
}

async fn channel(connection: &Connection) -> Result<Channel, BrokerError> {
    answered("channel.open", connection.create_channel()).await
}
