//! The log, on standard error: as text for people, or as JSON.

use std::io::IsTerminal;

use tracing::{Dispatch, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::UsageError;
use crate::config::{LogConfig, LogFormat};
use crate::connection::SILENCED_LOG_TARGETS;

/// Starts the log as the configuration says. Times in it are UTC.
pub(super) fn start(config: &LogConfig) -> anyhow::Result<()> {
    log(config, std::io::stderr)?.try_init()?;
    Ok(())
}

/// Starts the log of a command other than the engine: warnings and errors only.
pub(super) fn start_quiet() -> anyhow::Result<()> {
    start(&LogConfig { format: LogFormat::Text, level: "warn".to_owned() })
}

/// Starts the log of a command that prints findings. The log leaves out messages that the findings
/// repeat.
pub(super) fn start_beside_findings() -> anyhow::Result<()> {
    let level = "warn,hailer::reload=error,hailer::health=error";
    start(&LogConfig { format: LogFormat::Text, level: level.to_owned() })
}

fn log<W>(config: &LogConfig, writer: W) -> Result<Dispatch, UsageError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(with_client_off(&config.level));
    let filter = filter.map_err(|error| UsageError(error.to_string()))?;
    // This filter is separate from the configured one, so no directive in the configuration,
    // however specific, can let through what it stops.
    let permitted = filter_fn(may_be_logged);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match config.format {
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal() && !no_color();
            log.with_ansi(ansi).with_target(false).finish().with(permitted).into()
        }
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).finish().with(permitted).into()
        }
    })
}

/// Turns the log of the RabbitMQ client library off, unless the configuration names it. The library
/// logs each failed attempt, which the engine logs as well.
fn with_client_off(level: &str) -> String {
    if level.contains("lapin") || level.is_empty() {
        level.to_owned()
    } else {
        format!("{level},lapin=off")
    }
}

/// Whether a target may be logged. Targets that print the bodies of messages are never logged,
/// whatever the configuration says, because bodies are personal data.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let within = |silenced: &&str| {
        metadata
            .target()
            .strip_prefix(*silenced)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    !SILENCED_LOG_TARGETS.iter().any(within)
}

/// Whether the user has turned colours off with `NO_COLOR` (<https://no-color.org>).
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn no_level_and_no_directive_lets_the_body_of_a_message_into_the_log() {
        for format in [LogFormat::Text, LogFormat::Json] {
            for level in [
                "trace",
                "lapin=trace",
                "lapin::channels=trace,lapin::frames=trace,error",
                "[io_loop]=trace,trace",
            ] {
                let written = tempfile::tempfile().unwrap();
                let config = LogConfig { format, level: level.to_owned() };
                let log = log(&config, Mutex::new(written.try_clone().unwrap())).unwrap();
                tracing::dispatcher::with_default(&log, || {
                    tracing::trace_span!(target: "lapin::io_loop", "io_loop").in_scope(|| {
                        let frame = "secret";
                        tracing::trace!(target: "lapin::channels", frame, "will handle frame");
                        tracing::trace!(target: "lapin::frames", frame = "secret", "discarding");
                        tracing::trace!(target: "lapin::io_loop", "secret");
                        tracing::warn!(target: "lapin::returned_messages", message = "secret");
                        tracing::trace!(target: "lapin::returned_messages::inner", "secret");
                    });
                    tracing::error!(target: "lapin::channel", "the rest is logged");
                });
                let text = text_of(written);
                assert!(!text.contains("secret"), "{level}: {text}");
                assert_eq!(
                    text.contains("the rest is logged"),
                    level.contains("lapin"),
                    "{level}: {text}"
                );
            }
        }
    }

    fn text_of(mut file: std::fs::File) -> String {
        use std::io::{Read, Seek};
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }
}
