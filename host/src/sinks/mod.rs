//! Where communications and dead letters go. A sink answers for one promise: what it says is published has been
//! confirmed by whoever took it.

pub mod lines;
pub mod rabbitmq;

use crate::communication::{Communication, DeadLetter};

/// Takes communications.
pub trait Sink: Send {
    /// Publishes all of `batch`, in order, and returns when every one is confirmed. Trouble that may pass is retried inside, for ever,
    /// with the same bytes and ids, and shown (log, metric, readiness); an error is final and ends the engine.
    fn publish(&mut self, batch: &[Communication]) -> impl Future<Output = Result<(), SinkError>> + Send;
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
    #[error("{0}")]
    Configuration(String),
}
