//! `hailer decisions export`: every decision, for whoever counts them.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::moment::{moment, zone};
use super::reading::{Place, place};
use super::settings::{Global, StoreFlags};
use super::{DONE, EXIT_CODES, engine, logging, output};
use crate::store::Store;
use crate::story::{self, Decision, DecisionPage, DecisionQuery};

/// What was decided, for other programs
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Decisions {
    #[command(subcommand)]
    command: DecisionsCommand,
}

#[derive(Debug, Subcommand)]
enum DecisionsCommand {
    Export(Export),
}

/// Print every decision: one row for each event and campaign
///
/// Rows come from the journal, as long as it is kept. The order is that of the store: customers are spread over 64 parts, which come one
/// after another, and in each of them rows are in the order of time; sort by `at` if you need more. An event that no campaign
/// was asked about has no row.
///
/// In CSV, `communications`, `notes`, `scheduled` and `cancelled` are JSON in a cell. A customer is a key: the journal knows
/// nobody's name. A communication that `passed` went to the outbox; whether it is published is what `hailer why` tells.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer decisions export --since 7d > decisions.csv\n  \
     hailer decisions export --campaign welcome --since 2026-03-01 --until 2026-04-01 --format jsonl | jq -r .decision | sort | uniq -c\n\n\
     {EXIT_CODES}",
))]
pub(super) struct Export {
    /// Nothing before: a span back from now such as 7d, a date, or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Nothing from then on
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what this campaign decided
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// What a row is [default: csv; jsonl with --json]
    #[arg(long)]
    format: Option<Format>,
    /// Dates in UTC [default: in the machine's zone]; times in rows always are
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    store: StoreFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Jsonl,
}

impl Decisions {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        match self.command {
            DecisionsCommand::Export(export) => export.run(global),
        }
    }
}

impl Export {
    fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        let zone = zone(self.utc);
        let time =
            |flag: &str, text: &Option<String>| text.as_deref().map(|text| moment(flag, text, &zone)).transpose();
        let (since, until) = (time("--since", &self.since)?, time("--until", &self.until)?);
        let campaigns = self.campaign.into_iter().collect();
        let query = DecisionQuery { since, until, campaigns, ..DecisionQuery::default() };
        let format = self.format.unwrap_or(if global.json { Format::Jsonl } else { Format::Csv });
        match place(global, &self.store)? {
            Place::Engine(client) => write_all(query, format, |query| Ok(engine::wait(client.decisions(query))??)),
            Place::Stopped(stopped) => {
                let store = stopped.open()?;
                write_all(query, format, |query| Ok(story::decisions(&*store.snapshot()?, query)?))
            }
        }
    }
}

fn write_all(
    mut query: DecisionQuery,
    format: Format,
    mut page: impl FnMut(&DecisionQuery) -> anyhow::Result<DecisionPage>,
) -> anyhow::Result<u8> {
    let mut stdout = std::io::stdout().lock();
    let mut progress = output::Progress::new();
    let mut written = 0;
    let mut text = match format {
        Format::Csv => COLUMNS.join(",") + "\n",
        Format::Jsonl => String::new(),
    };
    loop {
        let DecisionPage { decisions, next } = page(&query)?;
        for decision in &decisions {
            match format {
                Format::Csv => text += &row(decision)?,
                Format::Jsonl => text += &(serde_json::to_string(decision)? + "\n"),
            }
        }
        stdout.write_all(text.as_bytes())?;
        text.clear();
        written += decisions.len();
        progress.show(|| format!("{written} decisions"));
        match next {
            Some(next) => query.from = next,
            None => break,
        }
    }
    stdout.flush()?;
    Ok(DONE)
}

const COLUMNS: [&str; 15] = [
    "at",
    "event_id",
    "customer",
    "event_code",
    "timer",
    "rule_set",
    "campaign",
    "version",
    "decision",
    "reason",
    "communications",
    "notes",
    "scheduled",
    "cancelled",
    "state_changed",
];

/// A row of CSV (RFC 4180, but for its line's end).
fn row(decision: &Decision) -> serde_json::Result<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells = [
        decision.at.to_string(),
        decision.event_id.clone(),
        text(&decision.customer),
        text(&decision.event_code),
        text(&decision.timer),
        decision.rule_set.to_string(),
        decision.campaign.clone(),
        decision.version.clone(),
        decision.decision.clone(),
        text(&decision.reason),
        list(&decision.communications)?,
        list(&decision.notes)?,
        list(&decision.scheduled)?,
        list(&decision.cancelled)?,
        decision.state_changed.to_string(),
    ];
    Ok(cells.map(|text| cell(&text)).join(",") + "\n")
}

fn list(items: &[impl Serialize]) -> serde_json::Result<String> {
    if items.is_empty() { Ok(String::new()) } else { serde_json::to_string(items) }
}

/// Text of an event's body may be a formula for a spreadsheet, or a command for a terminal: it is neither here. Control characters and invisible
/// ones are escaped, and a cell that a spreadsheet would take for a formula begins with an apostrophe.
fn cell(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let first = text.chars().find(|letter| !letter.is_whitespace() && !is_hidden(*letter));
    if first.is_some_and(|first| FORMULAS.contains(&first)) {
        shown.push('\'');
    }
    for letter in text.chars() {
        if is_hidden(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    let text = shown;
    // Some spreadsheets separate cells by semicolons.
    if text.contains(['"', ',', ';']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// What a formula begins with, and the same in full width.
const FORMULAS: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// A control character, or one that is not seen and changes how others are shown.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::Sent;

    #[test]
    fn a_row_of_csv_has_a_cell_for_each_column_and_quotes_what_would_break_it() {
        let sent =
            Sent { channel: "push".into(), template: "a, b".into(), verdict: "passed".into(), id: None, data_hash: 0 };
        let decision = Decision {
            at: "2026-03-01T08:00:00Z".parse().unwrap(),
            event_id: "81".into(),
            customer: None,
            event_code: Some("On\nPurchase".into()),
            timer: None,
            due: None,
            rule_set: 7,
            campaign: "welcome".into(),
            version: "1".into(),
            decision: "failed".into(),
            reason: Some("it said \"no\"".into()),
            communications: vec![sent],
            notes: vec![],
            scheduled: vec![],
            cancelled: vec![],
            state_changed: false,
        };
        let expected = "2026-03-01T08:00:00Z,81,,On\\nPurchase,,7,welcome,1,failed,\"it said \"\"no\"\"\",\
                        \"[{\"\"channel\"\":\"\"push\"\",\"\"template\"\":\"\"a, b\"\",\"\"verdict\"\":\"\"passed\"\",\"\"id\"\":null}]\",,,,false\n";
        assert_eq!(row(&decision).unwrap(), expected);
        for (text, shown) in [
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\t=1"),
            (" =1", "' =1"),
            ("a;=1", "\"a;=1\""),
            ("a,=1", "\"a,=1\""),
            ("a\"b", "\"a\"\"b\""),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("\u{ff0b}1", "'\u{ff0b}1"),
            ("\u{ff0d}1", "'\u{ff0d}1"),
            ("\u{ff20}A1", "'\u{ff20}A1"),
            ("\u{a0}\u{3000}=1", "'\u{a0}\u{3000}=1"),
            ("\r\n@A1", "'\\r\\n@A1"),
            ("\u{2029}=1", "'\\u{2029}=1"),
            ("a\u{2066}b", "a\\u{2066}b"),
            ("a=1", "a=1"),
            ("\u{feff}=1", "'\\u{feff}=1"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\r\nb", "a\\r\\nb"),
            ("OnPurchaseConfirm", "OnPurchaseConfirm"),
        ] {
            assert_eq!(cell(text), shown);
        }
    }
}
