//! Marks a queue that has a single active consumer. The broker shows a queue's arguments only to a
//! user who may declare the queue. So `hailer topology` also makes an exchange with a derived name,
//! whose existence every user can check.

use lapin::options::ExchangeDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, ExchangeKind};

use super::{BrokerError, answered};

const NOT_FOUND: u16 = 404;

/// The name of the exchange that marks `queue` as having a single active consumer. The engine
/// publishes nothing to it.
#[must_use]
pub fn single_active_mark(queue: &str) -> String {
    format!("{queue}.single-active-consumer")
}

/// Whether the exchange that marks `queue` as having a single active consumer exists.
///
/// # Errors
/// The broker does not answer, or refuses for another reason than a missing exchange.
pub async fn has_single_active_mark(
    connection: &Connection,
    queue: &str,
) -> Result<bool, BrokerError> {
    let Ok(mark) = ShortString::try_new(&*single_active_mark(queue)) else { return Ok(false) };
    // A refusal closes the channel, so this check uses its own.
    let channel = answered("channel.open", connection.create_channel()).await?;
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let found =
        channel.exchange_declare(mark, ExchangeKind::Fanout, options, FieldTable::default());
    match answered("exchange.declare", found).await {
        Ok(()) => Ok(true),
        Err(error) if error.has_code(NOT_FOUND) => Ok(false),
        Err(error) => Err(error),
    }
}
