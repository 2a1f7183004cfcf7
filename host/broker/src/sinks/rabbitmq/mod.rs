//! Sinks that publish communications to a RabbitMQ topic exchange, and dead letters to a queue.
//!
//! **Published means that the broker has confirmed it and has not returned it.** After any other
//! result (no broker, no exchange, no binding, a refusal, an alarm), the same bytes and ids are
//! published again, without a limit of attempts. The health report shows the failure as `sink` or
//! `deadletters`. Nothing is declared here: a missing exchange or queue is reported, and
//! `hailer topology --apply` creates it.
//!
//! Communications and dead letters each have their own connection, separate from the source's,
//! because an alarm blocks connections that publish.

mod publisher;
mod reporter;
mod session;

use std::sync::Arc;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, LongString, ShortString};

use crate::RabbitMqConfig;
use crate::address::{BrokerAddress, NAME_BYTES_MAX};
use crate::communication::{Communication, DeadLetter};
use crate::connection::Dialer;
use hailer_base::health::Health;

use super::{DeadLetterSink, PendingConfirm, Sink, SinkError};
use publisher::Publisher;
use session::{Publication, Route};

const APP_ID: &str = "hailer";
const PERSISTENT: u8 = 2;
/// The longest reason in a header, in bytes; the rest is cut off.
const REASON_BYTES_MAX: usize = 1024;

/// Publishes communications to one exchange.
#[derive(Debug)]
pub struct RabbitMqSink {
    publisher: Publisher,
    exchange: ShortString,
}

/// Publishes dead letters to one queue.
#[derive(Debug)]
pub struct RabbitMqDeadLetterSink {
    publisher: Publisher,
    queue: ShortString,
}

impl RabbitMqSink {
    /// Starts to connect in the background; needs a running tokio runtime.
    ///
    /// # Errors
    /// The configuration is unusable, whatever the broker answers.
    pub fn new(
        address: BrokerAddress,
        config: &RabbitMqConfig,
        health: Health,
    ) -> Result<Self, SinkError> {
        let exchange = name("rabbitmq.exchange", &config.exchange)?;
        check_files(&address)?;
        let route = Route::Exchange(exchange.clone());
        let publisher = Publisher::start(Dialer::new(address, "sink"), route, "sink", health);
        Ok(Self { publisher, exchange })
    }

    /// Returns when the broker is reachable and has the exchange. Whether a queue is bound to the
    /// exchange is unknown until a message is sent. A communication that no binding takes is not
    /// confirmed, and the health report shows it.
    ///
    /// # Errors
    /// The publishing task has ended; temporary failures are not an error.
    pub async fn check_route(&mut self) -> Result<(), SinkError> {
        self.publisher.publish(Vec::new()).await?.wait().await
    }
}

impl Sink for RabbitMqSink {
    async fn publish(&mut self, batch: &[Communication]) -> Result<PendingConfirm, SinkError> {
        let publications =
            batch.iter().map(|one| communication_publication(&self.exchange, one).map(Arc::new));
        let publications = publications.collect::<Result<Vec<_>, _>>()?;
        self.publisher.publish(publications).await
    }
}

impl RabbitMqDeadLetterSink {
    /// Starts to connect in the background; needs a running tokio runtime.
    ///
    /// # Errors
    /// The configuration is unusable, whatever the broker answers.
    pub fn new(
        address: BrokerAddress,
        config: &RabbitMqConfig,
        health: Health,
    ) -> Result<Self, SinkError> {
        let queue = name("rabbitmq.deadletter_queue", &config.deadletter_queue)?;
        check_files(&address)?;
        let route = Route::Queue(queue.clone());
        let publisher =
            Publisher::start(Dialer::new(address, "dead letters"), route, "deadletters", health);
        Ok(Self { publisher, queue })
    }

    /// Returns when the broker is reachable and has the queue.
    ///
    /// # Errors
    /// The publishing task has ended; temporary failures are not an error.
    pub async fn check_route(&mut self) -> Result<(), SinkError> {
        self.publisher.publish(Vec::new()).await?.wait().await
    }
}

impl DeadLetterSink for RabbitMqDeadLetterSink {
    async fn dead_letter(&mut self, batch: &[DeadLetter]) -> Result<(), SinkError> {
        let publications =
            batch.iter().map(|one| Arc::new(dead_letter_publication(&self.queue, one))).collect();
        self.publisher.publish(publications).await?.wait().await
    }
}

fn communication_publication(
    exchange: &ShortString,
    communication: &Communication,
) -> Result<Publication, SinkError> {
    let Communication { id, routing_key, body, created_ms } = communication;
    let routing_key = ShortString::try_new(&**routing_key).map_err(|_| {
        let reason = format!("routing key `{routing_key}` is longer than {NAME_BYTES_MAX} bytes");
        SinkError::Configuration(format!("{reason}: give the campaign a shorter name"))
    })?;
    let properties = properties(*created_ms).with_content_type("application/json".into());
    let properties = match ShortString::try_new(&**id) {
        Ok(id) => properties.with_message_id(id),
        Err(_) => {
            return Err(SinkError::Configuration(format!("communication id `{id}` is too long")));
        }
    };
    Ok(Publication { exchange: exchange.clone(), routing_key, properties, body: body.clone() })
}

/// The message with its body, properties and headers unchanged; reason and origin are added as
/// headers. A message that was a dead letter before keeps its first routing key and id.
fn dead_letter_publication(queue: &ShortString, letter: &DeadLetter) -> Publication {
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
    let short =
        |text: &Option<Box<str>>| text.as_deref().and_then(|text| ShortString::try_new(text).ok());
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
    Publication {
        exchange: "".into(),
        routing_key: queue.clone(),
        properties,
        body: letter.body.clone(),
    }
}

fn properties(at_ms: i64) -> BasicProperties {
    let properties =
        BasicProperties::default().with_delivery_mode(PERSISTENT).with_app_id(APP_ID.into());
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
        let cause = std::error::Error::source(&error)
            .map_or_else(String::new, |cause| format!(": {cause}"));
        SinkError::Configuration(format!("{error}{cause}"))
    })
}
