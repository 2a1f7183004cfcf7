//! `hailer store show`: shows facts about the store, and how much it holds.

use clap::Args;
use jiff::tz::TimeZone;

use crate::cli::moment::zone;
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::store_access::{StoreAccess, store_access};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::clock;
use crate::explain::{self, Overview, ZonedTime};

/// Show facts about the store: identity, size, rows of each table, progress
///
/// Counts the rows and bytes of every table, which takes some seconds for gigabytes. Works while
/// the engine runs, and does not delay it.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer store show\n  hailer store show --config /etc/hailer/hailer.toml --json \
        | jq .outboxWaiting\n\n{EXIT_CODES}",
))]
pub(super) struct Show {
    /// Print times in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl Show {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let overview = match store_access(global, &self.store)? {
            StoreAccess::Engine(client) => engine::wait(client.store())??,
            StoreAccess::Stopped(stopped) => {
                let directory =
                    stopped.directory.canonicalize().unwrap_or_else(|_| stopped.directory.clone());
                explain::overview(
                    &stopped.open()?,
                    Some(directory.display().to_string()),
                    clock::reading(),
                )?
            }
        };
        if global.json {
            output::json(&overview)?;
        } else {
            output::data(&text(&overview, &zone(self.utc)))?;
        }
        Ok(DONE)
    }
}

pub(super) fn text(overview: &Overview, zone: &TimeZone) -> String {
    let moment = |at| ZonedTime(at, zone).to_string();
    let identity = &overview.identity;
    let journal =
        overview.journal.map(|span| format!("{} to {}", moment(span.first), moment(span.last)));
    let facts = [
        (
            "directory",
            overview.directory.clone().unwrap_or_else(|| {
                "none: the store is in memory and ends with the engine".to_owned()
            }),
        ),
        ("size", output::size(overview.file_bytes)),
        ("environment", identity.environment.clone()),
        ("format", identity.format.to_string()),
        ("made", format!("{}, id {}", moment(identity.created_at), identity.id)),
        ("commits", format!("{}, in {} runs", overview.commit, overview.runs)),
        ("outbox", format!("{} communications wait", overview.outbox_waiting)),
        ("dead letters", format!("{} wait", overview.dead_letters_waiting)),
        (
            "timers",
            overview
                .oldest_timer
                .map_or_else(|| "none".to_owned(), |at| format!("the first is due {}", moment(at))),
        ),
        ("journal", journal.unwrap_or_else(|| "empty".to_owned())),
        ("dedup rows", overview.dedup_rows.to_string()),
        ("now", overview.now.map_or_else(|| "none yet".to_owned(), moment)),
    ];
    let mut text: String =
        facts.into_iter().map(|(name, value)| format!("{name:<11}  {value}\n")).collect();
    if let Some(why) = &overview.clock_in_doubt {
        text += &format!("clock        in doubt: {why}\n");
    }
    let row = |table: &explain::TableOverview| {
        [table.name.clone(), table.rows.to_string(), output::size(table.bytes)]
    };
    text += "\n";
    text + &output::table(["table", "rows", "size"], overview.tables.iter().map(row))
}
