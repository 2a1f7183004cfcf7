//! All settings by name, with their allowed values. The names come from the structure of
//! [`Config`], so none can be missing; bounds and choices are given here.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::Value;
use strsim::levenshtein;

use super::Config;
use crate::address::redacted;
use crate::event::EVENT_BYTES_MAX;

/// The smallest and largest value of every numeric setting.
const BOUNDS: &[(&str, RangeInclusive<u64>)] = &[
    ("shards", 0..=256),
    ("drain_ms", 0..=3_600_000),
    ("event.bytes_max", 1 << 10..=EVENT_BYTES_MAX as u64),
    ("event.batch_max", 1..=1 << 16),
    ("event.in_flight_max", 1..=1 << 20),
    ("event.in_flight_bytes_max", 1 << 20..=64 << 30),
    ("store.cache_bytes", 1 << 20..=64 << 30),
    ("store.log_bytes", 64 << 10..=2 << 30),
    ("store.deduplication_hours", 1..=24 * 366),
    ("store.journal_days", 1..=3660),
    ("store.journal_bytes_max", 1 << 20..=1 << 50),
    ("store.outbox_max", 1..=100_000_000),
    ("store.deferred_max", 1..=100_000_000),
    ("store.deadletters_max", 1..=100_000_000),
    ("store.deadletters_bytes_max", 1 << 20..=1 << 40),
    ("store.failures_bytes_max", 1 << 20..=1 << 50),
    ("store.missed_bytes_max", 0..=1 << 50),
    ("store.free_bytes_min", 0..=1 << 50),
    ("record.file_bytes_max", 1 << 16..=64 << 30),
    ("record.days", 1..=3660),
    ("record.bytes_max", 1 << 20..=1 << 50),
    ("clock.run_on_minutes", 0..=10 * 366 * 24 * 60),
    ("rabbitmq.prefetch", 1..=65_535),
    ("rabbitmq.paused_ms_max", 100..=1_500_000),
    ("reload.debounce_ms", 0..=60_000),
    ("reload.poll_ms", 100..=3_600_000),
    ("reload.settle_ms", 0..=60_000),
    ("reload.rollback_minutes", 0..=10_080),
    ("limits.call_deadline_ms", 1..=60_000),
    ("limits.memory_bytes_max", 1 << 20..=1 << 32),
    ("limits.stack_bytes_max", 64 << 10..=1 << 20),
    // A communication must fit into one message, and RabbitMQ 4 takes messages of up to 16 MiB.
    ("limits.output_bytes_max", 1 << 10..=8 << 20),
    ("limits.state_bytes_max", 64..=1 << 20),
    ("limits.log_bytes_max", 0..=1 << 20),
    ("limits.instances_max", 1..=1 << 16),
    ("limits.module_bytes_max", 1 << 10..=64 << 20),
    ("limits.compile_cpu_ms_max", 100..=600_000),
    ("limits.compile_memory_bytes_max", 64 << 20..=64 << 30),
    ("purity.recheck_one_in", 0..=u32::MAX as u64),
    ("breaker.faults_in_a_row_max", 0..=1_000_000),
    ("breaker.faults_percent_max", 1..=100),
    ("breaker.call_mean_us_max", 0..=10_000_000),
];

/// The values of settings with a fixed choice.
const CHOICES: &[(&str, &[&str])] = &[
    ("reload.bare_modules", &["live", "refuse"]),
    ("log.format", &["text", "json"]),
    ("clock.source", &["wall", "events"]),
];

/// Every setting by its dotted name, with its default; null if it has no default.
pub(super) fn defaults() -> BTreeMap<String, Value> {
    let mut settings = BTreeMap::new();
    if let Ok(shape) = serde_json::to_value(Config::default()) {
        flatten("", &shape, &mut settings);
    }
    settings
}

/// The names of all settings.
#[must_use]
pub fn setting_names() -> Vec<String> {
    defaults().into_keys().collect()
}

/// Flattens a tree of tables into dotted names.
pub(super) fn flatten(prefix: &str, value: &Value, settings: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path =
                    if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&path, member, settings);
            }
        }
        leaf => {
            settings.insert(prefix.to_owned(), leaf.clone());
        }
    }
}

/// Builds a tree of tables from dotted names.
pub(super) fn nest(settings: impl IntoIterator<Item = (String, Value)>) -> Value {
    let mut root = serde_json::Map::new();
    for (name, value) in settings {
        let mut table = &mut root;
        let mut names = name.split('.').peekable();
        while let Some(part) = names.next() {
            if names.peek().is_none() {
                table.insert(part.to_owned(), value);
                break;
            }
            let inner = table.entry(part).or_insert_with(|| Value::Object(serde_json::Map::new()));
            // A name cannot be both a value and a table, because the names come from `Config`. So
            // nothing is lost here.
            let Value::Object(inner) = inner else { break };
            table = inner;
        }
    }
    Value::Object(root)
}

/// The value of a text, because flags and the environment hold only texts. `default` says which
/// type the setting has.
pub(super) fn from_text(default: &Value, text: &str) -> Value {
    match default {
        Value::Number(_) => {
            text.replace('_', "").parse::<u64>().map_or_else(|_| text.into(), Value::from)
        }
        Value::Bool(_) => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
        Value::Null if text.is_empty() => Value::Null,
        _ => text.into(),
    }
}

/// Checks a value of a setting. The error says which values are allowed.
pub(super) fn check(name: &str, default: &Value, value: &Value) -> Result<(), String> {
    match (default, value) {
        (Value::Number(_), value) => {
            let all = 0..=u64::MAX;
            let bounds =
                BOUNDS.iter().find(|(named, _)| *named == name).map_or(&all, |(_, bounds)| bounds);
            let (least, most) = (bounds.start(), bounds.end());
            match value.as_u64() {
                Some(number) if bounds.contains(&number) => Ok(()),
                _ => Err(format!("{} is not a whole number from {least} to {most}", shown(value))),
            }
        }
        (Value::Bool(_), Value::Bool(_)) | (Value::Null, Value::String(_) | Value::Null) => Ok(()),
        (Value::Bool(_), value) => Err(format!("{} is neither true nor false", shown(value))),
        (Value::String(_), Value::String(text)) => {
            match CHOICES.iter().find(|(named, _)| *named == name) {
                Some((_, choices)) if !choices.contains(&text.as_str()) => {
                    Err(format!("{} is not one of {}", shown(value), choices.join(", ")))
                }
                _ => Ok(()),
            }
        }
        (_, value) => Err(format!("{} is not a text", shown(value))),
    }
}

/// A value as a message shows it. An address is shown without its password.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", redacted(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        other => format!("`{other}`"),
    }
}

/// The candidate most similar to `name`, whatever the case of either; `None` if none is similar
/// enough to be suggested.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The cost grows with the product of the two lengths, and longer names are not typing mistakes.
    if name.len() > 64 {
        return None;
    }
    let tolerated = (name.chars().count() / 3).max(1);
    let name = name.to_lowercase();
    let near = candidates
        .into_iter()
        .map(|candidate| (levenshtein(&name, &candidate.to_lowercase()), candidate));
    near.filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_bounds_around_its_default_and_every_bound_has_a_setting() {
        let defaults = defaults();
        for (name, default) in &defaults {
            if default.is_number() {
                assert!(BOUNDS.iter().any(|(bounded, _)| bounded == name), "{name} has no bounds");
                assert_eq!(check(name, default, default), Ok(()), "{name}");
            }
        }
        for name in BOUNDS.iter().map(|(name, _)| name).chain(CHOICES.iter().map(|(name, _)| name))
        {
            assert!(defaults.contains_key(*name), "{name} is no setting");
        }
    }

    #[test]
    fn the_defaults_make_the_default_configuration() {
        let config: Config = serde_json::from_value(nest(defaults())).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let names = setting_names();
        let names = || names.iter().map(String::as_str);
        assert_eq!(nearest("rabbitmq.prefech", names()), Some("rabbitmq.prefetch"));
        assert_eq!(nearest("Shard", names()), Some("shards"));
        assert_eq!(nearest("colour", names()), None);
    }
}
