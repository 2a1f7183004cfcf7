//! Sinks for communications and dead letters. A sink reports a message as published only after the
//! receiving side (broker, disk or operating system) has confirmed it.

pub mod lines;
pub mod rabbitmq;

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::RabbitMqConfig;
use crate::address::Address;
use crate::communication::{Communication, DeadLetter};
use hailer_base::health::Health;
use lines::{LinesDeadLetterSink, LinesSink};
use rabbitmq::{RabbitMqDeadLetterSink, RabbitMqSink};

/// The maximum number of publications that wait for their confirms. A busy broker confirms after a
/// fifth of a second, because it confirms only what it has synced. After a crash, at most this many
/// are published again.
pub const OUTSTANDING_MAX: usize = 1024;

/// Publishes communications.
pub trait Sink: Send {
    /// Queues `batch` behind all earlier ones, in order, as soon as there is room. The returned
    /// [`PendingConfirm`] completes when the whole batch is confirmed. Temporary failures are
    /// retried without limit, with the same bytes and ids, and shown in log, metrics and readiness.
    /// An error is final and ends the engine.
    fn publish(
        &mut self,
        batch: &[Communication],
    ) -> impl Future<Output = Result<PendingConfirm, SinkError>> + Send;
}

/// Completes when a batch is confirmed. Dropping it earlier abandons the batch.
#[must_use]
#[derive(Debug)]
pub struct PendingConfirm(Option<oneshot::Receiver<()>>);

impl PendingConfirm {
    /// The result of a sink that has already published the batch.
    pub fn done() -> PendingConfirm {
        PendingConfirm(None)
    }

    /// Completes when `confirmed` receives its message.
    pub fn from_receiver(confirmed: oneshot::Receiver<()>) -> PendingConfirm {
        PendingConfirm(Some(confirmed))
    }

    /// Waits until the whole batch is confirmed. It is cancel-safe: it can be called again.
    ///
    /// # Errors
    /// The publishing task has ended.
    pub async fn wait(&mut self) -> Result<(), SinkError> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Polls whether the whole batch is confirmed.
    ///
    /// # Errors
    /// The publishing task has ended.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        if let Some(confirmed) = &mut self.0 {
            ready!(Pin::new(confirmed).poll(context)).map_err(|_| SinkError::Died)?;
            self.0 = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// Publishes dead letters, and returns only when they are confirmed.
pub trait DeadLetterSink: Send {
    fn dead_letter(
        &mut self,
        batch: &[DeadLetter],
    ) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// A final error of a sink.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error("cannot write to {place}")]
    Write { place: String, source: std::io::Error },
    /// The reader of the communications has closed its end; this is not a failure.
    #[error("the reader of {place} has closed it")]
    Closed { place: String },
    #[error("{0}")]
    Configuration(String),
    #[error(
        "the publishing task stopped unexpectedly; the next start publishes what it had not \
            published"
    )]
    Died,
}

/// The sink that the configuration names.
#[derive(Debug)]
pub enum AnySink {
    RabbitMq(RabbitMqSink),
    Lines(LinesSink),
}

impl AnySink {
    /// Opens the file, or starts to connect.
    ///
    /// # Errors
    /// The configuration is unusable, or the file cannot be opened.
    pub async fn new(
        sink: &str,
        config: &RabbitMqConfig,
        health: Health,
    ) -> Result<AnySink, SinkError> {
        Ok(match address(sink, config)? {
            Address::RabbitMq(broker) => {
                AnySink::RabbitMq(RabbitMqSink::new(*broker, config, health)?)
            }
            Address::File(path) => AnySink::Lines(LinesSink::file(&path).await?),
            Address::Standard => AnySink::Lines(LinesSink::standard()),
        })
    }

    /// Returns when the broker is reachable and has the exchange. Call it before the first event is
    /// accepted.
    ///
    /// # Errors
    /// The publishing task has ended; temporary failures are not an error.
    pub async fn check_route(&mut self) -> Result<(), SinkError> {
        match self {
            AnySink::RabbitMq(sink) => sink.check_route().await,
            AnySink::Lines(_) => Ok(()),
        }
    }
}

impl Sink for AnySink {
    async fn publish(&mut self, batch: &[Communication]) -> Result<PendingConfirm, SinkError> {
        match self {
            AnySink::RabbitMq(sink) => sink.publish(batch).await,
            AnySink::Lines(sink) => sink.publish(batch).await,
        }
    }
}

/// The dead-letter sink that belongs to the configured source: the same broker, a file next to the
/// source's file, or, for standard input, a file that the caller names.
#[derive(Debug)]
pub enum AnyDeadLetterSink {
    RabbitMq(RabbitMqDeadLetterSink),
    Lines(LinesDeadLetterSink),
}

impl AnyDeadLetterSink {
    /// Starts to connect; a file is created with the first dead letter.
    ///
    /// # Errors
    /// The configuration is unusable.
    pub fn new(
        source: &str,
        config: &RabbitMqConfig,
        of_standard_input: &Path,
        health: Health,
    ) -> Result<AnyDeadLetterSink, SinkError> {
        Ok(match address(source, config)? {
            Address::RabbitMq(broker) => {
                AnyDeadLetterSink::RabbitMq(RabbitMqDeadLetterSink::new(*broker, config, health)?)
            }
            Address::File(path) => AnyDeadLetterSink::Lines(LinesDeadLetterSink::beside(&path)),
            Address::Standard => {
                AnyDeadLetterSink::Lines(LinesDeadLetterSink::file(of_standard_input))
            }
        })
    }
}

impl DeadLetterSink for AnyDeadLetterSink {
    async fn dead_letter(&mut self, batch: &[DeadLetter]) -> Result<(), SinkError> {
        match self {
            AnyDeadLetterSink::RabbitMq(letters) => letters.dead_letter(batch).await,
            AnyDeadLetterSink::Lines(letters) => letters.dead_letter(batch).await,
        }
    }
}

fn address(text: &str, config: &RabbitMqConfig) -> Result<Address, SinkError> {
    Address::new(text, config).map_err(|error| SinkError::Configuration(error.to_string()))
}
