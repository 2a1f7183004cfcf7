//! One session: a connection, a channel, a consumer and a ledger that live and die together.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery as Message;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};

use crate::broker::{BrokerError, Dialer};
use crate::clock::Millis;
use crate::delivery::{Delivery, Ledger};
use crate::metrics;
use crate::shutdown::Shutdown;
use crate::sources::Intake;

use super::acknowledge::Acknowledger;
use super::watcher::{Question, Watcher};
use super::{Queue, SessionError};

const NOT_FOUND: u16 = 404;
const ACCESS_REFUSED: u16 = 403;
/// The longest that polite farewells may take.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Session {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    queue: ShortString,
    prefetch: u16,
}

impl Session {
    /// Connects, looks the queue up without making it, and starts to consume.
    pub(super) async fn open(dialer: &mut Dialer, queue: &Queue) -> Result<Session, SessionError> {
        let connection = dialer.connect().await?;
        let channel = connection.create_channel().await?;
        let name = ShortString::from(queue.name.as_str());
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(name.clone(), passive, FieldTable::default()).await;
        let declared = declared.map_err(|error| match BrokerError::from(error) {
            error if error.has_code(NOT_FOUND) => SessionError::NoQueue { queue: queue.name.clone() },
            error => error.into(),
        })?;
        let contested = || SessionError::Contested { queue: queue.name.clone() };
        if declared.consumer_count() > 0 && !queue.take_over {
            return Err(contested());
        }
        channel.basic_qos(queue.prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions { exclusive: !queue.take_over, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(name.clone(), "".into(), options, FieldTable::default()).await;
        let consumer = consumer.map_err(|error| match BrokerError::from(error) {
            // Somebody was quicker between the look and the consume.
            error if error.has_code(ACCESS_REFUSED) && error.to_string().contains("exclusive") => contested(),
            error => error.into(),
        })?;
        tracing::info!(queue = queue.name, waiting = declared.message_count(), "consuming");
        Ok(Session { connection, channel, consumer, queue: name, prefetch: queue.prefetch })
    }

    /// Hands deliveries over, acknowledges what is settled, and says until when the backlog is handled, until told to
    /// drain; then acknowledges what still settles, and closes.
    pub(super) async fn consume<I: Intake>(self, intake: &I, shutdown: &Shutdown) -> Result<(), SessionError> {
        let Session { connection, channel, consumer, queue, prefetch } = self;
        let consumer_tag = consumer.tag();
        let (ledger, prefix) = Ledger::new();
        let _open = ledger.open_session();
        let mut acknowledger = Acknowledger::new(channel.clone(), prefix.clone(), prefetch);
        {
            let mut acknowledging = pin!(acknowledger.run());
            {
                // With the session its marks go, too: receipts of a lost session say nothing of what comes again.
                let (watcher, question) = Watcher::new(channel.clone(), queue, prefix.clone(), prefetch);
                let mut pumping = pin!(pump(consumer, &ledger, intake, question));
                tokio::select! {
                    biased;
                    error = &mut acknowledging => return Err(error.into()),
                    () = shutdown.draining() => {}
                    ended = &mut pumping => ended?,
                    error = watcher.run(intake) => return Err(error.into()),
                }
                // Cancelled before the pump is dropped with what it had in hand: closing the channel gives that back.
                let cancel = channel.basic_cancel(consumer_tag, BasicCancelOptions::default());
                let _ = tokio::time::timeout(FAREWELL, cancel).await;
            }
            tokio::select! {
                biased;
                error = &mut acknowledging => return Err(error.into()),
                () = ledger.drained(prefix) => {}
                () = shutdown.ended() => {
                    let outstanding = ledger.outstanding();
                    tracing::warn!(outstanding, "the time for draining is up; the broker delivers these events again");
                }
            }
        }
        let farewell = async {
            acknowledger.flush().await?;
            connection.close(200, "OK".into()).await
        };
        match tokio::time::timeout(FAREWELL, farewell).await {
            // The broker handles a connection's frames in order: it has confirmed the close, so it has had every acknowledgement.
            Ok(Ok(())) if ledger.is_covered_by(acknowledger.acknowledged()) => {
                intake.session_settled(ledger.session());
            }
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the connection did not close politely"),
            Err(_) => tracing::debug!("the broker did not answer the farewell"),
        }
        Ok(())
    }
}

/// Hands over what comes, until the intake closes. An end of the stream is an error: the server cancelled the consumer,
/// and nothing would ever come again.
async fn pump<I: Intake>(
    mut consumer: Consumer,
    ledger: &Arc<Ledger>,
    intake: &I,
    mut question: Question,
) -> Result<(), BrokerError> {
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
        let Some(message) = message.transpose()? else { break };
        tag += 1;
        if message.delivery_tag != tag {
            return Err(BrokerError::Session("the broker's delivery tags have a gap; starting afresh".to_owned()));
        }
        deliveries.increment(1);
        if message.redelivered {
            redeliveries.increment(1);
        }
        if intake.accept(delivery(message, ledger)).await.is_err() {
            return Ok(());
        }
        // The acknowledger shares this task, and a full buffer would never let it in.
        tokio::task::coop::consume_budget().await;
    }
    Err(BrokerError::Session("the broker cancelled the consumer: the queue was deleted, or moved".to_owned()))
}

fn delivery(message: Message, ledger: &Arc<Ledger>) -> Delivery {
    let present = |text: &str| (!text.is_empty()).then(|| text.into());
    let properties = &message.properties;
    let seconds = properties.timestamp().map(|seconds| Millis::try_from(seconds).unwrap_or(Millis::MAX));
    Delivery {
        message_id: properties.message_id().as_ref().and_then(|id| present(id.as_str())),
        routing_key: present(message.routing_key.as_str()),
        timestamp_ms: seconds.map(|seconds| seconds.saturating_mul(1000)),
        position: None,
        redelivered: message.redelivered,
        was_repaired: false,
        defect: None,
        receipt: ledger.receipt(message.delivery_tag),
        body: Bytes::from(message.data),
    }
}
