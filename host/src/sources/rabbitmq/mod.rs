//! Events from a queue of RabbitMQ.
//!
//! Owns one session after another, on a connection of its own (a memory or disk alarm blocks connections that publish;
//! this one goes on acknowledging), and never makes a queue. Refuses a queue that somebody else consumes: SMC reads its
//! queue itself, and a second consumer would take half of its events away.
//!
//! Trouble that may pass (the broker is away, the queue is not there, the consumer is cancelled) is waited out for ever,
//! and shown in the health report as `source`.

mod acknowledge;
mod backlog;
mod session;
mod watcher;

use std::time::{Duration, Instant};

use crate::address::BrokerAddress;
use crate::broker::{Backoff, BrokerError, Dialer, NAME_BYTES_MAX};
use crate::config::RabbitMqConfig;
use crate::health::{Condition, Health};
use crate::metrics;
use crate::shutdown::Shutdown;

use super::{Intake, SourceError};
use session::Session;

const ROOM: &str = "source";
/// A consumer that a killed engine left behind is gone by then.
const CONTESTED_MAX: Duration = Duration::from_secs(2);
/// A session that lasted so long was a good one: the next pause starts short.
const GOOD_SESSION: Duration = Duration::from_secs(5);

/// Consumes one queue.
#[derive(Debug)]
pub struct RabbitMqSource {
    dialer: Dialer,
    queue: Queue,
    health: Health,
    /// Has it ever consumed? Before that, a queue that is taken is a mistake to be told at once.
    has_consumed: bool,
    contested_since: Option<Instant>,
}

#[derive(Debug)]
struct Queue {
    name: String,
    prefetch: u16,
    take_over: bool,
}

/// Why a session could not be opened, or did not last.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("queue `{queue}` does not exist; waiting for it (`hailer topology --apply` makes one)")]
    NoQueue { queue: String },
    #[error(
        "queue `{queue}` already has a consumer, so events would be split: bind a queue of your own, \
         `hailer topology`, or `--take-over`"
    )]
    Contested { queue: String },
}

impl From<lapin::Error> for SessionError {
    fn from(error: lapin::Error) -> Self {
        BrokerError::from(error).into()
    }
}

impl RabbitMqSource {
    /// A source that has not connected yet.
    ///
    /// # Errors
    /// When the configuration can't work whatever the broker says.
    pub fn new(address: BrokerAddress, config: &RabbitMqConfig, health: Health) -> Result<Self, SourceError> {
        let name = config.queue.clone();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let reason = format!("rabbitmq.queue `{name}` must have 1 to {NAME_BYTES_MAX} bytes");
            return Err(SourceError::Configuration(reason));
        }
        if config.prefetch == 0 {
            let reason = "rabbitmq.prefetch is 0, which means without bound: set it to 1 or more".to_owned();
            return Err(SourceError::Configuration(reason));
        }
        address.resolve().map_err(|error| SourceError::Configuration(super::with_causes(&error)))?;
        health.report(ROOM, Condition::NotReady(format!("connecting to {address}")));
        Ok(Self {
            dialer: Dialer::new(address, ROOM),
            queue: Queue { name, prefetch: config.prefetch, take_over: config.take_over },
            health,
            has_consumed: false,
            contested_since: None,
        })
    }

    /// Consumes until the shutdown drains or the intake closes.
    ///
    /// # Errors
    /// When the queue already has a consumer at the start.
    pub async fn run<I: Intake>(mut self, intake: I, shutdown: Shutdown) -> Result<(), SourceError> {
        let mut backoff = Backoff::default();
        loop {
            let opened = tokio::select! {
                biased;
                () = shutdown.draining() => return Ok(()),
                opened = Session::open(&mut self.dialer, &self.queue) => opened,
            };
            let error = match opened {
                Ok(session) => {
                    self.has_consumed = true;
                    self.contested_since = None;
                    self.health.report(ROOM, Condition::Ready);
                    ::metrics::gauge!(metrics::SOURCE_CONNECTED).set(1.0);
                    let since = Instant::now();
                    let consumed = session.consume(&intake, &shutdown).await;
                    ::metrics::gauge!(metrics::SOURCE_CONNECTED).set(0.0);
                    match consumed {
                        Ok(()) => return Ok(()),
                        Err(error) => {
                            if since.elapsed() >= GOOD_SESSION {
                                backoff.reset();
                            }
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            self.refuse_if_contested(&error)?;
            ::metrics::counter!(metrics::SOURCE_RECONNECTS_TOTAL).increment(1);
            self.not_ready(error.to_string());
            tokio::select! {
                () = shutdown.draining() => return Ok(()),
                () = tokio::time::sleep(backoff.next_pause()) => {}
            }
        }
    }

    /// At the first start a queue that stays taken is final. Later on the other consumer came after us, or is the ghost
    /// of our own last connection: that is waited out.
    fn refuse_if_contested(&mut self, error: &SessionError) -> Result<(), SourceError> {
        if !matches!(error, SessionError::Contested { .. }) || self.has_consumed {
            return Ok(());
        }
        let since = *self.contested_since.get_or_insert_with(Instant::now);
        if since.elapsed() < CONTESTED_MAX { Ok(()) } else { Err(SourceError::Configuration(error.to_string())) }
    }

    fn not_ready(&self, why: String) {
        self.health.report(ROOM, Condition::NotReady(why));
    }
}
