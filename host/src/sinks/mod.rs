//! Where communications and dead letters go. A sink answers for one promise: what it says is published has been
//! confirmed by whoever took it.

pub mod lines;
pub mod rabbitmq;

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::address::Address;
use crate::communication::{Communication, DeadLetter};
use crate::config::Config;
use crate::health::Health;
use lines::{LinesDeadLetters, LinesSink};
use rabbitmq::{RabbitMqDeadLetters, RabbitMqSink};

/// Publications that may wait for their confirms at once. A busy broker takes a fifth of a second for a confirm, as it confirms what it has synced; and as
/// many at most go out again after a crash.
pub(crate) const OUTSTANDING_MAX: usize = 1024;

/// Takes communications.
pub trait Sink: Send {
    /// Takes `batch`, to be published in order behind everything that was taken before, as soon as there is room. What it returns tells when all
    /// of it is confirmed. Trouble that may pass is retried inside, for ever, with the same bytes and ids, and shown (log, metric,
    /// readiness); an error is final and ends the engine.
    fn publish(&mut self, batch: &[Communication]) -> impl Future<Output = Result<Confirmed, SinkError>> + Send;
}

/// Tells when a batch is confirmed. Whoever drops it before gives the batch up.
#[must_use]
#[derive(Debug)]
pub struct Confirmed(Option<oneshot::Receiver<()>>);

impl Confirmed {
    /// By a sink that had nothing to wait for.
    pub fn already() -> Confirmed {
        Confirmed(None)
    }

    /// As soon as this tells it.
    pub fn when(told: oneshot::Receiver<()>) -> Confirmed {
        Confirmed(Some(told))
    }

    /// Waits until all of the batch is confirmed; stopped in the middle, it can be called again.
    ///
    /// # Errors
    /// When nobody works on it any more.
    pub async fn wait(&mut self) -> Result<(), SinkError> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Whether all of the batch is confirmed by now.
    ///
    /// # Errors
    /// When nobody works on it any more.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        if let Some(told) = &mut self.0 {
            ready!(Pin::new(told).poll(context)).map_err(|_| SinkError::Died)?;
            self.0 = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// Takes dead letters, with the same promise.
pub trait DeadLetters: Send {
    fn bury(&mut self, batch: &[DeadLetter]) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Why a sink gives up for good.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error("can't write communications to {place}")]
    Write { place: String, source: std::io::Error },
    /// Whoever read the communications has enough of them; not a failure.
    #[error("nobody reads {place} any more")]
    Closed { place: String },
    #[error("{0}")]
    Configuration(String),
    #[error("the publishing task stopped unexpectedly; what it held goes out at the next start")]
    Died,
}

/// The sink that a configuration names.
#[derive(Debug)]
pub enum AnySink {
    RabbitMq(RabbitMqSink),
    Lines(LinesSink),
}

impl AnySink {
    /// Opens the file, or starts to connect.
    ///
    /// # Errors
    /// When the configuration can't work.
    pub async fn new(config: &Config, health: Health) -> Result<AnySink, SinkError> {
        Ok(match address(&config.sink, config)? {
            Address::RabbitMq(broker) => AnySink::RabbitMq(RabbitMqSink::new(*broker, &config.rabbitmq, health)?),
            Address::File(path) => AnySink::Lines(LinesSink::file(&path).await?),
            Address::Standard => AnySink::Lines(LinesSink::standard()),
        })
    }

    /// Returns once the route out is there; to be called before the first event is taken.
    ///
    /// # Errors
    /// Never for trouble that may pass.
    pub async fn check_route(&mut self) -> Result<(), SinkError> {
        match self {
            AnySink::RabbitMq(sink) => sink.check_route().await,
            AnySink::Lines(_) => Ok(()),
        }
    }
}

impl Sink for AnySink {
    async fn publish(&mut self, batch: &[Communication]) -> Result<Confirmed, SinkError> {
        match self {
            AnySink::RabbitMq(sink) => sink.publish(batch).await,
            AnySink::Lines(sink) => sink.publish(batch).await,
        }
    }
}

/// Where the dead letters of the configuration's source go: to the same broker, beside the same file, or, for standard
/// input, into the file that the caller names.
#[derive(Debug)]
pub enum AnyDeadLetters {
    RabbitMq(RabbitMqDeadLetters),
    Lines(LinesDeadLetters),
}

impl AnyDeadLetters {
    /// Starts to connect; a file is made when the first one comes.
    ///
    /// # Errors
    /// When the configuration can't work.
    pub fn new(config: &Config, of_standard_input: &Path, health: Health) -> Result<AnyDeadLetters, SinkError> {
        Ok(match address(&config.source, config)? {
            Address::RabbitMq(broker) => {
                AnyDeadLetters::RabbitMq(RabbitMqDeadLetters::new(*broker, &config.rabbitmq, health)?)
            }
            Address::File(path) => AnyDeadLetters::Lines(LinesDeadLetters::beside(&path)),
            Address::Standard => AnyDeadLetters::Lines(LinesDeadLetters::file(of_standard_input)),
        })
    }
}

impl DeadLetters for AnyDeadLetters {
    async fn bury(&mut self, batch: &[DeadLetter]) -> Result<(), SinkError> {
        match self {
            AnyDeadLetters::RabbitMq(letters) => letters.bury(batch).await,
            AnyDeadLetters::Lines(letters) => letters.bury(batch).await,
        }
    }
}

fn address(text: &str, config: &Config) -> Result<Address, SinkError> {
    Address::new(text, &config.rabbitmq).map_err(|error| SinkError::Configuration(error.to_string()))
}
