//! The configuration: its shape, its defaults, and where a value may come from.
//!
//! Defaults give way to the file, the file to the environment, the environment to flags; after that nothing changes
//! any more. **Every problem is found before anything starts, and all of them are shown together.** The files that
//! hold secrets are named here and never read here; an address with a password is never shown whole.

use std::path::PathBuf;

mod checks;
mod layers;
mod problem;
mod secrets;
mod settings;
mod settled;

pub use layers::{ENVIRONMENT_PREFIX, FILE_DEFAULT, Flag, Layers, Loaded, Origin, Purpose, Shown};
pub use problem::{ConfigError, Problem};
pub use secrets::Exposed;
pub use settings::{nearest, setting_names};

use serde::{Deserialize, Serialize};

use crate::address::redacted;
use crate::engine::Limits;
use crate::pipeline::{BreakerSettings, Clock};
use crate::store;

/// Everything that can be configured. Times are in the unit that the name ends with, sizes in bytes.
///
/// A new setting needs its bounds in `settings`; a test says so.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Goes out with every communication, and keeps stores apart: `production`, `test`.
    pub environment: String,
    /// `amqp://…`, `amqps://…`, `file:PATH` or `-` for standard input.
    pub source: String,
    /// `amqp://…`, `amqps://…`, `file:PATH` or `-` for standard output.
    pub sink: String,
    /// The directory of campaigns.
    pub rules: PathBuf,
    /// Campaigns that are gone from the directory end at the start, however many. Of one run, so no setting.
    #[serde(skip)]
    pub allow_removals: bool,
    /// Holds the socket, the artifact cache and the last good versions; made if it is missing.
    pub data: PathBuf,
    /// Shards; 0 means one a core.
    pub shards: usize,
    /// The longest that a drain may take at the end.
    pub drain_ms: u64,
    pub event: EventConfig,
    pub store: StoreConfig,
    pub record: RecordConfig,
    pub clock: ClockConfig,
    pub rabbitmq: RabbitMqConfig,
    pub reload: ReloadConfig,
    pub limits: Limits,
    pub purity: PurityConfig,
    pub breaker: BreakerSettings,
    pub http: HttpConfig,
    pub log: LogConfig,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventConfig {
    /// A larger message is a dead letter.
    pub bytes_max: usize,
    /// The most events that a shard takes at once.
    pub batch_max: usize,
    /// The most events between the source and the shards' outcome.
    pub in_flight_max: usize,
    /// The most bytes of events in flight, and as much again of communications on their way out. A larger event passes alone.
    pub in_flight_bytes_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Where the store is. If nothing is said: `store` in the data directory for an engine that consumes RabbitMQ, and in memory
    /// for one that reads a file or standard input.
    pub dir: Option<PathBuf>,
    /// Make a store if there is none: for a first start.
    pub create: bool,
    /// What is kept in memory of the store's tables, beside what was not written to them yet.
    pub cache_bytes: usize,
    /// The size of the log of a store that is made. As many bytes of rows may be in memory that were not written to tables yet.
    pub log_bytes: usize,
    /// For how long a copy of an event is known for one, in hours for which a source was connected.
    pub deduplication_hours: u64,
    /// For how long the journal is kept, in days.
    pub journal_days: u64,
    /// How large the journal may become; the oldest goes first.
    pub journal_bytes_max: u64,
    /// With so many communications waiting to be published, no more events are taken in.
    pub outbox_max: usize,
    /// With so many dead letters waiting to be delivered, no more events are taken in.
    pub deadletters_max: usize,
    /// The same in bytes.
    pub deadletters_bytes_max: usize,
    /// How much is kept of the failures of one campaign; what comes then is counted and not kept.
    pub failures_bytes_max: u64,
    /// How much is kept of what one campaign missed while it was paused or suspended; what comes then is only counted.
    pub missed_bytes_max: u64,
    /// With fewer bytes free under a directory that the engine writes to, it says so; 0 is never.
    pub free_bytes_min: u64,
}

/// Keeping what is consumed, bodies and all: personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordConfig {
    /// Where recordings are kept; unset means that nothing is recorded. Made if it is missing, for the engine's user alone.
    pub dir: Option<PathBuf>,
    /// A file that is so large is closed, and the next begun. So is one at the end of its day (UTC).
    pub file_bytes_max: u64,
    /// Files that were last written so many days ago are removed.
    pub days: u64,
    /// How much all files may take, in bytes; the oldest go first.
    pub bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockConfig {
    /// What tells the time: the machine, `wall`; or, for a file or standard input, the envelopes' timestamps, `events`.
    pub source: Clock,
    /// With `events`: for how long the clock goes on after the last event, in minutes.
    pub run_on_minutes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RabbitMqConfig {
    /// The queue to consume.
    pub queue: String,
    /// Messages that the broker may have sent and not yet had acknowledged.
    pub prefetch: u16,
    /// The longest that events are held while intake is paused, in ms; then they go back to the queue.
    pub paused_ms_max: u64,
    /// Consume although the queue has a consumer already.
    pub take_over: bool,
    /// The topic exchange for communications.
    pub exchange: String,
    /// The queue for dead letters.
    pub deadletter_queue: String,
    /// Read instead of a password in the address.
    pub password_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadConfig {
    /// What a bare module is: `live`, or `refuse`.
    pub bare_modules: BareModules,
    /// How long the directory must be quiet before it is read.
    pub debounce_ms: u64,
    /// How often the directory is read although nothing said that it changed.
    pub poll_ms: u64,
    /// How long a file that may be half-written has to stay as it is, in milliseconds.
    pub settle_ms: u64,
    /// A version that faults within this time after its swap is rolled back, in minutes; 0 is never.
    pub rollback_minutes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BareModules {
    Live,
    Refuse,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurityConfig {
    /// One in so many calls runs again on a fresh instance; 0 means none.
    pub recheck_one_in: u32,
}

/// Dead letters of standard input go into this file of the data directory.
pub const DEAD_LETTERS_FILE: &str = "deadletters.jsonl";

/// The store's place in the data directory.
const STORE_DIR: &str = "store";

/// Where an engine that consumes RabbitMQ listens if nothing else is said.
pub const LISTEN_OF_A_SERVICE: &str = "127.0.0.1:9464";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where `/metrics`, `/healthz` and `/readyz` listen; empty means nowhere; `auto` means [`LISTEN_OF_A_SERVICE`] with a
    /// source that goes on for ever, and nowhere with a file or standard input.
    pub listen: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `hailer=debug,lapin=warn`.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Whether it runs until it is told to stop: from a broker, and not over a file or standard input.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.source.starts_with("amqp")
    }

    /// Where the store is; `None` for one in memory.
    #[must_use]
    pub fn store_dir(&self) -> Option<PathBuf> {
        let of_service = || self.source.starts_with("amqp").then(|| self.default_store_dir());
        self.store.dir.clone().or_else(of_service)
    }

    /// Where the store of an engine that consumes RabbitMQ is, if nothing else is said.
    #[must_use]
    pub fn default_store_dir(&self) -> PathBuf {
        self.data.join(STORE_DIR)
    }
}

impl std::fmt::Debug for Config {
    /// As JSON, with the passwords of addresses left out: a configuration is easily logged whole.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = Self { source: redacted(&self.source), sink: redacted(&self.sink), ..self.clone() };
        match serde_json::to_string(&shown) {
            Ok(text) => write!(formatter, "Config {text}"),
            Err(_) => formatter.write_str("Config"),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            environment: "local".into(),
            source: "-".into(),
            sink: "-".into(),
            allow_removals: false,
            rules: "rules.d".into(),
            data: ".hailer".into(),
            shards: 0,
            drain_ms: 25_000,
            event: EventConfig::default(),
            store: StoreConfig::default(),
            record: RecordConfig::default(),
            clock: ClockConfig::default(),
            rabbitmq: RabbitMqConfig::default(),
            reload: ReloadConfig::default(),
            limits: Limits::default(),
            purity: PurityConfig::default(),
            breaker: BreakerSettings::default(),
            http: HttpConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for EventConfig {
    fn default() -> Self {
        Self { bytes_max: 1 << 20, batch_max: 256, in_flight_max: 4096, in_flight_bytes_max: 256 << 20 }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            dir: None,
            create: false,
            cache_bytes: 64 << 20,
            log_bytes: store::LOG_BYTES,
            deduplication_hours: 24,
            journal_days: 30,
            journal_bytes_max: 5 << 30,
            outbox_max: 100_000,
            deadletters_max: 10_000,
            deadletters_bytes_max: 256 << 20,
            failures_bytes_max: 1 << 30,
            missed_bytes_max: 64 << 20,
            free_bytes_min: 1 << 30,
        }
    }
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self { dir: None, file_bytes_max: 64 << 20, days: 14, bytes_max: 10 << 30 }
    }
}

impl Default for ClockConfig {
    fn default() -> Self {
        Self { source: Clock::Wall, run_on_minutes: 0 }
    }
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

impl Default for ReloadConfig {
    fn default() -> Self {
        Self {
            bare_modules: BareModules::Live,
            debounce_ms: 100,
            poll_ms: 10_000,
            settle_ms: 3000,
            rollback_minutes: 60,
        }
    }
}

impl Default for PurityConfig {
    fn default() -> Self {
        Self { recheck_one_in: 1000 }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: "auto".into() }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

#[cfg(test)]
mod tests;
