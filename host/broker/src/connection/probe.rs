//! Finds out the kind of a queue and the user's permissions from the broker's refusals. Nothing is
//! consumed or published.

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Connection};

use super::{BrokerError, answered};

const PRECONDITION_FAILED: u16 = 406;

/// The type of a RabbitMQ queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    Classic,
    Quorum,
    Stream,
    /// The broker did not name a known type.
    Unknown,
}

/// The type of a queue. Each type refuses one of the two consumer arguments, and the refusal names
/// the type. So no message is consumed.
///
/// # Errors
/// The broker does not answer, or refuses: code 403 means that the user must not read from the
/// queue.
pub async fn queue_kind(
    connection: &Connection,
    queue: &ShortString,
) -> Result<QueueKind, BrokerError> {
    let channel = answered("channel.open", connection.create_channel()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-priority".into(), AMQPValue::LongInt(0));
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("next".into()));
    answered("basic.qos", channel.basic_qos(1, BasicQosOptions::default())).await?;
    let refused =
        channel.basic_consume(queue.clone(), "".into(), BasicConsumeOptions::default(), arguments);
    let error = match answered("basic.consume", refused).await {
        Err(error) if error.has_code(PRECONDITION_FAILED) => error.to_string(),
        Err(error) => return Err(error),
        // Brokers older than 3.9 do not check these arguments. Closing the channel requeues any
        // message that was delivered.
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

/// Checks that the user may publish to an exchange; the empty name is the default exchange. The
/// broker checks the permission first, then refuses the message because its expiration is not a
/// number. So nothing is published.
///
/// # Errors
/// The broker does not answer, or refuses: code 403 means that the user must not write to the
/// exchange.
pub async fn may_publish(
    connection: &Connection,
    exchange: &str,
    routing_key: &str,
) -> Result<(), BrokerError> {
    let channel = answered("channel.open", connection.create_channel()).await?;
    answered("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let refused = async {
        let properties = BasicProperties::default().with_expiration("none".into());
        let options = BasicPublishOptions::default();
        channel
            .basic_publish(exchange.into(), routing_key.into(), options, b"", properties)
            .await?
            .await
    };
    match answered("basic.publish", refused).await {
        Err(error) if error.has_code(PRECONDITION_FAILED) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}
