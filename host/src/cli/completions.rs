//! `hailer completions`: prints the completions of our commands for a shell.

use clap::{Args, Command, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, DONE, EXIT_CODES, output};

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer completions bash > /etc/bash_completion.d/hailer\n  hailer completions \
        zsh > ~/.zfunc/_hailer\n  \
     hailer completions fish > ~/.config/fish/completions/hailer.fish\n\n{EXIT_CODES}",
))]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let mut script = Vec::new();
        generate(self.shell, &mut visible_commands(), "hailer", &mut script);
        output::data(&String::from_utf8(script)?)?;
        Ok(DONE)
    }
}

/// The command line without its hidden commands, because the completions of some shells would offer
/// them.
fn visible_commands() -> Command {
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("hailer")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(shown)
}
