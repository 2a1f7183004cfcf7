//! One consumer session: a connection, a channel, a consumer and a ledger with the same lifetime.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery as Message;
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, Consumer};
use tokio::sync::watch;

use crate::communication::Origin;
use crate::connection::{BrokerError, CC_HEADERS, close};
use crate::delivery::{Delivery, Ledger};
use crate::sources::Intake;
use hailer_base::clock::Millis;
use hailer_base::metrics;
use hailer_base::shutdown::Shutdown;

use super::SessionError;
use super::acknowledge::Acknowledger;
use super::watcher::{LastTagProbe, Watcher};

/// The longest delay in noticing a pause. `rabbitmq.paused_ms_max` plus this delay must stay below
/// the broker's `consumer_timeout`.
const PAUSE_NOTICED_WITHIN: Duration = Duration::from_millis(200);

/// The field order matters: the connection is dropped and closed before the consumer, because
/// dropping the consumer first would cancel it.
pub(super) struct ConsumerSession {
    pub(super) connection: Connection,
    pub(super) channel: Channel,
    pub(super) consumer: Consumer,
    pub(super) queue: ShortString,
    pub(super) prefetch: u16,
    /// The longest pause of intake during which deliveries are kept.
    pub(super) paused_max: Duration,
    /// The engine may consume next to another consumer (`rabbitmq.take_over`), so an earlier
    /// session may still hold deliveries.
    pub(super) is_shared: bool,
    /// The broker lets other consumers join, and sends them a part of the events.
    pub(super) may_be_joined: bool,
    /// The time at which the queue was seen without a consumer. `None` if the broker rejects other
    /// consumers, or `rabbitmq.take_over` accepts them.
    pub(super) seen_free_at: Option<Instant>,
}

impl ConsumerSession {
    /// Hands deliveries over, acknowledges settled ones and reports handled moments, until the
    /// shutdown drains. Then acknowledges deliveries that are still settled in time.
    ///
    /// The connection closes without cancelling the consumer first. After a cancel, a quorum queue
    /// would deliver newer messages to the next consumer before the ones that this session returns.
    /// If other consumers can join, `joined` is called with their number whenever it changes.
    pub(super) async fn consume<I: Intake>(
        &mut self,
        intake: &I,
        shutdown: &Shutdown,
        mut joined: impl FnMut(u32),
    ) -> Result<(), SessionError> {
        let ConsumerSession {
            connection,
            channel,
            consumer,
            queue,
            prefetch,
            paused_max,
            is_shared,
            may_be_joined,
            ..
        } = self;
        let (mut others, may_be_joined) = (0, *may_be_joined);
        let count_others = |consumers: u32| {
            let now = consumers.saturating_sub(1);
            if may_be_joined && std::mem::replace(&mut others, now) != now {
                joined(now);
            }
        };
        let first_new = watch::Sender::new(None);
        let (ledger, prefix) = Ledger::new();
        let _guard = ledger.session_guard();
        let mut acknowledger = Acknowledger::new(channel.clone(), prefix.clone(), *prefetch);
        let consumed = {
            let mut acknowledging = pin!(acknowledger.run());
            let consumed = {
                // The watermarks end with the session, because the settled deliveries of a lost
                // session do not show which messages come again.
                let (watcher, question) =
                    Watcher::new(channel.clone(), queue.clone(), prefix.clone(), *prefetch);
                let mut forwarding =
                    pin!(forward(consumer, &ledger, intake, question, *paused_max, &first_new));
                let settling = settle_earlier(
                    first_new.subscribe(),
                    prefix.clone(),
                    intake,
                    ledger.session(),
                    *is_shared,
                );
                tokio::select! {
                    biased;
                    error = &mut acknowledging => return Err(error.into()),
                    () = shutdown.draining() => Ok(()),
                    ended = &mut forwarding => ended,
                    error = watcher.run(intake, count_others) => return Err(error.into()),
                    never = settling => match never {},
                }
            };
            match consumed {
                Ok(()) => tokio::select! {
                    biased;
                    error = &mut acknowledging => return Err(error.into()),
                    () = ledger.drained(prefix) => {}
                    () = shutdown.ended() => {
                        let outstanding = ledger.outstanding();
                        tracing::warn!(outstanding, "the time for draining is up; the broker \
                            delivers these events again");
                    }
                },
                Err(SessionError::Paused) => {}
                Err(error) => return Err(error),
            }
            consumed
        };
        acknowledger.flush().await?;
        // The broker handles the frames of a connection in order. If it confirms the close, it has
        // received every acknowledgement.
        if close(connection).await && ledger.is_covered_by(acknowledger.acknowledged()) {
            intake.session_settled(ledger.session());
        }
        consumed
    }

    /// Closes the connection. The broker requeues the unacknowledged messages in order.
    pub(super) async fn close(self) {
        let _ = close(&self.connection).await;
    }
}

/// Hands deliveries over until the intake closes. The end of the stream is an error: the server
/// cancelled the consumer, and no message would come any more.
async fn forward<I: Intake>(
    consumer: &mut Consumer,
    ledger: &Arc<Ledger>,
    intake: &I,
    mut probe: LastTagProbe,
    paused_max: Duration,
    first_new: &watch::Sender<Option<u64>>,
) -> Result<(), SessionError> {
    let deliveries = ::metrics::counter!(metrics::SOURCE_MESSAGES_TOTAL);
    let redeliveries = ::metrics::counter!(metrics::SOURCE_REDELIVERED_TOTAL);
    let mut tag = 0;
    loop {
        let message = tokio::select! {
            // The watcher sends its request on this task, and messages are polled first. So every
            // message that came before the request has been taken when the reply is sent.
            biased;
            message = consumer.next() => message,
            moment = probe.requested() => {
                probe.reply(moment, tag);
                continue;
            }
        };
        let Some(message) = message.transpose().map_err(BrokerError::from)? else { break };
        tag += 1;
        if message.delivery_tag != tag {
            return Err(BrokerError::Session(
                "the broker's delivery tags have a gap; reconnecting".to_owned(),
            )
            .into());
        }
        deliveries.increment(1);
        if message.redelivered {
            redeliveries.increment(1);
        } else if message.properties.priority().unwrap_or_default() == 0 {
            first_new.send_if_modified(|first| first.is_none() && first.replace(tag).is_none());
        }
        // A pause may begin while the delivery waits to be accepted.
        let accepted = tokio::select! {
            biased;
            accepted = intake.accept(delivery(message, ledger)) => accepted,
            () = paused_for(intake, paused_max) => return Err(SessionError::Paused),
        };
        if accepted.is_err() {
            return Ok(());
        }
        // The acknowledger runs on this task, and would not run while the buffer is full.
        tokio::task::coop::consume_budget().await;
    }
    Err(BrokerError::Session(
        "the broker cancelled the consumer: the queue was deleted or moved; reconnecting"
            .to_owned(),
    )
    .into())
}

/// Waits until intake has been paused for `paused_max` without interruption; notices a pause within
/// [`PAUSE_NOTICED_WITHIN`].
async fn paused_for<I: Intake>(intake: &I, paused_max: Duration) {
    while tokio::time::timeout(paused_max, intake.wait_until_unpaused()).await.is_ok() {
        tokio::time::sleep(PAUSE_NOTICED_WITHIN).await;
    }
}

/// Waits until the first message that was never delivered before is settled, with all messages
/// before it. Then reports that no event of earlier sessions is left. **The broker puts the
/// unacknowledged messages of a lost session in front of those that it never delivered.** Only
/// messages of a higher priority overtake them, so a message with a priority is not used for this.
async fn settle_earlier<I: Intake>(
    mut first_new: watch::Receiver<Option<u64>>,
    mut settled_upto: watch::Receiver<u64>,
    intake: &I,
    session: &crate::delivery::Session,
    is_shared: bool,
) -> Infallible {
    let first = first_new.wait_for(Option::is_some).await.ok().and_then(|first| *first);
    if let Some(first) = first.filter(|_| !is_shared)
        && settled_upto.wait_for(|upto| *upto >= first).await.is_ok()
    {
        intake.earlier_sessions_settled(session);
    }
    pending().await
}

fn delivery(message: Message, ledger: &Arc<Ledger>) -> Delivery {
    let present = |text: &str| (!text.is_empty()).then(|| text.into());
    let properties = &message.properties;
    let seconds =
        properties.timestamp().map(|seconds| Millis::try_from(seconds).unwrap_or(Millis::MAX));
    Delivery {
        message_id: properties.message_id().as_ref().and_then(|id| present(id.as_str())),
        routing_key: present(message.routing_key.as_str()),
        timestamp_ms: seconds.map(|seconds| seconds.saturating_mul(1000)),
        origin: origin(properties),
        position: None,
        redelivered: message.redelivered,
        was_repaired: false,
        defect: None,
        receipt: ledger.receipt(message.delivery_tag),
        body: Bytes::from(message.data),
    }
}

/// The headers without `CC` and `BCC`, so that RabbitMQ delivers a dead letter to its own queue
/// only.
fn without_copies(headers: &FieldTable) -> FieldTable {
    let kept = headers.inner().iter().filter(|(name, _)| !CC_HEADERS.contains(&name.as_str()));
    FieldTable::from(
        kept.map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>(),
    )
}

/// The properties that the producer set, other than the id; `None` if there are none.
fn origin(properties: &BasicProperties) -> Option<Box<Origin>> {
    let text = |property: &Option<ShortString>| property.as_ref().map(|text| text.as_str().into());
    let origin = Origin {
        timestamp_s: *properties.timestamp(),
        kind: text(properties.kind()),
        content_type: text(properties.content_type()),
        content_encoding: text(properties.content_encoding()),
        correlation_id: text(properties.correlation_id()),
        headers: properties.headers().as_ref().map(without_copies),
    };
    (origin != Origin::default()).then(|| Box::new(origin))
}

#[cfg(test)]
mod tests {
    use lapin::types::AMQPValue;

    use super::*;

    #[test]
    fn the_headers_for_a_dead_letter_lack_cc_and_bcc() {
        let mut headers = FieldTable::default();
        for name in ["CC", "BCC", "x-trace", "cc"] {
            headers.insert(name.into(), AMQPValue::LongString("hailer.events".into()));
        }
        let origin = origin(&BasicProperties::default().with_headers(headers)).unwrap();
        let kept: Vec<_> =
            origin.headers.unwrap().inner().keys().map(ToString::to_string).collect();
        assert_eq!(kept, ["cc", "x-trace"], "the broker reads these names in upper case only");
    }
}
