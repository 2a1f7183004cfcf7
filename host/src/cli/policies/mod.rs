//! `hailer policies`: shows the policies, explains what they say of a message, and tests them.

mod explain;
mod show;
mod test;

use clap::{Args, Subcommand};

use super::logging;
use super::settings::Global;

/// Show the policies of each campaign, explain what they say of a message, or test them
///
/// Policies decide whether a message that a rule proposes is sent, later or never: consent, quiet
/// hours, caps, control groups and priorities. They stand in `policies.toml` in the rules
/// directory.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Policies {
    #[command(subcommand)]
    command: PoliciesCommand,
}

#[derive(Debug, Subcommand)]
enum PoliciesCommand {
    Show(show::Show),
    Explain(explain::Explain),
    Test(test::Test),
}

impl Policies {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        match self.command {
            PoliciesCommand::Show(command) => command.run(global),
            PoliciesCommand::Explain(command) => command.run(global),
            PoliciesCommand::Test(command) => command.run(global),
        }
    }
}
