//! The differences between two modules, one row for each fact that only one of them has, or that
//! differs. Both modules are first turned into named facts, so that a comparison cannot omit
//! anything that `inspect` shows.

use std::collections::BTreeSet;

use hailer_abi::manifest::{Field, Handler, Param};
use serde::Serialize;

use super::{Inspected, bounds_text, condition_text, kind_text, value_text};
use crate::cli::costs::Costs;
use crate::cli::output;

/// One difference. A side is `None` if that module has no such fact.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Difference {
    pub(super) what: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

/// The facts of a module by name, in the order in which they are shown.
type Facts = Vec<(String, String)>;

pub(super) fn between(before: &Inspected, after: &Inspected) -> Vec<Difference> {
    let (before, after) = (facts_of(before), facts_of(after));
    let value = |facts: &Facts, what: &str| {
        facts.iter().find(|(name, _)| name == what).map(|(_, value)| value.clone())
    };
    let mut seen = BTreeSet::new();
    let names =
        before.iter().chain(&after).map(|(name, _)| name).filter(|name| seen.insert(name.as_str()));
    let difference = |what: &String| Difference {
        what: what.clone(),
        before: value(&before, what),
        after: value(&after, what),
    };
    names.map(difference).filter(|difference| difference.before != difference.after).collect()
}

pub(super) fn text(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "no difference: the two modules are the same bytes\n".to_owned();
    }
    let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let row = |difference: &Difference| {
        [difference.what.clone(), side(&difference.before), side(&difference.after)]
    };
    output::table(["what", "before", "after"], differences.iter().map(row))
}

fn facts_of(Inspected { facts, costs }: &Inspected) -> Facts {
    let manifest = &facts.manifest;
    let mut all: Facts = Vec::new();
    let mut add = |what: &str, value: String| all.push((what.to_owned(), value));
    add("name", manifest.name.clone());
    add("version", manifest.version.clone());
    add("description", manifest.description.clone());
    add("digest", facts.digest.get(..8).unwrap_or_default().to_owned());
    add("abi", manifest.abi.to_string());
    add("sdk", manifest.sdk.clone());
    add("size", output::size(facts.bytes as u64));
    add("code", output::size(facts.sections.code_bytes as u64));
    add("data", output::size(facts.sections.data_bytes as u64));
    for (name, bytes) in &facts.sections.custom {
        add(&format!("section {name}"), output::size(*bytes as u64));
    }
    facts.imports.iter().for_each(|import| add(&format!("import {import}"), "imported".to_owned()));
    if let Some(version) = manifest.state_version {
        add("state version", version.to_string());
    }
    for handler in &manifest.handlers {
        add(&format!("handler {}", handler.name), caller_of(handler));
        if let Some(condition) = &handler.when {
            add(&format!("{} is called when", handler.name), condition_text(condition));
        }
        if !handler.fields.is_empty() {
            let called = if handler.strict { "not called" } else { "called as if it were absent" };
            add(&format!("{}, if a field cannot be used, is", handler.name), called.to_owned());
        }
        for field in &handler.fields {
            add(&format!("{} reads {}", handler.name, field.name), field_text(field));
            for inner in &field.of {
                add(
                    &format!("{} reads {}.{}", handler.name, field.name, inner.name),
                    field_text(inner),
                );
            }
        }
    }
    manifest
        .params
        .iter()
        .for_each(|param| add(&format!("parameter {}", param.name), param_text(param)));
    facts
        .scenarios
        .iter()
        .for_each(|scenario| add(&format!("scenario {scenario}"), "embedded".to_owned()));
    match costs {
        Costs::Cost(costs) => {
            for cost in costs {
                let value = cost.fault.clone().unwrap_or_else(|| cost.fuel.to_string());
                add(&format!("fuel of {} on {}", cost.handler, cost.called_by), value);
            }
        }
        Costs::CostUnknown(reason) => add("fuel", reason.clone()),
    }
    all
}

fn caller_of(handler: &Handler) -> String {
    match &handler.timer {
        Some(timer) => format!("timer {timer}"),
        None if handler.merge => "merge".to_owned(),
        None => handler.events.join(", "),
    }
}

fn field_text(field: &Field) -> String {
    let marks = [(field.required, ", required"), (field.personal, ", personal")];
    let marks: String = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect();
    format!("{}{marks}, {}", kind_text(&field.kind), field.paths.join(" or "))
}

fn param_text(param: &Param) -> String {
    let default = param.default.as_ref().map_or_else(|| "must be set".to_owned(), value_text);
    let bounds = bounds_text(param);
    let bounds = if bounds.is_empty() { bounds } else { format!(", {bounds}") };
    format!("{}, {default}{bounds}: {}", kind_text(&param.kind), param.doc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::module::{ModuleFacts, Sections};

    fn inspected(manifest: &str, digest: &str) -> Inspected {
        let facts = ModuleFacts {
            bytes: manifest.len(),
            digest: digest.repeat(8),
            sections: Sections::default(),
            imports: Vec::new(),
            scenarios: Vec::new(),
            manifest: serde_json::from_str(manifest).unwrap(),
        };
        Inspected { facts, costs: Costs::CostUnknown("not measured".into()) }
    }

    const BEFORE: &str = r#"{ "abi": 1, "name": "big-basket", "version": "0.1.0",
        "handlers": [{ "name": "purchase", "events": ["OnPurchaseConfirm"], "fields": [
            { "name": "amount", "type": "decimal", "paths": ["/amount"], "required": true } ] }],
        "params": [{ "name": "threshold", "type": "decimal", "default": "100.00" },
            { "name": "old", "type": "int" }] }"#;

    #[test]
    fn added_removed_and_changed_facts_are_shown_and_no_others() {
        let after = BEFORE
            .replace("0.1.0", "0.2.0")
            .replace("100.00", "150.00")
            .replace(
                r#"{ "name": "old", "type": "int" }"#,
                r#"{ "name": "new", "type": "bool", "default": true }"#,
            )
            .replace(
                r#", "required": true } ]"#,
                r#"}, { "name": "card", "type": "id", "paths": ["/card"], "personal": true } ]"#,
            );
        let differences = between(&inspected(BEFORE, "aaaaaaaa"), &inspected(&after, "bbbbbbbb"));
        insta::assert_snapshot!(text(&differences));
    }

    #[test]
    fn a_module_does_not_differ_from_itself() {
        let same = inspected(BEFORE, "aaaaaaaa");
        assert_eq!(between(&same, &same), []);
        assert!(text(&[]).contains("no difference"));
    }
}
