//! Communications to a topic exchange of RabbitMQ, and dead letters to a queue.
//!
//! **Published means that the broker has confirmed it and has not returned it.** Whatever else happens (no broker, no
//! exchange, no binding, a refusal, an alarm) is waited out for ever with the same bytes and ids, and shown in the
//! health report as `sink` or `deadletters`. Nothing is declared here: what is missing is told, and made by
//! `hailer topology --apply`.
//!
//! Each kind has a connection of its own, apart from the source's: an alarm blocks connections that publish.

mod publisher;
mod session;

use std::sync::Arc;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, LongString, ShortString};

use crate::address::BrokerAddress;
use crate::broker::{Dialer, NAME_BYTES_MAX};
use crate::communication::{Communication, DeadLetter};
use crate::config::RabbitMqConfig;
use crate::health::Health;

use super::{Confirmed, DeadLetters, Sink, SinkError};
use publisher::Publisher;
use session::{Publication, Route};

const APP_ID: &str = "hailer";
const PERSISTENT: u8 = 2;
/// A reason is a sentence; more of it is cut.
const REASON_BYTES_MAX: usize = 1024;

/// Publishes communications to one exchange.
#[derive(Debug)]
pub struct RabbitMqSink {
    publisher: Publisher,
    exchange: ShortString,
}

/// Publishes dead letters to one queue.
#[derive(Debug)]
pub struct RabbitMqDeadLetters {
    publisher: Publisher,
    queue: ShortString,
}

impl RabbitMqSink {
    /// Starts to connect in the background; needs a running tokio runtime.
    ///
    /// # Errors
    /// When the configuration can't work whatever the broker says.
    pub fn new(address: BrokerAddress, config: &RabbitMqConfig, health: Health) -> Result<Self, SinkError> {
        let exchange = name("rabbitmq.exchange", &config.exchange)?;
        check_files(&address)?;
        let route = Route::Exchange(exchange.clone());
        let publisher = Publisher::start(Dialer::new(address, "sink"), route, "sink", health);
        Ok(Self { publisher, exchange })
    }

    /// Returns once the broker is there and has the exchange. What it can't see without sending something is whether
    /// anything is bound; a communication that nothing takes is not confirmed, and shows.
    ///
    /// # Errors
    /// Never for trouble that may pass.
    pub async fn check_route(&mut self) -> Result<(), SinkError> {
        self.publisher.publish(Vec::new()).await?.wait().await
    }
}

impl Sink for RabbitMqSink {
    async fn publish(&mut self, batch: &[Communication]) -> Result<Confirmed, SinkError> {
        let publications = batch.iter().map(|one| communication(&self.exchange, one).map(Arc::new));
        let publications = publications.collect::<Result<Vec<_>, _>>()?;
        self.publisher.publish(publications).await
    }
}

impl RabbitMqDeadLetters {
    /// Starts to connect in the background; needs a running tokio runtime.
    ///
    /// # Errors
    /// When the configuration can't work whatever the broker says.
    pub fn new(address: BrokerAddress, config: &RabbitMqConfig, health: Health) -> Result<Self, SinkError> {
        let queue = name("rabbitmq.deadletter_queue", &config.deadletter_queue)?;
        check_files(&address)?;
        let route = Route::Queue(queue.clone());
        let publisher = Publisher::start(Dialer::new(address, "dead letters"), route, "deadletters", health);
        Ok(Self { publisher, queue })
    }

    /// Returns once the broker is there and has the queue.
    ///
    /// # Errors
    /// Never for trouble that may pass.
    pub async fn check_route(&mut self) -> Result<(), SinkError> {
        self.publisher.publish(Vec::new()).await?.wait().await
    }
}

impl DeadLetters for RabbitMqDeadLetters {
    async fn bury(&mut self, batch: &[DeadLetter]) -> Result<(), SinkError> {
        let publications = batch.iter().map(|one| Arc::new(dead_letter(&self.queue, one))).collect();
        self.publisher.publish(publications).await?.wait().await
    }
}

fn communication(exchange: &ShortString, communication: &Communication) -> Result<Publication, SinkError> {
    let Communication { id, routing_key, body, created_ms } = communication;
    let routing_key = ShortString::try_new(&**routing_key).map_err(|_| {
        let reason = format!("routing key `{routing_key}` is longer than {NAME_BYTES_MAX} bytes");
        SinkError::Configuration(format!("{reason}: give the campaign a shorter name"))
    })?;
    let properties = properties(*created_ms).with_content_type("application/json".into());
    let properties = match ShortString::try_new(&**id) {
        Ok(id) => properties.with_message_id(id),
        Err(_) => return Err(SinkError::Configuration(format!("communication id `{id}` is too long"))),
    };
    Ok(Publication { exchange: exchange.clone(), routing_key, properties, body: body.clone() })
}

/// The message as it came, with its producer's properties and headers, and what is known of it in headers of its own. A message
/// that has been a dead letter before keeps its first routing key and id.
fn dead_letter(queue: &ShortString, letter: &DeadLetter) -> Publication {
    let origin = letter.origin.as_deref().cloned().unwrap_or_default();
    let mut headers = origin.headers.unwrap_or_default();
    let text = |value: &str| AMQPValue::LongString(LongString::from(cut(value, REASON_BYTES_MAX)));
    headers.insert("x-hailer-reason".into(), text(&letter.reason));
    let origins = [
        ("x-hailer-routing-key", &letter.routing_key),
        ("x-hailer-message-id", &letter.message_id),
        ("x-hailer-position", &letter.position),
    ];
    for (name, value) in origins {
        if let Some(value) = value
            && !headers.contains_key(name)
        {
            headers.insert(name.into(), text(value));
        }
    }
    let short = |text: &Option<Box<str>>| text.as_deref().and_then(|text| ShortString::try_new(text).ok());
    let mut properties = properties(letter.received_ms).with_headers(headers);
    if let Some(seconds) = origin.timestamp_s {
        properties = properties.with_timestamp(seconds);
    }
    if let Some(id) = short(&letter.message_id) {
        properties = properties.with_message_id(id);
    }
    if let Some(kind) = short(&origin.kind) {
        properties = properties.with_type(kind);
    }
    if let Some(content_type) = short(&origin.content_type) {
        properties = properties.with_content_type(content_type);
    }
    if let Some(encoding) = short(&origin.content_encoding) {
        properties = properties.with_content_encoding(encoding);
    }
    if let Some(id) = short(&origin.correlation_id) {
        properties = properties.with_correlation_id(id);
    }
    Publication { exchange: "".into(), routing_key: queue.clone(), properties, body: letter.body.clone() }
}

fn properties(at_ms: i64) -> BasicProperties {
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_app_id(APP_ID.into());
    match u64::try_from(at_ms) {
        Ok(at_ms) => properties.with_timestamp(at_ms / 1000),
        Err(_) => properties,
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn name(setting: &str, value: &str) -> Result<ShortString, SinkError> {
    match ShortString::try_new(value) {
        Ok(name) if !value.is_empty() => Ok(name),
        _ => {
            let reason = format!("{setting} `{value}` must have 1 to {NAME_BYTES_MAX} bytes");
            Err(SinkError::Configuration(reason))
        }
    }
}

fn check_files(address: &BrokerAddress) -> Result<(), SinkError> {
    address.resolve().map(drop).map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        SinkError::Configuration(format!("{error}{cause}"))
    })
}
