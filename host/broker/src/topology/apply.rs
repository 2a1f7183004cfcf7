//! Creates a topology on a broker. Each exchange and queue is checked and created separately. An
//! existing equal one stays; a different one is reported and left unchanged. A failure does not
//! stop the rest. Bindings are always declared, because declaring the same binding again has no
//! effect.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};

use crate::address::{BrokerAddress, NAME_BYTES_MAX};
use crate::connection::{BrokerError, Dialer, answered, close, single_active_mark};

use super::{Binding, Exchange, Kind, Queue, Topology};

const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
/// The first RabbitMQ version whose quorum queues have a delivery limit by default (20), and drop a
/// message after it. The effect of the limit -1 on older versions is untested.
const LIMITS_DELIVERIES_SINCE: u32 = 4;
const DELIVERY_LIMIT: &str = "x-delivery-limit";

/// The reason why no topology could be created.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("cannot connect to {address}: {error}")]
    Connect { address: String, error: BrokerError },
    #[error("the name `{name}` must have at most {NAME_BYTES_MAX} bytes")]
    Name { name: String },
}

/// The parts of the topology that differ or are missing. Everything else exists as described.
#[derive(Debug, Default)]
pub struct Applied {
    /// Parts that exist with other properties, and were left unchanged: one sentence each.
    pub left_alone: Vec<String>,
    /// Parts that do not exist and could not be created: one sentence each.
    pub failed: Vec<String>,
}

/// The result of checking and creating one part.
enum Declared {
    AsDescribed,
    Different(BrokerError),
}

impl Topology {
    /// Creates the missing parts, in an order in which every referenced part exists. A second call
    /// has no effect.
    ///
    /// # Errors
    /// The broker is unreachable, or a name is too long. Nothing has been created then.
    pub async fn apply(&self, address: &BrokerAddress) -> Result<Applied, TopologyError> {
        self.check_names()?;
        let connect = |error| TopologyError::Connect { address: address.to_string(), error };
        let mut dialer = Dialer::new(address.clone(), "topology");
        let connection = dialer.connect().await.map_err(connect)?;
        // A broker that does not report its version counts as an old one, without a delivery limit.
        let version = dialer.major_version().await.ok().flatten();
        let limits_deliveries = version.is_some_and(|version| version >= LIMITS_DELIVERIES_SINCE);
        let mut applied = Applied::default();
        for exchange in &self.exchanges {
            applied.note(
                format!("exchange `{}`", exchange.name),
                make_exchange(&connection, exchange).await,
            );
        }
        for queue in &self.queues {
            let made = make_queue(&connection, queue, limits_deliveries).await;
            let is_single_active = queue.single_active && matches!(made, Ok(Declared::AsDescribed));
            applied.note(format!("queue `{}`", queue.name), made);
            if is_single_active {
                let mark = marker_exchange(queue);
                applied.note(
                    format!("exchange `{}`", mark.name),
                    make_exchange(&connection, &mark).await,
                );
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
        let marks = self
            .queues
            .iter()
            .filter(|queue| queue.single_active)
            .map(|queue| single_active_mark(&queue.name));
        let bindings = self
            .bindings
            .iter()
            .flat_map(|binding| [binding.exchange.clone(), binding.routing_key.clone()]);
        match exchanges
            .chain(queues)
            .chain(marks)
            .chain(bindings)
            .find(|name| name.len() > NAME_BYTES_MAX)
        {
            Some(name) => Err(TopologyError::Name { name }),
            None => Ok(()),
        }
    }
}

impl Applied {
    fn note(&mut self, what: String, made: Result<Declared, BrokerError>) {
        match made {
            Ok(Declared::AsDescribed) => {}
            Ok(Declared::Different(error)) => {
                let next_step =
                    "it was left unchanged; delete it and apply again, or configure another name";
                self.left_alone
                    .push(format!("{what} exists with other properties ({error}): {next_step}"));
            }
            Err(error) if error.has_code(NOT_FOUND) => {
                let reason = "cannot be created, because a part that it needs is missing";
                self.failed
                    .push(format!("{what} {reason} ({error}): create that first, and apply again"));
            }
            Err(error) => self.failed.push(format!("{what} cannot be created: {error}")),
        }
    }
}

/// The exchange that marks a queue as having a single active consumer.
fn marker_exchange(queue: &Queue) -> Exchange {
    let purpose = "marks a queue with a single active consumer";
    Exchange { name: single_active_mark(&queue.name), kind: Kind::Fanout, alternate: None, purpose }
}

async fn make_exchange(
    connection: &Connection,
    exchange: &Exchange,
) -> Result<Declared, BrokerError> {
    let is_there = match declare_exchange(&channel(connection).await?, exchange, true).await {
        Ok(()) => true,
        Err(error) if error.has_code(NOT_FOUND) => false,
        Err(error) => return Err(error),
    };
    compared(is_there, declare_exchange(&channel(connection).await?, exchange, false).await)
}

async fn make_queue(
    connection: &Connection,
    queue: &Queue,
    limits_deliveries: bool,
) -> Result<Declared, BrokerError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let is_there = match declare_queue(connection, queue, passive, FieldTable::default()).await {
        Ok(()) => true,
        Err(error) if error.has_code(NOT_FOUND) => false,
        // The queue exists, and is exclusive to another connection.
        Err(error) if error.has_code(RESOURCE_LOCKED) => return Ok(Declared::Different(error)),
        Err(error) => return Err(error),
    };
    let mut arguments = arguments_of(queue);
    if queue.single_active && limits_deliveries {
        arguments.insert(DELIVERY_LIMIT.into(), AMQPValue::LongLongInt(-1));
        let made =
            declare_queue(connection, queue, QueueDeclareOptions::durable(), arguments.clone())
                .await;
        match made {
            // A classic queue does not have a delivery limit.
            Err(error)
                if error.has_code(PRECONDITION_FAILED)
                    && error.to_string().contains(DELIVERY_LIMIT) => {}
            made => return compared(is_there, made),
        }
        arguments = arguments_of(queue);
    }
    compared(
        is_there,
        declare_queue(connection, queue, QueueDeclareOptions::durable(), arguments).await,
    )
}

/// Declaring an existing part has no effect: the broker compares the properties, and its refusal
/// names the first difference.
fn compared(is_there: bool, declared: Result<(), BrokerError>) -> Result<Declared, BrokerError> {
    match declared {
        Ok(()) => Ok(Declared::AsDescribed),
        Err(error) if is_there && error.has_code(PRECONDITION_FAILED) => {
            Ok(Declared::Different(error))
        }
        Err(error) => Err(error),
    }
}

async fn declare_exchange(
    channel: &Channel,
    exchange: &Exchange,
    passive: bool,
) -> Result<(), BrokerError> {
    let options =
        ExchangeDeclareOptions { durable: true, passive, ..ExchangeDeclareOptions::default() };
    let kind = match exchange.kind {
        Kind::Topic => ExchangeKind::Topic,
        Kind::Fanout => ExchangeKind::Fanout,
    };
    let mut arguments = FieldTable::default();
    if let Some(alternate) = &exchange.alternate {
        arguments
            .insert("alternate-exchange".into(), AMQPValue::LongString(alternate.as_str().into()));
    }
    let declared =
        channel.exchange_declare(exchange.name.as_str().into(), kind, options, arguments);
    answered("exchange.declare", declared).await
}

fn arguments_of(queue: &Queue) -> FieldTable {
    let mut arguments = FieldTable::default();
    if let Some(to) = &queue.dead_letters_to {
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
        arguments
            .insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(to.as_str().into()));
    }
    if queue.single_active {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    if let Some(retention) = queue.retention {
        let bytes = |bytes: u64| AMQPValue::LongLongInt(bytes.try_into().unwrap_or(i64::MAX));
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        arguments.insert("x-max-age".into(), AMQPValue::LongString(retention.age().into()));
        arguments.insert("x-max-length-bytes".into(), bytes(retention.bytes_max));
        arguments
            .insert("x-stream-max-segment-size-bytes".into(), bytes(retention.segment_bytes()));
    }
    arguments
}

/// Declares a queue on a channel of its own, because a refusal closes the channel.
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

async fn bind(connection: &Connection, binding: &Binding) -> Result<Declared, BrokerError> {
    let Binding { exchange, queue, routing_key } = binding;
    let channel = channel(connection).await?;
    let (queue, exchange, key) =
        (queue.as_str().into(), exchange.as_str().into(), routing_key.as_str().into());
    let bound = channel.queue_bind(
        queue,
        exchange,
        key,
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    answered("queue.bind", bound).await.map(|()| Declared::AsDescribed)
}

async fn channel(connection: &Connection) -> Result<Channel, BrokerError> {
    answered("channel.open", connection.create_channel()).await
}
