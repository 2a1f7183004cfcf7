//! `hailer inspect`: shows what a module declares and what its calls cost, or how it differs from
//! another module.

mod diff;

use std::path::{Path, PathBuf};

use clap::Args;
use hailer_abi::condition::Condition;
use hailer_abi::imports;
use hailer_abi::manifest::{Field, Manifest, Param, ParamValue};
use serde::Serialize;

use super::costs::{Costs, against};
use super::module::{self, ModuleFacts, Sections};
use super::settings::Global;
use super::{DONE, EXIT_CODES, output};
use crate::engine::{Limits, one_line};

/// Show what a rule module declares: events, fields, parameters, imports, sizes, cost
///
/// Fields that hold personal data are marked; a campaign must grant them by name. A campaign file
/// may pin the digest that is printed here. The cost is that of calls in the sandbox on the
/// catalogue's sample events, with default parameters.
///
/// With --diff only the differences from another module are shown: name the running module first,
/// the new one second.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer inspect rules.d/welcome.wasm\n  hailer inspect rules.d/welcome.wasm \
        --json | jq .manifest.params\n  \
     hailer inspect rules.d/welcome.wasm --diff built/welcome.wasm\n\n{EXIT_CODES}",
))]
pub(super) struct Inspect {
    /// The file of the module
    module: PathBuf,
    /// Show only the differences from this module
    #[arg(long, value_name = "OTHER")]
    diff: Option<PathBuf>,
}

/// Everything that is shown about a module.
#[derive(Debug, Serialize)]
struct Inspected {
    #[serde(flatten)]
    facts: ModuleFacts,
    #[serde(flatten)]
    costs: Costs,
}

impl Inspected {
    fn read(path: &Path, limits: &Limits) -> anyhow::Result<Inspected> {
        let (facts, verified) = module::open(path, limits)?;
        Ok(Inspected { facts, costs: Costs::of(&verified, limits) })
    }
}

impl Inspect {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let limits = global.limits()?;
        let inspected = Inspected::read(&self.module, &limits)?;
        let differences = match &self.diff {
            None => None,
            Some(other) => Some(diff::between(&inspected, &Inspected::read(other, &limits)?)),
        };
        match differences {
            None if global.json => output::json(&inspected)?,
            None => output::data(
                &(text(&inspected.facts, &limits)
                    + "\ncost on the catalogue's samples\n"
                    + &indent(&inspected.costs.text(&limits))),
            )?,
            Some(differences) if global.json => output::json(&differences)?,
            Some(differences) => output::data(&diff::text(&differences))?,
        }
        Ok(DONE)
    }
}

fn text(facts: &ModuleFacts, limits: &Limits) -> String {
    let Manifest { abi, sdk, name, version, description, handlers, params, state_version, .. } =
        &facts.manifest;
    let mut text = format!("{name} {version}\n");
    if !description.is_empty() {
        text += &indent(description);
    }
    let size = against(facts.bytes, limits.module_bytes_max);
    text += &format!(
        "\nsize    {size}: {}\ndigest  {}\nabi     {abi}",
        sections_text(&facts.sections),
        facts.digest
    );
    if !sdk.is_empty() {
        text += &format!(" (sdk {sdk})");
    }
    text += &format!("\nimports {}\n", imports_text(&facts.imports));
    text += &match facts.scenarios.len() {
        0 => "tests   none (`hailer test --help`)\n".to_owned(),
        count => {
            format!(
                "tests   {count} scenarios of its own, which an engine runs before the module \
                    decides anything\n"
            )
        }
    };
    if let Some(version) = state_version {
        text += &format!("state   version {version} of its structure\n");
    }
    for handler in handlers {
        text += &format!("\nhandler {} ", handler.name);
        text += &match &handler.timer {
            Some(timer) => format!("is called by the timer {timer}\n"),
            None if handler.merge && facts.manifest.merges_timers() => {
                "merges the states and timers of merged customers\n".to_owned()
            }
            None if handler.merge => "merges the states of merged customers\n".to_owned(),
            None => {
                let when = handler
                    .when
                    .as_ref()
                    .map(|condition| format!("  when {}\n", condition_text(condition)));
                let when = when.unwrap_or_default();
                let is_lenient = !handler.strict && !handler.fields.is_empty();
                let lenient =
                    if is_lenient { "  fields that cannot be used count as absent\n" } else { "" };
                format!(
                    "takes {}\n{when}{lenient}{}",
                    handler.events.join(", "),
                    indent(&fields_text(&handler.fields))
                )
            }
        };
    }
    if !params.is_empty() {
        text += "\nparameters\n";
        let row = |param: &Param| {
            let default =
                param.default.as_ref().map_or_else(|| "must be set".to_owned(), value_text);
            [
                param.name.clone(),
                kind_text(&param.kind),
                default,
                bounds_text(param),
                first_line(&param.doc),
            ]
        };
        let table =
            output::table(["name", "type", "default", "bounds", "meaning"], params.iter().map(row));
        text += &indent(&table);
    }
    text
}

/// A condition as its author wrote it, except for spaces and needless parentheses.
pub(super) fn condition_text(condition: &Condition) -> String {
    let text = condition.to_string();
    one_line(&text, text.len())
}

fn sections_text(sections: &Sections) -> String {
    let size = |bytes: usize| output::size(bytes as u64);
    let custom: Vec<_> =
        sections.custom.iter().map(|(name, bytes)| format!(", {name} {}", size(*bytes))).collect();
    format!(
        "code {}, data {}{}",
        size(sections.code_bytes),
        size(sections.data_bytes),
        custom.concat()
    )
}

fn imports_text(imports: &[String]) -> String {
    let allowed = format!("{}.{}", imports::MODULE, imports::LOG);
    let marked = |import: &String| {
        if *import == allowed {
            import.clone()
        } else {
            format!("{import} (the engine refuses this)")
        }
    };
    if imports.is_empty() {
        "none".to_owned()
    } else {
        imports.iter().map(marked).collect::<Vec<_>>().join(", ")
    }
}

fn fields_text(fields: &[Field]) -> String {
    if fields.is_empty() {
        return "reads no fields\n".to_owned();
    }
    let mut rows = Vec::new();
    for field in fields {
        rows.push(field_row("", field));
        rows.extend(field.of.iter().map(|inner| field_row(&format!("{}.", field.name), inner)));
    }
    output::table(["field", "type", "", "path"], rows)
}

fn field_row(prefix: &str, field: &Field) -> [String; 4] {
    let marks = [(field.required, "required"), (field.personal, "personal")];
    let marks: Vec<_> = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect();
    [
        format!("{prefix}{}", field.name),
        kind_text(&field.kind),
        marks.join(" "),
        field.paths.join(" or "),
    ]
}

/// A type as the manifest writes it.
pub(super) fn kind_text(kind: &impl serde::Serialize) -> String {
    serde_json::to_value(kind)
        .ok()
        .and_then(|kind| Some(kind.as_str()?.to_owned()))
        .unwrap_or_default()
}

fn value_text(value: &ParamValue) -> String {
    match value {
        ParamValue::Bool(value) => value.to_string(),
        ParamValue::Int(value) => value.to_string(),
        ParamValue::Str(value) => value.clone(),
        ParamValue::Strs(values) => values.join(", "),
        ParamValue::Map(values) => values
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn bounds_text(param: &Param) -> String {
    match (&param.min, &param.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("from {min}"),
        (None, Some(max)) => format!("up to {max}"),
        (None, None) => String::new(),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

pub(super) fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_shown_with_its_events_fields_and_parameters() {
        let manifest = r#"{ "abi": 1, "sdk": "0.1.0", "name": "big-basket", "version": "0.1.0",
            "description": "Thanks for a big basket.",
            "handlers": [
              { "name": "purchase", "events": ["OnPurchaseConfirm"],
                "when": { "ge": [{ "field": "amount" }, { "param": "threshold" }] }, "fields": [
                { "name": "amount", "type": "decimal", "required": true,
                  "paths": ["/purchaseOperationInfo/purchaseData/amount"] },
                { "name": "items", "type": "list",
                  "paths": ["/purchaseOperationInfo/purchaseData/chequeItems"],
                  "of": [ { "name": "description", "type": "str", "paths": ["/description"],
                    "personal": true } ] } ] },
              { "name": "anything_else", "events": ["*"] },
              { "name": "nudge", "timer": "nudge" },
              { "name": "merge", "merge": true } ],
            "params": [
              { "name": "threshold", "type": "decimal", "default": "100.00", "min": "0",
                "doc": "The smallest amount.\nMore." },
              { "name": "template", "type": "str" } ],
            "stateVersion": 2 }"#;
        let facts = ModuleFacts {
            bytes: 13_512,
            digest: "9f3ac1d2".repeat(8),
            sections: Sections {
                code_bytes: 9_000,
                data_bytes: 1_200,
                custom: vec![("hailer.manifest".into(), 800), ("name".into(), 1_500)],
            },
            imports: vec!["hailer.log".into(), "env.now".into()],
            scenarios: vec!["a big basket is thanked for".into(), "a small one is not".into()],
            manifest: serde_json::from_str(manifest).unwrap(),
        };
        insta::assert_snapshot!(text(&facts, &Limits::default()));
    }
}
