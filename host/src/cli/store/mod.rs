//! `hailer store`: what is done to the store as a whole.

mod backup;
mod clock;
mod compact;
mod show;
mod verify;

use clap::{Args, Subcommand};

use super::logging;
use super::settings::Global;

/// Look at the store, check it, back it up, make it smaller, and settle what its clock is
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct StoreCommand {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    Show(show::Show),
    Verify(verify::Verify),
    Backup(backup::Backup),
    Compact(compact::Compact),
    Clock(clock::Clock),
}

impl StoreCommand {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        match self.command {
            Which::Show(command) => command.run(global),
            Which::Verify(command) => command.run(global),
            Which::Backup(command) => command.run(global),
            Which::Compact(command) => command.run(global),
            Which::Clock(command) => command.run(global),
        }
    }
}
