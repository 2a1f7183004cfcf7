//! `hailer store show`: what the store is, and how much is in it.

use clap::Args;
use jiff::tz::TimeZone;

use crate::cli::moment::zone;
use crate::cli::reading::{Place, place};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::clock;
use crate::story::{self, Moment, Overview};

/// Show what the store is, how much is in it, and how far it has come
///
/// Counts rows and bytes of every table, which takes some seconds for gigabytes. Works while the engine runs, which is not held up by it.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer store show\n  hailer store show --config /etc/hailer/hailer.toml --json | jq .outboxWaiting\n\n{EXIT_CODES}",
))]
pub(super) struct Show {
    /// Times in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl Show {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let overview = match place(global, &self.store)? {
            Place::Engine(client) => engine::wait(client.store())??,
            Place::Stopped(stopped) => {
                let directory = stopped.directory.canonicalize().unwrap_or_else(|_| stopped.directory.clone());
                story::overview(&stopped.open()?, Some(directory.display().to_string()), clock::reading())?
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
    let moment = |at| Moment(at, zone).to_string();
    let identity = &overview.identity;
    let journal = overview.journal.map(|span| format!("{} to {}", moment(span.first), moment(span.last)));
    let facts = [
        ("directory", overview.directory.clone().unwrap_or_else(|| "none: in memory, gone with the engine".to_owned())),
        ("size", output::size(overview.file_bytes)),
        ("environment", identity.environment.clone()),
        ("format", identity.format.to_string()),
        ("made", format!("{}, id {}", moment(identity.created_at), identity.id)),
        ("commits", format!("{}, in {} runs", overview.commit, overview.runs)),
        ("outbox", format!("{} communications wait", overview.outbox_waiting)),
        ("dead letters", format!("{} wait", overview.dead_letters_waiting)),
        (
            "timers",
            overview.oldest_timer.map_or_else(|| "none".to_owned(), |at| format!("the first is due {}", moment(at))),
        ),
        ("journal", journal.unwrap_or_else(|| "empty".to_owned())),
        ("dedup rows", overview.dedup_rows.to_string()),
        ("now", overview.now.map_or_else(|| "none yet".to_owned(), moment)),
    ];
    let mut text: String = facts.into_iter().map(|(name, value)| format!("{name:<11}  {value}\n")).collect();
    if let Some(why) = &overview.clock_in_doubt {
        text += &format!("clock        in doubt: {why}\n");
    }
    let row = |table: &story::TableOverview| [table.name.clone(), table.rows.to_string(), output::size(table.bytes)];
    text += "\n";
    text + &output::table(["table", "rows", "size"], overview.tables.iter().map(row))
}
