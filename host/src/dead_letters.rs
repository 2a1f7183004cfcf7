//! Dead letters of a broker, for an operator: a look at them, and the way back into the queue that they came from.
//!
//! **A letter is acknowledged only after the broker has confirmed its copy, and has not returned it.** So a failure in the middle may put one letter back
//! twice, and loses none. It refuses to publish to the exchange that a letter came through: other queues may be bound there.

use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::protocol::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Confirmation, Connection};

use crate::address::BrokerAddress;
use crate::broker::{BrokerError, Dialer, SENDS_COPIES};

/// The longest wait for an answer of the broker to one request.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// What the engine adds to a dead letter's headers, and what a broker adds when it dead-letters a message itself.
const ADDED: [&str; 3] = ["x-hailer-", "x-first-death-", "x-last-death-"];
const ADDED_WHOLE: [&str; 2] = ["x-death", "x-delivery-count"];
const REASON: &str = "x-hailer-reason";
const ROUTING_KEY: &str = "x-hailer-routing-key";
const MESSAGE_ID: &str = "x-hailer-message-id";

/// One dead letter, without its body, which may be personal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// Its place in the queue, from 1 on.
    pub place: u32,
    /// `None` for one that the broker has dead-lettered.
    pub reason: Option<String>,
    pub message_id: Option<String>,
    pub routing_key: Option<String>,
    pub bytes: usize,
}

/// Where letters are taken from, and where they go.
#[derive(Clone, Debug)]
pub struct Way {
    pub from: String,
    pub to: To,
}

/// Where a letter goes.
#[derive(Clone, Debug)]
pub enum To {
    /// A queue, whatever is bound to whatever exchange.
    Queue(String),
    /// An exchange, with the routing key that the message had.
    Exchange(String),
}

/// Which letters are meant, of those that are in the queue when it begins.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// At most so many are looked at, from the queue's head on.
    pub limit: u32,
    /// Only those whose reason contains this.
    pub reason: Option<String>,
}

/// What was put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PutBack {
    pub put_back: u32,
    /// Looked at, and not meant.
    pub passed_over: u32,
}

/// Why dead letters can't be read or put back.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error("can't connect to {address}: {error}")]
    Connect { address: String, error: BrokerError },
    #[error("the queue `{queue}` can't be read: {error}")]
    Read { queue: String, error: BrokerError },
    #[error("{done} put back; the next can't be ({error}): it stays where it is")]
    Publish { done: u32, error: BrokerError },
    #[error("{done} put back; no queue takes the next: it stays where it is; make `{to}`, or bind a queue to it")]
    Returned { done: u32, to: String },
}

/// Looks at the first letters of a queue, and gives them all back.
///
/// # Errors
/// When the broker can't be reached, or the queue not be read.
pub async fn list(address: &BrokerAddress, queue: &str, chosen: &Chosen) -> Result<Vec<Letter>, DeadLetterError> {
    let session = Session::open(address, queue, chosen).await?;
    let mut letters = Vec::new();
    for place in 1..=session.count {
        let Some(message) = session.next(queue).await? else { break };
        let letter = Letter::of(place, &message);
        if chosen.means(&letter) {
            letters.push(letter);
        }
    }
    session.close().await;
    Ok(letters)
}

/// Puts letters back, one after another and in their order: published, confirmed, acknowledged.
///
/// # Errors
/// At the first that can't be put back; it stays, and those before it are back.
pub async fn put_back(address: &BrokerAddress, way: &Way, chosen: &Chosen) -> Result<PutBack, DeadLetterError> {
    let session = Session::open(address, &way.from, chosen).await?;
    let mut done = PutBack::default();
    for place in 1..=session.count {
        let Some(message) = session.next(&way.from).await? else { break };
        if !chosen.means(&Letter::of(place, &message)) {
            // It goes back to its place when the session ends.
            done.passed_over += 1;
            continue;
        }
        session.send_back(&message, &way.to, done.put_back).await?;
        let acknowledged = answered(message.ack(BasicAckOptions::default())).await;
        acknowledged.map_err(|error| DeadLetterError::Publish { done: done.put_back, error })?;
        done.put_back += 1;
    }
    session.close().await;
    Ok(done)
}

struct Session {
    connection: Connection,
    channel: Channel,
    /// How many letters there were when it began, or fewer if fewer are meant: one that comes back at once must not be put back for ever.
    count: u32,
}

impl Session {
    async fn open(address: &BrokerAddress, queue: &str, chosen: &Chosen) -> Result<Session, DeadLetterError> {
        let connect = |error| DeadLetterError::Connect { address: address.to_string(), error };
        let connection = Dialer::new(address.clone(), "dead letters by hand").connect().await.map_err(connect)?;
        let channel = answered(connection.create_channel()).await.map_err(connect)?;
        answered(channel.confirm_select(ConfirmSelectOptions::default())).await.map_err(connect)?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = answered(channel.queue_declare(queue.into(), passive, FieldTable::default())).await;
        let found = found.map_err(|error| DeadLetterError::Read { queue: queue.to_owned(), error })?;
        let count = found.message_count().min(chosen.limit);
        Ok(Session { connection, channel, count })
    }

    async fn next(&self, queue: &str) -> Result<Option<BasicGetMessage>, DeadLetterError> {
        let message = answered(self.channel.basic_get(queue.into(), BasicGetOptions::default())).await;
        message.map_err(|error| DeadLetterError::Read { queue: queue.to_owned(), error })
    }

    async fn send_back(&self, message: &BasicGetMessage, to: &To, done: u32) -> Result<(), DeadLetterError> {
        let (exchange, routing_key, properties) = match to {
            To::Queue(queue) => ("", ShortString::from(queue.as_str()), restored(&message.delivery.properties)),
            To::Exchange(exchange) => {
                (exchange.as_str(), message.delivery.routing_key.clone(), message.delivery.properties.clone())
            }
        };
        let failed = |error| DeadLetterError::Publish { done, error };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let body = &message.delivery.data;
        let sent = self.channel.basic_publish(exchange.into(), routing_key, options, body, properties);
        let confirm = answered(sent).await.map_err(failed)?;
        match answered(confirm).await.map_err(failed)? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                let to = match to {
                    To::Queue(name) | To::Exchange(name) => name.clone(),
                };
                Err(DeadLetterError::Returned { done, to })
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => {
                Err(failed(BrokerError::Session("the broker refuses it".to_owned())))
            }
        }
    }

    /// What was taken and not acknowledged goes back to its place.
    async fn close(self) {
        let _ = answered(self.connection.close(200, "OK".into())).await;
    }
}

async fn answered<T>(asked: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, BrokerError> {
    let timeout_ms = ANSWER_MAX.as_millis() as u64;
    let answer = tokio::time::timeout(ANSWER_MAX, asked).await;
    Ok(answer.map_err(|_| BrokerError::NoAnswer { timeout_ms })??)
}

impl Chosen {
    fn means(&self, letter: &Letter) -> bool {
        let Some(wanted) = &self.reason else { return true };
        letter.reason.as_deref().is_some_and(|reason| reason.contains(wanted.as_str()))
    }
}

impl Letter {
    fn of(place: u32, message: &BasicGetMessage) -> Letter {
        let properties = &message.delivery.properties;
        let message_id = properties.message_id().as_ref().map(ToString::to_string);
        Letter {
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

/// The message's own properties: without the headers that were added when it became a dead letter.
fn restored(properties: &BasicProperties) -> BasicProperties {
    let is_added = |name: &str| {
        ADDED.iter().any(|start| name.starts_with(start)) || ADDED_WHOLE.contains(&name) || SENDS_COPIES.contains(&name)
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
