//! `hailer store export`: every row as lines of JSON.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::counts;
use crate::cli::reading::stopped;
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::{DONE, EXIT_CODES, output};
use crate::store::{self, Exported, FileStore};

const BUFFER_BYTES: usize = 1 << 20;

/// Write every row of a stopped engine's store as lines of JSON, to be imported elsewhere
///
/// An export is the way to another version of hailer whose store has another format, or to a machine that can't take a copy of the files. `hailer store import`
/// makes a store from it. On one version of hailer a backup does the same, is smaller, and needs no stop.
///
/// The first line names the store. Each row has one line, with its table, key and value in hex. The last line has the number of rows and a checksum of all
/// lines, so a file that was cut off, changed or joined is refused. An export holds personal data: a file is for its owner alone, and nothing is overwritten.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer store export --config /etc/hailer/hailer.toml --to store.jsonl\n  \
     hailer store backup backups/move && hailer store export --store backups/move | zstd > store.jsonl.zst\n\n{EXIT_CODES}",
))]
pub(super) struct Export {
    /// The file to make [default: -, standard output]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    store: StoreFlags,
}

impl Export {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let store = stopped(global, &self.store, "exporting")?.open()?;
        match self.to.filter(|file| file != Path::new("-")) {
            Some(file) => {
                let Exported { rows, .. } = to_file(&store, &file)?;
                let (total, rows) = counts(&rows);
                let bytes = file.metadata().map_or(0, |found| found.len());
                if global.json {
                    output::json(&json!({ "file": file, "bytes": bytes, "rows": rows }))?;
                } else {
                    output::data(&format!("exported {total} rows to {}, {}", file.display(), output::size(bytes)))?;
                }
            }
            None => {
                let (total, _) = counts(&write(&store, io::stdout().lock())?.rows);
                output::say(&format!("exported {total} rows"));
            }
        }
        Ok(DONE)
    }
}

/// Writes a file beside its place, and moves it there when it is whole and on the disk.
fn to_file(store: &FileStore, file: &Path) -> anyhow::Result<Exported> {
    if file.symlink_metadata().is_ok() {
        bail!("`{}` is there already; name a file that is not", file.display());
    }
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = || format!("cannot write `{}`", file.display());
    // Its mode is 0600.
    let mut unfinished =
        tempfile::Builder::new().prefix(".hailer-export-unfinished-").tempfile_in(parent).with_context(failed)?;
    let exported = write(store, unfinished.as_file_mut())?;
    unfinished.as_file().sync_all().with_context(failed)?;
    unfinished.persist_noclobber(file).with_context(failed)?;
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(failed)?;
    Ok(exported)
}

fn write(store: &FileStore, out: impl Write) -> anyhow::Result<Exported> {
    let mut progress = output::Progress::new();
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let mut show = |table: store::Table, rows| progress.show(|| format!("exporting {}: {rows} rows", table.name()));
    Ok(store::export(store, &mut out, &mut show)?)
}
