//! Events from a queue of RabbitMQ.
//!
//! Owns one session after another, on a connection of its own (a memory or disk alarm blocks connections that publish;
//! this one goes on acknowledging), and never makes a queue. Refuses a queue that somebody else consumes: SMC reads its
//! queue itself, and a second consumer would take half of its events away. Refuses a stream: it is for `hailer replay`.
//!
//! Trouble that may pass (the broker is away, the queue is not there, the consumer is cancelled) is waited out for ever,
//! and shown in the health report as `source`.

mod acknowledge;
mod backlog;
mod open;
mod session;
mod watcher;

use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::address::BrokerAddress;
use crate::broker::{Backoff, BrokerError, Dialer, NAME_BYTES_MAX};
use crate::config::RabbitMqConfig;
use crate::health::{Condition, Health};
use crate::metrics;
use crate::shutdown::Shutdown;

use super::{Intake, SourceError};
use open::Waiting;
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
    /// The longest that a paused intake may hold a delivery.
    paused_max: Duration,
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
    #[error("queue `{queue}` got another consumer at the same moment; nothing was taken; trying again")]
    Collided { queue: String },
    #[error(
        "queue `{queue}` is a stream, which forgets nothing that is consumed: read it with `hailer replay \
         amqp://HOST/{queue}`, and consume a queue of your own (`hailer topology --own-queue-on EXCHANGE`)"
    )]
    Stream { queue: String },
    #[error(
        "intake is paused, as the outbox is full or too many dead letters wait; the events that it can't take are back in the queue until there is room"
    )]
    Paused,
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
            queue: Queue {
                name,
                prefetch: config.prefetch,
                take_over: config.take_over,
                paused_max: Duration::from_millis(config.paused_ms_max),
            },
            health,
            has_consumed: false,
            contested_since: None,
        })
    }

    /// Consumes until the shutdown drains or the intake closes.
    ///
    /// # Errors
    /// When the queue already has a consumer at the start, or is a stream.
    pub async fn run<I: Intake>(mut self, intake: I, shutdown: Shutdown) -> Result<(), SourceError> {
        let mut backoff = Backoff::default();
        // Consuming while nothing is taken in only makes the broker count deliveries.
        if intake.unpaused().now_or_never().is_none() {
            self.not_ready(SessionError::Paused.to_string());
            tokio::select! {
                () = shutdown.draining() => return Ok(()),
                () = intake.refilled() => {}
            }
        }
        loop {
            let session = tokio::select! {
                biased;
                () = shutdown.draining() => return Ok(()),
                session = self.session() => session,
            };
            let error = match session {
                Ok(mut session) => {
                    let since = Instant::now();
                    let consumed = self.consume(&mut session, &intake, &shutdown).await;
                    session.close().await;
                    if since.elapsed() >= GOOD_SESSION {
                        backoff.reset();
                    }
                    match consumed {
                        Ok(()) => return Ok(()),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.refuse_for_good(&error)?;
            self.not_ready(error.to_string());
            let pause = async {
                if matches!(error, SessionError::Paused) {
                    ::metrics::counter!(metrics::SOURCE_GIVEN_BACK_TOTAL).increment(1);
                    return intake.refilled().await;
                }
                ::metrics::counter!(metrics::SOURCE_RECONNECTS_TOTAL).increment(1);
                tokio::time::sleep(backoff.next_pause()).await;
                // Consuming while nothing is taken in only makes the broker count deliveries.
                intake.unpaused().await;
            };
            tokio::select! {
                () = shutdown.draining() => return Ok(()),
                () = pause => {}
            }
        }
    }

    /// Opens a session, as a standby if another engine is the active consumer.
    async fn session(&mut self) -> Result<Session, SessionError> {
        let (health, queue) = (&self.health, &self.queue);
        let waiting = |waiting| {
            let name = &queue.name;
            ::metrics::gauge!(metrics::SOURCE_STANDBY).set(f64::from(u8::from(waiting == Waiting::Standby)));
            health.report(
                ROOM,
                match waiting {
                    Waiting::Standby => Condition::Standby(format!(
                        "another engine is the active consumer of queue `{name}`; this one takes over when it is gone"
                    )),
                    Waiting::Unproven => Condition::NotReady(format!(
                        "queue `{name}` has a consumer; whether it has a single active consumer shows when it is empty"
                    )),
                },
            );
        };
        let opened = Session::open(&mut self.dialer, queue, waiting).await;
        ::metrics::gauge!(metrics::SOURCE_STANDBY).set(0.0);
        opened
    }

    async fn consume<I: Intake>(
        &mut self,
        session: &mut Session,
        intake: &I,
        shutdown: &Shutdown,
    ) -> Result<(), SessionError> {
        tokio::select! {
            biased;
            () = shutdown.draining() => return Ok(()),
            held = session.hold() => held?,
        }
        tracing::info!(queue = self.queue.name, "consuming");
        self.has_consumed = true;
        self.contested_since = None;
        self.health.report(ROOM, Condition::Ready);
        ::metrics::gauge!(metrics::SOURCE_CONNECTED).set(1.0);
        let (health, name) = (&self.health, &self.queue.name);
        let joined = |others| match others {
            0 => health.report(ROOM, Condition::Ready),
            _ => {
                tracing::error!(
                    queue = name,
                    others,
                    "other consumers take events of this queue: they never reach this engine"
                );
                health.report(
                    ROOM,
                    Condition::NotReady(format!(
                        "queue `{name}` has other consumers ({others}), which take events that never reach this engine: end them, or make the \
                         queue anew with a single active consumer (`hailer topology`)"
                    )),
                );
            }
        };
        let consumed = session.consume(intake, shutdown, joined).await;
        ::metrics::gauge!(metrics::SOURCE_CONNECTED).set(0.0);
        consumed
    }

    /// At the first start, a stream is final, and so is a queue that stays taken. Later on the other consumer came after us, or is the ghost
    /// of our own last connection: that is waited out.
    fn refuse_for_good(&mut self, error: &SessionError) -> Result<(), SourceError> {
        let refused = || Err(SourceError::Configuration(error.to_string()));
        match error {
            SessionError::Stream { .. } if !self.has_consumed => refused(),
            SessionError::Contested { .. } if !self.has_consumed => {
                let since = *self.contested_since.get_or_insert_with(Instant::now);
                if since.elapsed() < CONTESTED_MAX { Ok(()) } else { refused() }
            }
            _ => {
                self.contested_since = None;
                Ok(())
            }
        }
    }

    fn not_ready(&self, why: String) {
        self.health.report(ROOM, Condition::NotReady(why));
    }
}
