//! What the edges know of RabbitMQ in common: how to open a connection, and how long to wait before the next try.
//!
//! The client's automatic recovery stays off. It hides itself (no error reaches a consumer), and a consumer that the
//! server cancelled never consumes again. So each edge owns a session, and **on any error the session is dropped and
//! built anew, for ever, with a growing and jittered pause between**.

mod backoff;
mod probe;
mod request;
mod single_active;
mod version;

pub use backoff::Backoff;
pub use probe::{QueueKind, may_publish, queue_kind};
pub use request::{ANSWER_MAX, answered, close};
pub use single_active::{has_single_active_mark, single_active_mark};

use std::time::Duration;

use lapin::tcp::AMQPUriTcpExt;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::address::{AddressError, BrokerAddress};

/// What the client library must not log, at whatever level: these modules of it print messages, body and all, and the
/// credentials that a connection is opened with. What goes wrong there reaches us as an error as well.
pub const SILENCED_LOG_TARGETS: &[&str] = &[
    // A returned message, as a warning.
    "lapin::returned_messages",
    // Each frame received, and each frame that a lost connection leaves unsent.
    "lapin::channels",
    "lapin::frames",
    // Each method sent: the one that opens a connection carries the password.
    "lapin::io_loop",
];

/// Names on the wire (queues, exchanges, keys, message ids) are at most this long.
pub const NAME_BYTES_MAX: usize = 255;

/// Headers by which a message is sent to other queues, too (RabbitMQ's sender-selected distribution).
pub(crate) const SENDS_COPIES: [&str; 2] = ["CC", "BCC"];

/// Why there is no session with the broker right now.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("the address can't be used: {0}")]
    Address(#[from] AddressError),
    #[error("the broker does not answer within {timeout_ms} ms")]
    NoAnswer { timeout_ms: u64 },
    #[error("the broker does not answer a request ({request}) within {seconds} s")]
    Unanswered { request: &'static str, seconds: u64 },
    #[error("{}", told(.0))]
    Client(#[from] lapin::Error),
    #[error("{0}")]
    Session(String),
}

/// Opens connections to one broker.
#[derive(Debug)]
pub struct Dialer {
    address: BrokerAddress,
    name: &'static str,
    /// The last attempt got no answer: ask the broker for a sign of life before the next.
    unanswered: bool,
}

impl Dialer {
    /// `name` tells the connection apart in the broker's own tools.
    #[must_use]
    pub fn new(address: BrokerAddress, name: &'static str) -> Dialer {
        Dialer { address, name, unanswered: false }
    }

    #[must_use]
    pub fn address(&self) -> &BrokerAddress {
        &self.address
    }

    /// One attempt.
    ///
    /// # Errors
    /// When there is no connection at the end of it; another attempt may succeed.
    pub async fn connect(&mut self) -> Result<Connection, BrokerError> {
        let timeout_ms = self.address.connection_timeout_ms();
        let timeout = Duration::from_millis(timeout_ms);
        let (uri, tls) = self.address.resolve()?;
        // An attempt that is given up leaves the client's thread waiting for a peer that keeps silent, so one such
        // thread must not follow another.
        if self.unanswered && !self.address.is_encrypted() {
            let life = tokio::time::timeout(timeout, sign_of_life(&uri)).await;
            life.map_err(|_| BrokerError::NoAnswer { timeout_ms })?.map_err(lapin::Error::from)?;
        }
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("hailer {} ({})", self.name, std::process::id()).into());
        let open = async move |uri: AMQPUri, runtime| {
            let connect = AMQPUriTcpExt::connect_with_config_async(&uri, tls.as_ref(), &runtime);
            let silent = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
            Ok(tokio::time::timeout(timeout, connect).await.map_err(silent)??)
        };
        let connection = Connection::connector(uri, lapin::runtime::default_runtime()?, open, properties);
        let answer = tokio::time::timeout(timeout * 2, connection).await;
        self.unanswered = answer.is_err();
        Ok(answer.map_err(|_| BrokerError::NoAnswer { timeout_ms: timeout_ms * 2 })??)
    }
}

/// Asks for the protocol's greeting on a connection of its own, and hangs up.
async fn sign_of_life(uri: &AMQPUri) -> std::io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
    stream.write_all(b"AMQP\0\0\x09\x01").await?;
    stream.read_u8().await.map(drop)
}

/// The broker's own words where it said some, without the client's wrapping.
fn told(error: &lapin::Error) -> String {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => format!("the broker says: {}", error.get_message()),
        lapin::ErrorKind::IOError(error) => error.to_string(),
        lapin::ErrorKind::MissingHeartbeatError => "the broker has gone silent".to_owned(),
        _ => error.to_string(),
    }
}

impl BrokerError {
    /// The broker refused the last request with this AMQP reply code.
    #[must_use]
    pub fn has_code(&self, code: u16) -> bool {
        match self {
            BrokerError::Client(error) => {
                matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if error.get_id() == code)
            }
            _ => false,
        }
    }
}
