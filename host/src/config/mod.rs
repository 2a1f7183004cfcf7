//! The configuration: its structure, its defaults, and the layers that set its values.
//!
//! The file overrides defaults, the environment overrides the file, and flags override the
//! environment. After the start nothing changes any more. **Every problem of the configuration is
//! found before anything starts, and all of them are shown together.** The files that hold secrets
//! are named here and never read here. An address is never shown with its password.

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
pub use hailer_broker::RabbitMqConfig;

/// All settings. A time is in the unit at the end of its name; a size is in bytes.
///
/// A new setting needs bounds in `settings`; a test checks that.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name of the environment, such as `production` or `test`. It is part of every
    /// communication, and a store belongs to one environment.
    pub environment: String,
    /// The source of events: `amqp://…`, `amqps://…`, `file:PATH`, or `-` for standard input.
    pub source: String,
    /// The sink of communications: `amqp://…`, `amqps://…`, `file:PATH`, or `-` for standard
    /// output.
    pub sink: String,
    /// The rules directory.
    pub rules: PathBuf,
    /// Whether the start removes campaigns that are missing in the rules directory, however many
    /// they are. It applies to one run, so it is not a setting.
    #[serde(skip)]
    pub allow_removals: bool,
    /// The data directory: the socket, the cache of compiled modules, and the last good versions.
    /// Created if it is missing.
    pub data: PathBuf,
    /// The number of shards; 0 means one for each core.
    pub shards: usize,
    /// The longest time that a drain at the end may take, in milliseconds.
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
    /// The largest message, in bytes. A larger one is dead-lettered.
    pub bytes_max: usize,
    /// The largest number of events in a batch.
    pub batch_max: usize,
    /// The largest number of events in flight, from intake until their outcome is durable.
    pub in_flight_max: usize,
    /// The largest size of all events in flight, in bytes, and of their communications as much
    /// again. A larger event is taken in alone.
    pub in_flight_bytes_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The directory of the store. If it is `None`: `store` in the data directory for an engine
    /// that consumes RabbitMQ, and in memory for one that reads a file or standard input.
    pub dir: Option<PathBuf>,
    /// Whether to create the store if it does not exist, for a first start.
    pub create: bool,
    /// The size of the cache for the store's tables, in bytes. Rows that are not in tables yet take
    /// memory beside it.
    pub cache_bytes: usize,
    /// The size of a new store's write-ahead log, in bytes. Rows that are not in tables yet take at
    /// most as much memory.
    pub log_bytes: usize,
    /// The time for which a copy of an event is recognised, in hours during which a source was
    /// connected.
    pub deduplication_hours: u64,
    /// The retention of the journal, in days.
    pub journal_days: u64,
    /// The largest size of the journal, in bytes. The oldest rows are removed first.
    pub journal_bytes_max: u64,
    /// Number of unpublished communications at which intake pauses.
    pub outbox_max: usize,
    /// Number of messages that may wait for the end of quiet hours. A further one is suppressed.
    pub deferred_max: usize,
    /// Number of undelivered dead letters at which intake pauses.
    pub deadletters_max: usize,
    /// Size of undelivered dead letters at which intake pauses, in bytes.
    pub deadletters_bytes_max: usize,
    /// The largest size of one campaign's failures, in bytes. Further failures are counted and not
    /// kept.
    pub failures_bytes_max: u64,
    /// The largest size of the events that one campaign missed while it was paused or suspended, in
    /// bytes. Further missed events are only counted.
    pub missed_bytes_max: u64,
    /// The engine reports an impairment when fewer bytes are free for a directory that it writes
    /// to; 0 turns the check off.
    pub free_bytes_min: u64,
}

/// The recording of consumed events with their bodies, which are personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordConfig {
    /// The directory of the recording. `None` means that nothing is recorded. Created if it is
    /// missing, for the engine's user alone.
    pub dir: Option<PathBuf>,
    /// The size at which a file is closed and the next begun, in bytes. The end of a day (UTC) also
    /// begins a new file.
    pub file_bytes_max: u64,
    /// Files are removed this number of days after they were last written.
    pub days: u64,
    /// The largest size of all files, in bytes. The oldest files are removed first.
    pub bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockConfig {
    /// The clock: `wall` is the machine's clock; `events` uses the timestamps of envelopes, for a
    /// file or standard input.
    pub source: Clock,
    /// With `events`: how long the clock runs on after the last event, in minutes.
    pub run_on_minutes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadConfig {
    /// The mode of a module without a campaign file: `live`, or `refuse` to load it.
    pub bare_modules: BareModules,
    /// How long the rules directory must stay unchanged before it is read, in milliseconds.
    pub debounce_ms: u64,
    /// How often the rules directory is read without a notice of a change, in milliseconds.
    pub poll_ms: u64,
    /// How long a file that may be half-written must stay unchanged, in milliseconds.
    pub settle_ms: u64,
    /// A version that faults within this time after its swap is rolled back, in minutes; 0 means
    /// never.
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
    /// One in this number of calls is made again on a fresh instance; 0 means none.
    pub recheck_one_in: u32,
}

/// The file in the data directory for dead letters of standard input.
pub const DEAD_LETTERS_FILE: &str = "deadletters.jsonl";

/// The default directory of the store, inside the data directory.
const STORE_DIR: &str = "store";

/// The default address for metrics and health of an engine that consumes RabbitMQ.
pub const LISTEN_OF_A_SERVICE: &str = "127.0.0.1:9464";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// The address for `/metrics`, `/healthz` and `/readyz`. Empty means none. `auto` means
    /// [`LISTEN_OF_A_SERVICE`] with RabbitMQ, and none with a file or standard input.
    pub listen: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    /// The level: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as
    /// `hailer=debug,lapin=warn`.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Whether the engine runs until it is stopped: with RabbitMQ, and not with a file or standard
    /// input.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.source.starts_with("amqp")
    }

    /// The directory of the store; `None` for a store in memory.
    #[must_use]
    pub fn store_dir(&self) -> Option<PathBuf> {
        let of_service = || self.source.starts_with("amqp").then(|| self.default_store_dir());
        self.store.dir.clone().or_else(of_service)
    }

    /// The default directory of the store of an engine that consumes RabbitMQ.
    #[must_use]
    pub fn default_store_dir(&self) -> PathBuf {
        self.data.join(STORE_DIR)
    }
}

impl std::fmt::Debug for Config {
    /// Formats the configuration as JSON without the passwords of addresses, because a whole
    /// configuration is easily logged.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown =
            Self { source: redacted(&self.source), sink: redacted(&self.sink), ..self.clone() };
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
        Self {
            bytes_max: 1 << 20,
            batch_max: 256,
            in_flight_max: 4096,
            in_flight_bytes_max: 256 << 20,
        }
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
            deferred_max: 1_000_000,
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
