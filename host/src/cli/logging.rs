//! The log: to standard error, for people or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::UsageError;
use crate::broker::SILENCED_LOG_TARGETS;
use crate::config::{LogConfig, LogFormat};

/// Starts the log as the configuration says. Times are UTC.
pub(super) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let mut filter = EnvFilter::builder().parse(&config.level).map_err(|error| UsageError(error.to_string()))?;
    for target in SILENCED_LOG_TARGETS {
        // Whatever the configuration says: these print bodies of messages, which are personal.
        filter = filter.add_directive(format!("{target}=off").parse()?);
    }
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => {
            log.with_ansi(std::io::stderr().is_terminal() && !no_color()).with_target(false).finish().try_init()?;
        }
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).finish().try_init()?,
    }
    Ok(())
}

/// The log of a command that is not the engine: what goes wrong beneath it, and no more.
pub(super) fn start_quiet() -> anyhow::Result<()> {
    start(&LogConfig { format: LogFormat::Text, level: "warn".to_owned() })
}

/// <https://no-color.org>
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
