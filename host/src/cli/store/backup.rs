//! `hailer store backup`: copies the store as of one moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cli::progress::{Progress, Total};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::store_access::{StoreAccess, store_access};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::control::{BackupStatus, Client};
use crate::store::{self, Store};

const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Copy the store to a new directory, while the engine runs or is stopped
///
/// The copy is the store as of one moment, complete, and checked row by row. The engine goes on
/// deciding events meanwhile. The directory appears when the copy is complete, or not at all, and
/// nothing is overwritten. Only its owner can read it, because it holds personal data.
///
/// A running engine writes the copy itself, as its own user and where that user may write: below
/// its data directory, if a service manager protects the file system. A copy is a store: commands
/// can verify and read it, and an engine can run with it.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  mkdir -p backups && hailer store backup backups/2026-03-01\n  \
     hailer store verify --store backups/2026-03-01\n\n{EXIT_CODES}",
))]
pub(super) struct Backup {
    /// The directory to create
    directory: PathBuf,
    #[command(flatten)]
    store: StoreFlags,
}

impl Backup {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let absolute = std::path::absolute(&self.directory);
        let directory =
            absolute.with_context(|| format!("`{}` is not a path", self.directory.display()))?;
        match store_access(global, &self.store)? {
            StoreAccess::Engine(client) => engine::wait(by_engine(&client, &directory))??,
            StoreAccess::Stopped(stopped) => stopped.open()?.backup(&directory)?,
        }
        let bytes = store::file_bytes(&directory);
        if global.json {
            output::json(&serde_json::json!({ "directory": directory, "bytes": bytes }))?;
        } else {
            output::data(&format!(
                "backed up to {}, {}",
                directory.display(),
                output::size(bytes)
            ))?;
        }
        Ok(DONE)
    }
}

async fn by_engine(client: &Client, directory: &Path) -> anyhow::Result<()> {
    client.begin_backup(directory.to_owned()).await?;
    let mut progress = Progress::new(Total::Unknown);
    loop {
        match client
            .backup()
            .await
            .context("the engine ended before the backup was complete; no backup was written")?
        {
            Some(BackupStatus { directory: of, is_done: true, error, .. }) if of == directory => {
                match error {
                    None => return Ok(()),
                    Some(error) => bail!(error),
                }
            }
            Some(BackupStatus { directory: of, seconds, .. }) if of == directory => {
                progress.show(|| {
                    format!(
                        "backing up for {seconds} s; the backup goes on if this command is ended"
                    )
                });
            }
            _ => bail!(
                "the engine has begun another backup since; check whether `{}` exists",
                directory.display()
            ),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
