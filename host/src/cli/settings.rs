//! The flags that set a setting, and the configuration that results from them.

use std::path::PathBuf;

use clap::Args;

use super::UsageError;
use crate::config::{Flag, Layers, Loaded, Purpose};
use crate::engine::Limits;

/// The flags of every command.
#[derive(Debug, Default, Args)]
pub(super) struct Global {
    /// The configuration file [default: hailer.toml, if it is in the current directory]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// The engine's data directory, where its socket is
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    data: Option<String>,
    /// Set any setting, such as rabbitmq.prefetch=500; may be repeated
    #[arg(long, global = true, value_name = "SETTING=VALUE", help_heading = "Global options")]
    set: Vec<String>,
    /// Print JSON on standard output
    #[arg(long, global = true, help_heading = "Global options")]
    pub(super) json: bool,
}

/// The flags of `run`, and of the commands that show what it would do.
#[derive(Debug, Default, Args)]
pub(super) struct SettingFlags {
    /// The source of events: amqp://…, amqps://…, file:PATH, or - for standard input
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// The sink of communications: amqp://…, amqps://…, file:PATH, or - for standard output
    #[arg(long, value_name = "ADDRESS")]
    sink: Option<String>,
    /// The rules directory, which holds campaign files and modules
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
    /// The directory of the store [default: `store` in the data directory with RabbitMQ; in memory
    /// with a file or standard input]
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
    /// Create the store if it does not exist, for a first start
    #[arg(long)]
    create_store: bool,
    /// The clock: wall, or events to use the timestamps of a file's envelopes (timers fire on the
    /// way)
    #[arg(long, value_name = "CLOCK")]
    clock: Option<String>,
    /// With --clock events: how many minutes the clock runs on after the last event
    #[arg(long, value_name = "MINUTES")]
    run_on_minutes: Option<String>,
    /// The name of the environment, which is part of every communication
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// The address for /metrics, /healthz and /readyz; empty to listen nowhere
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The number of threads that decide events; 0 means one for each core
    #[arg(long, value_name = "COUNT")]
    shards: Option<String>,
    /// Consume even if the queue already has a consumer
    #[arg(long)]
    take_over: bool,
    /// The format of the log: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// The level of the log: error, warn, info, debug, trace, or a filter such as
    /// hailer=debug,lapin=warn
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
}

/// The flags of the commands that connect to a broker without running the engine.
#[derive(Debug, Default, Args)]
pub(super) struct BrokerFlags {
    /// The source of events: amqp://… or amqps://…
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// The sink of communications: amqp://… or amqps://…
    #[arg(long, value_name = "ADDRESS")]
    sink: Option<String>,
}

/// The flags of the commands that read the store.
#[derive(Debug, Default, Args)]
pub(super) struct StoreFlags {
    /// The directory of the store, if no engine answers [default: as the engine's configuration
    /// says, else DATA/store]
    #[arg(long, value_name = "DIR")]
    pub(super) store: Option<String>,
    /// The environment that the store belongs to
    #[arg(long, value_name = "NAME")]
    pub(super) environment: Option<String>,
}

/// Settings from a command's own flags.
impl SettingFlags {
    pub(super) fn of_rules(rules: Option<String>, environment: Option<String>) -> SettingFlags {
        SettingFlags { rules, environment, ..SettingFlags::default() }
    }
}

impl BrokerFlags {
    pub(super) fn settings(&self) -> SettingFlags {
        let (source, sink) = (self.source.clone(), self.sink.clone());
        SettingFlags { source, sink, ..SettingFlags::default() }
    }
}

impl StoreFlags {
    /// Refuses `--environment` if it is not the environment of the engine that answers.
    pub(super) fn check_environment(&self, of_engine: &str) -> Result<(), UsageError> {
        match &self.environment {
            Some(named) if named != of_engine => Err(UsageError(format!(
                "the running engine has the environment `{of_engine}`, not `{named}`: leave \
                    --environment out, or name another store with --store or --data"
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn settings(&self) -> SettingFlags {
        let (store, environment) = (self.store.clone(), self.environment.clone());
        SettingFlags { store, environment, ..SettingFlags::default() }
    }
}

impl SettingFlags {
    fn flags(&self) -> Vec<Flag> {
        let texts = [
            ("source", "--source", &self.source),
            ("sink", "--sink", &self.sink),
            ("rules", "--rules", &self.rules),
            ("store.dir", "--store", &self.store),
            ("clock.source", "--clock", &self.clock),
            ("clock.run_on_minutes", "--run-on-minutes", &self.run_on_minutes),
            ("environment", "--environment", &self.environment),
            ("http.listen", "--listen", &self.listen),
            ("shards", "--shards", &self.shards),
            ("log.format", "--log-format", &self.log_format),
            ("log.level", "--log-level", &self.log_level),
        ];
        let given = texts
            .into_iter()
            .filter_map(|(setting, flag, text)| Some(set(setting, flag, text.as_ref()?)));
        let switches = [
            ("rabbitmq.take_over", "--take-over", self.take_over),
            ("store.create", "--create-store", self.create_store),
        ];
        let on = switches
            .into_iter()
            .filter(|(.., on)| *on)
            .map(|(setting, flag, _)| set(setting, flag, "true"));
        given.chain(on).collect()
    }
}

impl Global {
    /// The limits of a rule in an engine with this configuration.
    pub(super) fn limits(&self) -> anyhow::Result<Limits> {
        Ok(self.load(Purpose::Ask, &SettingFlags::default())?.config.limits)
    }

    /// Loads the configuration from defaults, file, environment and flags.
    pub(super) fn load(&self, purpose: Purpose, settings: &SettingFlags) -> anyhow::Result<Loaded> {
        let mut flags = settings.flags();
        flags.extend(self.data.iter().map(|data| set("data", "--data", data)));
        for assignment in &self.set {
            let Some((setting, text)) = assignment.split_once('=') else {
                let reason =
                    format!("`--set {assignment}` has no value: write --set SETTING=VALUE");
                return Err(UsageError(reason).into());
            };
            flags.push(set(setting.trim(), &format!("--set {}", setting.trim()), text));
        }
        Ok(Layers::of_process(self.config.clone(), flags).load(purpose)?)
    }
}

fn set(setting: &str, flag: &str, text: &str) -> Flag {
    Flag { setting: setting.to_owned(), text: text.to_owned(), flag: flag.to_owned() }
}
