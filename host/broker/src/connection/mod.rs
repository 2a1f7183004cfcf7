//! Connections to RabbitMQ, for the sources, the sinks and the commands: how to open one, and how
//! long to wait before the next attempt.
//!
//! The client's automatic recovery stays off, because it hides failures. No error reaches the
//! consumer, and a consumer that the server cancelled never consumes again while its channel stays
//! open. So each source and sink owns its session. **After any error of its session, a source or
//! sink that was once connected drops the session and builds a new one, without a limit of
//! attempts, with a growing and jittered pause between them.**

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

/// Log targets of the client library that must stay silent at every level. These modules log whole
/// messages, with their bodies, and the credentials of a connection. Their errors also reach the
/// engine as return values, so no information is lost.
pub const SILENCED_LOG_TARGETS: &[&str] = &[
    // Logs each returned message as a warning.
    "lapin::returned_messages",
    // Log each frame received, and each frame that was not sent when the connection was lost.
    "lapin::channels",
    "lapin::frames",
    // Logs each method sent; the one that opens a connection contains the password.
    "lapin::io_loop",
];

/// Headers that make RabbitMQ deliver a message to more queues (sender-selected distribution).
pub(crate) const CC_HEADERS: [&str; 2] = ["CC", "BCC"];

/// The reason why there is no session with the broker at the moment.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("the address is unusable: {0}")]
    Address(#[from] AddressError),
    #[error("the broker does not answer within {timeout_ms} ms")]
    NoAnswer { timeout_ms: u64 },
    #[error("the broker does not answer a request ({request}) within {seconds} s")]
    Unanswered { request: &'static str, seconds: u64 },
    #[error("{}", described(.0))]
    Client(#[from] lapin::Error),
    #[error("{0}")]
    Session(String),
}

/// Opens connections to one broker.
#[derive(Debug)]
pub struct Dialer {
    address: BrokerAddress,
    name: &'static str,
    /// The last attempt got no answer, so the next one first checks that the broker sends its
    /// greeting.
    unanswered: bool,
}

impl Dialer {
    /// `name` identifies the connection in RabbitMQ's management tools.
    #[must_use]
    pub fn new(address: BrokerAddress, name: &'static str) -> Dialer {
        Dialer { address, name, unanswered: false }
    }

    #[must_use]
    pub fn address(&self) -> &BrokerAddress {
        &self.address
    }

    /// Makes one connection attempt.
    ///
    /// # Errors
    /// The connection is not established; a later attempt may succeed.
    pub async fn connect(&mut self) -> Result<Connection, BrokerError> {
        let timeout_ms = self.address.connection_timeout_ms();
        let timeout = Duration::from_millis(timeout_ms);
        let (uri, tls) = self.address.resolve()?;
        // An abandoned attempt leaves a thread of the client waiting for the silent peer. Checking
        // the greeting first prevents one such thread for each attempt.
        if self.unanswered && !self.address.is_encrypted() {
            let greeting = tokio::time::timeout(timeout, probe_greeting(&uri)).await;
            greeting
                .map_err(|_| BrokerError::NoAnswer { timeout_ms })?
                .map_err(lapin::Error::from)?;
        }
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("hailer {} ({})", self.name, std::process::id()).into());
        let open = async move |uri: AMQPUri, runtime| {
            let connect = AMQPUriTcpExt::connect_with_config_async(&uri, tls.as_ref(), &runtime);
            let silent = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
            Ok(tokio::time::timeout(timeout, connect).await.map_err(silent)??)
        };
        let connection =
            Connection::connector(uri, lapin::runtime::default_runtime()?, open, properties);
        let answer = tokio::time::timeout(timeout * 2, connection).await;
        self.unanswered = answer.is_err();
        Ok(answer.map_err(|_| BrokerError::NoAnswer { timeout_ms: timeout_ms * 2 })??)
    }
}

/// Opens a TCP connection of its own, waits for the first byte of the AMQP greeting, and closes it.
async fn probe_greeting(uri: &AMQPUri) -> std::io::Result<()> {
    let mut stream =
        tokio::net::TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
    stream.write_all(b"AMQP\0\0\x09\x01").await?;
    stream.read_u8().await.map(drop)
}

/// The text of a client error. If the broker sent a message, only that message, without the
/// client's wrapping.
fn described(error: &lapin::Error) -> String {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => {
            format!("the broker says: {}", error.get_message())
        }
        lapin::ErrorKind::IOError(error) => error.to_string(),
        lapin::ErrorKind::MissingHeartbeatError => {
            "the broker sends no heartbeat any more".to_owned()
        }
        _ => error.to_string(),
    }
}

impl BrokerError {
    /// Whether the broker refused the last request with this AMQP reply code.
    #[must_use]
    pub fn has_code(&self, code: u16) -> bool {
        match self {
            BrokerError::Client(error) => match error.kind() {
                lapin::ErrorKind::ProtocolError(error) => error.get_id() == code,
                _ => false,
            },
            _ => false,
        }
    }
}
