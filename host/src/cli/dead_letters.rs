//! `hailer dead-letters`: what could not be read, and the way back for it.

use anyhow::bail;
use clap::{Args, Subcommand};

use super::settings::{BrokerFlags, Global};
use super::{DONE, EXIT_CODES, engine, logging, output};
use crate::address::{Address, BrokerAddress};
use crate::config::{Config, Purpose};
use crate::dead_letters::{self, Chosen, Letter, PutBack, To, Way};
use crate::engine::shown;

/// Look at the dead letters of RabbitMQ, or put them back into the queue of events
///
/// A dead letter is an event that could not be read; its reason says why. When the cause is gone (the producer is corrected, or this version reads
/// more), put the letters back: each is published to `rabbitmq.queue` with its own body, id and headers, confirmed, and only then taken from
/// `rabbitmq.deadletter_queue`. Dead letters of a file are lines that `hailer run --source` reads again.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct DeadLetters {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    List(List),
    PutBack(PutBackCommand),
}

/// Show the reasons, ids and sizes of dead letters, and no body
///
/// Takes nothing away. The letters count as delivered once more, which a queue with a delivery limit counts.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer dead-letters list --config /etc/hailer/hailer.toml\n  hailer dead-letters list --reason utf-8 --json\n\n{EXIT_CODES}",
))]
struct List {
    #[command(flatten)]
    chosen: ChosenFlags,
    #[command(flatten)]
    broker: BrokerFlags,
}

/// Put dead letters back into the queue of events, in their order
///
/// Ends at the first that can't be put back, which stays. Needs a user who may read the queue of dead letters; the engine's own may only write to it.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer dead-letters put-back --config admin.toml --limit 1\n  hailer dead-letters put-back --config admin.toml --reason utf-8\n  hailer dead-letters put-back --config admin.toml --unrouted\n\n{EXIT_CODES}",
))]
struct PutBackCommand {
    #[command(flatten)]
    chosen: ChosenFlags,
    /// Communications that no binding took, in place of dead letters: from the queue `….unrouted` to `rabbitmq.exchange`
    #[arg(long, conflicts_with = "reason")]
    unrouted: bool,
    #[command(flatten)]
    broker: BrokerFlags,
}

#[derive(Debug, Args)]
struct ChosenFlags {
    /// Look at so many at most, from the queue's head on
    #[arg(long, default_value_t = 1000)]
    limit: u32,
    /// Only those whose reason contains this
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl DeadLetters {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        match self.command {
            Which::List(command) => command.run(global),
            Which::PutBack(command) => command.run(global),
        }
    }
}

impl ChosenFlags {
    fn chosen(self) -> Chosen {
        Chosen { limit: self.limit, reason: self.reason }
    }
}

impl List {
    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let config = global.load(Purpose::Ask, &self.broker.settings())?.config;
        let address = broker("source", &config.source, &config)?;
        let queue = &config.rabbitmq.deadletter_queue;
        let letters = engine::wait(dead_letters::list(&address, queue, &self.chosen.chosen()))??;
        if global.json {
            output::json(&letters)?;
        } else if letters.is_empty() {
            output::say("no dead letters");
        } else {
            output::data(&table(&letters))?;
            output::say("`hailer dead-letters put-back` puts them back, from the first on");
        }
        Ok(DONE)
    }
}

impl PutBackCommand {
    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let config = global.load(Purpose::Ask, &self.broker.settings())?.config;
        let rabbitmq = &config.rabbitmq;
        let (address, way) = match self.unrouted {
            false => {
                let to = To::Queue(rabbitmq.queue.clone());
                (broker("source", &config.source, &config)?, Way { from: rabbitmq.deadletter_queue.clone(), to })
            }
            true => {
                let to = To::Exchange(rabbitmq.exchange.clone());
                (broker("sink", &config.sink, &config)?, Way { from: format!("{}.unrouted", rabbitmq.exchange), to })
            }
        };
        let done = engine::wait(dead_letters::put_back(&address, &way, &self.chosen.chosen()))??;
        if global.json {
            output::json(&done)?;
        } else {
            let PutBack { put_back, passed_over } = done;
            output::data(&format!("{put_back} put back, {passed_over} passed over\n"))?;
        }
        Ok(DONE)
    }
}

fn broker(setting: &str, address: &str, config: &Config) -> anyhow::Result<BrokerAddress> {
    match Address::new(address, &config.rabbitmq)? {
        Address::RabbitMq(address) => Ok(*address),
        Address::File(_) | Address::Standard => bail!(
            "{setting} is no RabbitMQ: dead letters of a file are lines; correct them, and read them with `hailer run --source file:…`"
        ),
    }
}

fn table(letters: &[Letter]) -> String {
    let word = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), shown);
    let row = |letter: &Letter| {
        let reason = letter.reason.as_deref().map_or_else(|| "dead-lettered by the broker".to_owned(), shown);
        [
            letter.place.to_string(),
            letter.bytes.to_string(),
            word(&letter.message_id),
            word(&letter.routing_key),
            reason,
        ]
    };
    output::table(["place", "bytes", "message id", "routing key", "reason"], letters.iter().map(row))
}
