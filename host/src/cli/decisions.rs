//! `hailer decisions export`: prints every decision, for statistics.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::moment::{moment, zone};
use super::progress::{Progress, Total};
use super::settings::{Global, StoreFlags};
use super::store_access::{StoreAccess, store_access};
use super::{DONE, EXIT_CODES, engine, logging};
use crate::explain::{self, Decision, DecisionPage, DecisionQuery, ProposedCommunication};
use crate::store::Store;

/// Export decisions for other programs
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
/// Rows come from the journal, for as long as it is kept. Customers are spread over 64 partitions,
/// which are printed one after another; within a partition rows are in order of time. Sort by `at`
/// if you need one order. An event for which no campaign was called has no row.
///
/// In CSV, the cells of `communications`, `notes`, `scheduled` and `cancelled` are JSON. A customer
/// is a key, because the journal holds no names. A communication that `passed` went to the outbox;
/// `hailer why` shows whether it is published.
///
/// Another verdict is `deferred`, or the reason of a policy. The cells of `policy`, `detail` and
/// `until` are JSON lists with one item for each communication. A row with the decision `released`
/// has communications that were deferred before and are judged again, or that the event cancels.
/// Its rule was not called. So a deferred communication is in two rows.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer decisions export --since 7d > decisions.csv\n  \
     hailer decisions export --campaign welcome --since 2026-03-01 --until 2026-04-01 --format \
     jsonl | jq -r .decision | sort | uniq -c\n\n\
     {EXIT_CODES}",
))]
pub(super) struct Export {
    /// Only decisions since this time: a span back from now such as 7d, a date, or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only decisions before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only decisions of this campaign
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// The format of a row [default: csv; jsonl with --json]
    #[arg(long)]
    format: Option<Format>,
    /// Read dates in UTC [default: in the machine's zone]; times in rows are always UTC
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
        let time = |flag: &str, text: &Option<String>| {
            text.as_deref().map(|text| moment(flag, text, &zone)).transpose()
        };
        let (since, until) = (time("--since", &self.since)?, time("--until", &self.until)?);
        let campaigns = self.campaign.into_iter().collect();
        let query = DecisionQuery { since, until, campaigns, ..DecisionQuery::default() };
        let format = self.format.unwrap_or(if global.json { Format::Jsonl } else { Format::Csv });
        match store_access(global, &self.store)? {
            StoreAccess::Engine(client) => {
                write_all(query, format, |query| Ok(engine::wait(client.decisions(query))??))
            }
            StoreAccess::Stopped(stopped) => {
                let store = stopped.open()?;
                write_all(query, format, |query| {
                    Ok(explain::decisions(&*store.snapshot()?, query)?)
                })
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
    let mut progress = Progress::beside_data(Total::Unknown);
    let mut written = 0;
    let mut text = match format {
        Format::Csv => csv_row(&COLUMNS.map(str::to_owned))?,
        Format::Jsonl => Vec::new(),
    };
    loop {
        let DecisionPage { decisions, next } = page(&query)?;
        for decision in &decisions {
            match format {
                Format::Csv => text.append(&mut csv_row(&cells(decision)?)?),
                Format::Jsonl => {
                    serde_json::to_writer(&mut text, decision)?;
                    text.push(b'\n');
                }
            }
        }
        stdout.write_all(&text)?;
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

const COLUMNS: [&str; 18] = [
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
    "policy",
    "detail",
    "until",
];

/// The cells of a decision's row, in the order of [`COLUMNS`].
fn cells(decision: &Decision) -> serde_json::Result<[String; COLUMNS.len()]> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok([
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
        of_each(decision, |one| one.policy.as_ref())?,
        of_each(decision, |one| one.detail.as_ref())?,
        of_each(decision, |one| one.until.as_ref())?,
    ])
}

/// A row of CSV as RFC 4180 describes it, except that it ends with a line feed alone.
fn csv_row(cells: &[String]) -> anyhow::Result<Vec<u8>> {
    let cells: Vec<String> = cells.iter().map(|text| defused(text)).collect();
    // In some countries spreadsheets separate cells by semicolons. The crate would quote a cell
    // with one only if it quoted every cell of the row.
    let has_semicolon = cells.iter().any(|text| text.contains(';'));
    let style = if has_semicolon { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
    let mut row = csv::WriterBuilder::new()
        .quote_style(style)
        .buffer_capacity(1 << 10)
        .from_writer(Vec::new());
    row.write_record(&cells)?;
    Ok(row.into_inner()?)
}

/// A list with one item for each communication, null where there is none; empty if all are null.
fn of_each<T: Serialize>(
    decision: &Decision,
    item: impl Fn(&ProposedCommunication) -> Option<&T>,
) -> serde_json::Result<String> {
    let items: Vec<Option<&T>> = decision.communications.iter().map(item).collect();
    if items.iter().all(Option::is_none) { Ok(String::new()) } else { list(&items) }
}

fn list(items: &[impl Serialize]) -> serde_json::Result<String> {
    if items.is_empty() { Ok(String::new()) } else { serde_json::to_string(items) }
}

/// A text that is neither a formula for a spreadsheet nor a command for a terminal, although text
/// of an event's body may be either. Control characters and invisible characters are escaped, and
/// an apostrophe precedes a text that a spreadsheet would take for a formula.
fn defused(text: &str) -> String {
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
    shown
}

/// The first characters of formulas, and the same in full width.
const FORMULAS: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Whether a character is a control character, or an invisible one that changes how others look.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_csv_has_a_cell_for_each_column_and_quotes_where_it_must() {
        let sent = ProposedCommunication {
            channel: "push".into(),
            template: "a, b".into(),
            verdict: "passed".into(),
            ..ProposedCommunication::default()
        };
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
        let expected = "2026-03-01T08:00:00Z,81,,On\\nPurchase,,7,welcome,1,failed,\"it said \
                        \"\"no\"\"\",\"[{\"\"channel\"\":\"\"push\"\",\"\"template\"\":\"\"a, \
                        b\"\",\"\"verdict\"\":\"\"passed\"\",\"\"id\"\":null}]\",,,,false,,,\n";
        assert_eq!(row(&cells(&decision).unwrap()), expected);
        // A semicolon separates cells, too, in some spreadsheets.
        assert_eq!(row(&["a;=1".to_owned(), "b".to_owned()]), "\"a;=1\",\"b\"\n");
    }

    #[test]
    fn policies_have_a_cell_with_an_item_for_each_communication() {
        let one = ProposedCommunication {
            channel: "push".into(),
            template: "a".into(),
            verdict: "passed".into(),
            ..ProposedCommunication::default()
        };
        let deferred = ProposedCommunication {
            verdict: "deferred".into(),
            policy: Some("night".into()),
            until: Some("2026-03-02T06:00:00Z".parse().unwrap()),
            ..one.clone()
        };
        let decision = |communications| Decision {
            at: "2026-03-01T08:00:00Z".parse().unwrap(),
            event_id: "81".into(),
            customer: None,
            event_code: None,
            timer: None,
            due: None,
            rule_set: 7,
            campaign: "welcome".into(),
            version: "1".into(),
            decision: "answered".into(),
            reason: None,
            communications,
            notes: vec![],
            scheduled: vec![],
            cancelled: vec![],
            state_changed: false,
        };
        let shown = cells(&decision(vec![one.clone(), deferred])).unwrap();
        let named =
            |name: &str| &*shown[COLUMNS.iter().position(|column| *column == name).unwrap()];
        assert_eq!(named("policy"), "[null,\"night\"]");
        assert_eq!(named("detail"), "");
        assert_eq!(named("until"), "[null,\"2026-03-02T06:00:00Z\"]");
        assert_eq!(cells(&decision(vec![one])).unwrap()[15..], ["", "", ""]);
    }

    fn row(cells: &[String]) -> String {
        String::from_utf8(csv_row(cells).unwrap()).unwrap()
    }

    #[test]
    fn a_cell_is_no_formula_and_no_command_for_a_terminal() {
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
            assert_eq!(row(&[text.to_owned()]), format!("{shown}\n"));
        }
    }
}
