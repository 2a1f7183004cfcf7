//! `hailer store verify`: reads all of it.

use clap::Args;
use serde_json::json;

use super::counts;
use crate::cli::reading::{explained, stopped};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::{DONE, EXIT_CODES, output};
use crate::store::{self, Step, Verified};

/// Read all of a stopped engine's store, and say whether it is sound
///
/// Checks every file of the tables, then every row, those that only the log has included. What is damaged is named; a damaged store is not repaired, as nothing can tell what was lost:
/// restore a backup. Needs the store to itself; for a running engine, verify a backup.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer store verify --config /etc/hailer/hailer.toml\n  hailer store verify --store backups/2026-03-01\n\n{EXIT_CODES}",
))]
pub(super) struct Verify {
    #[command(flatten)]
    store: StoreFlags,
}

impl Verify {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let stopped = stopped(global, &self.store, "verifying")?;
        let mut progress = output::Progress::new();
        let verified =
            store::verify(&stopped.directory, &mut |step| progress.show(|| text(step))).map_err(explained)?;
        drop(progress);
        let Verified { identity, rows, in_log, .. } = verified;
        if global.json {
            let (_, rows) = counts(&rows);
            output::json(
                &json!({ "directory": stopped.directory, "identity": identity, "rows": rows, "commitsInLog": in_log }),
            )?;
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

/// How far reading or compacting has come.
pub(super) fn text(step: Step) -> String {
    match step {
        Step::Files { read, of } => format!("checking files: {read} of {of}"),
        Step::Rows { table, read } => format!("checking rows of {}: {read}", table.name()),
        Step::Merge => "writing all tables anew…".to_owned(),
    }
}
