//! The mark of a queue with a single active consumer. The broker shows a queue's arguments only to a user who may declare
//! it, so `hailer topology` makes an exchange beside such a queue, which every user can see.

use lapin::options::ExchangeDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, ExchangeKind};

use super::{BrokerError, answered};

const NOT_FOUND: u16 = 404;

/// The exchange that marks a queue as one with a single active consumer. Nothing is published to it.
#[must_use]
pub fn single_active_mark(queue: &str) -> String {
    format!("{queue}.single-active-consumer")
}

/// Whether a queue of this name is marked as one with a single active consumer.
///
/// # Errors
/// When the broker can't be asked.
pub async fn has_single_active_mark(connection: &Connection, queue: &str) -> Result<bool, BrokerError> {
    let Ok(mark) = ShortString::try_new(&*single_active_mark(queue)) else { return Ok(false) };
    // A refusal closes the channel, so the look has one of its own.
    let channel = answered("channel.open", connection.create_channel()).await?;
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let found = channel.exchange_declare(mark, ExchangeKind::Fanout, options, FieldTable::default());
    match answered("exchange.declare", found).await {
        Ok(()) => Ok(true),
        Err(error) if error.has_code(NOT_FOUND) => Ok(false),
        Err(error) => Err(error),
    }
}
