//! The reference of events, as Markdown, made from the catalogue: `docs/events.md`, which a test holds to this.

use std::fmt::Write;

use hailer_abi::catalogue::{ANY_EVENT_TYPE, EVENTS, EventType, FieldDef, RECORDS};
use hailer_abi::manifest::FieldKind;

use super::events::one_line;

const HEAD: &str = "\
# Events

Every event that the source sends, and everything that a rule can read of it. Made by `hailer events --reference` from the catalogue, from which the SDK's types come, too; don't edit it.

- A handler names the fields that it reads: `fn purchase(&self, Purchase { amount, brand_id, .. }: Purchase, ctx: &mut Context)`. Nothing else is read of the event.
- A field that every such event has is a plain type; without it the handler is not called. All others are `Option`; lists and maps are empty when they are absent. Null, an empty text and a value of another type are absent.
- *personal*: it says who somebody is, or may. A campaign must be granted it by name, `personal = [\"card_number\"]`.
- Of several paths the first that is present and not empty counts. Paths are JSON Pointers; those of a record begin at the list's element.
- A code with a ? is a guess from Loymax's public API. Decide by the fields, not by the code.
- The routing key is the source's own, to the letter. Events are told apart by their code, never by the key.

";

pub(super) fn markdown() -> String {
    let mut text = HEAD.to_owned();
    text += "| event | what happened |\n|---|---|\n";
    for event in EVENTS.iter().chain([&ANY_EVENT_TYPE]) {
        let _ = writeln!(text, "| [{0}](#{1}) | {2} |", event.name, event.name.to_lowercase(), cell(event.doc));
    }
    for event in EVENTS.iter().chain([&ANY_EVENT_TYPE]) {
        text += &section(event);
    }
    for record in RECORDS {
        let _ = write!(text, "\n## {}\n\n{} One element of a list.\n\n", record.name, one_line(record.doc));
        text += &table(record.fields);
    }
    text
}

fn section(event: &EventType) -> String {
    let mut text = format!("\n## {}\n\n{}\n\n", event.name, one_line(event.doc));
    let guessed = event.guessed_codes.iter().map(|code| format!("`{code}`?"));
    let codes: Vec<_> = event.codes.iter().map(|code| format!("`{code}`")).chain(guessed).collect();
    if !codes.is_empty() {
        let _ = write!(text, "Codes: {}. Routing key: `{}`. ", codes.join(", "), event.routing_key);
        let _ = write!(text, "The source's example: `hailer events {}`.\n\n", event.name);
    }
    text + &table(event.fields)
}

fn table(fields: &[FieldDef]) -> String {
    let mut text = "| field | type | | where | meaning |\n|---|---|---|---|---|\n".to_owned();
    for field in fields {
        let paths: Vec<_> = field.paths.iter().map(|path| format!("`{path}`")).collect();
        let mark = if field.personal { "personal" } else { "" };
        let (name, kind, paths) = (field.name, type_of(field), paths.join(" or "));
        let _ = writeln!(text, "| `{name}` | {kind} | {mark} | {paths} | {} |", cell(field.doc));
    }
    text
}

/// As the SDK has it.
fn type_of(field: &FieldDef) -> String {
    let plain = match field.kind {
        FieldKind::Bool => "bool",
        FieldKind::Int => "i64",
        FieldKind::Float => "f64",
        FieldKind::Str | FieldKind::Id => "&str",
        FieldKind::Decimal => "Decimal",
        FieldKind::Timestamp => "Timestamp",
        FieldKind::Map => return "`Map<&str, Decimal>`".to_owned(),
        FieldKind::Raw => "Raw",
        FieldKind::List => {
            let record = field.record.map_or("", |record| record.name);
            return format!("list of [`{record}`](#{})", record.to_lowercase());
        }
    };
    if field.required { format!("`{plain}`") } else { format!("`Option<{plain}>`") }
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_record_and_field_is_in_the_reference() {
        let text = markdown();
        let of_events = EVENTS.iter().chain([&ANY_EVENT_TYPE]).map(|event| (event.name, event.fields));
        let of_records = RECORDS.iter().map(|record| (record.name, record.fields));
        for (name, fields) in of_events.chain(of_records) {
            let section = text.split(&format!("\n## {name}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
            for field in fields {
                assert!(
                    section.contains(&format!("| `{}` | {} |", field.name, type_of(field))),
                    "{name}.{}",
                    field.name
                );
            }
        }
    }
}
