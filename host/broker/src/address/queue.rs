//! The address of one queue: a broker's address with the queue's name as its last path segment.
//! Commands that read a queue directly use it. The engine's own queue is the setting
//! `rabbitmq.queue`.

use std::fmt;
use std::str::FromStr;

use super::redacted::authority_of;
use super::{AddressError, BrokerAddress, NAME_BYTES_MAX, redacted};
use crate::RabbitMqConfig;

/// A broker and a queue on it: `amqp://USER@HOST/QUEUE` in the default virtual host,
/// `amqp://USER@HOST/VHOST/QUEUE` in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueAddress {
    pub broker: BrokerAddress,
    pub queue: String,
}

impl QueueAddress {
    /// Parses an address, and adds the files that the configuration names.
    ///
    /// # Errors
    /// The text is not the address of a queue, or only one of certificate and key is configured.
    /// The files are not read here.
    pub fn new(text: &str, files: &RabbitMqConfig) -> Result<QueueAddress, AddressError> {
        let QueueAddress { broker, queue } = text.parse()?;
        Ok(QueueAddress { broker: broker.with_files(files)?, queue })
    }
}

impl FromStr for QueueAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<QueueAddress, AddressError> {
        let refused = |reason: &str| AddressError::Queue {
            address: redacted(text),
            reason: reason.to_owned(),
        };
        let authority = authority_of(text).filter(|authority| !authority.is_empty());
        let authority = authority.ok_or_else(|| refused("it has no host"))?;
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refused("it has no host"))?;
        let behind = rest.get(authority.len()..).unwrap_or_default();
        let path_bytes = behind.find(['?', '#']).unwrap_or(behind.len());
        let (path, options) = behind.split_at(path_bytes);
        // The last path segment is the queue; the path before it belongs to the broker's address.
        let (virtual_host, queue) = path.rsplit_once('/').unwrap_or_default();
        let queue = percent_decoded(queue)
            .ok_or_else(|| refused("its queue name has an invalid percent escape"))?;
        match queue.len() {
            0 => Err(refused("it names no queue")),
            1..=NAME_BYTES_MAX => {
                let broker = format!("{scheme}://{authority}{virtual_host}{options}").parse()?;
                Ok(QueueAddress { broker, queue })
            }
            _ => Err(refused("its queue name is too long")),
        }
    }
}

impl fmt::Display for QueueAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self
            .queue
            .replace('%', "%25")
            .replace('/', "%2F")
            .replace('?', "%3F")
            .replace('#', "%23");
        write!(formatter, "{}/{queue}", self.broker)
    }
}

/// Decodes percent escapes such as `%2F`; `None` if an escape is invalid or the result is not
/// UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_address_is_a_broker_address_and_a_queue_name() {
        for (text, virtual_host, queue, shown) in [
            ("amqp://h/q", "/", "q", "amqp://guest@h:5672/q"),
            ("amqp://h//q", "/", "q", "amqp://guest@h:5672/q"),
            (
                "amqp://u:p@h:5673/%2F/smc.recorded",
                "/",
                "smc.recorded",
                "amqp://u@h:5673/smc.recorded",
            ),
            (
                "amqps://u:p@h/shop/smc.recorded?heartbeat=3",
                "shop",
                "smc.recorded",
                "amqps://u@h:5671/shop/smc.recorded",
            ),
            ("amqp://u:p%2Fss@h/a%2Fb%20c%25", "/", "a/b c%", "amqp://u@h:5672/a%2Fb c%25"),
        ] {
            let Ok(address) = text.parse::<QueueAddress>() else { panic!("{text}") };
            assert_eq!(
                (address.broker.virtual_host(), &*address.queue),
                (virtual_host, queue),
                "{text}"
            );
            assert_eq!(address.to_string(), shown);
        }
        let address = "amqp://h/q?heartbeat=3".parse::<QueueAddress>().unwrap();
        assert_eq!(address.broker.heartbeat_ms(), 3000);
    }

    #[test]
    fn an_address_without_a_queue_is_refused_without_its_password() {
        let long = format!("amqp://u:s3cret@h/{}", "q".repeat(256));
        for (wrong, part) in [
            ("amqp://u:s3cret@h", "it names no queue"),
            ("amqp://u:s3cret@h/", "it names no queue"),
            ("amqp://u:s3cret@h/shop/", "it names no queue"),
            ("amqp://u:s3cret@h/?queue=q", "it names no queue"),
            ("amqp://u:s3cret@h/%zz", "invalid percent escape"),
            ("amqp://u:s3cret@h/%2", "invalid percent escape"),
            ("amqp://u:s3cret@/q", "it has no host"),
            ("amqp://", "it has no host"),
            ("amqp://u:s3cret@h:port/q", "its port"),
            (long.as_str(), "too long"),
        ] {
            let error = wrong.parse::<QueueAddress>().unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("s3cret"), "{error}");
        }
    }
}
