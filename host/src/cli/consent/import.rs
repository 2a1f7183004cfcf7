//! `hailer consent import`: applies a file of consents.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::cli::progress::{Progress, Total};
use crate::cli::settings::{Global, SettingFlags, StoreFlags};
use crate::cli::store_access::{StoreAccess, store_access};
use crate::cli::{DONE, EXIT_CODES, FAILED, engine, output};
use crate::clock;
use crate::config::Purpose;
use crate::consent::{ConsentFile, FileError, ImportPart, LineMistake, SaidValue, Terms};
use crate::consents::{self, ImportRequest, Imported, STATEMENTS_MAX};
use crate::policies::ConsentCounts;
use crate::reload::StatedRules;

/// The most by which the clock that made a file may be ahead of this machine's, in ms.
const CLOCKS_DIFFER_MAX_MS: clock::Millis = 10 * 60_000;

/// Import consents and time zones from lines of JSON
///
/// A line is about one customer, and names the customer by the id that events have: customerId,
/// customerUid or accountGroupId, the first of these that events of the customer have. In its
/// place, `key` is a key that `hailer consent export` printed. Merges are followed.
///
/// `channels` has the values that events have, which `consent.yes` in policies.toml reads; or true
/// and false. `subscription` is the subscriptionTypeCode, and `at` the time at which the customer
/// said so. Both are required with `channels`, and have no default. A line may have `timeZone`
/// alone.
///
/// The file is checked as a whole first: if one line is wrong, nothing is imported. Then each
/// consent is imported unless a later one is known, from an event or an import. Of two of the same
/// time, a refusal stays. So an import may be repeated, and an interrupted one is completed by
/// repeating it. If policies.toml has `time_zone_attribute`, a time zone that is known stays, as
/// events tell it; otherwise an import replaces it.
///
/// A running engine imports part by part, between events, under its policies. If no engine runs,
/// the command opens the store itself, and reads policies.toml in the rules directory.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{HELP}\n\n{EXIT_CODES}"))]
pub(super) struct Import {
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Check the file, and count what would change; change nothing
    #[arg(long)]
    dry_run: bool,
    /// The rules directory, whose policies a command without an engine uses
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
    #[command(flatten)]
    store: StoreFlags,
}

const HELP: &str = "\
A file, one line for each customer and subscription:
  {\"customerId\":\"164\",\"subscription\":\"Mailings\",\"channels\":{\"sms\":\"Disabled\"},\
\"at\":\"2026-03-01T08:00:00Z\"}
  {\"customerId\":\"165\",\"timeZone\":\"Asia/Omsk\"}

Examples:
  hailer consent import consents.jsonl --dry-run
  hailer consent import consents.jsonl
  hailer consent export --store backups/old | hailer consent import -

The file has ids of customers, so let nobody else read it. The engine gets keys, which are hashes; \
errors name lines, never ids.
A customer has at most 64 subscriptions; a refusal replaces the oldest subscription with nothing \
but yes.
The exit code is 1 if a line is wrong, or if a consent is not kept: its customer has 64 \
subscriptions, or a refusal of the same time is known.";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Lines of the file that say something.
    lines: usize,
    is_dry_run: bool,
    #[serde(flatten)]
    imported: Imported,
    values: Vec<SaidValue>,
}

/// A file with mistakes, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused<'a> {
    mistakes: &'a [LineMistake],
    mistakes_count: u64,
}

impl Import {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        // The clocks of two machines differ a little.
        let now = clock::now_ms() + CLOCKS_DIFFER_MAX_MS;
        let (report, terms) = match store_access(global, &self.store)? {
            StoreAccess::Engine(client) => {
                let terms = engine::wait(client.consent_terms())??;
                let Some(file) = self.read(global, &terms, now)? else { return Ok(FAILED) };
                let import = |request: ImportRequest| {
                    let part = ImportPart { terms: terms.clone(), request };
                    Ok(engine::wait(client.import_consents(&part))??)
                };
                (self.import(file, &terms, import)?, terms)
            }
            StoreAccess::Stopped(stopped) => {
                let settings =
                    SettingFlags::of_rules(self.rules.clone(), self.store.environment.clone());
                let config = global.load(Purpose::Ask, &settings)?.config;
                let stated = StatedRules::read(&config.rules, config.limits.module_bytes_max)?;
                let terms = Terms::of(stated.policies.as_ref());
                let Some(file) = self.read(global, &terms, now)? else { return Ok(FAILED) };
                let store = stopped.open()?;
                let import = |request: ImportRequest| Ok(consents::import(&store, &request)?);
                (self.import(file, &terms, import)?, terms)
            }
        };
        if global.json {
            output::json(&report)?;
        } else {
            output::data(&text(&report, &terms))?;
        }
        let ConsentCounts { refused, no_room, .. } = report.imported.consents;
        Ok(if refused + no_room == 0 { DONE } else { FAILED })
    }

    /// Reads the file; `None` if it has mistakes, which are printed.
    fn read(
        &self,
        global: &Global,
        terms: &Terms,
        now: clock::Millis,
    ) -> anyhow::Result<Option<ConsentFile>> {
        match ConsentFile::read(&self.file, terms, now) {
            Ok(file) => Ok(Some(file)),
            Err(FileError::Mistakes { mistakes, count, .. }) if global.json => {
                output::json(&Refused { mistakes: &mistakes, mistakes_count: count })?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Imports the file part by part. Each part is whole before the next one is sent.
    fn import(
        &self,
        file: ConsentFile,
        terms: &Terms,
        mut import: impl FnMut(ImportRequest) -> anyhow::Result<Imported>,
    ) -> anyhow::Result<Report> {
        let ConsentFile { statements, values } = file;
        let mut progress = Progress::new(Total::Items(statements.len() as u64));
        let mut imported = Imported::default();
        let mut done = 0;
        for part in statements.chunks(STATEMENTS_MAX) {
            let more = import(ImportRequest {
                statements: part.to_vec(),
                replaces_zones: !terms.zones_from_events,
                dry_run: self.dry_run,
            });
            let so_far = || {
                let all = statements.len();
                format!("{done} of {all} lines are imported; repeat the import to complete it")
            };
            imported.add(if self.dry_run { more? } else { more.with_context(so_far)? });
            done += part.len() as u64;
            progress.advance(done, || format!("changed {}", imported.consents.changed));
        }
        Ok(Report { lines: statements.len(), is_dry_run: self.dry_run, imported, values })
    }
}

fn text(report: &Report, terms: &Terms) -> String {
    let Report { lines, is_dry_run, imported, values } = report;
    let (consents, zones) = (imported.consents, imported.time_zones);
    let what = if *is_dry_run { "would import" } else { "imported" };
    let mut text = format!(
        "{what} {lines} lines\nconsents: changed {}, unchanged {}, older than what is known {}\n",
        consents.changed, consents.unchanged, consents.older
    );
    if consents.refused > 0 {
        text += &format!(
            "consents not kept, because a refusal of the same time is known: {}; give a later \
             `at`\n",
            consents.refused
        );
    }
    if consents.no_room > 0 {
        text += &format!(
            "consents not kept, because their customers have 64 subscriptions: {}\n",
            consents.no_room
        );
    }
    text += &format!("time zones: changed {}, unchanged {}", zones.changed, zones.unchanged);
    if terms.zones_from_events {
        text += &format!(", kept as events told them {}", zones.kept);
    }
    text.push('\n');
    for SaidValue { value, is_yes, count } in values {
        let means = if *is_yes { "yes" } else { "no" };
        text += &format!("`{value}` means {means}: {count}\n");
    }
    text
}
