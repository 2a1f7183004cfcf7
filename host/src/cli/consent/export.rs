//! `hailer consent export`: prints what is known about consents and time zones.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use clap::Args;

use crate::cli::progress::{Progress, Total};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::store_access::{StoreAccess, store_access};
use crate::cli::{DONE, EXIT_CODES, engine};
use crate::consent::append_line;
use crate::consents;
use crate::store::{FileStore, Store};

const BUFFER_BYTES: usize = 1 << 20;

/// Print consents and time zones as lines of JSON, for an import elsewhere
///
/// A line has the key of a customer (a hash, because the store has no ids), a subscription, the
/// channels with true for yes and false for no, the time at which the customer said so, and the
/// time zone. The lines are those of one moment, in the order of the store's rows: equal stores
/// print equal lines. An import of them into an empty store makes an equal export.
///
/// Asks the running engine, or reads the store of a stopped one. An engine ends an export that
/// takes longer than three minutes; export a backup of a store that is so large.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer consent export > consents.jsonl\n  hailer consent export | jq -c \
        'select(.channels.sms == false)'\n  hailer store backup backups/now && hailer consent \
        export --store backups/now > consents.jsonl\n\n{EXIT_CODES}",
))]
pub(super) struct Export {
    #[command(flatten)]
    store: StoreFlags,
}

impl Export {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let access = store_access(global, &self.store)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
        let mut progress = Progress::beside_data(Total::Unknown);
        let mut bytes = 0;
        let mut write = |part: &[u8]| {
            bytes += part.len() as u64;
            progress.show(|| format!("exported {}", crate::cli::output::size(bytes)));
            out.write_all(part)
        };
        match access {
            StoreAccess::Engine(client) => engine::wait(client.export_consents(write))???,
            StoreAccess::Stopped(stopped) => export(&stopped.open()?, &mut write)?,
        }
        out.flush()?;
        Ok(DONE)
    }
}

fn export(store: &FileStore, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> anyhow::Result<()> {
    let mut line = Vec::new();
    let mut written = Ok(());
    consents::visit(&*store.snapshot()?, &mut |statement| {
        line.clear();
        append_line(&statement, &mut line);
        written = write(&line);
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(written?)
}
