//! `hailer events`: prints the catalogue of events, samples, fields, or generated events.

use std::io::Write;

use clap::Args;
use hailer_abi::catalogue::{EVENTS, EventType, FieldDef};
use serde_json::{Value, json};

use super::inspect::kind_text;
use super::progress::{Progress, Total};
use super::settings::Global;
use super::{DONE, EXIT_CODES, UsageError, event_reference, output};
use crate::config::nearest;
use crate::generate::{Generator, Options};

/// The largest number of customers that the generator keeps in memory; each takes some 300 bytes.
const CUSTOMERS_MAX: i64 = 5_000_000;

/// List the events, print a sample, or generate events
///
/// Without an argument: the catalogue of events. With an event's code (OnPurchaseConfirm) or name
/// (Purchase): the source's sample, byte for byte; with --fields, the fields that a rule can read
/// of it.
///
/// With --samples: all samples, one a line, each as the original message in an envelope with its
/// routing key.
///
/// With --generate: varied, valid events, one a line, for trying rules and for load tests.
/// Customers return, refunds refer to purchases, cards are blocked and replaced. The same seed
/// gives the same bytes, on every machine.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer events\n  hailer events Purchase --fields\n  hailer events --samples | \
        hailer run --rules rules.d\n  \
     hailer events --generate 1000 --seed 7 > events.jsonl\n\n{EXIT_CODES}",
))]
pub(super) struct Events {
    /// An event's code, such as OnPurchaseConfirm, or its name, such as Purchase
    #[arg(conflicts_with_all = ["generate", "seed", "customers", "envelope", "start"])]
    event: Option<String>,
    /// Print the fields that a rule can read of the event, instead of the sample
    #[arg(long, requires = "event")]
    fields: bool,
    /// Print every sample, one a line, in an envelope that keeps its bytes
    #[arg(long, conflicts_with_all = ["event", "generate"])]
    samples: bool,
    /// Print the reference of all events and fields, as Markdown
    #[arg(long, conflicts_with_all = ["event", "samples", "generate"])]
    reference: bool,
    /// Generate this number of events
    #[arg(long, value_name = "COUNT")]
    generate: Option<u64>,
    /// The seed of the generator: the same seed gives the same events
    #[arg(long, requires = "generate", default_value_t = 1)]
    seed: u64,
    /// The largest number of customers among the generated events
    #[arg(long, requires = "generate", value_name = "COUNT",
          default_value_t = Options::default().customers,
          value_parser = clap::value_parser!(u32).range(1..=CUSTOMERS_MAX))]
    customers: u32,
    /// Write each event in an envelope with routing key, message id and time
    #[arg(long, requires = "generate")]
    envelope: bool,
    /// When the first generated event happens: a date, or a time such as 2026-03-01T08:00:00Z
    /// [default: 2026-01-01]
    #[arg(long, requires = "generate", value_name = "DATE", value_parser = start_of)]
    start: Option<i64>,
}

impl Events {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        if let Some(count) = self.generate {
            let options = Options {
                customers: self.customers,
                envelope: self.envelope,
                ..Options::default()
            };
            let start_ms = self.start.unwrap_or(options.start_ms);
            generate(count, self.seed, &Options { start_ms, ..options })?;
            return Ok(DONE);
        }
        if self.reference {
            output::data(&event_reference::markdown())?;
            return Ok(DONE);
        }
        if self.samples {
            for event in EVENTS.iter().filter(|event| !event.sample.is_empty()) {
                output::data(
                    &json!({ "routingKey": event.routing_key, "body": event.sample }).to_string(),
                )?;
            }
            return Ok(DONE);
        }
        let Some(name) = &self.event else {
            list(EVENTS, global.json)?;
            return Ok(DONE);
        };
        let event = find(EVENTS, name)?;
        match (self.fields, global.json) {
            (false, _) => output::data(event.sample)?,
            (true, true) => output::json(&fields_json(event.fields))?,
            (true, false) => output::data(&fields_table(event.fields))?,
        }
        Ok(DONE)
    }
}

fn generate(count: u64, seed: u64, options: &Options) -> anyhow::Result<()> {
    const CHUNK_BYTES: usize = 1 << 18;
    let mut generator = Generator::new(seed, options);
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + (1 << 14));
    let mut stdout = std::io::stdout().lock();
    let mut progress = Progress::beside_data(Total::Items(count));
    for made in 0..count {
        generator.append_next(&mut chunk);
        chunk.push(b'\n');
        if chunk.len() >= CHUNK_BYTES {
            stdout.write_all(&chunk)?;
            chunk.clear();
            progress.advance(made, || "events".to_owned());
        }
    }
    stdout.write_all(&chunk)?;
    Ok(stdout.flush()?)
}

/// Milliseconds since 1970 of a date or a time. A date means its midnight in UTC.
fn start_of(text: &str) -> Result<i64, String> {
    let midnight = || {
        jiff::tz::TimeZone::UTC
            .to_timestamp(text.parse::<jiff::civil::Date>().ok()?.at(0, 0, 0, 0))
            .ok()
    };
    let time = text.parse::<jiff::Timestamp>().ok().or_else(midnight);
    match time.map(jiff::Timestamp::as_millisecond) {
        // The time of generated events advances with each event. The bound keeps years at four
        // digits.
        Some(start_ms) if (0..221_845_392_000_000).contains(&start_ms) => Ok(start_ms),
        _ => Err("write a date such as 2026-03-01, or a time such as 2026-03-01T08:00:00Z, from \
                  1970 to 8999"
            .to_owned()),
    }
}

fn find<'a>(events: &'a [EventType], name: &str) -> Result<&'a EventType, UsageError> {
    let names = |event: &'a EventType| {
        event.codes.iter().chain(event.guessed_codes).chain([&event.name]).copied()
    };
    if let Some(event) =
        events.iter().find(|event| names(event).any(|known| known.eq_ignore_ascii_case(name)))
    {
        return Ok(event);
    }
    let hint = match nearest(name, events.iter().flat_map(names)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`hailer events` lists them".to_owned(),
    };
    Err(UsageError(format!("there is no event `{name}`: {hint}")))
}

fn list(events: &[EventType], json: bool) -> anyhow::Result<()> {
    if json {
        let event = |event: &EventType| {
            json!({
                "name": event.name,
                "codes": event.codes,
                "guessedCodes": event.guessed_codes,
                "routingKey": event.routing_key,
                "doc": event.doc,
                "fields": event.fields.len(),
            })
        };
        return output::json(&events.iter().map(event).collect::<Vec<_>>());
    }
    let row = |event: &EventType| {
        let guessed = event.guessed_codes.iter().map(|code| format!("{code}?"));
        let codes: Vec<_> =
            event.codes.iter().map(|code| (*code).to_owned()).chain(guessed).collect();
        let count = event.fields.len().to_string();
        [
            event.name.to_owned(),
            codes.join(", "),
            event.routing_key.to_owned(),
            count,
            sentence(event.doc),
        ]
    };
    output::data(&output::table(
        ["event", "codes", "routing key", "fields", "what happened"],
        events.iter().map(row),
    ))?;
    output::message(
        "a code with ? is a guess; `hailer events NAME` prints a sample, with --fields the fields \
            that a rule can read",
    );
    Ok(())
}

fn fields_table(fields: &[FieldDef]) -> String {
    let mut rows = Vec::new();
    for field in fields {
        rows.push(field_row("", field));
        for inner in field.record.iter().flat_map(|record| record.fields) {
            rows.push(field_row(&format!("{}.", field.name), inner));
        }
    }
    output::table(["field", "type", "", "meaning"], rows)
}

fn field_row(prefix: &str, field: &FieldDef) -> [String; 4] {
    let marks = [(field.required, "required"), (field.personal, "personal")];
    let marks: Vec<_> = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect();
    [
        format!("{prefix}{}", field.name),
        kind_text(&field.kind),
        marks.join(" "),
        one_line(field.doc),
    ]
}

fn fields_json(fields: &[FieldDef]) -> Vec<Value> {
    let field = |field: &FieldDef| {
        let mut member = json!({
            "name": field.name,
            "type": field.kind,
            "paths": field.paths,
            "required": field.required,
            "personal": field.personal,
            "doc": field.doc,
        });
        if let Some(record) = field.record {
            member["record"] = json!({
                "name": record.name,
                "doc": record.doc,
                "fields": fields_json(record.fields),
            });
        }
        member
    };
    fields.iter().map(field).collect()
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first sentence of a text.
fn sentence(text: &str) -> String {
    let text = one_line(text);
    text.split_once(". ").map_or(text.clone(), |(first, _)| format!("{first}."))
}

#[cfg(test)]
mod tests {
    use hailer_abi::manifest::FieldKind;

    use super::*;

    static SHOWN: &[EventType] = &[EventType {
        name: "Purchase",
        doc: "A purchase\nwas confirmed. More.",
        codes: &["OnPurchaseConfirm"],
        guessed_codes: &["OnPurchase"],
        routing_key: "purchases.confirm.modelUpdate",
        fields: &[FieldDef {
            name: "amount",
            kind: FieldKind::Decimal,
            paths: &["/amount"],
            required: true,
            personal: true,
            doc: "What was paid.",
            record: None,
        }],
        sample: "{}\n",
    }];

    #[test]
    fn an_event_is_found_by_code_or_name_and_a_near_miss_is_suggested() {
        for name in ["Purchase", "purchase", "OnPurchaseConfirm", "OnPurchase"] {
            assert_eq!(find(SHOWN, name).unwrap().name, "Purchase");
        }
        assert!(
            find(SHOWN, "OnPurchaseConfrm")
                .unwrap_err()
                .0
                .contains("did you mean `OnPurchaseConfirm`?")
        );
        assert!(find(SHOWN, "Weather").unwrap_err().0.contains("`hailer events` lists them"));
    }

    #[test]
    fn fields_are_shown_with_what_matters_about_them() {
        insta::assert_snapshot!(fields_table(SHOWN[0].fields));
        assert_eq!(sentence(SHOWN[0].doc), "A purchase was confirmed.");
    }

    #[test]
    fn every_event_of_the_catalogue_is_found_and_shown() {
        for event in EVENTS {
            assert_eq!(find(EVENTS, event.name).unwrap().name, event.name);
            assert!(!fields_table(event.fields).is_empty() && !event.sample.is_empty());
        }
    }

    #[test]
    fn a_start_is_a_date_or_a_time() {
        assert_eq!(start_of("2026-01-01"), Ok(Options::default().start_ms));
        assert_eq!(start_of("2026-01-01T00:00:00Z"), Ok(Options::default().start_ms));
        assert!(start_of("yesterday").is_err() && start_of("1960-01-01").is_err());
    }
}
