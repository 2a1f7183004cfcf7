//! Parses a campaign file: TOML in, a [`CampaignFile`] or all of its problems out, each with its
//! line.
//!
//! Nothing is ignored. A key that this version does not know, or does not support yet, is refused:
//! a campaign that runs without the limit in its file is worse than one that does not run.

mod parser;
#[cfg(test)]
mod tests;

use std::path::{Component, Path};

use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};

use self::parser::Parser;
use super::Problem;
use super::policies_file::POLICIES_NAME;
use crate::clock::Millis;
use crate::engine::{Mode, OnFault, OnPause, shown};

/// Maximum size of a campaign file, in bytes.
pub const CAMPAIGN_FILE_BYTES_MAX: usize = 64 << 10;
const NAME_CHARS_MAX: usize = 64;
/// Maximum of problems that are reported for one file.
pub(super) const PROBLEMS_MAX: usize = 20;

/// The contents of a campaign file.
#[derive(Clone, Debug)]
pub struct CampaignFile<'text> {
    /// The module's normalised path, relative to the rules directory: `modules/welcome.wasm`.
    pub module: String,
    /// The module's digest or a prefix of it, in lower case. It makes file and module swap
    /// together.
    pub digest: Option<String>,
    pub mode: Mode,
    pub start_ms: Option<Millis>,
    pub end_ms: Option<Millis>,
    /// The campaign's time zone; UTC by default.
    pub time_zone: TimeZone,
    pub state_ttl_days: Option<u32>,
    pub on_fault: Option<OnFault>,
    pub on_pause: OnPause,
    pub per_hour_max: Option<u32>,
    /// The campaign that this one is on trial for.
    pub shadow_of: Option<String>,
    pub rollout_percent: Option<u32>,
    pub drift_percent_max: u32,
    /// The personal fields that the campaign may read.
    pub personal: Vec<Grant>,
    pub params: DeTable<'text>,
}

/// The grant of one personal field, and its line in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub name: String,
    pub line: u32,
}

impl<'text> CampaignFile<'text> {
    /// Parses a campaign file. `file` is its path relative to the rules directory, for the
    /// problems.
    ///
    /// # Errors
    /// All problems that can be found without the module.
    pub fn parse(file: &str, text: &'text str) -> Result<CampaignFile<'text>, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut parser = Parser { file, text, problems: Vec::new() };
        for error in errors.iter().take(PROBLEMS_MAX) {
            let reason = format!("not TOML: {}", shown(error.message()));
            parser.problem(
                error.span(),
                reason,
                "correct the line; if the file is still being written, wait",
            );
        }
        let read = match parser.problems.is_empty() {
            true => parser.file(table.into_inner()),
            false => Err(parser.problems),
        };
        read.map_err(|mut problems| {
            problems.sort_by_key(|problem| problem.line);
            problems
        })
    }
}

/// The module that a campaign file names; `None` if the file cannot be parsed that far.
pub(super) fn module_named_in(text: &str) -> Option<String> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let module = table.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == "module")?.1;
    let path = module_path(module.get_ref().as_str()?).ok()?;
    errors.is_empty().then_some(path)
}

/// The parameters of a campaign file that has other problems; `None` if they cannot be parsed.
pub(super) fn params_set_in(text: &str) -> Option<DeTable<'_>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let params = table.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == "params");
    match params.map(|(_, value)| value.get_ref()) {
        None if errors.is_empty() => Some(DeTable::new()),
        Some(DeValue::Table(params)) if errors.is_empty() => Some(params.clone()),
        _ => None,
    }
}

/// Whether a file's stem is valid as a campaign name. Names are used in metrics, routing keys and
/// paths. The name `policies` is reserved for `policies.toml`.
pub(super) fn is_campaign_name(stem: &str) -> bool {
    let first =
        stem.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let of_a_name = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
    };
    first && stem != POLICIES_NAME && stem.len() <= NAME_CHARS_MAX && stem.bytes().all(of_a_name)
}

/// Normalises a module's path and refuses paths outside the directory: `./modules//a.wasm` becomes
/// `modules/a.wasm`.
fn module_path(text: &str) -> Result<String, &'static str> {
    if text.len() > 512 || text.contains(['\0', '\\']) || text.chars().any(char::is_control) {
        return Err("is not a path of a module");
    }
    let mut parts = Vec::new();
    for component in Path::new(text).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err("leaves the rules directory");
            }
        }
    }
    let path = parts.join("/");
    if path.ends_with(".wasm") { Ok(path) } else { Err("does not end with `.wasm`") }
}

/// The line of a byte offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> u32 {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|&&byte| byte == b'\n').count() as u32 + 1
}
