//! `hailer store`: commands for the store as a whole.

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

/// Show, verify, back up, export, import and compact the store, and settle a doubt about its clock
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct StoreCommand {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
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
            Action::Show(command) => command.run(global),
            Action::Verify(command) => command.run(global),
            Action::Backup(command) => command.run(global),
            Action::Export(command) => command.run(global),
            Action::Import(command) => command.run(global),
            Action::Compact(command) => command.run(global),
            Action::Clock(command) => command.run(global),
        }
    }
}

/// The number of all rows, and the number of rows of each table.
fn counts(rows: &[(Table, u64)]) -> (u64, Map<String, Value>) {
    let total = rows.iter().map(|(_, rows)| rows).sum();
    (total, rows.iter().map(|(table, rows)| (table.name().to_owned(), (*rows).into())).collect())
}
