//! `hailer store`: what is done to the store as a whole.

mod backup;
mod clock;
mod compact;
mod export;
mod import;
mod show;
mod verify;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::logging;
use super::settings::Global;
use crate::store::Table;

/// Look at the store, check it, back it up, export and import it, make it smaller, and settle what its clock is
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
    Export(export::Export),
    Import(import::Import),
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
            Which::Export(command) => command.run(global),
            Which::Import(command) => command.run(global),
            Which::Compact(command) => command.run(global),
            Which::Clock(command) => command.run(global),
        }
    }
}

/// The number of all rows, and that of each table.
fn counts(rows: &[(Table, u64)]) -> (u64, Map<String, Value>) {
    let total = rows.iter().map(|(_, rows)| rows).sum();
    (total, rows.iter().map(|(table, rows)| (table.name().to_owned(), (*rows).into())).collect())
}
