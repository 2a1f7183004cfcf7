//! `hailer failures`: lists, shows, retries and drops failures.

mod list;
mod settle;
mod show;

use clap::{Args, Subcommand};

use super::logging;
use super::settings::Global;

/// Look at failures, retry them, or drop them
///
/// When a rule faults on an event or a timer, the engine keeps it as a failure, with its event,
/// until it is retried or dropped. With `on_fault = "hold"` in the campaign file (the default for a
/// rule with state) the customer's later events are held behind it, in order.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Failures {
    #[command(subcommand)]
    command: FailuresCommand,
}

#[derive(Debug, Subcommand)]
enum FailuresCommand {
    List(list::List),
    Show(show::Show),
    Retry(settle::Retry),
    Drop(settle::Drop),
}

impl Failures {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        match self.command {
            FailuresCommand::List(command) => command.run(global),
            FailuresCommand::Show(command) => command.run(global),
            FailuresCommand::Retry(command) => command.run(global),
            FailuresCommand::Drop(command) => command.run(global),
        }
    }
}
