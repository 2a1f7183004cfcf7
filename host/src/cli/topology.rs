//! `hailer topology`: prints or creates what the engine needs in RabbitMQ.

use clap::Args;

use super::settings::{BrokerFlags, Global};
use super::{DONE, FAILED, logging, output};
use crate::config::Purpose;
use crate::daemon::{self, TopologyReport};

/// Print or create the exchange, queues and permissions that the engine needs
///
/// The engine itself declares nothing, because an operator decides what exists on a broker. This
/// command prints the output exchange with its alternate exchange, the queue for dead letters, and
/// the least permissions of the engine's user. With options it also prints a queue of your own
/// beside SMC's, and a stream. With --apply it creates them. An object that exists with other
/// properties is reported and not changed; all others are still created.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer topology --print --source amqp://hailer@broker/\n  hailer topology \
        --apply --config admin.toml --set rabbitmq.queue=hailer.events --own-queue-on \
        loymax.events\n  hailer topology --apply --config admin.toml --set record.days=14 \
        --record-on loymax.events\n\n\
     Exit codes: 0 done, 1 failed, or something was left alone, 2 usage or configuration.",
))]
pub(super) struct Topology {
    #[command(flatten)]
    broker: BrokerFlags,
    #[command(flatten)]
    action: Action,
    /// Add a queue of the engine's own (rabbitmq.queue), bound to this exchange with every routing
    /// key of the catalogue
    #[arg(long, value_name = "EXCHANGE")]
    own_queue_on: Option<String>,
    /// Add a stream queue (the queue's name and `.recorded`), bound to this exchange, that keeps
    /// every event for `hailer replay`: for record.days, and at most record.bytes_max
    #[arg(long, value_name = "EXCHANGE")]
    record_on: Option<String>,
    /// The user for whom the permissions are: the engine's user, not the administrator who applies
    /// them
    #[arg(long, value_name = "USER")]
    engine_user: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Action {
    /// Print the objects that are needed
    #[arg(long)]
    print: bool,
    /// Create the objects that are missing
    #[arg(long)]
    apply: bool,
}

impl Topology {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        let config = global.load(Purpose::Ask, &self.broker.settings())?.config;
        let optional = daemon::OptionalObjects {
            own_queue_on: self.own_queue_on.as_deref(),
            record_on: self.record_on.as_deref(),
        };
        let (user, apply) = (self.engine_user.as_deref(), self.action.apply);
        let TopologyReport { text, problems } =
            daemon::topology(&config, &optional, user, apply, global.json)?;
        output::data(&text)?;
        for problem in &problems {
            output::message(&format!("problem: {problem}"));
        }
        Ok(if problems.is_empty() { DONE } else { FAILED })
    }
}
