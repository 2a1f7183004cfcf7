//! The flags that set something, and the configuration that comes of them.

use std::path::PathBuf;

use clap::Args;

use super::UsageError;
use crate::config::{Flag, Layers, Loaded, Purpose};
use crate::engine::Limits;

/// Flags that every command takes.
#[derive(Debug, Default, Args)]
pub(super) struct Global {
    /// The configuration file [default: hailer.toml, if there is one here]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    config: Option<PathBuf>,
    /// The engine's data directory, where its socket is
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    data: Option<String>,
    /// Set any setting, such as rabbitmq.prefetch=500; may be repeated
    #[arg(long, global = true, value_name = "SETTING=VALUE", help_heading = "Everywhere")]
    set: Vec<String>,
    /// Print JSON for machines on standard output
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(super) json: bool,
}

/// Flags of the commands that need the whole configuration: `run`, and those that look at what it would do.
#[derive(Debug, Default, Args)]
pub(super) struct SettingFlags {
    /// Where events come from: amqp://…, amqps://…, file:PATH, or - for standard input
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// Where communications go: amqp://…, amqps://…, file:PATH, or - for standard output
    #[arg(long, value_name = "ADDRESS")]
    sink: Option<String>,
    /// The directory of campaigns
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
    /// Where the store is [default: `store` in the data directory with RabbitMQ, in memory with a file or standard input]
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
    /// Make a store if there is none: for a first start
    #[arg(long)]
    create_store: bool,
    /// What tells the time: wall, or events, for the timestamps of a file's envelopes (timers fire on the way)
    #[arg(long, value_name = "CLOCK")]
    clock: Option<String>,
    /// With --clock events: for how long the clock goes on after the last event
    #[arg(long, value_name = "MINUTES")]
    run_on_minutes: Option<String>,
    /// The environment's name, which goes out with every communication
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Where /metrics, /healthz and /readyz listen; empty for nowhere
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Threads that decide events; 0 for one a core
    #[arg(long, value_name = "COUNT")]
    shards: Option<String>,
    /// Consume although the queue has a consumer already
    #[arg(long)]
    take_over: bool,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug, trace, or a filter such as hailer=debug,lapin=warn
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
}

/// Flags of the commands that talk to a broker and run nothing.
#[derive(Debug, Default, Args)]
pub(super) struct BrokerFlags {
    /// Where events come from: amqp://… or amqps://…
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// Where communications go: amqp://… or amqps://…
    #[arg(long, value_name = "ADDRESS")]
    sink: Option<String>,
}

/// Flags of the commands that look into the store.
#[derive(Debug, Default, Args)]
pub(super) struct StoreFlags {
    /// The store's directory, if no engine answers [default: as the engine's configuration says, else DATA/store]
    #[arg(long, value_name = "DIR")]
    pub(super) store: Option<String>,
    /// The environment that the store belongs to
    #[arg(long, value_name = "NAME")]
    pub(super) environment: Option<String>,
}

/// Flags that a command has of its own, as settings.
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
    /// Refuses the name of another environment than that of the engine that answers.
    pub(super) fn check_environment(&self, of_engine: &str) -> Result<(), UsageError> {
        match &self.environment {
            Some(named) if named != of_engine => Err(UsageError(format!(
                "the engine that runs is of the environment `{of_engine}`, and not of `{named}`: leave --environment out, or name another store with --store or --data"
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
        let given = texts.into_iter().filter_map(|(setting, flag, text)| Some(set(setting, flag, text.as_ref()?)));
        let switches = [
            ("rabbitmq.take_over", "--take-over", self.take_over),
            ("store.create", "--create-store", self.create_store),
        ];
        let on = switches.into_iter().filter(|(.., on)| *on).map(|(setting, flag, _)| set(setting, flag, "true"));
        given.chain(on).collect()
    }
}

impl Global {
    /// What a rule may use, as the engine of this configuration would have it.
    pub(super) fn limits(&self) -> anyhow::Result<Limits> {
        Ok(self.load(Purpose::Ask, &SettingFlags::default())?.config.limits)
    }

    /// The configuration, as the flags, the environment and the file make it.
    pub(super) fn load(&self, purpose: Purpose, settings: &SettingFlags) -> anyhow::Result<Loaded> {
        let mut flags = settings.flags();
        flags.extend(self.data.iter().map(|data| set("data", "--data", data)));
        for assignment in &self.set {
            let Some((setting, text)) = assignment.split_once('=') else {
                let reason = format!("`--set {assignment}` sets nothing: write --set SETTING=VALUE");
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
