//! Opens a session. Finds out the queue's type, and whether this engine may consume it, before it
//! consumes anything.
//!
//! **Events of one queue go to one engine at a time (G5)**, unless `rabbitmq.take_over` is set. A
//! classic queue enforces this: its
//! consumer is exclusive, or the queue has a single active consumer and refuses exclusive ones. A
//! quorum queue ignores `exclusive`. So an engine checks for other consumers before it consumes,
//! and again some time after. Two engines that start to consume at the same time see each other,
//! and both return their messages before they hand any on.
//!
//! If a queue with a single active consumer already has one, a second engine is a standby. It does
//! not register a consumer, but polls until the active one is gone. So it does not depend on the
//! broker's order of waiting consumers. A queue that only seems to have a single active consumer is
//! never split.

use std::time::{Duration, Instant};

use lapin::options::{BasicConsumeOptions, BasicGetOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};

use super::queue_counts::{QueueCounts, queue_counts};
use super::session::ConsumerSession;
use super::{Queue, SessionError};
use crate::connection::{
    BrokerError, Dialer, QueueKind, answered, close, has_single_active_mark, queue_kind,
};

const NOT_FOUND: u16 = 404;
const ACCESS_REFUSED: u16 = 403;
const RESOURCE_LOCKED: u16 = 405;

/// The wait before the second check for consumers; engines that start to consume at the same time
/// see each other by then.
const RECHECK_AFTER: Duration = Duration::from_millis(500);
/// The interval between two checks of a standby.
const STANDBY_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The reason why an open session waits before it consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitReason {
    /// Another engine is the active consumer.
    Standby,
    /// The queue has a consumer and waiting messages. Only an empty queue shows whether it has a
    /// single active consumer.
    Unproven,
}

/// The result of opening: a registered consumer.
struct OpenedConsumer {
    channel: Channel,
    consumer: Consumer,
    /// The time at which the queue was seen without a consumer. `None` if the broker rejects other
    /// consumers, or `rabbitmq.take_over` accepts them.
    seen_free_at: Option<Instant>,
    may_be_joined: bool,
}

struct Opening<'a> {
    connection: &'a Connection,
    queue: &'a Queue,
    name: ShortString,
}

impl ConsumerSession {
    /// Connects, and consumes the queue as soon as this engine may. Never declares the queue. Calls
    /// `waiting` with the reason while it waits.
    pub(super) async fn open(
        dialer: &mut Dialer,
        queue: &Queue,
        waiting: impl FnMut(WaitReason),
    ) -> Result<ConsumerSession, SessionError> {
        let connection = dialer.connect().await?;
        match Opening::new(&connection, queue).consumer(waiting).await {
            Ok(OpenedConsumer { channel, consumer, seen_free_at, may_be_joined }) => {
                let name = ShortString::from(queue.name.as_str());
                let Queue { prefetch, paused_max, take_over: is_shared, .. } = *queue;
                Ok(ConsumerSession {
                    connection,
                    channel,
                    consumer,
                    queue: name,
                    prefetch,
                    paused_max,
                    is_shared,
                    may_be_joined,
                    seen_free_at,
                })
            }
            Err(error) => {
                close(&connection).await;
                Err(error)
            }
        }
    }

    /// Waits until engines that started to consume at the same time see each other, and returns an
    /// error if there is another consumer. No delivery is handed on before that.
    pub(super) async fn confirm_sole_consumer(&self) -> Result<(), SessionError> {
        let Some(looked_at) = self.seen_free_at else { return Ok(()) };
        // The other engine checks again this long after its own consume. It sees this consumer only
        // if this one registered within that time after finding the queue free.
        if looked_at.elapsed() > RECHECK_AFTER {
            return Err(BrokerError::Session(
                "the broker took too long to register the consumer; reconnecting".to_owned(),
            )
            .into());
        }
        tokio::time::sleep(RECHECK_AFTER).await;
        let counts = queue_counts(&self.channel, &self.queue).await?;
        if counts.consumers > 1 {
            return Err(SessionError::Collided { queue: self.queue.to_string() });
        }
        Ok(())
    }
}

impl<'a> Opening<'a> {
    fn new(connection: &'a Connection, queue: &'a Queue) -> Opening<'a> {
        Opening { connection, queue, name: ShortString::from(queue.name.as_str()) }
    }

    async fn consumer(
        &self,
        mut waiting: impl FnMut(WaitReason),
    ) -> Result<OpenedConsumer, SessionError> {
        let channel = channel(self.connection).await?;
        let counts =
            queue_counts(&channel, &self.name).await.map_err(|error| self.missing(error))?;
        let kind = queue_kind(self.connection, &self.name).await?;
        if kind == QueueKind::Stream {
            return Err(SessionError::Stream { queue: self.queue.name.clone() });
        }
        // A single active consumer cannot be taken over: this engine would register, but receive no
        // messages.
        if self.queue.take_over && !self.has_active_consumer(kind, &counts).await? {
            let consumer =
                self.consume(&channel, false).await.map_err(|error| self.refused(error))?;
            return Ok(OpenedConsumer {
                channel,
                consumer,
                seen_free_at: None,
                may_be_joined: false,
            });
        }
        let mut channel = channel;
        loop {
            let looked_at = self.wait_for_turn(&channel, kind, &mut waiting).await?;
            match self.consume(&channel, true).await {
                Ok(consumer) => {
                    let is_at_risk = kind != QueueKind::Classic;
                    let may_be_joined = is_at_risk
                        && !has_single_active_mark(self.connection, &self.queue.name).await?;
                    let seen_free_at = is_at_risk.then_some(looked_at);
                    return Ok(OpenedConsumer { channel, consumer, seen_free_at, may_be_joined });
                }
                Err(error) if is_exclusive_use(&error) => {
                    channel = self::channel(self.connection).await?;
                    let looked_at = Instant::now();
                    // The queue refuses an exclusive consumer although it has none, so it has a
                    // single active consumer.
                    if queue_counts(&channel, &self.name).await?.consumers == 0 {
                        let consumer = self
                            .consume(&channel, false)
                            .await
                            .map_err(|error| self.refused(error))?;
                        // Two standbys may register at the same moment. The broker makes one of
                        // them active; the other must notice it.
                        let seen_free_at = Some(looked_at);
                        return Ok(OpenedConsumer {
                            channel,
                            consumer,
                            seen_free_at,
                            may_be_joined: false,
                        });
                    }
                    // Another standby was faster.
                    if !has_single_active_mark(self.connection, &self.queue.name).await? {
                        return Err(self.contested());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether the queue has a consumer, and is known to have a single active one.
    async fn has_active_consumer(
        &self,
        kind: QueueKind,
        counts: &QueueCounts,
    ) -> Result<bool, SessionError> {
        if counts.consumers == 0 {
            return Ok(false);
        }
        let is_marked = has_single_active_mark(self.connection, &self.queue.name).await?;
        // `basic.get` takes no message, because none is ready.
        Ok(is_marked
            || kind == QueueKind::Quorum && counts.ready == 0 && self.refuses_gets().await?)
    }

    /// Waits until the queue has no consumer, if standbys are allowed on it; returns the time of
    /// that check.
    async fn wait_for_turn(
        &self,
        channel: &Channel,
        kind: QueueKind,
        waiting: &mut impl FnMut(WaitReason),
    ) -> Result<Instant, SessionError> {
        let (mut has_seen_one, mut is_single_active) = (false, false);
        loop {
            let looked_at = Instant::now();
            let counts =
                queue_counts(channel, &self.name).await.map_err(|error| self.missing(error))?;
            if counts.consumers == 0 && (is_single_active || !has_seen_one) {
                return Ok(looked_at);
            }
            if !has_seen_one {
                has_seen_one = true;
                is_single_active =
                    has_single_active_mark(self.connection, &self.queue.name).await?;
                if !is_single_active && kind != QueueKind::Quorum {
                    return Err(self.contested());
                }
            }
            // `basic.get` is safe here: no message is ready, or no other consumer's order can be
            // disturbed.
            if !is_single_active && (counts.ready == 0 || counts.consumers == 0) {
                if !self.refuses_gets().await? {
                    return Err(self.contested());
                }
                is_single_active = true;
            }
            if counts.consumers > 0 {
                waiting(if is_single_active { WaitReason::Standby } else { WaitReason::Unproven });
                tokio::time::sleep(STANDBY_CHECK_INTERVAL).await;
            }
        }
    }

    /// Whether the queue refuses `basic.get`, as a quorum queue with a single active consumer does.
    async fn refuses_gets(&self) -> Result<bool, SessionError> {
        let channel = channel(self.connection).await?;
        let got =
            answered("basic.get", channel.basic_get(self.name.clone(), BasicGetOptions::default()))
                .await;
        match got {
            Err(error) if error.has_code(RESOURCE_LOCKED) => {
                Ok(error.to_string().contains("single active consumer"))
            }
            Err(error) => Err(error.into()),
            Ok(_) => {
                // Closing the channel requeues a message that was taken.
                answered("channel.close", channel.close(200, "OK".into())).await?;
                Ok(false)
            }
        }
    }

    async fn consume(&self, channel: &Channel, exclusive: bool) -> Result<Consumer, BrokerError> {
        qos(channel, self.queue.prefetch).await?;
        let options = BasicConsumeOptions { exclusive, ..BasicConsumeOptions::default() };
        let consumer =
            channel.basic_consume(self.name.clone(), "".into(), options, FieldTable::default());
        answered("basic.consume", consumer).await
    }

    fn contested(&self) -> SessionError {
        SessionError::Contested { queue: self.queue.name.clone() }
    }

    fn refused(&self, error: BrokerError) -> SessionError {
        if is_exclusive_use(&error) { self.contested() } else { error.into() }
    }

    fn missing(&self, error: BrokerError) -> SessionError {
        if error.has_code(NOT_FOUND) {
            SessionError::NoQueue { queue: self.queue.name.clone() }
        } else {
            error.into()
        }
    }
}

async fn channel(connection: &Connection) -> Result<Channel, BrokerError> {
    answered("channel.open", connection.create_channel()).await
}

async fn qos(channel: &Channel, prefetch: u16) -> Result<(), BrokerError> {
    answered("basic.qos", channel.basic_qos(prefetch, BasicQosOptions::default())).await
}

fn is_exclusive_use(error: &BrokerError) -> bool {
    error.has_code(ACCESS_REFUSED) && error.to_string().contains("exclusive")
}
