//! `hailer topology`: what the engine needs of RabbitMQ.

use clap::Args;

use super::settings::{BrokerFlags, Global};
use super::{DONE, FAILED, logging, output};
use crate::config::Purpose;
use crate::daemon::{self, TopologyReport};

/// Print or make the exchange, queues and permissions that the engine needs
///
/// The engine itself declares nothing: an operator decides what exists on a broker. This prints the output exchange
/// with its alternate exchange, the queue for dead letters, a queue of your own beside SMC's, and the least permissions
/// of the engine's user; with --apply it makes them. What is there with other properties is reported and left alone, and the
/// rest is made all the same.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer topology --print --source amqp://hailer@broker/\n  hailer topology --apply --config admin.toml --set rabbitmq.queue=hailer.events --own-queue-on loymax.events\n  hailer topology --apply --config admin.toml --set record.days=14 --record-on loymax.events\n\n\
     Exit codes: 0 done, 1 failed, or something was left alone, 2 usage or configuration.",
))]
pub(super) struct Topology {
    #[command(flatten)]
    broker: BrokerFlags,
    #[command(flatten)]
    action: Action,
    /// Also a queue of the engine's own (rabbitmq.queue), bound to this exchange with every routing key of the catalogue
    #[arg(long, value_name = "EXCHANGE")]
    own_queue_on: Option<String>,
    /// Also a stream queue beside it (its name and `.recorded`), bound to this exchange, that keeps every event for `hailer replay`: for record.days, and
    /// at most record.bytes_max
    #[arg(long, value_name = "EXCHANGE")]
    record_on: Option<String>,
    /// The user that the permissions are for: the engine's, not the administrator who applies
    #[arg(long, value_name = "USER")]
    engine_user: Option<String>,
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
        let config = global.load(Purpose::Ask, &self.broker.settings())?.config;
        let beside =
            daemon::Beside { own_queue_on: self.own_queue_on.as_deref(), record_on: self.record_on.as_deref() };
        let (user, apply) = (self.engine_user.as_deref(), self.action.apply);
        let TopologyReport { text, problems } = daemon::topology(&config, &beside, user, apply, global.json)?;
        output::data(&text)?;
        for problem in &problems {
            output::say(&format!("problem: {problem}"));
        }
        Ok(if problems.is_empty() { DONE } else { FAILED })
    }
}
