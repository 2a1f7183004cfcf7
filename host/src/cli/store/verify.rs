//! `hailer store verify`: reads and checks the whole store.

use clap::Args;
use serde_json::json;

use super::counts;
use crate::cli::progress::{Progress, Total};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::store_access::{explain, stopped};
use crate::cli::{DONE, EXIT_CODES, output};
use crate::store::{self, Step, Verified};

/// Read all of a stopped engine's store, and report whether it is intact
///
/// Checks every file of the tables, then every row, including the rows that are only in the log.
/// Names the first damage that it finds. A damaged store cannot be repaired, because nothing says
/// what was lost: restore a backup. Needs exclusive access to the store; for a running engine,
/// verify a backup.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer store verify --config /etc/hailer/hailer.toml\n  hailer store verify \
        --store backups/2026-03-01\n\n{EXIT_CODES}",
))]
pub(super) struct Verify {
    #[command(flatten)]
    store: StoreFlags,
}

impl Verify {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let stopped = stopped(global, &self.store, "verifying")?;
        let mut progress = Progress::new(Total::Unknown);
        let verified = store::verify(&stopped.directory, &mut |step| progress.show(|| text(step)))
            .map_err(explain)?;
        drop(progress);
        let Verified { identity, rows, in_log, .. } = verified;
        if global.json {
            let (_, rows) = counts(&rows);
            output::json(&json!({
                "directory": stopped.directory,
                "identity": identity,
                "rows": rows,
                "commitsInLog": in_log,
            }))?;
        } else {
            let (total, _) = counts(&rows);
            let environment = identity.environment;
            let log = match in_log {
                0 => String::new(),
                1 => ", and a commit in its log".to_owned(),
                commits => format!(", and {commits} commits in its log"),
            };
            output::data(&format!(
                "sound: {total} rows{log}, environment {environment}, in {}",
                stopped.directory.display()
            ))?;
        }
        Ok(DONE)
    }
}

/// The progress of verifying or compacting, as a message.
pub(super) fn text(step: Step) -> String {
    match step {
        Step::Files { read, of } => format!("checking files: {read} of {of}"),
        Step::Rows { table, read } => format!("checking rows of {}: {read}", table.name()),
        Step::Merge => "writing all tables again…".to_owned(),
    }
}
