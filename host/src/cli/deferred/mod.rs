//! `hailer deferred`: lists and drops deferred messages.

mod drop;
mod list;

use clap::{Args, Subcommand};

use super::logging;
use super::settings::Global;

/// List the messages that wait for the end of quiet hours, or drop them
///
/// A message that is proposed in quiet hours with `then = "defer"` is kept in the store, and judged
/// again when the quiet hours end.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Deferred {
    #[command(subcommand)]
    command: DeferredCommand,
}

#[derive(Debug, Subcommand)]
enum DeferredCommand {
    List(list::List),
    Drop(drop::Drop),
}

impl Deferred {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        match self.command {
            DeferredCommand::List(command) => command.run(global),
            DeferredCommand::Drop(command) => command.run(global),
        }
    }
}
