//! `hailer store compact`: returns the space of removed rows to the disk.

use clap::Args;

use super::verify::text;
use crate::cli::progress::{Progress, Total};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::store_access::{explain, stopped};
use crate::cli::{DONE, EXIT_CODES, output};
use crate::failpoint;
use crate::store::{self, Compacted};

/// Remove all traces of deleted rows from a stopped engine's store
///
/// A running engine merges tables by itself, which returns the space of removed rows in time. This
/// command does it at once for all tables. Afterwards neither the tables nor the log hold anything
/// of removed rows. It needs exclusive access to the store, and for a while as much free space as
/// the rows take. Use it after much was removed, for example when the journal's retention was
/// shortened, or when an erasure must take effect on the disk at once.
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
            output::message(&format!(
                "{} is set ({armed}): this command may end before it is complete",
                failpoint::VARIABLE
            ));
        }
        let stopped = stopped(global, &self.store, "compacting")?;
        let mut progress = Progress::new(Total::Unknown);
        let compacted =
            store::compact(&stopped.directory, &mut |step| progress.show(|| text(step)))
                .map_err(explain)?;
        drop(progress);
        let Compacted { bytes_before, bytes_after } = compacted;
        if global.json {
            output::json(
                &serde_json::json!({ "bytesBefore": bytes_before, "bytesAfter": bytes_after }),
            )?;
        } else {
            output::data(&format!(
                "{} before, {} now",
                output::size(bytes_before),
                output::size(bytes_after)
            ))?;
        }
        Ok(DONE)
    }
}
