//! A broker session that reads one stream: it finds the stream's end, and then reads the messages
//! up to there.
//!
//! **The end of a stream is an offset, known before its first message is read.** The broker's
//! message count of a stream is some seconds old. So the session reads the last chunk, which
//! `x-stream-offset = last` delivers at once. Messages that the broker delivered before it answers
//! a request arrive before the answer. So the end is reached when an answer arrives without
//! messages, although the prefetch limit had room for more. Messages that are published later have
//! higher offsets. A stream that stops before its end is an error, never a shorter replay.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use tokio::time::timeout;

use super::StreamQueue;
use crate::clock::Millis;
use crate::connection::{BrokerError, Dialer, answered, close};
use crate::recording::entry::Entry;
use crate::sources::lines::Envelope;

/// The header with the message's offset in its stream, and the argument of a consumer with the
/// offset to start at. The broker accepts it for streams only.
pub(super) const OFFSET: &str = "x-stream-offset";
/// A stream's consumer must set a prefetch limit. It also bounds the messages that wait here, to
/// one chunk more.
const PREFETCH: u16 = 1000;
const BATCH_MESSAGES: usize = 1000;
/// The number of looks at a stream that is still filling after which messages beyond the original
/// end are included. Each look requests as many messages as fit, and a chunk of a stream has a few
/// thousand.
const LOOKS_MAX: usize = 32;
/// A stream without a message for this long is empty, or has no messages since the requested time.
const NOTHING_AFTER: Duration = Duration::from_secs(5);
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Why a stream cannot be read further.
#[derive(Debug)]
pub(super) enum Trouble {
    Broker(BrokerError),
    /// The messages have no offset.
    NoStream,
    Silent {
        seconds: u64,
    },
    Cancelled,
}

pub(super) struct Session {
    connection: Connection,
    queue: StreamQueue,
    /// Starts with the first batch: before that, other inputs may be read for longer than a broker
    /// waits for an acknowledgement.
    reading: Option<Reading>,
    end: u64,
    /// The offset of the last message that was read.
    at: Option<u64>,
}

/// A consumer on a channel of its own.
struct Reading {
    channel: Channel,
    consumer: Consumer,
}

struct Message {
    offset: u64,
    delivery: Delivery,
}

impl Session {
    /// Connects, and finds the end; `None` if the stream is empty.
    pub(super) async fn begin(queue: &StreamQueue) -> Result<Option<Session>, Trouble> {
        let connection = Dialer::new(queue.address.broker.clone(), "replay").connect().await?;
        match Reading::end(&connection, &queue.address.queue).await {
            Ok(Some(end)) => {
                Ok(Some(Session { connection, queue: queue.clone(), reading: None, end, at: None }))
            }
            nothing => {
                close(&connection).await;
                nothing.map(|_| None)
            }
        }
    }

    /// The next available messages; empty at the end.
    pub(super) async fn batch(&mut self) -> Result<Vec<Entry>, Trouble> {
        let mut entries = Vec::new();
        if self.at.is_some_and(|at| at >= self.end) {
            return Ok(entries);
        }
        let name = &self.queue.address.queue;
        if self.reading.is_none() {
            self.reading = Some(Reading::begin(&self.connection, name, self.from()).await?);
        }
        let Some(reading) = &mut self.reading else { return Ok(entries) };
        // There may be no message since the requested time.
        let may_be_nothing = self.at.is_none() && self.queue.since.is_some();
        let mut next =
            match reading.within(if may_be_nothing { NOTHING_AFTER } else { STALLED_AFTER }).await?
            {
                Some(next) => next,
                None if may_be_nothing => match reading.asked(name).await? {
                    (Some(next), _) => next,
                    (None, _) => return Ok(entries),
                },
                None => return Err(Trouble::silent(STALLED_AFTER)),
            };
        let last_tag = loop {
            let Message { offset, delivery } = next;
            let tag = delivery.delivery_tag;
            self.at = Some(offset);
            if offset <= self.end {
                entries.push(entry(offset, delivery));
            }
            if offset >= self.end || entries.len() >= BATCH_MESSAGES {
                break tag;
            }
            match reading.waiting()? {
                Some(waiting) => next = waiting,
                None => break tag,
            }
        };
        reading.acknowledge(last_tag).await?;
        Ok(entries)
    }

    /// The progress as part of a sentence, for errors.
    pub(super) fn reached(&self) -> String {
        match self.at {
            Some(at) => format!("after offset {at} of {}", self.end),
            None => format!("before the first of its messages up to offset {}", self.end),
        }
    }

    /// Closes the connection; a failure has no effect on what was read.
    pub(super) async fn close(self) {
        close(&self.connection).await;
    }

    fn from(&self) -> AMQPValue {
        match self.queue.since {
            // The protocol has whole seconds, so the start may be a little too early.
            Some(since) => AMQPValue::Timestamp(since.as_second().try_into().unwrap_or_default()),
            None => AMQPValue::LongString("first".into()),
        }
    }
}

impl Reading {
    async fn begin(
        connection: &Connection,
        queue: &str,
        from: AMQPValue,
    ) -> Result<Reading, Trouble> {
        let channel = answered("channel.open", connection.create_channel()).await?;
        answered("basic.qos", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let mut arguments = FieldTable::default();
        arguments.insert(OFFSET.into(), from);
        let consumer = channel.basic_consume(
            queue.into(),
            "".into(),
            BasicConsumeOptions::default(),
            arguments,
        );
        let consumer = answered("basic.consume", consumer).await?;
        Ok(Reading { channel, consumer })
    }

    /// The highest offset of the stream; `None` if the stream is empty.
    async fn end(connection: &Connection, queue: &str) -> Result<Option<u64>, Trouble> {
        let mut reading =
            Reading::begin(connection, queue, AMQPValue::LongString("last".into())).await?;
        let first = match reading.within(NOTHING_AFTER).await? {
            Some(first) => Some(first),
            None => match reading.asked(queue).await? {
                (None, 0) => None,
                // The stream has messages, so they must arrive.
                (None, _) => Some(
                    reading.within(STALLED_AFTER).await?.ok_or(Trouble::silent(STALLED_AFTER))?,
                ),
                (first, _) => first,
            },
        };
        let Some(mut last) = first else { return Ok(None) };
        for _ in 0..LOOKS_MAX {
            let tag = last.delivery.delivery_tag;
            reading.acknowledge(tag).await?;
            let mut next = reading.asked(queue).await?.0;
            while let Some(message) = next {
                last = message;
                next = reading.waiting()?;
            }
            if last.delivery.delivery_tag == tag {
                break;
            }
        }
        answered("channel.close", reading.channel.close(200, "OK".into())).await?;
        Ok(Some(last.offset))
    }

    /// The next message; `None` if none arrives in time.
    async fn within(&mut self, patience: Duration) -> Result<Option<Message>, Trouble> {
        timeout(patience, self.consumer.next()).await.ok().map(message).transpose()
    }

    /// A message that has arrived already.
    fn waiting(&mut self) -> Result<Option<Message>, Trouble> {
        self.consumer.next().now_or_never().map(message).transpose()
    }

    /// A message that arrived before the broker's answer to a request, and the answer: its message
    /// count, which may be some seconds old.
    async fn asked(&mut self, queue: &str) -> Result<(Option<Message>, u32), Trouble> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), passive, FieldTable::default());
        let declared = answered("queue.declare", declared).await?;
        Ok((self.waiting()?, declared.message_count()))
    }

    /// Acknowledges messages, which only allows the broker to send more; a stream keeps them.
    async fn acknowledge(&self, tag: u64) -> Result<(), Trouble> {
        Ok(answered("basic.ack", self.channel.basic_ack(tag, BasicAckOptions { multiple: true }))
            .await?)
    }
}

impl Trouble {
    fn silent(time: Duration) -> Trouble {
        Trouble::Silent { seconds: time.as_secs() }
    }
}

impl From<BrokerError> for Trouble {
    fn from(error: BrokerError) -> Trouble {
        Trouble::Broker(error)
    }
}

impl From<lapin::Error> for Trouble {
    fn from(error: lapin::Error) -> Trouble {
        Trouble::Broker(error.into())
    }
}

fn message(came: Option<Result<Delivery, lapin::Error>>) -> Result<Message, Trouble> {
    let delivery = came.ok_or(Trouble::Cancelled)??;
    let headers = delivery.properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(OFFSET)) {
        Some(AMQPValue::LongLongInt(offset)) => {
            let offset = u64::try_from(*offset).map_err(|_| Trouble::NoStream)?;
            Ok(Message { offset, delivery })
        }
        _ => Err(Trouble::NoStream),
    }
}

/// Converts a delivery as the queue's source does.
fn entry(offset: u64, delivery: Delivery) -> Entry {
    let present = |text: &str| (!text.is_empty()).then(|| text.into());
    let properties = &delivery.properties;
    let seconds =
        properties.timestamp().map(|seconds| Millis::try_from(seconds).unwrap_or(Millis::MAX));
    let envelope = Envelope {
        message_id: properties.message_id().as_ref().and_then(|id| present(id.as_str())),
        routing_key: present(delivery.routing_key.as_str()),
        timestamp_ms: seconds.map(|seconds| seconds.saturating_mul(1000)),
        body: Bytes::from(delivery.data),
        was_repaired: false,
    };
    Entry::Message { offset, envelope }
}
