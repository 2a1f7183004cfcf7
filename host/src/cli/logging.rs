//! The log: to standard error, for people or as JSON.

use std::io::IsTerminal;

use tracing::{Dispatch, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::UsageError;
use crate::broker::SILENCED_LOG_TARGETS;
use crate::config::{LogConfig, LogFormat};

/// Starts the log as the configuration says. Times are UTC.
pub(super) fn start(config: &LogConfig) -> anyhow::Result<()> {
    log(config, std::io::stderr)?.try_init()?;
    Ok(())
}

/// The log of a command that is not the engine: what goes wrong beneath it, and no more.
pub(super) fn start_quiet() -> anyhow::Result<()> {
    start(&LogConfig { format: LogFormat::Text, level: "warn".to_owned() })
}

/// The log of a command that shows what it found: not once more what it shows.
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
    // A filter of its own: no directive in the configuration, however specific, can open what this closes.
    let permitted = filter_fn(may_be_logged);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match config.format {
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal() && !no_color();
            log.with_ansi(ansi).with_target(false).finish().with(permitted).into()
        }
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).finish().with(permitted).into(),
    })
}

/// The client library of RabbitMQ logs each failed attempt in its own words, beside the engine's. It is off unless the
/// configuration names it.
fn with_client_off(level: &str) -> String {
    if level.contains("lapin") || level.is_empty() { level.to_owned() } else { format!("{level},lapin=off") }
}

/// Nothing that prints bodies of messages, which are personal, whatever the configuration says.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let within = |silenced: &&str| {
        metadata.target().strip_prefix(*silenced).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    !SILENCED_LOG_TARGETS.iter().any(within)
}

/// <https://no-color.org>
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn no_level_and_no_directive_brings_a_messages_body_into_the_log() {
        for format in [LogFormat::Text, LogFormat::Json] {
            for level in
                ["trace", "lapin=trace", "lapin::channels=trace,lapin::frames=trace,error", "[io_loop]=trace,trace"]
            {
                let written = tempfile::tempfile().unwrap();
                let config = LogConfig { format, level: level.to_owned() };
                let log = log(&config, Mutex::new(written.try_clone().unwrap())).unwrap();
                tracing::dispatcher::with_default(&log, || {
                    tracing::trace_span!(target: "lapin::io_loop", "io_loop").in_scope(|| {
                        tracing::trace!(target: "lapin::channels", frame = "secret", "will handle frame");
                        tracing::trace!(target: "lapin::frames", frame = "secret", "discarding");
                        tracing::trace!(target: "lapin::io_loop", "secret");
                        tracing::warn!(target: "lapin::returned_messages", message = "secret");
                        tracing::trace!(target: "lapin::returned_messages::inner", "secret");
                    });
                    tracing::error!(target: "lapin::channel", "the rest is said");
                });
                let text = text_of(written);
                assert!(!text.contains("secret"), "{level}: {text}");
                assert_eq!(text.contains("the rest is said"), level.contains("lapin"), "{level}: {text}");
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
