//! The bounds of a manifest. `hailer-abi` defines its shape, and this module checks its contents. A
//! manifest is foreign bytes, and its names appear in metrics, log lines, paths into events and
//! campaign parameters.

use std::collections::BTreeSet;

use hailer_abi::ABI_VERSION;
use hailer_abi::manifest::{
    ANY_EVENT, Field, FieldKind, Handler, MERGES_OF_STATES, MERGES_WITH_TIMERS, Manifest,
};
use serde::Deserialize;

use super::params::check_declaration;
use super::personal::mark_personal;
use hailer_base::wording::shown;

/// The largest manifest in bytes (`docs/abi.md`).
pub(crate) const MANIFEST_BYTES_MAX: usize = 64 << 10;
const HANDLERS_MAX: usize = 64;
const EVENTS_MAX: usize = 64;
const EVENT_CODE_BYTES_MAX: usize = 128;
const TIMERS_MAX: usize = 32;
const FIELDS_MAX: usize = 64;
const PATHS_MAX: usize = 16;
const PATH_KEYS_MAX: usize = 32;
const PATH_BYTES_MAX: usize = 1024;
const PARAMS_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 64;

/// A problem with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("it has {size} bytes, the most is {MANIFEST_BYTES_MAX}")]
    TooLarge { size: usize },
    #[error("it is not UTF-8 from byte {offset} on")]
    NotUtf8 { offset: usize },
    #[error("it cannot be read: {reason}")]
    NotReadable { reason: String },
    #[error("it has ABI {found}{}, and this engine has ABI {ABI_VERSION}", of_sdk(sdk))]
    Abi { found: u32, sdk: String },
    #[error("{place}: {reason}")]
    Invalid { place: String, reason: String },
}

impl ManifestError {
    /// The next step for the author of the rule.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            ManifestError::Abi { found, .. } if *found > ABI_VERSION => {
                format!("update the engine, or rebuild the rule with {}", sdk_of_this_engine())
            }
            ManifestError::Abi { .. } => format!("rebuild the rule with {}", sdk_of_this_engine()),
            ManifestError::TooLarge { .. } => {
                "shorten descriptions, or split the rule in two".into()
            }
            _ => "rebuild the rule with `hailer build`; docs/abi.md describes the manifest".into(),
        }
    }
}

/// The SDK that is released with this engine.
fn sdk_of_this_engine() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "hailer-sdk {version} (ABI {ABI_VERSION}): `hailer new` of this engine unpacks it, copy \
         its .hailer-sdk over the rule's"
    )
}

fn of_sdk(sdk: &str) -> String {
    if sdk.is_empty() { String::new() } else { format!(" (hailer-sdk {})", shown(sdk)) }
}

/// The ABI version alone, to distinguish a manifest of another ABI from a damaged one.
#[derive(Deserialize)]
struct AbiOnly {
    abi: u32,
    /// The SDK that built the module. It may have any type, because another ABI may use this member
    /// for something else.
    #[serde(default)]
    sdk: serde_json::Value,
}

/// Reads a manifest, checks every bound of the ABI, and marks the personal fields, whatever the
/// manifest itself says of them.
///
/// # Errors
/// The first problem with the manifest.
pub fn read_manifest(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::TooLarge { size: bytes.len() });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ManifestError::NotUtf8 { offset: error.valid_up_to() })?;
    let unreadable =
        |error: serde_json::Error| ManifestError::NotReadable { reason: shown(&error.to_string()) };
    let AbiOnly { abi, sdk } = serde_json::from_str(text).map_err(unreadable)?;
    if abi != ABI_VERSION {
        return Err(ManifestError::Abi {
            found: abi,
            sdk: sdk.as_str().unwrap_or_default().to_owned(),
        });
    }
    let mut manifest: Manifest = serde_json::from_str(text).map_err(unreadable)?;
    check(&manifest)?;
    mark_personal(&mut manifest);
    Ok(manifest)
}

fn check(manifest: &Manifest) -> Result<(), ManifestError> {
    check_name("name", &manifest.name)?;
    check_version("version", &manifest.version)?;
    if !manifest.sdk.is_empty() {
        check_version("sdk", &manifest.sdk)?;
    }
    check_prose("description", &manifest.description)?;
    check_handlers(&manifest.handlers)?;
    check_merge(manifest)?;
    check_count("params", "parameters", manifest.params.len(), PARAMS_MAX)?;
    let mut names = BTreeSet::new();
    for (index, param) in manifest.params.iter().enumerate() {
        let place = format!("params[{index}]");
        check_name(&format!("{place}.name"), &param.name)?;
        check_prose(&format!("{place}.doc"), &param.doc)?;
        if !names.insert(&param.name) {
            return invalid(place, format!("the name `{}` is taken", param.name));
        }
        check_declaration(param)
            .or_else(|reason| invalid(format!("{place} (`{}`)", param.name), reason))?;
    }
    check_conditions(manifest)
}

/// Checks the conditions. Their fields and parameters must be checked before.
fn check_conditions(manifest: &Manifest) -> Result<(), ManifestError> {
    for (index, handler) in manifest.handlers.iter().enumerate() {
        let Some(condition) = &handler.when else { continue };
        let place = format!("handlers[{index}].when (`{}`)", handler.name);
        if handler.events.is_empty() {
            return invalid(place, "only a handler of events has a condition");
        }
        condition
            .check(&handler.fields, &manifest.params)
            .or_else(|reason| invalid(place, shown(&reason)))?;
    }
    Ok(())
}

fn check_handlers(handlers: &[Handler]) -> Result<(), ManifestError> {
    if handlers.is_empty() {
        return invalid("handlers", "a rule without a handler would never be called");
    }
    check_count("handlers", "handlers", handlers.len(), HANDLERS_MAX)?;
    let mut names = BTreeSet::new();
    let (mut codes, mut timers) = (BTreeSet::new(), BTreeSet::new());
    for (index, handler) in handlers.iter().enumerate() {
        let place = format!("handlers[{index}]");
        check_name(&format!("{place}.name"), &handler.name)?;
        if !names.insert(&handler.name) {
            return invalid(place, format!("the name `{}` is taken", handler.name));
        }
        check_caller(&place, handler)?;
        if let Some(timer) = &handler.timer {
            check_name(&format!("{place}.timer"), timer)?;
            if !timers.insert(timer) {
                return invalid(place, format!("the timer `{timer}` calls two handlers"));
            }
        }
        check_count(&format!("{place}.events"), "event codes", handler.events.len(), EVENTS_MAX)?;
        for code in &handler.events {
            check_code(&format!("{place}.events"), code)?;
            if !codes.insert(code) {
                let what = if code == ANY_EVENT {
                    "every other event".into()
                } else {
                    format!("`{}`", shown(code))
                };
                return invalid(
                    format!("{place}.events"),
                    format!("{what} is taken by two handlers"),
                );
            }
        }
        check_fields(&format!("{place}.fields"), &handler.fields, true)?;
    }
    check_count("handlers", "timers", timers.len(), TIMERS_MAX)
}

/// Checks that exactly one of events, timer and merge calls a handler, and that only a handler of
/// events has fields.
fn check_caller(place: &str, handler: &Handler) -> Result<(), ManifestError> {
    let callers = [!handler.events.is_empty(), handler.timer.is_some(), handler.merge]
        .into_iter()
        .filter(|calls| *calls)
        .count();
    match callers {
        0 => invalid(
            place,
            format!("the handler `{}` takes no event, and no timer calls it", handler.name),
        ),
        1 if handler.events.is_empty() && !handler.fields.is_empty() => {
            invalid(format!("{place}.fields"), "only a handler of events reads fields")
        }
        1 => Ok(()),
        _ => invalid(
            place,
            format!(
                "the handler `{}` is to be called by one of events, timer and merge",
                handler.name
            ),
        ),
    }
}

fn check_merge(manifest: &Manifest) -> Result<(), ManifestError> {
    if !(MERGES_OF_STATES..=MERGES_WITH_TIMERS).contains(&manifest.merges) {
        let reason = format!(
            "version {} of merges is unknown; this engine supports 1 and 2",
            manifest.merges
        );
        return invalid("merges", reason);
    }
    match manifest.handlers.iter().filter(|handler| handler.merge).count() {
        0 => Ok(()),
        1 if manifest.state_version.is_some() || manifest.merges_timers() => Ok(()),
        1 => {
            invalid("handlers", "a merge unites states, and without `stateVersion` there are none")
        }
        _ => invalid("handlers", "a module has one handler with `merge`"),
    }
}

fn check_fields(place: &str, fields: &[Field], may_hold_lists: bool) -> Result<(), ManifestError> {
    check_count(place, "fields", fields.len(), FIELDS_MAX)?;
    let mut names = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let place = format!("{place}[{index}]");
        check_name(&format!("{place}.name"), &field.name)?;
        if !names.insert(&field.name) {
            return invalid(place, format!("the name `{}` is taken", field.name));
        }
        if field.paths.is_empty() {
            return invalid(place, format!("the field `{}` has no path", field.name));
        }
        check_count(&format!("{place}.paths"), "paths", field.paths.len(), PATHS_MAX)?;
        for path in &field.paths {
            check_path(&format!("{place}.paths"), path)?;
        }
        match (field.kind == FieldKind::List, field.of.is_empty()) {
            (true, _) if !may_hold_lists => return invalid(place, "a list may not hold lists"),
            (true, true) => return invalid(place, "a list needs `of`, the fields of its records"),
            (true, false) => check_fields(&format!("{place}.of"), &field.of, false)?,
            (false, false) => return invalid(place, "only a list has `of`"),
            (false, true) => {}
        }
    }
    Ok(())
}

fn check_path(place: &str, path: &str) -> Result<(), ManifestError> {
    if path.len() > PATH_BYTES_MAX {
        return invalid(
            place,
            format!("a path has {} bytes, the most is {PATH_BYTES_MAX}", path.len()),
        );
    }
    if !path.is_empty() && !path.starts_with('/') {
        return invalid(
            place,
            format!("`{}` is not a JSON Pointer: it must start with `/`", shown(path)),
        );
    }
    if path.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
        return invalid(
            place,
            format!("`{}` is not a JSON Pointer: `~` is written `~0`", shown(path)),
        );
    }
    check_count(place, "keys in a path", path.matches('/').count(), PATH_KEYS_MAX)
}

fn check_code(place: &str, code: &str) -> Result<(), ManifestError> {
    if code.is_empty() || code.len() > EVENT_CODE_BYTES_MAX || code.chars().any(char::is_control) {
        return invalid(
            place,
            format!(
                "`{}` is no event code: 1 to {EVENT_CODE_BYTES_MAX} bytes of text",
                shown(code)
            ),
        );
    }
    Ok(())
}

fn check_name(place: &str, name: &str) -> Result<(), ManifestError> {
    let of_a_name = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
    };
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.bytes().all(of_a_name) {
        let reason = format!(
            "`{}` is no name: 1 to {NAME_CHARS_MAX} characters of `[a-z0-9_-]`",
            shown(name)
        );
        return invalid(place, reason);
    }
    Ok(())
}

/// Checks a version. Every communication contains it, so only the characters of versions are
/// allowed.
fn check_version(place: &str, version: &str) -> Result<(), ManifestError> {
    let of_a_version =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'_');
    if version.is_empty() || version.len() > NAME_CHARS_MAX || !version.bytes().all(of_a_version) {
        let reason = format!(
            "`{}` is no version: 1 to {NAME_CHARS_MAX} characters such as `1.2.0`",
            shown(version)
        );
        return invalid(place, reason);
    }
    Ok(())
}

/// Checks a text for people, which may appear on terminals.
fn check_prose(place: &str, text: &str) -> Result<(), ManifestError> {
    if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t')) {
        return invalid(place, "it holds control characters");
    }
    Ok(())
}

fn check_count(place: &str, what: &str, count: usize, max: usize) -> Result<(), ManifestError> {
    if count > max {
        return invalid(place, format!("{count} {what}, the most is {max}"));
    }
    Ok(())
}

fn invalid<Checked>(
    place: impl Into<String>,
    reason: impl Into<String>,
) -> Result<Checked, ManifestError> {
    Err(ManifestError::Invalid { place: place.into(), reason: reason.into() })
}

#[cfg(test)]
mod tests;
