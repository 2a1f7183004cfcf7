//! One session: a connection, a channel, a consumer and a ledger that live and die together.

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

use crate::broker::{BrokerError, SENDS_COPIES, close};
use crate::clock::Millis;
use crate::communication::Origin;
use crate::delivery::{Delivery, Ledger};
use crate::metrics;
use crate::shutdown::Shutdown;
use crate::sources::Intake;

use super::SessionError;
use super::acknowledge::Acknowledger;
use super::watcher::{Question, Watcher};

/// Added to `rabbitmq.paused_ms_max` at most: the sum has to stay below the broker's `consumer_timeout`.
const PAUSE_NOTICED_WITHIN: Duration = Duration::from_millis(200);

/// The fields are dropped in this order: the connection closes before the consumer is dropped, which would cancel it.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) channel: Channel,
    pub(super) consumer: Consumer,
    pub(super) queue: ShortString,
    pub(super) prefetch: u16,
    /// The longest that a paused intake may hold a delivery.
    pub(super) paused_max: Duration,
    /// The engine may consume beside another consumer (`rabbitmq.take_over`), so an earlier session may still hold deliveries.
    pub(super) is_shared: bool,
    /// The broker lets others consume beside this engine, and hands them part of the events.
    pub(super) may_be_joined: bool,
    /// When the queue was seen without a consumer; `None` if the broker keeps other consumers out.
    pub(super) consumed_at_risk: Option<Instant>,
}

impl Session {
    /// Hands deliveries over, acknowledges what is settled, and says until when the backlog is handled, until told to
    /// drain; then acknowledges what still settles. The consumer is not cancelled before the connection closes: a quorum
    /// queue would give the next consumer newer messages before those that this one gives back.
    /// `joined` gets the number of other consumers whenever it changes, if the broker lets any in.
    pub(super) async fn consume<I: Intake>(
        &mut self,
        intake: &I,
        shutdown: &Shutdown,
        mut joined: impl FnMut(u32),
    ) -> Result<(), SessionError> {
        let Session { connection, channel, consumer, queue, prefetch, paused_max, is_shared, may_be_joined, .. } = self;
        let (mut others, may_be_joined) = (0, *may_be_joined);
        let count_others = |consumers: u32| {
            let now = consumers.saturating_sub(1);
            if may_be_joined && std::mem::replace(&mut others, now) != now {
                joined(now);
            }
        };
        let first_new = watch::Sender::new(None);
        let (ledger, prefix) = Ledger::new();
        let _open = ledger.open_session();
        let mut acknowledger = Acknowledger::new(channel.clone(), prefix.clone(), *prefetch);
        let consumed = {
            let mut acknowledging = pin!(acknowledger.run());
            let consumed = {
                // With the session its marks go, too: receipts of a lost session say nothing of what comes again.
                let (watcher, question) = Watcher::new(channel.clone(), queue.clone(), prefix.clone(), *prefetch);
                let mut pumping = pin!(pump(consumer, &ledger, intake, question, *paused_max, &first_new));
                let settling =
                    settle_earlier(first_new.subscribe(), prefix.clone(), intake, ledger.session(), *is_shared);
                tokio::select! {
                    biased;
                    error = &mut acknowledging => return Err(error.into()),
                    () = shutdown.draining() => Ok(()),
                    ended = &mut pumping => ended,
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
                        tracing::warn!(outstanding, "the time for draining is up; the broker delivers these events again");
                    }
                },
                Err(SessionError::Paused) => {}
                Err(error) => return Err(error),
            }
            consumed
        };
        acknowledger.flush().await?;
        // The broker handles a connection's frames in order: it has confirmed the close, so it has had every acknowledgement.
        if close(connection).await && ledger.is_covered_by(acknowledger.acknowledged()) {
            intake.session_settled(ledger.session());
        }
        consumed
    }

    /// Closes the connection, which gives back what is not acknowledged, in its order.
    pub(super) async fn close(self) {
        let _ = close(&self.connection).await;
    }
}

/// Hands over what comes, until the intake closes. An end of the stream is an error: the server cancelled the consumer,
/// and nothing would ever come again.
async fn pump<I: Intake>(
    consumer: &mut Consumer,
    ledger: &Arc<Ledger>,
    intake: &I,
    mut question: Question,
    paused_max: Duration,
    first_new: &watch::Sender<Option<u64>>,
) -> Result<(), SessionError> {
    let deliveries = ::metrics::counter!(metrics::SOURCE_MESSAGES_TOTAL);
    let redeliveries = ::metrics::counter!(metrics::SOURCE_REDELIVERED_TOTAL);
    let mut tag = 0;
    loop {
        let message = tokio::select! {
            // The watcher asks on this task, so whatever came before its question has been found here by now.
            biased;
            message = consumer.next() => message,
            moment = question.asked() => {
                question.answer(moment, tag);
                continue;
            }
        };
        let Some(message) = message.transpose().map_err(BrokerError::from)? else { break };
        tag += 1;
        if message.delivery_tag != tag {
            return Err(
                BrokerError::Session("the broker's delivery tags have a gap; starting afresh".to_owned()).into()
            );
        }
        deliveries.increment(1);
        if message.redelivered {
            redeliveries.increment(1);
        } else if message.properties.priority().unwrap_or_default() == 0 {
            first_new.send_if_modified(|first| first.is_none() && first.replace(tag).is_none());
        }
        // A pause may begin while the delivery waits to get in.
        let accepted = tokio::select! {
            biased;
            accepted = intake.accept(delivery(message, ledger)) => accepted,
            () = paused_for(intake, paused_max) => return Err(SessionError::Paused),
        };
        if accepted.is_err() {
            return Ok(());
        }
        // The acknowledger shares this task, and a full buffer would never let it in.
        tokio::task::coop::consume_budget().await;
    }
    Err(BrokerError::Session("the broker cancelled the consumer: the queue was deleted, or moved".to_owned()).into())
}

/// Waits until intake has been paused for so long without a break; a pause is noticed within [`PAUSE_NOTICED_WITHIN`].
async fn paused_for<I: Intake>(intake: &I, paused_max: Duration) {
    while tokio::time::timeout(paused_max, intake.unpaused()).await.is_ok() {
        tokio::time::sleep(PAUSE_NOTICED_WITHIN).await;
    }
}

/// Waits until the first message that was never delivered before is settled, with all that came before it, and says that earlier sessions have
/// nothing left. **The broker puts messages that a lost session held back in front of those that it never delivered**; only messages of a higher
/// priority overtake them, so a message with a priority says nothing.
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
    let seconds = properties.timestamp().map(|seconds| Millis::try_from(seconds).unwrap_or(Millis::MAX));
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

/// Headers without those by which RabbitMQ sends copies to other queues: a dead letter goes to its own queue alone.
fn without_copies(headers: &FieldTable) -> FieldTable {
    let kept = headers.inner().iter().filter(|(name, _)| !SENDS_COPIES.contains(&name.as_str()));
    FieldTable::from(kept.map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>())
}

/// What the producer said of a message beside its id.
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
    fn the_headers_that_are_kept_for_a_dead_letter_send_no_copies() {
        let mut headers = FieldTable::default();
        for name in ["CC", "BCC", "x-trace", "cc"] {
            headers.insert(name.into(), AMQPValue::LongString("hailer.events".into()));
        }
        let origin = origin(&BasicProperties::default().with_headers(headers)).unwrap();
        let kept: Vec<_> = origin.headers.unwrap().inner().keys().map(ToString::to_string).collect();
        assert_eq!(kept, ["cc", "x-trace"], "the broker reads these names in capitals only");
    }
}
