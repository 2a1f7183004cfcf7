//! Opening a session: finds out what the queue is, and whether it may be consumed, before anything of it is consumed.
//!
//! **Events of one queue go to one engine at a time (G5).** A classic queue enforces this: its consumer is exclusive, or the
//! queue has a single active consumer, which refuses exclusive ones. A quorum queue ignores `exclusive`. So an engine looks
//! for other consumers before it consumes, and again a while after it: two engines that consume at the same time see each
//! other, and both give back what they were sent before they hand anything on.
//!
//! An engine beside the active one of a queue with a single active consumer is a standby. It does not register a consumer:
//! it looks until the active one is gone. So it needs nothing of the broker's own order of waiting consumers, and a queue
//! that only seems to have a single active consumer is never split.

use std::time::{Duration, Instant};

use lapin::options::{BasicConsumeOptions, BasicGetOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};

use super::session::Session;
use super::{Queue, SessionError};
use crate::broker::{BrokerError, Dialer, QueueKind, answered, close, has_single_active_mark, queue_kind};

const NOT_FOUND: u16 = 404;
const ACCESS_REFUSED: u16 = 403;
const RESOURCE_LOCKED: u16 = 405;

/// Two engines that consume a queue at the same time have seen each other after so long.
const HOLD: Duration = Duration::from_millis(500);
/// The time between two looks of a standby.
const STANDBY_LOOKS_EVERY: Duration = Duration::from_millis(500);

/// What a passive declaration counts.
struct Counts {
    ready: u32,
    consumers: u32,
}

/// Why an open session has to wait before it consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Another engine is the active consumer.
    Standby,
    /// Whether the queue has a single active consumer can't be seen while messages wait in it.
    Unproven,
}

/// What opening comes to.
struct Consuming {
    channel: Channel,
    consumer: Consumer,
    /// Of a queue in which the broker does not keep others out, when it was seen without a consumer.
    consumed_at_risk: Option<Instant>,
    may_be_joined: bool,
}

struct Opening<'a> {
    connection: &'a Connection,
    queue: &'a Queue,
    name: ShortString,
}

impl Session {
    /// Connects, and consumes the queue as soon as this engine may. Never makes the queue. `waiting` is told what the session
    /// waits for.
    pub(super) async fn open(
        dialer: &mut Dialer,
        queue: &Queue,
        waiting: impl FnMut(Waiting),
    ) -> Result<Session, SessionError> {
        let connection = dialer.connect().await?;
        match Opening::new(&connection, queue).consumer(waiting).await {
            Ok(Consuming { channel, consumer, consumed_at_risk, may_be_joined }) => {
                let name = ShortString::from(queue.name.as_str());
                let Queue { prefetch, paused_max, take_over: is_shared, .. } = *queue;
                Ok(Session {
                    connection,
                    channel,
                    consumer,
                    queue: name,
                    prefetch,
                    paused_max,
                    is_shared,
                    may_be_joined,
                    consumed_at_risk,
                })
            }
            Err(error) => {
                close(&connection).await;
                Err(error)
            }
        }
    }

    /// Waits until two engines that consume at the same time have seen each other, and ends the session if there is another
    /// consumer. Nothing that was delivered has been handed on by then.
    pub(super) async fn hold(&self) -> Result<(), SessionError> {
        let Some(looked_at) = self.consumed_at_risk else { return Ok(()) };
        // The other engine looks once more after this time, counted from its own consume. It sees this consumer only if
        // that came soon after the look that saw none.
        if looked_at.elapsed() > HOLD {
            return Err(BrokerError::Session("consuming took the broker too long; starting afresh".to_owned()).into());
        }
        tokio::time::sleep(HOLD).await;
        let counts = look(&self.channel, &self.queue).await?;
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

    async fn consumer(&self, mut waiting: impl FnMut(Waiting)) -> Result<Consuming, SessionError> {
        let channel = channel(self.connection).await?;
        let counts = look(&channel, &self.name).await.map_err(|error| self.missing(error))?;
        let kind = queue_kind(self.connection, &self.name).await?;
        if kind == QueueKind::Stream {
            return Err(SessionError::Stream { queue: self.queue.name.clone() });
        }
        // Beside a single active consumer nothing can be taken over: this engine would get nothing, and seem to consume.
        if self.queue.take_over && !self.has_active_consumer(kind, &counts).await? {
            let consumer = self.consume(&channel, false).await.map_err(|error| self.refused(error))?;
            return Ok(Consuming { channel, consumer, consumed_at_risk: None, may_be_joined: false });
        }
        let mut channel = channel;
        loop {
            let looked_at = self.turn(&channel, kind, &mut waiting).await?;
            match self.consume(&channel, true).await {
                Ok(consumer) => {
                    let is_at_risk = kind != QueueKind::Classic;
                    let may_be_joined =
                        is_at_risk && !has_single_active_mark(self.connection, &self.queue.name).await?;
                    let consumed_at_risk = is_at_risk.then_some(looked_at);
                    return Ok(Consuming { channel, consumer, consumed_at_risk, may_be_joined });
                }
                Err(error) if is_exclusive_use(&error) => {
                    channel = self::channel(self.connection).await?;
                    let looked_at = Instant::now();
                    // An exclusive consumer is refused although there is no other: the queue has a single active consumer.
                    if look(&channel, &self.name).await?.consumers == 0 {
                        let consumer = self.consume(&channel, false).await.map_err(|error| self.refused(error))?;
                        // Two standbys may take over together. The broker makes one of them active; the other has to see it.
                        let consumed_at_risk = Some(looked_at);
                        return Ok(Consuming { channel, consumer, consumed_at_risk, may_be_joined: false });
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

    /// Whether the queue has a consumer, and is known to let only one be active.
    async fn has_active_consumer(&self, kind: QueueKind, counts: &Counts) -> Result<bool, SessionError> {
        if counts.consumers == 0 {
            return Ok(false);
        }
        let is_marked = has_single_active_mark(self.connection, &self.queue.name).await?;
        // `basic.get` takes nothing now, as nothing is ready.
        Ok(is_marked || kind == QueueKind::Quorum && counts.ready == 0 && self.refuses_gets().await?)
    }

    /// Waits until the queue has no consumer, if it is one at which engines stand by; returns when that was looked at.
    async fn turn(
        &self,
        channel: &Channel,
        kind: QueueKind,
        waiting: &mut impl FnMut(Waiting),
    ) -> Result<Instant, SessionError> {
        let (mut has_seen_one, mut is_single_active) = (false, false);
        loop {
            let looked_at = Instant::now();
            let counts = look(channel, &self.name).await.map_err(|error| self.missing(error))?;
            if counts.consumers == 0 && (is_single_active || !has_seen_one) {
                return Ok(looked_at);
            }
            if !has_seen_one {
                has_seen_one = true;
                is_single_active = has_single_active_mark(self.connection, &self.queue.name).await?;
                if !is_single_active && kind != QueueKind::Quorum {
                    return Err(self.contested());
                }
            }
            // `basic.get` takes no message now: none is ready, or no other consumer is there to overtake it.
            if !is_single_active && (counts.ready == 0 || counts.consumers == 0) {
                if !self.refuses_gets().await? {
                    return Err(self.contested());
                }
                is_single_active = true;
            }
            if counts.consumers > 0 {
                waiting(if is_single_active { Waiting::Standby } else { Waiting::Unproven });
                tokio::time::sleep(STANDBY_LOOKS_EVERY).await;
            }
        }
    }

    /// A quorum queue with a single active consumer refuses `basic.get`.
    async fn refuses_gets(&self) -> Result<bool, SessionError> {
        let channel = channel(self.connection).await?;
        let got = answered("basic.get", channel.basic_get(self.name.clone(), BasicGetOptions::default())).await;
        match got {
            Err(error) if error.has_code(RESOURCE_LOCKED) => Ok(error.to_string().contains("single active consumer")),
            Err(error) => Err(error.into()),
            Ok(_) => {
                // What was taken goes back to its place.
                answered("channel.close", channel.close(200, "OK".into())).await?;
                Ok(false)
            }
        }
    }

    async fn consume(&self, channel: &Channel, exclusive: bool) -> Result<Consumer, BrokerError> {
        qos(channel, self.queue.prefetch).await?;
        let options = BasicConsumeOptions { exclusive, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(self.name.clone(), "".into(), options, FieldTable::default());
        answered("basic.consume", consumer).await
    }

    fn contested(&self) -> SessionError {
        SessionError::Contested { queue: self.queue.name.clone() }
    }

    fn refused(&self, error: BrokerError) -> SessionError {
        if is_exclusive_use(&error) { self.contested() } else { error.into() }
    }

    fn missing(&self, error: BrokerError) -> SessionError {
        if error.has_code(NOT_FOUND) { SessionError::NoQueue { queue: self.queue.name.clone() } } else { error.into() }
    }
}

async fn channel(connection: &Connection) -> Result<Channel, BrokerError> {
    answered("channel.open", connection.create_channel()).await
}

async fn qos(channel: &Channel, prefetch: u16) -> Result<(), BrokerError> {
    answered("basic.qos", channel.basic_qos(prefetch, BasicQosOptions::default())).await
}

async fn look(channel: &Channel, queue: &ShortString) -> Result<Counts, BrokerError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(queue.clone(), passive, FieldTable::default());
    let declared = answered("queue.declare", declared).await?;
    Ok(Counts { ready: declared.message_count(), consumers: declared.consumer_count() })
}

fn is_exclusive_use(error: &BrokerError) -> bool {
    error.has_code(ACCESS_REFUSED) && error.to_string().contains("exclusive")
}
