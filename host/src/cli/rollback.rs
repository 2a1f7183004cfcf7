//! `hailer rollback`: runs the version of a campaign that ran before.

use clap::Args;

use super::settings::Global;
use super::{DONE, EXIT_CODES, engine, output};

/// Go back to the version of a campaign that ran before this one
///
/// The engine keeps the last good version of every campaign. After a rollback it does not load the
/// module that is in the directory, also after restarts, until another module replaces it or until
/// --undo. When a campaign faults right after a swap (`reload.rollback_minutes`), the engine rolls
/// it back itself; --undo ends such a rollback, too.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer rollback welcome\n  hailer rollback --undo welcome\n\n{EXIT_CODES}"
))]
pub(super) struct Rollback {
    /// End a rollback: the rolled-back version runs again
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
            output::data(&super::campaigns::text(&[campaign], None))?;
        }
        Ok(DONE)
    }
}
