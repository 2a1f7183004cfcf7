//! Where events come from. A source hands each message to the [`Intake`] with a receipt, and forgets it only when its
//! ledger says so.

pub mod lines;
pub mod rabbitmq;

use crate::address::Address;
use crate::clock::Millis;
use crate::config::Config;
use crate::delivery::{Delivery, Session};
use crate::health::Health;
use crate::shutdown::Shutdown;
use lines::LinesSource;
use rabbitmq::RabbitMqSource;

/// The pipeline's entrance, as a source sees it.
pub trait Intake: Clone + Send + Sync + 'static {
    /// Hands a delivery over; waits while the pipeline is full. `Err` means that the pipeline has closed and the
    /// source should stop.
    fn accept(&self, delivery: Delivery) -> impl Future<Output = Result<(), IntakeClosed>> + Send;

    /// Says that nothing has come for a while, and that what waits for what comes next should wait no longer.
    fn rested(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Waits while intake is paused: as long as `accept` would wait for more than its turn.
    fn unpaused(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Waits until a paused intake has room for more than a few deliveries.
    fn refilled(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Says that nothing more will come, as the input has ended; waits until what follows from that is under way.
    fn ended(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// The session has ended, and the source is sure that each of its acknowledgements has arrived: nothing that was decided in it comes again.
    fn session_settled(&self, _session: &Session) {}

    /// Everything that earlier sessions left unacknowledged has come again in this session or in one before it, and has been decided: nothing else of
    /// them comes again.
    fn earlier_sessions_settled(&self, _session: &Session) {}

    /// The input has ended and is settled: waits until every timer that has fallen due by now is on its way. A run that is shorter than the time
    /// between two looks at the timers fires them, too.
    fn handled_all(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Everything that was waiting in the source at `moment` has been settled, and everything before that. A source
    /// that can't be sure says nothing; it may say the same twice, or an earlier moment after a later one.
    fn handled_until(&self, moment: Millis);
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

/// The source that a configuration names.
#[derive(Debug)]
pub enum Source {
    RabbitMq(Box<RabbitMqSource>),
    Lines(LinesSource),
}

impl Source {
    /// A source that has not started yet. `run` tells this run of the engine from every other (see [`lines`]).
    ///
    /// # Errors
    /// When the configuration can't work.
    pub fn new(config: &Config, run: &str, health: Health) -> Result<Source, SourceError> {
        let address = Address::new(&config.source, &config.rabbitmq);
        let address = address.map_err(|error| SourceError::Configuration(with_causes(&error)))?;
        let line_bytes_max = lines::line_bytes_max(config.event.bytes_max);
        Ok(match address {
            Address::RabbitMq(broker) => {
                Source::RabbitMq(Box::new(RabbitMqSource::new(*broker, &config.rabbitmq, health)?))
            }
            Address::File(path) => Source::Lines(LinesSource::file(&path, line_bytes_max, health)),
            Address::Standard => Source::Lines(LinesSource::standard(run, line_bytes_max, health)),
        })
    }

    /// Hands over what comes until there is no more, the shutdown drains or the intake closes; returns when nothing of
    /// it is outstanding.
    ///
    /// # Errors
    /// When it gives up for good.
    pub async fn run<I: Intake>(self, intake: I, shutdown: Shutdown) -> Result<(), SourceError> {
        match self {
            Source::RabbitMq(source) => source.run(intake, shutdown).await,
            Source::Lines(source) => source.run(intake, shutdown).await,
        }
    }
}

/// An error with what caused it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
