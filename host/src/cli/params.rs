//! `hailer params`: prints a campaign file to start from, with the parameters that a module
//! declares.

use std::path::PathBuf;

use clap::Args;
use hailer_abi::manifest::{Manifest, Param, ParamKind, ParamValue};

use super::inspect::kind_text;
use super::module;
use super::settings::Global;
use super::{DONE, EXIT_CODES, output};
use crate::engine::{param_example, personal_fields};

/// Print a campaign file for a module, with every parameter as a comment
///
/// Each parameter has its meaning, type, bounds and default in comments. Remove the # where the
/// campaign needs another value. A parameter without a default must be set. `hailer check` shows
/// all errors of a campaign file at once, with their lines.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer params rules.d/modules/big-basket.wasm > rules.d/vip.toml\n  hailer \
        params big-basket.wasm --json | jq .[].name\n\n{EXIT_CODES}",
))]
pub(super) struct Params {
    /// The file of the module
    module: PathBuf,
}

impl Params {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let manifest = module::read(&self.module, &global.limits()?)?.manifest;
        if global.json {
            output::json(&manifest.params)?;
            return Ok(DONE);
        }
        let in_modules = self.module.parent().is_some_and(|parent| parent.ends_with("modules"));
        let name = self.module.file_name().unwrap_or_default().to_string_lossy();
        let path = if in_modules { format!("modules/{name}") } else { name.into_owned() };
        output::data(&campaign_text(&path, &manifest))?;
        Ok(DONE)
    }
}

/// The text of a campaign file for a module. `module` is the module's path relative to the rules
/// directory.
pub(super) fn campaign_text(module: &str, manifest: &Manifest) -> String {
    let Manifest { name, version, description, params, .. } = manifest;
    let mut text = comment(description);
    text += &format!(
        "# Made for {name} {version}. A parameter in a comment has its default, which is shown. \
            docs/rules.md lists the other keys.\nmodule = {}\n# live: its communications are \
            published. shadow: it decides, and nothing is published. off: it is not called.\nmode \
            = \
         \"shadow\"\n",
        string(module)
    );
    let personal = personal_fields(manifest);
    if !personal.is_empty() {
        let names: Vec<_> = personal.iter().map(|name| string(name)).collect();
        text += &format!(
            "# The rule reads these personal fields, and does not load without this \
                grant:\npersonal = [{}]\n",
            names.join(", ")
        );
    }
    if params.is_empty() {
        return text + "\n# This rule has no parameters.\n";
    }
    text += "\n[params]\n";
    text + &params.iter().map(param_text).collect::<Vec<_>>().join("\n")
}

fn param_text(param: &Param) -> String {
    let Param { name, kind, default, .. } = param;
    let must = if default.is_none() { "; must be set, as it has no default" } else { "" };
    let bounds = bounds_text(param);
    let bounds = if bounds.is_empty() { bounds } else { format!(", {bounds}") };
    let value = default.as_ref().map_or_else(|| param_example(*kind).to_owned(), value_text);
    format!("{}# {}{bounds}{must}\n# {name} = {value}\n", comment(&param.doc), kind_text(kind))
}

/// A default, as a campaign file writes it.
fn value_text(value: &ParamValue) -> String {
    match value {
        ParamValue::Bool(value) => value.to_string(),
        ParamValue::Int(value) => value.to_string(),
        ParamValue::Str(value) => string(value),
        ParamValue::Strs(values) => {
            format!("[{}]", values.iter().map(|value| string(value)).collect::<Vec<_>>().join(", "))
        }
        ParamValue::Map(entries) if entries.is_empty() => "{}".to_owned(),
        ParamValue::Map(entries) => {
            let entry =
                |(key, value): &(String, String)| format!("{} = {}", string(key), string(value));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// The bounds of a parameter. Its type decides what `min` and `max` bound.
fn bounds_text(param: &Param) -> String {
    let of = match param.kind {
        ParamKind::Int | ParamKind::Decimal | ParamKind::Bool => "",
        ParamKind::Str => " characters",
        ParamKind::Strs | ParamKind::Decimals => " elements",
        ParamKind::StrMap | ParamKind::DecimalMap => " entries",
    };
    match (&param.min, &param.max) {
        (Some(min), Some(max)) => format!("{min} to {max}{of}"),
        (Some(min), None) => format!("{min}{of} or more"),
        (None, Some(max)) => format!("up to {max}{of}"),
        (None, None) => String::new(),
    }
}

/// A text as a TOML string on one line.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted += "\\\"",
            '\\' => quoted += "\\\\",
            control if control.is_control() => quoted += &format!("\\u{:04X}", control as u32),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// A text of a module as comment lines. No part of it can begin a line without `#`.
fn comment(text: &str) -> String {
    let line = |line: &str| {
        format!("# {}", line.trim().replace(char::is_control, " ")).trim_end().to_owned() + "\n"
    };
    text.trim().lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::encode_params;
    use crate::reload::CampaignFile;

    fn manifest() -> Manifest {
        let manifest = r#"{ "abi": 1, "name": "big-basket", "version": "0.1.0",
            "description": "Thanks for a big basket.\nmode = \"live\"",
            "handlers": [
              { "name": "purchase", "events": ["OnPurchaseConfirm"], "fields": [
                { "name": "items", "type": "list", "paths": ["/items"],
                  "of": [ { "name": "description", "type": "str", "paths": ["/description"],
                    "personal": true } ] } ] } ],
            "params": [
              { "name": "threshold", "type": "decimal", "default": "100.00", "min": "0",
                "doc": "The smallest amount.\nMore." },
              { "name": "template", "type": "str", "min": "1", "max": "64" },
              { "name": "hour", "type": "int", "default": 10, "max": "23" },
              { "name": "strict", "type": "bool", "default": false },
              { "name": "brands", "type": "strs", "default": ["a \"b\"", "c\\d", "tab\there"] },
              { "name": "steps", "type": "decimal_map", "default": [["gold one", "1.50"]] },
              { "name": "names", "type": "str_map", "default": [] } ] }"#;
        serde_json::from_str(manifest).unwrap()
    }

    #[test]
    fn every_parameter_is_shown_with_its_meaning_type_bounds_and_default() {
        insta::assert_snapshot!(campaign_text("modules/big-basket.wasm", &manifest()));
    }

    #[test]
    fn the_output_is_a_campaign_file_and_its_comments_are_valid_parameters() {
        let mut manifest = manifest();
        let text = campaign_text("modules/big-basket.wasm", &manifest);
        let file = CampaignFile::parse("vip.toml", &text).unwrap();
        assert_eq!(file.module, "modules/big-basket.wasm");
        let errors = encode_params(&manifest.params, &file.params).unwrap_err();
        assert_eq!(errors.len(), 1, "only the template must be set: {errors:?}");
        // Setting each parameter to its default has the same result as leaving it out.
        let shown: String = text
            .split_once("[params]")
            .unwrap()
            .1
            .lines()
            .filter_map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")))
            .map(|line| format!("{line}\n"))
            .collect();
        let shown = toml::de::DeTable::parse(&shown).unwrap().into_inner();
        assert_eq!(shown.len(), manifest.params.len());
        let written = encode_params(&manifest.params, &shown).unwrap();
        manifest.params[1].default = Some(ParamValue::Str("text".into()));
        assert_eq!(encode_params(&manifest.params, &toml::de::DeTable::new()).unwrap(), written);
    }

    #[test]
    fn a_rule_without_parameters_says_so() {
        let manifest = Manifest { params: Vec::new(), ..manifest() };
        assert!(campaign_text("a.wasm", &manifest).ends_with("has no parameters.\n"));
    }
}
