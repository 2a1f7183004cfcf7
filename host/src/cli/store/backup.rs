//! `hailer store backup`: a copy of the store as of one moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cli::reading::{Place, place};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::control::{BackupStatus, Client};
use crate::store::{self, Store};

const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Copy the store to a new directory, while the engine runs or when it is stopped
///
/// The copy is the store as of one moment, whole and checked row by row; events go on meanwhile. It is there when it is complete, or not
/// at all, and nothing is ever overwritten. Only its owner can read it, as it holds personal data.
///
/// A running engine writes it, as its user and where that may write: below its data directory, if it runs as a service with a
/// protected file system. A copy is a store: it can be verified, asked and restored as it lies.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  mkdir -p backups && hailer store backup backups/2026-03-01\n  \
     hailer store verify --store backups/2026-03-01\n\n{EXIT_CODES}",
))]
pub(super) struct Backup {
    /// The directory to make
    directory: PathBuf,
    #[command(flatten)]
    store: StoreFlags,
}

impl Backup {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let absolute = std::path::absolute(&self.directory);
        let directory = absolute.with_context(|| format!("`{}` is no path", self.directory.display()))?;
        match place(global, &self.store)? {
            Place::Engine(client) => engine::wait(by_engine(&client, &directory))??,
            Place::Stopped(stopped) => stopped.open()?.backup(&directory)?,
        }
        let bytes = store::file_bytes(&directory);
        if global.json {
            output::json(&serde_json::json!({ "directory": directory, "bytes": bytes }))?;
        } else {
            output::data(&format!("backed up to {}, {}", directory.display(), output::size(bytes)))?;
        }
        Ok(DONE)
    }
}

async fn by_engine(client: &Client, directory: &Path) -> anyhow::Result<()> {
    client.begin_backup(directory.to_owned()).await?;
    let mut progress = output::Progress::new();
    loop {
        match client.backup().await.context("the engine ended before the backup did; nothing is at its place")? {
            Some(BackupStatus { directory: of, is_done: true, error, .. }) if of == directory => match error {
                None => return Ok(()),
                Some(error) => bail!(error),
            },
            Some(BackupStatus { directory: of, seconds, .. }) if of == directory => {
                progress.show(|| format!("backing up for {seconds} s; it goes on without this command, too"));
            }
            _ => bail!("the engine has begun another backup since; look whether `{}` is there", directory.display()),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
