//! `hailer config show`: prints every setting and its origin.

use clap::{Args, Subcommand};

use super::settings::{Global, SettingFlags};
use super::{DONE, output};
use crate::config::{Purpose, Shown};

/// Show the configuration, and where each value came from
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(Show),
}

/// Print every setting, its value, and where the value came from
///
/// Settings come from four layers: defaults, the file (--config, or hailer.toml in the current
/// directory), the environment, and flags. A later layer overrides an earlier one. An environment
/// variable is HAILER_ and the setting's name in capitals, with __ for the dot, such as
/// HAILER_RABBITMQ__PREFETCH. Passwords in addresses are not shown. Files that hold secrets are not
/// read.
#[derive(Debug, Args)]
#[command(after_long_help = concat!(
    "Examples:\n",
    "  hailer config show\n",
    "  HAILER_SHARDS=4 hailer config show --set rabbitmq.prefetch=500 --json\n\n",
    "Exit codes: 0 shown, 2 the configuration has problems, which are all listed.",
))]
struct Show {
    #[command(flatten)]
    settings: SettingFlags,
}

impl ConfigCommand {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let Action::Show(show) = self.action;
        let shown = global.load(Purpose::Ask, &show.settings)?.shown();
        if global.json {
            output::json(&shown)?;
        } else {
            output::data(&table(shown))?;
        }
        Ok(DONE)
    }
}

fn table(shown: Vec<Shown>) -> String {
    let row = |Shown { setting, value, origin }: Shown| {
        let value = match value {
            serde_json::Value::Null => "-".to_owned(),
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        [setting, value, origin.to_string()]
    };
    output::table(["setting", "value", "from"], shown.into_iter().map(row))
}
