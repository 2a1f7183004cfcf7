//! What can be learnt of a broker from its refusals, without consuming or publishing anything.

use lapin::options::{BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Connection};

use super::{BrokerError, answered};

const PRECONDITION_FAILED: u16 = 406;

/// What RabbitMQ keeps a queue as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    Classic,
    Quorum,
    Stream,
    /// The broker says it in other words than those known.
    Unknown,
}

/// What a queue is kept as. Each kind refuses one of the two arguments, and names itself when it does; so nothing is ever consumed here.
///
/// # Errors
/// When the broker can't be asked; with code 403 when the user may not read from the queue.
pub async fn queue_kind(connection: &Connection, queue: &ShortString) -> Result<QueueKind, BrokerError> {
    let channel = answered("channel.open", connection.create_channel()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-priority".into(), AMQPValue::LongInt(0));
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("next".into()));
    answered("basic.qos", channel.basic_qos(1, BasicQosOptions::default())).await?;
    let refused = channel.basic_consume(queue.clone(), "".into(), BasicConsumeOptions::default(), arguments);
    let error = match answered("basic.consume", refused).await {
        Err(error) if error.has_code(PRECONDITION_FAILED) => error.to_string(),
        Err(error) => return Err(error),
        // A broker older than 3.9 does not check arguments. What was delivered goes back.
        Ok(_consumer) => {
            answered("channel.close", channel.close(200, "OK".into())).await?;
            return Ok(QueueKind::Unknown);
        }
    };
    let kind = error.rsplit_once("of queue type").map_or("", |(_, kind)| kind);
    Ok(match () {
        () if kind.contains("classic") => QueueKind::Classic,
        () if kind.contains("quorum") => QueueKind::Quorum,
        () if kind.contains("stream") => QueueKind::Stream,
        () => QueueKind::Unknown,
    })
}

/// Whether the user may publish to an exchange; the empty name is the default exchange. The broker checks the permission first and then refuses the
/// message, as its expiration is no number; so nothing is published.
///
/// # Errors
/// When the broker can't be asked; with code 403 when the user may not write to the exchange.
pub async fn may_publish(connection: &Connection, exchange: &str, routing_key: &str) -> Result<(), BrokerError> {
    let channel = answered("channel.open", connection.create_channel()).await?;
    answered("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let refused = async {
        let properties = BasicProperties::default().with_expiration("none".into());
        let options = BasicPublishOptions::default();
        channel.basic_publish(exchange.into(), routing_key.into(), options, b"", properties).await?.await
    };
    match answered("basic.publish", refused).await {
        Err(error) if error.has_code(PRECONDITION_FAILED) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}
