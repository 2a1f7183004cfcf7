//! `hailer consent`: imports consents from another system, and exports those that are known.

mod export;
mod import;

use clap::{Args, Subcommand};

use super::logging;
use super::settings::Global;

/// Import what another system knows about consents and time zones, or export what is known here
///
/// Events say when a customer agrees or refuses. An import adds what another system knows about
/// customers of whom no event has come yet. The policies say what happens while a consent is not
/// known.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Consent {
    #[command(subcommand)]
    command: ConsentCommand,
}

#[derive(Debug, Subcommand)]
enum ConsentCommand {
    Import(import::Import),
    Export(export::Export),
}

impl Consent {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        match self.command {
            ConsentCommand::Import(command) => command.run(global),
            ConsentCommand::Export(command) => command.run(global),
        }
    }
}
