//! `hailer dead-letters`: lists the events that the engine could not read, and puts them back into
//! their queue.

use anyhow::bail;
use clap::{Args, Subcommand};

use super::settings::{BrokerFlags, Global};
use super::{DONE, EXIT_CODES, engine, logging, output};
use crate::address::{Address, BrokerAddress};
use crate::config::{Config, Purpose};
use crate::dead_letters::{self, DeadLetterSummary, Destination, PutBack, Selection, Transfer};
use crate::engine::shown;

/// List the dead letters of RabbitMQ, or put them back into the queue of events
///
/// A dead letter is an event that could not be read, with the reason. When the cause is corrected
/// (in the producer, or by a newer version of Hailer), put the letters back. Each is published to
/// `rabbitmq.queue` with its own body, id and headers. It is removed from
/// `rabbitmq.deadletter_queue` only after the broker has confirmed the copy. Dead letters of a file
/// are lines, which `hailer run --source` can read again.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct DeadLetters {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    List(List),
    PutBack(PutBackCommand),
}

/// Show the reasons, ids and sizes of dead letters, but no bodies
///
/// Removes nothing. RabbitMQ counts one more delivery of each letter, which matters if the queue
/// has a delivery limit.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer dead-letters list --config /etc/hailer/hailer.toml\n  hailer \
        dead-letters list --reason utf-8 --json\n\n{EXIT_CODES}",
))]
struct List {
    #[command(flatten)]
    chosen: ChosenFlags,
    #[command(flatten)]
    broker: BrokerFlags,
}

/// Put dead letters back into the queue of events, in their order
///
/// Ends at the first letter that cannot be put back; that letter stays in the queue of dead
/// letters. Needs a user who may read that queue; the engine's own user may only write to it.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer dead-letters put-back --config admin.toml --limit 1\n  hailer \
        dead-letters put-back --config admin.toml --reason utf-8\n  hailer dead-letters put-back \
        --config admin.toml --unrouted\n\n{EXIT_CODES}",
))]
struct PutBackCommand {
    #[command(flatten)]
    chosen: ChosenFlags,
    /// Put back communications that no binding took, instead of dead letters: from the queue
    /// `….unrouted` to `rabbitmq.exchange`
    #[arg(long, conflicts_with = "reason")]
    unrouted: bool,
    #[command(flatten)]
    broker: BrokerFlags,
}

#[derive(Debug, Args)]
struct ChosenFlags {
    /// The maximum number of letters to look at, from the head of the queue
    #[arg(long, default_value_t = 1000)]
    limit: u32,
    /// Only letters whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl DeadLetters {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        match self.command {
            DeadLettersCommand::List(command) => command.run(global),
            DeadLettersCommand::PutBack(command) => command.run(global),
        }
    }
}

impl ChosenFlags {
    fn selection(self) -> Selection {
        Selection { limit: self.limit, reason: self.reason }
    }
}

impl List {
    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let config = global.load(Purpose::Ask, &self.broker.settings())?.config;
        let address = broker("source", &config.source, &config)?;
        let queue = &config.rabbitmq.deadletter_queue;
        let letters = engine::wait(dead_letters::list(&address, queue, &self.chosen.selection()))??;
        if global.json {
            output::json(&letters)?;
        } else if letters.is_empty() {
            output::message("no dead letters");
        } else {
            output::data(&table(&letters))?;
            output::message("`hailer dead-letters put-back` puts them back, in this order");
        }
        Ok(DONE)
    }
}

impl PutBackCommand {
    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let config = global.load(Purpose::Ask, &self.broker.settings())?.config;
        let rabbitmq = &config.rabbitmq;
        let (address, transfer) = match self.unrouted {
            false => {
                let to = Destination::Queue(rabbitmq.queue.clone());
                (
                    broker("source", &config.source, &config)?,
                    Transfer { from: rabbitmq.deadletter_queue.clone(), to },
                )
            }
            true => {
                let to = Destination::Exchange(rabbitmq.exchange.clone());
                (
                    broker("sink", &config.sink, &config)?,
                    Transfer { from: format!("{}.unrouted", rabbitmq.exchange), to },
                )
            }
        };
        let done =
            engine::wait(dead_letters::put_back(&address, &transfer, &self.chosen.selection()))??;
        if global.json {
            output::json(&done)?;
        } else {
            let PutBack { put_back, passed_over } = done;
            output::data(&format!("{put_back} put back, {passed_over} skipped\n"))?;
        }
        Ok(DONE)
    }
}

fn broker(setting: &str, address: &str, config: &Config) -> anyhow::Result<BrokerAddress> {
    match Address::new(address, &config.rabbitmq)? {
        Address::RabbitMq(address) => Ok(*address),
        Address::File(_) | Address::Standard => bail!(
            "{setting} is not RabbitMQ: dead letters of a file are lines; correct them, and read \
                them with `hailer run --source file:…`"
        ),
    }
}

fn table(letters: &[DeadLetterSummary]) -> String {
    let word = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), shown);
    let row = |letter: &DeadLetterSummary| {
        let reason = letter
            .reason
            .as_deref()
            .map_or_else(|| "dead-lettered by the broker".to_owned(), shown);
        [
            letter.place.to_string(),
            letter.bytes.to_string(),
            word(&letter.message_id),
            word(&letter.routing_key),
            reason,
        ]
    };
    output::table(
        ["place", "bytes", "message id", "routing key", "reason"],
        letters.iter().map(row),
    )
}
