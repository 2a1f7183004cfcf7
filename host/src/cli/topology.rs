//! `hailer topology`: what the engine needs of RabbitMQ.

use clap::Args;

use super::settings::{Global, SettingFlags};
use super::{DONE, EXIT_CODES, logging, output};
use crate::config::Purpose;
use crate::daemon;

/// Print or make the exchange, queues and permissions that the engine needs
///
/// The engine itself declares nothing: an operator decides what exists on a broker. This prints the output exchange
/// with its alternate exchange, the queue for dead letters, a queue of your own beside SMC's, and the least permissions
/// of the engine's user; with --apply it makes them.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer topology --print --source amqp://hailer@broker/\n  hailer topology --apply --config admin.toml --set rabbitmq.queue=hailer.events --own-queue-on loymax.events\n  hailer topology --apply --config admin.toml --set record.days=14 --record-on loymax.events\n\n{EXIT_CODES}",
))]
pub(super) struct Topology {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    action: Action,
    /// Also a queue of the engine's own (rabbitmq.queue), bound to this exchange with every routing key of the catalogue
    #[arg(long, value_name = "EXCHANGE")]
    own_queue_on: Option<String>,
    /// Also a stream queue beside it (its name and `.recorded`), bound to this exchange, that keeps every event for `hailer replay`: for record.days, and
    /// at most record.bytes_max
    #[arg(long, value_name = "EXCHANGE")]
    record_on: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Action {
    /// Print what is needed
    #[arg(long)]
    print: bool,
    /// Make what is missing
    #[arg(long)]
    apply: bool,
}

impl Topology {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        let config = global.load(Purpose::Ask, &self.settings)?.config;
        let beside =
            daemon::Beside { own_queue_on: self.own_queue_on.as_deref(), record_on: self.record_on.as_deref() };
        output::data(&daemon::topology(&config, &beside, self.action.apply, global.json)?)?;
        Ok(DONE)
    }
}
