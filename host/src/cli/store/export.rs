//! `hailer store export`: writes every row as a line of JSON.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::counts;
use crate::cli::progress::{Progress, Total};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::store_access::stopped;
use crate::cli::{DONE, EXIT_CODES, output};
use crate::store::{self, Exported, FileStore};

const BUFFER_BYTES: usize = 1 << 20;

/// Write every row of a stopped engine's store as lines of JSON, for an import elsewhere
///
/// Use an export to move to a version of Hailer whose store has another format, or to a machine to
/// which the files cannot be copied. `hailer store import` makes a store from it. Within one
/// version of Hailer, a backup does the same, is smaller, and needs no stop.
///
/// The first line names the store. Each row is one line with its table, key and value in hex. The
/// last line holds the number of rows and a checksum of all lines, so a file that was cut off,
/// changed or joined is refused. An export holds personal data: only the file's owner can read it,
/// and nothing is overwritten.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer store export --config /etc/hailer/hailer.toml --to store.jsonl\n  \
     hailer store backup backups/move && hailer store export --store backups/move | zstd > \
     store.jsonl.zst\n\n{EXIT_CODES}",
))]
pub(super) struct Export {
    /// The file to create [default: -, standard output]
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
                    output::data(&format!(
                        "exported {total} rows to {}, {}",
                        file.display(),
                        output::size(bytes)
                    ))?;
                }
            }
            None => {
                let progress = Progress::beside_data(Total::Unknown);
                let (total, _) = counts(&write(&store, io::stdout().lock(), progress)?.rows);
                output::message(&format!("exported {total} rows"));
            }
        }
        Ok(DONE)
    }
}

/// Writes a temporary file and renames it when it is complete and on the disk.
fn to_file(store: &FileStore, file: &Path) -> anyhow::Result<Exported> {
    if file.symlink_metadata().is_ok() {
        bail!("`{}` already exists; name a new file", file.display());
    }
    let parent =
        file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = || format!("cannot write `{}`", file.display());
    // A temporary file has the mode 0600.
    let mut unfinished = tempfile::Builder::new()
        .prefix(".hailer-export-unfinished-")
        .tempfile_in(parent)
        .with_context(failed)?;
    let exported = write(store, unfinished.as_file_mut(), Progress::new(Total::Unknown))?;
    unfinished.as_file().sync_all().with_context(failed)?;
    unfinished.persist_noclobber(file).with_context(failed)?;
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(failed)?;
    Ok(exported)
}

fn write(store: &FileStore, out: impl Write, mut progress: Progress) -> anyhow::Result<Exported> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let mut show = |table: store::Table, rows| {
        progress.show(|| format!("exporting {}: {rows} rows", table.name()))
    };
    Ok(store::export(store, &mut out, &mut show)?)
}
