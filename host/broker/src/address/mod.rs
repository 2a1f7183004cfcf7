//! Addresses of sources and sinks: `amqp://…`, `amqps://…`, `file:PATH`, or `-` for a standard
//! stream.
//!
//! Addresses are parsed only here, so that passwords are hidden in one place: neither `Display` nor
//! `Debug` of an address shows its password.

mod broker;
mod queue;
mod redacted;
mod secrets;

pub use broker::BrokerAddress;
pub use queue::QueueAddress;
pub use redacted::redacted;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::RabbitMqConfig;

/// The longest name on the wire (queue, exchange, routing key, message id), in bytes. AMQP sends
/// its length as one byte.
pub const NAME_BYTES_MAX: usize = 255;

/// The address of a source or a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    RabbitMq(Box<BrokerAddress>),
    File(PathBuf),
    /// Standard input for a source, standard output for a sink.
    Standard,
}

/// The reason why an address is unusable.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error(
        "`{0}` is not an address: write amqp://HOST, amqps://HOST, file:PATH, or - for a standard \
         stream"
    )]
    Unknown(String),
    #[error("`{address}` is not a broker's address: {reason}; write amqp://USER@HOST:PORT/VHOST")]
    Broker { address: String, reason: String },
    #[error(
        "`{address}` is not a queue's address: {reason}; write amqp://USER@HOST:PORT/QUEUE, \
         or …/VHOST/QUEUE in a virtual host"
    )]
    Queue { address: String, reason: String },
    #[error("rabbitmq.{given} is set without rabbitmq.{missing}: a client certificate needs both")]
    IncompleteIdentity { given: &'static str, missing: &'static str },
    #[error("cannot read {} (rabbitmq.{setting})", path.display())]
    File { setting: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} (rabbitmq.{setting}) {reason}", path.display())]
    Content { setting: &'static str, path: PathBuf, reason: &'static str },
}

impl Address {
    /// Parses an address. A broker's address also gets the files that the configuration names.
    ///
    /// # Errors
    /// The text is not an address, or only one of certificate and key is configured. The files are
    /// not read here.
    pub fn new(text: &str, files: &RabbitMqConfig) -> Result<Address, AddressError> {
        match text.parse()? {
            Address::RabbitMq(broker) => Ok(Address::RabbitMq(Box::new(broker.with_files(files)?))),
            other => Ok(other),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        if text == "-" {
            return Ok(Address::Standard);
        }
        match text.split_once(':') {
            Some(("amqp" | "amqps", _)) => Ok(Address::RabbitMq(Box::new(text.parse()?))),
            Some(("file", path)) if !path.is_empty() => Ok(Address::File(file_path(path))),
            _ => Err(AddressError::Unknown(redacted(text))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::RabbitMq(broker) => broker.fmt(formatter),
            Address::File(path) => write!(formatter, "file:{}", path.display()),
            Address::Standard => formatter.write_str("-"),
        }
    }
}

/// Accepts the path of `file:events.jsonl`, `file:/var/events.jsonl` and
/// `file:///var/events.jsonl`.
fn file_path(path: &str) -> PathBuf {
    match path.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => PathBuf::from(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests;
