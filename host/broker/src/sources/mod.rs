//! Sources of events. A source hands each message to the [`Intake`] with a receipt, and
//! acknowledges it only after its ledger has it settled.

pub mod lines;
pub mod rabbitmq;

use crate::RabbitMqConfig;
use crate::address::Address;
use crate::delivery::{Delivery, Session};
use hailer_base::clock::Millis;
use hailer_base::health::Health;
use hailer_base::shutdown::Shutdown;
use lines::LinesSource;
use rabbitmq::RabbitMqSource;

/// The entrance of the pipeline, as sources use it.
pub trait Intake: Clone + Send + Sync + 'static {
    /// Hands a delivery over; waits while the pipeline is full. `Err` means that the pipeline has
    /// closed and the source should stop.
    fn accept(&self, delivery: Delivery) -> impl Future<Output = Result<(), IntakeClosed>> + Send;

    /// Reports that no message has come for some time. The pipeline then stops holding events back
    /// for later ones.
    fn idle(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Waits while intake is paused. A pipeline that is full for a moment is not paused.
    fn wait_until_unpaused(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Waits until a paused intake has room for more than a few deliveries.
    fn wait_for_room(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Reports that the input has ended; waits until the work that follows from that has started.
    fn input_ended(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Reports that the session has ended, and that the broker has certainly received all its
    /// acknowledgements. No event that was decided in it is delivered again.
    fn session_settled(&self, _session: &Session) {}

    /// Reports that all events that earlier sessions left unacknowledged were delivered again, in
    /// this session or one before it, and decided. No other event of those sessions is delivered
    /// again.
    fn earlier_sessions_settled(&self, _session: &Session) {}

    /// Waits until every timer that is due by now has been handed to its shard. The source calls it
    /// when its input has ended and is settled. So a run that is shorter than the interval between
    /// two timer checks fires them, too.
    fn fire_due_timers(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Reports that everything that was waiting in the source at `moment`, and everything before
    /// it, is settled. A source that is not sure reports nothing. It may repeat a moment, or report
    /// an earlier one after a later one.
    fn handled_until(&self, moment: Millis);
}

/// The error of an intake whose pipeline has closed.
#[derive(Debug, thiserror::Error)]
#[error("the pipeline has closed")]
pub struct IntakeClosed;

/// A final error of a source. Temporary failures are retried inside the source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read events from {place}")]
    Read { place: String, source: std::io::Error },
    #[error("{0}")]
    Configuration(String),
}

/// The source that the configuration names.
#[derive(Debug)]
pub enum Source {
    RabbitMq(Box<RabbitMqSource>),
    Lines(LinesSource),
}

impl Source {
    /// Makes a source that has not started yet. `run` identifies this run of the engine (see
    /// [`lines`]).
    ///
    /// # Errors
    /// The configuration is unusable.
    pub fn new(
        source: &str,
        config: &RabbitMqConfig,
        event_bytes_max: usize,
        run: &str,
        health: Health,
    ) -> Result<Source, SourceError> {
        let address = Address::new(source, config);
        let address = address.map_err(|error| SourceError::Configuration(with_causes(&error)))?;
        let line_bytes_max = lines::line_bytes_max(event_bytes_max);
        Ok(match address {
            Address::RabbitMq(broker) => {
                Source::RabbitMq(Box::new(RabbitMqSource::new(*broker, config, health)?))
            }
            Address::File(path) => Source::Lines(LinesSource::file(&path, line_bytes_max, health)),
            Address::Standard => Source::Lines(LinesSource::standard(run, line_bytes_max, health)),
        })
    }

    /// Hands messages over until the input ends, the shutdown drains or the intake closes. Returns
    /// when no delivery is outstanding, or when the time for draining is up.
    ///
    /// # Errors
    /// The failure is final.
    pub async fn run<I: Intake>(self, intake: I, shutdown: Shutdown) -> Result<(), SourceError> {
        match self {
            Source::RabbitMq(source) => source.run(intake, shutdown).await,
            Source::Lines(source) => source.run(intake, shutdown).await,
        }
    }
}

/// The text of an error and of its causes, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
