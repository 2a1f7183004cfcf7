//! `hailer failures`: what rules failed on, and what becomes of it.

mod list;
mod settle;
mod show;

use clap::{Args, Subcommand};

use super::logging;
use super::settings::Global;

/// Look at what rules failed on, try it again, or drop it
///
/// When a rule faults on an event or a timer, the engine keeps it, with its event, until it is tried again or dropped. With `on_fault = "hold"`
/// in the campaign's file (the default of a rule that has state) the customer's later events wait behind it, in order.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Failures {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    List(list::List),
    Show(show::Show),
    Retry(settle::Retry),
    Drop(settle::Drop),
}

impl Failures {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        match self.command {
            Which::List(command) => command.run(global),
            Which::Show(command) => command.run(global),
            Which::Retry(command) => command.run(global),
            Which::Drop(command) => command.run(global),
        }
    }
}
