//! `hailer record`: exports recorded events.

use clap::{Args, Subcommand};

use super::settings::Global;

mod export;

/// Export the events that an engine recorded
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Record {
    #[command(subcommand)]
    command: RecordCommand,
}

#[derive(Debug, Subcommand)]
enum RecordCommand {
    Export(export::Export),
}

impl Record {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        match self.command {
            RecordCommand::Export(export) => export.run(global),
        }
    }
}
