//! A source that consumes a RabbitMQ queue.
//!
//! It runs one session after another, each on a connection of its own. A memory or disk alarm
//! blocks every write on a connection that publishes, acknowledgements too; on a separate
//! connection, consuming and acknowledging go on. It never declares a queue. It refuses a queue
//! that has another consumer: SMC reads its queue itself, and a second consumer would take half of
//! SMC's events. It refuses a stream, because streams are for `hailer replay`.
//!
//! After a temporary failure (the broker is down, the queue is missing, the consumer is cancelled),
//! it reconnects, without a limit of attempts. The health report shows the failure as `source`.

mod acknowledge;
mod backlog;
mod open_session;
mod queue_counts;
mod session;
mod watcher;

use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::RabbitMqConfig;
use crate::address::{BrokerAddress, NAME_BYTES_MAX};
use crate::connection::{Backoff, BrokerError, Dialer};
use hailer_base::health::{Condition, Health};
use hailer_base::metrics;
use hailer_base::shutdown::Shutdown;

use super::{Intake, SourceError};
use open_session::WaitReason;
use session::ConsumerSession;

const ROOM: &str = "source";
/// The longest time for which the consumer of a killed engine stays on the queue.
const CONTESTED_MAX: Duration = Duration::from_secs(2);
/// A session that lasted this long resets the backoff.
const GOOD_SESSION: Duration = Duration::from_secs(5);

/// Consumes one queue.
#[derive(Debug)]
pub struct RabbitMqSource {
    dialer: Dialer,
    queue: Queue,
    health: Health,
    /// Whether this source has ever consumed. Before that, another consumer on the queue is a
    /// configuration error, reported at once.
    has_consumed: bool,
    contested_since: Option<Instant>,
}

#[derive(Debug)]
struct Queue {
    name: String,
    prefetch: u16,
    take_over: bool,
    /// The longest pause of intake during which deliveries are kept.
    paused_max: Duration,
}

/// The reason why a session could not be opened, or why it ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(
        "queue `{queue}` does not exist; waiting for it (`hailer topology --apply` creates one)"
    )]
    NoQueue { queue: String },
    #[error(
        "queue `{queue}` already has a consumer, so events would be split: bind a queue of your \
            own (`hailer topology`), or use `--take-over`"
    )]
    Contested { queue: String },
    #[error(
        "queue `{queue}` got another consumer at the same moment; no event was taken; retrying"
    )]
    Collided { queue: String },
    #[error(
        "queue `{queue}` is a stream, which keeps consumed events: read it with \
         `hailer replay amqp://HOST/{queue}`, and consume a queue of your own (`hailer topology \
         --own-queue-on EXCHANGE`)"
    )]
    Stream { queue: String },
    #[error(
        "intake is paused, because the outbox is full or too many dead letters wait; unaccepted \
         events are back in the queue until there is room"
    )]
    Paused,
}

impl From<lapin::Error> for SessionError {
    fn from(error: lapin::Error) -> Self {
        BrokerError::from(error).into()
    }
}

impl RabbitMqSource {
    /// Makes a source that has not connected yet.
    ///
    /// # Errors
    /// The configuration is unusable, whatever the broker answers.
    pub fn new(
        address: BrokerAddress,
        config: &RabbitMqConfig,
        health: Health,
    ) -> Result<Self, SourceError> {
        let name = config.queue.clone();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let reason = format!("rabbitmq.queue `{name}` must have 1 to {NAME_BYTES_MAX} bytes");
            return Err(SourceError::Configuration(reason));
        }
        if config.prefetch == 0 {
            let reason =
                "rabbitmq.prefetch is 0, which means no limit: set it to 1 or more".to_owned();
            return Err(SourceError::Configuration(reason));
        }
        address
            .resolve()
            .map_err(|error| SourceError::Configuration(super::with_causes(&error)))?;
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
    /// The queue already has a consumer at the start, or is a stream.
    pub async fn run<I: Intake>(
        mut self,
        intake: I,
        shutdown: Shutdown,
    ) -> Result<(), SourceError> {
        let mut backoff = Backoff::default();
        // Consuming during a pause would only raise the messages' delivery counts at the broker.
        if intake.wait_until_unpaused().now_or_never().is_none() {
            self.not_ready(SessionError::Paused.to_string());
            tokio::select! {
                () = shutdown.draining() => return Ok(()),
                () = intake.wait_for_room() => {}
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
                    return intake.wait_for_room().await;
                }
                ::metrics::counter!(metrics::SOURCE_RECONNECTS_TOTAL).increment(1);
                tokio::time::sleep(backoff.next_pause()).await;
                // Consuming during a pause would only raise the messages' delivery counts at the
                // broker.
                intake.wait_until_unpaused().await;
            };
            tokio::select! {
                () = shutdown.draining() => return Ok(()),
                () = pause => {}
            }
        }
    }

    /// Opens a session; waits as a standby while another engine is the active consumer.
    async fn session(&mut self) -> Result<ConsumerSession, SessionError> {
        let (health, queue) = (&self.health, &self.queue);
        let waiting = |waiting| {
            let name = &queue.name;
            ::metrics::gauge!(metrics::SOURCE_STANDBY)
                .set(f64::from(u8::from(waiting == WaitReason::Standby)));
            health.report(
                ROOM,
                match waiting {
                    WaitReason::Standby => Condition::Standby(format!(
                        "another engine is the active consumer of queue `{name}`; this one takes \
                         over when it is gone"
                    )),
                    WaitReason::Unproven => Condition::NotReady(format!(
                        "queue `{name}` has a consumer; whether it has a single active consumer \
                         shows when it is empty"
                    )),
                },
            );
        };
        let opened = ConsumerSession::open(&mut self.dialer, queue, waiting).await;
        ::metrics::gauge!(metrics::SOURCE_STANDBY).set(0.0);
        opened
    }

    async fn consume<I: Intake>(
        &mut self,
        session: &mut ConsumerSession,
        intake: &I,
        shutdown: &Shutdown,
    ) -> Result<(), SessionError> {
        tokio::select! {
            biased;
            () = shutdown.draining() => return Ok(()),
            confirmed = session.confirm_sole_consumer() => confirmed?,
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
                    "other consumers take events of this queue, which never reach this engine"
                );
                health.report(
                    ROOM,
                    Condition::NotReady(format!(
                        "queue `{name}` has other consumers ({others}), which take events that \
                         never reach this engine: stop them, or create the queue again with a \
                         single active consumer (`hailer topology`)"
                    )),
                );
            }
        };
        let consumed = session.consume(intake, shutdown, joined).await;
        ::metrics::gauge!(metrics::SOURCE_CONNECTED).set(0.0);
        consumed
    }

    /// Returns an error if the failure is final. Before the first session, a stream is final, and
    /// so is a queue that keeps another consumer for [`CONTESTED_MAX`]. Later, the other consumer
    /// came after this engine, or belongs to its own lost connection; the source then keeps trying.
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
