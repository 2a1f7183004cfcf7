//! `hailer rollback`: back to the version before.

use clap::Args;

use super::settings::Global;
use super::{DONE, EXIT_CODES, engine, output};

/// Go back to the version of a campaign that ran before this one
///
/// The engine keeps the last good version of every campaign. After a rollback the module that lies in the directory
/// is kept out, across restarts, until a third one appears there, or until --undo. The engine goes back by itself when a
/// campaign faults right after a swap (`reload.rollback_minutes`); --undo ends such a rollback, too.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer rollback welcome\n  hailer rollback --undo welcome\n\n{EXIT_CODES}"
))]
pub(super) struct Rollback {
    /// End a rollback: the version that was kept out runs again
    #[arg(long)]
    undo: bool,
    /// The campaign's name, as `hailer campaigns` shows it
    campaign: String,
}

impl Rollback {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let campaign = engine::wait(client.rollback(self.campaign, self.undo))??;
        if global.json {
            output::json(&campaign)?;
        } else {
            output::data(&super::campaigns::text(&[campaign]))?;
        }
        Ok(DONE)
    }
}
