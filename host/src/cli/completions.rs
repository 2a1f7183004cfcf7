//! `hailer completions`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, DONE, EXIT_CODES, output};

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer completions bash > /etc/bash_completion.d/hailer\n  hailer completions zsh > ~/.zfunc/_hailer\n  \
     hailer completions fish > ~/.config/fish/completions/hailer.fish\n\n{EXIT_CODES}",
))]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "hailer", &mut script);
        output::data(&String::from_utf8(script)?)?;
        Ok(DONE)
    }
}
