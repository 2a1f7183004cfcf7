//! RabbitMQ settings: the `rabbitmq` table of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Names of queues and exchanges, limits, and paths of files with secrets and certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RabbitMqConfig {
    /// The queue that the engine consumes.
    pub queue: String,
    /// Prefetch: the maximum number of messages that the broker sends before it waits for
    /// acknowledgements.
    pub prefetch: u16,
    /// The longest pause of intake, in ms, during which the engine keeps unacknowledged events.
    /// After it, the engine closes the session, and the events return to the queue.
    pub paused_ms_max: u64,
    /// `true` lets the engine consume a queue that already has a consumer.
    pub take_over: bool,
    /// The topic exchange to which the engine publishes communications.
    pub exchange: String,
    /// The queue to which the engine publishes dead letters.
    pub deadletter_queue: String,
    /// A file with the password; it replaces the password of the address. `None`: the address has
    /// it.
    pub password_file: Option<PathBuf>,
    /// PEM file with certificate authorities, trusted in addition to the built-in Mozilla roots.
    /// `None`: only the built-in ones are trusted.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate; needs `key_file`, too. `None`: no client certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of the client certificate; needs `cert_file`, too.
    pub key_file: Option<PathBuf>,
}

impl Default for RabbitMqConfig {
    fn default() -> Self {
        Self {
            queue: "smc.customerEvents".into(),
            prefetch: 1000,
            paused_ms_max: 30_000,
            take_over: false,
            exchange: "smc.communications".into(),
            deadletter_queue: "hailer.deadletter".into(),
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}
