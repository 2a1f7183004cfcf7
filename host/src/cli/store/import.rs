//! `hailer store import`: makes a new store from an export.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::counts;
use crate::cli::progress::{Progress, Total};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::{DONE, EXIT_CODES, output};
use crate::config::Purpose;
use crate::store::{self, Exported, Opening};

const BUFFER_BYTES: usize = 1 << 20;

/// Make a new store from an export
///
/// Checks every line, and the checksum of all lines. The store appears when it is complete, or not
/// at all; if the directory already holds something, nothing is written. The new store keeps the id
/// of the exported one, as a restored backup does. An engine that runs with it has the states,
/// timers, deduplication entries and outbox of the export. So the engine of the exported store must
/// not run any more.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer store import store.jsonl --config /etc/hailer/hailer.toml\n  \
     zstd -dc store.jsonl.zst | hailer store import - --store data/store --environment \
     production\n\n{EXIT_CODES}",
))]
pub(super) struct Import {
    /// The file that `hailer store export` wrote; - for standard input
    file: PathBuf,
    /// The directory to create [default: as the engine's configuration says, else DATA/store]
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
    /// The environment of the store; the export must have the same
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

impl Import {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let flags = StoreFlags { store: self.store, environment: self.environment };
        let config = global.load(Purpose::Ask, &flags.settings())?.config;
        let directory = config.store_dir().unwrap_or_else(|| config.default_store_dir());
        let opening =
            Opening { log_bytes: config.store.log_bytes, ..Opening::of(&config.environment) };
        let (mut from, name): (Box<dyn BufRead>, &Path) = if self.file == Path::new("-") {
            (Box::new(io::stdin().lock()), Path::new("standard input"))
        } else {
            let file = File::open(&self.file);
            let file = file.with_context(|| {
                format!("cannot read `{}`; name an export", self.file.display())
            })?;
            (Box::new(BufReader::with_capacity(BUFFER_BYTES, file)), &self.file)
        };
        let mut progress = Progress::new(Total::Unknown);
        let mut show = |table: store::Table, rows| {
            progress.show(|| format!("importing {}: {rows} rows", table.name()))
        };
        let Exported { identity, rows } =
            store::import(&mut *from, name, &directory, opening, &mut show)?;
        drop(progress);
        let (total, rows) = counts(&rows);
        if global.json {
            output::json(&json!({ "directory": directory, "identity": identity, "rows": rows }))?;
        } else {
            let environment = identity.environment;
            output::data(&format!(
                "imported {total} rows to {}, environment {environment}",
                directory.display()
            ))?;
        }
        Ok(DONE)
    }
}
