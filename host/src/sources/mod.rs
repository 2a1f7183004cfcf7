//! Where events come from. A source hands each message to the [`Intake`] with a receipt, and forgets it only when its
//! ledger says so.

pub mod lines;
pub mod rabbitmq;

use crate::delivery::Delivery;

/// The pipeline's entrance, as a source sees it.
pub trait Intake: Clone + Send + Sync + 'static {
    /// Hands a delivery over; waits while the pipeline is full. `Err` means that the pipeline has closed and the
    /// source should stop.
    fn accept(&self, delivery: Delivery) -> impl Future<Output = Result<(), IntakeClosed>> + Send;
}

/// The pipeline takes no more deliveries.
#[derive(Debug, thiserror::Error)]
#[error("the pipeline has closed")]
pub struct IntakeClosed;

/// Why a source gives up for good. Trouble that may pass is retried inside.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("can't read events from {place}")]
    Read { place: String, source: std::io::Error },
    #[error("{0}")]
    Configuration(String),
}

/// An error with what caused it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
