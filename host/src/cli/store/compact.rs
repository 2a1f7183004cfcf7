//! `hailer store compact`: gives space back to the disk.

use clap::Args;

use super::verify::text;
use crate::cli::reading::{explained, stopped};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::{DONE, EXIT_CODES, output};
use crate::failpoint;
use crate::store::{self, Compacted};

/// Make a stopped engine's store as small as what is in it
///
/// The engine merges tables by itself, and gives back the space of rows that were removed in time. Compacting does it at once, for all of them; nothing is
/// left of rows that were removed, in the tables or in the log. It needs the store to itself, and for a while the space of what is in it once more. It is
/// worth it only after much was removed, such as a long journal that was made shorter, or after an erasure that must not wait.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer store compact --config /etc/hailer/hailer.toml\n\n{EXIT_CODES}",
))]
pub(super) struct Compact {
    #[command(flatten)]
    store: StoreFlags,
}

impl Compact {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        if let Some(armed) = failpoint::arm()? {
            output::say(&format!("{} is set ({armed}): this may end in the middle", failpoint::VARIABLE));
        }
        let stopped = stopped(global, &self.store, "compacting")?;
        let mut progress = output::Progress::new();
        let compacted =
            store::compact(&stopped.directory, &mut |step| progress.show(|| text(step))).map_err(explained)?;
        drop(progress);
        let Compacted { bytes_before, bytes_after } = compacted;
        if global.json {
            output::json(&serde_json::json!({ "bytesBefore": bytes_before, "bytesAfter": bytes_after }))?;
        } else {
            output::data(&format!("{} before, {} now", output::size(bytes_before), output::size(bytes_after)))?;
        }
        Ok(DONE)
    }
}
