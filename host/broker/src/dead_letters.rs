//! Dead letters in a RabbitMQ queue, for an operator: lists them, and puts them back into the queue
//! that they came from.
//!
//! **A letter is acknowledged only after the broker has confirmed its copy, and has not returned
//! it.** So a failure in between may put one letter back twice, but loses none. Letters are never
//! published to the exchange that they came through, because other queues may be bound to it.

use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::protocol::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Confirmation, Connection};

use crate::address::BrokerAddress;
use crate::connection::{BrokerError, CC_HEADERS, Dialer, answered, close};

/// Headers that the engine adds to a dead letter, and headers that a broker adds when it
/// dead-letters a message itself.
const ADDED_PREFIXES: [&str; 3] = ["x-hailer-", "x-first-death-", "x-last-death-"];
const ADDED_HEADERS: [&str; 2] = ["x-death", "x-delivery-count"];
const REASON: &str = "x-hailer-reason";
const ROUTING_KEY: &str = "x-hailer-routing-key";
const MESSAGE_ID: &str = "x-hailer-message-id";

/// One dead letter without its body, because a body may contain personal data.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterSummary {
    /// The position in the queue, from 1.
    pub place: u32,
    /// The reason; `None` if the broker dead-lettered the message itself.
    pub reason: Option<String>,
    pub message_id: Option<String>,
    pub routing_key: Option<String>,
    /// The length of the body, in bytes.
    pub bytes: usize,
}

/// The queue from which letters are taken, and their destination.
#[derive(Clone, Debug)]
pub struct Transfer {
    pub from: String,
    pub to: Destination,
}

/// The destination of letters.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A queue, addressed through the default exchange, so bindings do not matter.
    Queue(String),
    /// An exchange; the message keeps its routing key.
    Exchange(String),
}

/// Selects among the letters that are in the queue at the start.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The maximum number of letters to read, from the head of the queue.
    pub limit: u32,
    /// Selects the letters whose reason contains this text; `None` selects all.
    pub reason: Option<String>,
}

/// The result of putting letters back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PutBack {
    /// Letters that were put back.
    pub put_back: u32,
    /// Letters that were read but not selected.
    pub passed_over: u32,
}

/// The reason why dead letters could not be read or put back.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error("cannot connect to {address}: {error}")]
    Connect { address: String, error: BrokerError },
    #[error("cannot read queue `{queue}`: {error}")]
    Read { queue: String, error: BrokerError },
    #[error("{done} put back; cannot put back the next letter: {error}; it stays in its queue")]
    Publish { done: u32, error: BrokerError },
    #[error(
        "{done} put back; no queue takes the next letter, so it stays in its queue; create \
            `{to}`, or bind a queue to it"
    )]
    Returned { done: u32, to: String },
}

/// Lists the first letters of a queue; they all return to the queue.
///
/// # Errors
/// The broker is unreachable, or the queue is not readable.
pub async fn list(
    address: &BrokerAddress,
    queue: &str,
    selection: &Selection,
) -> Result<Vec<DeadLetterSummary>, DeadLetterError> {
    let session = QueueSession::open(address, queue, selection).await?;
    let mut letters = Vec::new();
    for place in 1..=session.count {
        let Some(message) = session.next(queue).await? else { break };
        let letter = DeadLetterSummary::of(place, &message);
        if selection.matches(&letter) {
            letters.push(letter);
        }
    }
    session.close().await;
    Ok(letters)
}

/// Puts letters back one by one, in order: each is published, confirmed and then acknowledged.
///
/// # Errors
/// A letter cannot be put back. It stays in its queue; the letters before it are put back.
pub async fn put_back(
    address: &BrokerAddress,
    transfer: &Transfer,
    selection: &Selection,
) -> Result<PutBack, DeadLetterError> {
    let session = QueueSession::open(address, &transfer.from, selection).await?;
    let mut done = PutBack::default();
    for place in 1..=session.count {
        let Some(message) = session.next(&transfer.from).await? else { break };
        if !selection.matches(&DeadLetterSummary::of(place, &message)) {
            // The letter returns to its position when the session ends.
            done.passed_over += 1;
            continue;
        }
        session.send_back(&message, &transfer.to, done.put_back).await?;
        let acknowledged = answered("basic.ack", message.ack(BasicAckOptions::default())).await;
        acknowledged.map_err(|error| DeadLetterError::Publish { done: done.put_back, error })?;
        done.put_back += 1;
    }
    session.close().await;
    Ok(done)
}

struct QueueSession {
    connection: Connection,
    channel: Channel,
    /// The number of letters to read: those in the queue at the start, but at most the selection's
    /// limit. Without this bound, a letter that is dead-lettered again at once would be put back
    /// without end.
    count: u32,
}

impl QueueSession {
    async fn open(
        address: &BrokerAddress,
        queue: &str,
        selection: &Selection,
    ) -> Result<QueueSession, DeadLetterError> {
        let connect = |error| DeadLetterError::Connect { address: address.to_string(), error };
        let connection = Dialer::new(address.clone(), "dead letters by hand")
            .connect()
            .await
            .map_err(connect)?;
        let channel =
            answered("channel.open", connection.create_channel()).await.map_err(connect)?;
        answered("confirm.select", channel.confirm_select(ConfirmSelectOptions::default()))
            .await
            .map_err(connect)?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = answered(
            "queue.declare",
            channel.queue_declare(queue.into(), passive, FieldTable::default()),
        )
        .await;
        let found =
            found.map_err(|error| DeadLetterError::Read { queue: queue.to_owned(), error })?;
        let count = found.message_count().min(selection.limit);
        Ok(QueueSession { connection, channel, count })
    }

    async fn next(&self, queue: &str) -> Result<Option<BasicGetMessage>, DeadLetterError> {
        let message =
            answered("basic.get", self.channel.basic_get(queue.into(), BasicGetOptions::default()))
                .await;
        message.map_err(|error| DeadLetterError::Read { queue: queue.to_owned(), error })
    }

    async fn send_back(
        &self,
        message: &BasicGetMessage,
        to: &Destination,
        done: u32,
    ) -> Result<(), DeadLetterError> {
        let (exchange, routing_key, properties) = match to {
            Destination::Queue(queue) => {
                ("", ShortString::from(queue.as_str()), restored(&message.delivery.properties))
            }
            Destination::Exchange(exchange) => (
                exchange.as_str(),
                message.delivery.routing_key.clone(),
                message.delivery.properties.clone(),
            ),
        };
        let failed = |error| DeadLetterError::Publish { done, error };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let body = &message.delivery.data;
        let sent =
            self.channel.basic_publish(exchange.into(), routing_key, options, body, properties);
        let confirm = answered("basic.publish", sent).await.map_err(failed)?;
        match answered("basic.publish", confirm).await.map_err(failed)? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                let to = match to {
                    Destination::Queue(name) | Destination::Exchange(name) => name.clone(),
                };
                Err(DeadLetterError::Returned { done, to })
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => {
                Err(failed(BrokerError::Session("the broker refuses the letter".to_owned())))
            }
        }
    }

    /// Closes the connection; the broker requeues the letters that are not acknowledged.
    async fn close(self) {
        close(&self.connection).await;
    }
}

impl Selection {
    fn matches(&self, letter: &DeadLetterSummary) -> bool {
        let Some(wanted) = &self.reason else { return true };
        letter.reason.as_deref().is_some_and(|reason| reason.contains(wanted.as_str()))
    }
}

impl DeadLetterSummary {
    fn of(place: u32, message: &BasicGetMessage) -> DeadLetterSummary {
        let properties = &message.delivery.properties;
        let message_id = properties.message_id().as_ref().map(ToString::to_string);
        DeadLetterSummary {
            place,
            reason: header(properties, REASON),
            message_id: message_id.or_else(|| header(properties, MESSAGE_ID)),
            routing_key: header(properties, ROUTING_KEY),
            bytes: message.delivery.data.len(),
        }
    }
}

fn header(properties: &BasicProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// The original properties of the message, without the headers that were added when it became a
/// dead letter.
fn restored(properties: &BasicProperties) -> BasicProperties {
    let is_added = |name: &str| {
        ADDED_PREFIXES.iter().any(|start| name.starts_with(start))
            || ADDED_HEADERS.contains(&name)
            || CC_HEADERS.contains(&name)
    };
    let mut own = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(|headers| headers.inner()) {
        if !is_added(name.as_str()) {
            own.insert(name.clone(), value.clone());
        }
    }
    let id = properties.message_id().clone().or_else(|| {
        let id = header(properties, MESSAGE_ID)?;
        ShortString::try_new(id).ok()
    });
    let restored = properties.clone().with_headers(own);
    match id {
        Some(id) => restored.with_message_id(id),
        None => restored,
    }
}
