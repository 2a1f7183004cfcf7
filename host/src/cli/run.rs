//! `hailer run`: runs the engine.

use clap::Args;

use super::settings::{Global, SettingFlags};
use super::{DONE, FAILED, code_of, logging, output};
use crate::config::{LogFormat, Purpose};
use crate::daemon::{self, Summary};
use crate::failpoint;

const NOTHING_READ: &str = "the input holds no event; write one event a line, as `hailer events \
    --samples` prints them";

/// Run the engine: read events, decide them, send communications
///
/// Reads events from the source, decides each with the campaigns of the rules directory, and sends
/// their communications to the sink. Campaigns can be changed while it runs: copy a module or a
/// campaign file into the directory. With a file or standard input the engine ends with the input.
/// With RabbitMQ it runs until it is stopped. SIGTERM or Ctrl-C ends it after the events that are
/// in flight; a second one ends it at once. SIGHUP reads the rules directory.
///
/// A line of input is an event as SMC sends it, or an envelope
/// {"routingKey","messageId","timestamp","headers","body"}. A line of output is a communication.
/// The log goes to standard error.
#[derive(Debug, Args)]
#[command(after_long_help = concat!(
    "Examples:\n",
    "  hailer run --source file:events.jsonl --sink - --rules rules.d\n",
    "  hailer events --generate 1000 | hailer run --source - --sink file:out.jsonl\n",
    "  hailer run --config /etc/hailer/hailer.toml\n",
    "  HAILER_SOURCE=amqps://hailer@broker/ hailer run --set \
        rabbitmq.password_file=/run/secrets/amqp\n\n",
    "Exit codes: 0 the input ended or the engine was stopped, 1 it failed, or the input has \
        several lines but no event, 2 usage or configuration.",
))]
pub(super) struct Run {
    #[command(flatten)]
    settings: SettingFlags,
    /// Remove all campaigns that ran before and are missing in the rules directory, however many
    /// they are, and the policies if they are missing
    #[arg(long)]
    allow_removals: bool,
}

impl Run {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let mut loaded = global.load(Purpose::Run, &self.settings)?;
        loaded.config.allow_removals = self.allow_removals;
        logging::start(&loaded.config.log)?;
        for exposed in loaded.exposed() {
            tracing::warn!(
                setting = exposed.setting,
                reason = exposed.reason(),
                next_step = exposed.next_step(),
                "other users can read a secret; the engine goes on"
            );
        }
        if let Some(armed) = failpoint::arm()? {
            tracing::error!(
                armed,
                "{} is set: this engine ends itself or has a wrong clock; unset it unless this is \
                    a test",
                failpoint::VARIABLE
            );
        }
        // With `log.format = "json"` every line of standard error is JSON, the last one included.
        let for_machines = loaded.config.log.format == LogFormat::Json;
        let mut code = DONE;
        let is_service = loaded.config.is_service();
        let ended = daemon::run(loaded.config).inspect(|Summary { tally, other_form, .. }| {
            let is_unreadable = other_form.is_some() || !is_service && tally.dead_letters > 1;
            if is_unreadable && tally.events + tally.repeats == 0 {
                code = FAILED;
            }
        });
        match ended {
            Ok(Summary { tally, elapsed_ms, .. }) if for_machines => {
                let communications = tally.communications();
                let (events, dead_letters, repeats) =
                    (tally.events, tally.dead_letters, tally.repeats);
                tracing::info!(
                    events,
                    communications,
                    dead_letters,
                    repeats,
                    elapsed_ms,
                    "the run has ended"
                );
                if code == FAILED {
                    tracing::error!("{NOTHING_READ}");
                }
            }
            Ok(summary) => {
                output::message(summary.to_string().trim_end());
                if code == FAILED {
                    output::message(&format!("error: {NOTHING_READ}"));
                }
            }
            Err(error) if for_machines && !output::is_closed_pipe(&error) => {
                tracing::error!(error = format!("{error:#}"), "the run has failed");
                return Ok(code_of(&error));
            }
            Err(error) => return Err(error),
        }
        Ok(code)
    }
}
