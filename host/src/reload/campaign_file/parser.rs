//! Parses the keys of a campaign file, and collects every problem with its line.

use std::ops::Range;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::super::Problem;
use super::{CampaignFile, Grant, PROBLEMS_MAX, is_campaign_name, line_of, module_path};
use crate::clock::Millis;
use crate::engine::{Mode, OnFault, OnPause, closest, shown};
use crate::zones;

const DIGEST_PREFIX_MIN: usize = 8;
const DIGEST_LEN: usize = 64;
const GRANTS_MAX: usize = 256;
const KEYS: [&str; 15] = [
    "module",
    "digest",
    "mode",
    "start",
    "end",
    "time_zone",
    "personal",
    "state_ttl_days",
    "on_fault",
    "on_pause",
    "per_hour_max",
    "shadow_of",
    "rollout_percent",
    "drift_percent_max",
    "params",
];
/// Keys that the format reserves but this version does not support.
const LATER_KEYS: [&str; 1] = ["isolation"];
/// Maximum of `state_ttl_days`: ten years.
const STATE_TTL_DAYS_MAX: u32 = 3650;

/// Default of `drift_percent_max`: a canary may send at most twice as often as its campaign, or
/// half as often.
const DRIFT_PERCENT_MAX: u32 = 100;

/// Collects the problems of one file.
pub(super) struct Parser<'file, 'text> {
    pub(super) file: &'file str,
    pub(super) text: &'text str,
    pub(super) problems: Vec<Problem>,
}

/// A value of the file and its position.
type Spot<'table, 'text> = (&'table DeValue<'text>, Range<usize>);

impl<'text> Parser<'_, 'text> {
    pub(super) fn problem(
        &mut self,
        span: Option<Range<usize>>,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let line = span.map(|span| line_of(self.text, span.start));
        self.problems.push(Problem::new(self.file, line, reason, hint));
    }

    pub(super) fn file(
        mut self,
        table: DeTable<'text>,
    ) -> Result<CampaignFile<'text>, Vec<Problem>> {
        self.unknown_keys(&table);
        let module = self.module(&table);
        let mode = self.mode(&table);
        let digest = self.digest(&table);
        let time_zone = self.time_zone(&table);
        let (start_ms, end_ms) = self.times(&table, time_zone.as_ref());
        let state_ttl_days = self.number(&table, "state_ttl_days", STATE_TTL_DAYS_MAX);
        let on_fault = self.on_fault(&table);
        let on_pause = self.on_pause(&table).unwrap_or(OnPause::Keep);
        let per_hour_max = self.number(&table, "per_hour_max", u32::MAX);
        let shadow_of = self.shadow_of(&table);
        let rollout_percent = self.number(&table, "rollout_percent", 100);
        let drift_percent_max = self.number(&table, "drift_percent_max", 1_000_000);
        self.trial(&table, mode);
        let personal = self.personal(&table);
        let params = self.params(&table);
        match (module, mode, time_zone) {
            (Some(module), Some(mode), Some(time_zone)) if self.problems.is_empty() => {
                Ok(CampaignFile {
                    module,
                    digest,
                    mode,
                    start_ms,
                    end_ms,
                    time_zone,
                    state_ttl_days,
                    on_fault,
                    on_pause,
                    per_hour_max,
                    shadow_of,
                    rollout_percent,
                    drift_percent_max: drift_percent_max.unwrap_or(DRIFT_PERCENT_MAX),
                    personal,
                    params,
                })
            }
            _ => Err(self.problems),
        }
    }

    fn unknown_keys(&mut self, table: &DeTable<'text>) {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if KEYS.contains(&name) {
                continue;
            }
            if LATER_KEYS.contains(&name) {
                let reason = format!("`{name}` has no effect in this version of hailer");
                self.problem(Some(key.span()), reason, "remove the line, or update hailer");
                continue;
            }
            let hint = match closest(name, KEYS) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!(
                    "the keys of a campaign are {}; a rule's parameters go under [params]",
                    KEYS.join(", ")
                ),
            };
            self.problem(Some(key.span()), format!("there is no key `{}`", shown(name)), hint);
        }
    }

    fn module(&mut self, table: &DeTable<'text>) -> Option<String> {
        let hint = "name a module inside the rules directory: `module = \"modules/welcome.wasm\"`";
        let Some((value, span)) = spot(table, "module") else {
            self.problem(None, "`module` is missing", hint);
            return None;
        };
        let Some(text) = value.as_str() else {
            self.problem(Some(span), "`module` is not a string", hint);
            return None;
        };
        match module_path(text) {
            Ok(path) => Some(path),
            Err(reason) => {
                self.problem(Some(span), format!("the module `{}` {reason}", shown(text)), hint);
                None
            }
        }
    }

    fn mode(&mut self, table: &DeTable<'text>) -> Option<Mode> {
        let hint = "write `mode = \"live\"`, \"shadow\" (decides, sends nothing) or \"off\"";
        let Some((value, span)) = spot(table, "mode") else {
            self.problem(None, "`mode` is missing", hint);
            return None;
        };
        match value.as_str() {
            Some("live") => Some(Mode::Live),
            Some("shadow") => Some(Mode::Shadow),
            Some("off") => Some(Mode::Off),
            other => {
                let found =
                    other.map_or("not a string".into(), |text| format!("`{}`", shown(text)));
                self.problem(Some(span), format!("`mode` is {found}"), hint);
                None
            }
        }
    }

    fn on_fault(&mut self, table: &DeTable<'text>) -> Option<OnFault> {
        let (value, span) = spot(table, "on_fault")?;
        match value.as_str() {
            Some("hold") => Some(OnFault::Hold),
            Some("skip") => Some(OnFault::Skip),
            other => {
                let found =
                    other.map_or("not a string".into(), |text| format!("`{}`", shown(text)));
                let hint = "write `on_fault = \"hold\"` (the customer's later events wait behind \
                            a failure) or \"skip\"";
                self.problem(Some(span), format!("`on_fault` is {found}"), hint);
                None
            }
        }
    }

    fn on_pause(&mut self, table: &DeTable<'text>) -> Option<OnPause> {
        let (value, span) = spot(table, "on_pause")?;
        match value.as_str() {
            Some("keep") => Some(OnPause::Keep),
            Some("skip") => Some(OnPause::Skip),
            other => {
                let found =
                    other.map_or("not a string".into(), |text| format!("`{}`", shown(text)));
                let hint = "write `on_pause = \"keep\"` (events that come meanwhile can be \
                            decided later) or \"skip\"";
                self.problem(Some(span), format!("`on_pause` is {found}"), hint);
                None
            }
        }
    }

    fn shadow_of(&mut self, table: &DeTable<'text>) -> Option<String> {
        let (value, span) = spot(table, "shadow_of")?;
        let hint = "name the campaign that this one may become: `shadow_of = \"welcome\"` for \
                    welcome.toml";
        let found = value.as_str().unwrap_or_default();
        let reason = match value.as_str() {
            Some(name) if Some(name) == self.file.strip_suffix(".toml") => {
                "`shadow_of` names this campaign itself".into()
            }
            Some(name) if is_campaign_name(name) => return Some(name.to_owned()),
            _ => format!("`shadow_of` is not the name of a campaign: `{}`", shown(found)),
        };
        self.problem(Some(span), reason, hint);
        None
    }

    /// Refuses combinations of keys under which two versions would write to the same customer.
    fn trial(&mut self, table: &DeTable<'text>, mode: Option<Mode>) {
        let span = |key| spot(table, key).map(|(_, span)| span);
        let (shadow_of, rollout) = (span("shadow_of"), span("rollout_percent"));
        if shadow_of.is_some() && mode == Some(Mode::Live) && rollout.is_none() {
            let reason = "`shadow_of` with `mode = \"live\"` needs `rollout_percent`";
            let hint = "write `rollout_percent = 10` for a canary, or `mode = \"shadow\"` to \
                        compare and send nothing";
            self.problem(shadow_of.clone(), reason, hint);
        }
        if mode == Some(Mode::Shadow)
            && let Some(span) = rollout
        {
            let hint = "remove the line, or write `mode = \"live\"`";
            self.problem(
                Some(span),
                "`rollout_percent` has no effect on a shadow, which sends nothing",
                hint,
            );
        }
        if let Some(span) = span("drift_percent_max")
            && !(shadow_of.is_some() && mode != Some(Mode::Shadow))
        {
            let hint = "remove the line; it belongs to `shadow_of` and `rollout_percent`";
            self.problem(Some(span), "`drift_percent_max` is for a canary", hint);
        }
    }

    /// Reads a whole number from 1 to `max`.
    fn number(&mut self, table: &DeTable<'text>, key: &str, max: u32) -> Option<u32> {
        let (value, span) = spot(table, key)?;
        let number = match value {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) if (1..=max).contains(&number) => Some(number),
            _ => {
                self.problem(
                    Some(span),
                    format!("`{key}` is not a whole number from 1 to {max}"),
                    "correct it, or remove the line",
                );
                None
            }
        }
    }

    fn digest(&mut self, table: &DeTable<'text>) -> Option<String> {
        let (value, span) = spot(table, "digest")?;
        let digest = value.as_str().unwrap_or_default().to_ascii_lowercase();
        let is_hex = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && (DIGEST_PREFIX_MIN..=DIGEST_LEN).contains(&digest.len()) {
            return Some(digest);
        }
        let reason =
            format!("`digest` is not {DIGEST_PREFIX_MIN} to {DIGEST_LEN} hexadecimal digits");
        self.problem(Some(span), reason, "`hailer inspect MODULE` prints it");
        None
    }

    fn times(
        &mut self,
        table: &DeTable<'text>,
        zone: Option<&TimeZone>,
    ) -> (Option<Millis>, Option<Millis>) {
        let Some(zone) = zone else { return (None, None) };
        let start_ms = self.time(table, "start", zone);
        let end_ms = self.time(table, "end", zone);
        if let (Some(start), Some(end)) = (start_ms, end_ms)
            && start >= end
        {
            let span = spot(table, "end").map(|(_, span)| span);
            self.problem(span, "`end` is not after `start`", "correct one of them, or remove both");
        }
        (start_ms, end_ms)
    }

    fn time_zone(&mut self, table: &DeTable<'text>) -> Option<TimeZone> {
        let Some((value, span)) = spot(table, "time_zone") else { return Some(TimeZone::UTC) };
        let name = value.as_str().unwrap_or_default();
        match zones::zone(name) {
            Some(zone) => Some(zone),
            None => {
                let reason = format!(
                    "`time_zone` is not a time zone that the engine knows: `{}`",
                    shown(name)
                );
                self.problem(
                    Some(span),
                    reason,
                    "write a name such as `time_zone = \"Europe/Moscow\"`",
                );
                None
            }
        }
    }

    /// Reads a local time in the campaign's zone. A time that clocks skip is moved forward by the
    /// length of the gap. Of a time that clocks show twice, the first is meant.
    fn time(&mut self, table: &DeTable<'text>, key: &str, zone: &TimeZone) -> Option<Millis> {
        let (value, span) = spot(table, key)?;
        let hint =
            format!("write a date and time without an offset: `{key} = 2026-12-01T00:00:00`");
        let DeValue::Datetime(written) = value else {
            self.problem(Some(span), format!("`{key}` is not a date and time"), hint);
            return None;
        };
        if written.offset.is_some() {
            self.problem(
                Some(span),
                format!("`{key}` has an offset; `time_zone` says which zone it is in"),
                hint,
            );
            return None;
        }
        let local = civil(written);
        let millis = local.and_then(|local| zone.to_ambiguous_timestamp(local).compatible().ok());
        if millis.is_none() {
            self.problem(Some(span), format!("`{key}` is not a date and time that exists"), hint);
        }
        millis.map(|timestamp| timestamp.as_millisecond())
    }

    fn personal(&mut self, table: &DeTable<'text>) -> Vec<Grant> {
        let hint = "write a list of field names: `personal = [\"card_number\"]`";
        let Some((value, span)) = spot(table, "personal") else { return Vec::new() };
        let DeValue::Array(names) = value else {
            self.problem(Some(span), "`personal` is not a list", hint);
            return Vec::new();
        };
        if names.len() > GRANTS_MAX {
            self.problem(
                Some(span),
                format!("`personal` has {} names, the most is {GRANTS_MAX}", names.len()),
                hint,
            );
            return Vec::new();
        }
        let mut grants = Vec::new();
        for name in names.iter() {
            let line = line_of(self.text, name.span().start);
            match name.get_ref().as_str() {
                Some(name) => grants.push(Grant { name: name.to_owned(), line }),
                None => self.problem(
                    Some(name.span()),
                    "`personal` contains something other than a string",
                    hint,
                ),
            }
        }
        grants
    }

    fn params(&mut self, table: &DeTable<'text>) -> DeTable<'text> {
        match spot(table, "params") {
            None => DeTable::new(),
            Some((DeValue::Table(params), _)) => params.clone(),
            Some((_, span)) => {
                self.problem(
                    Some(span),
                    "`params` is not a table",
                    "write `[params]` and the parameters below it",
                );
                DeTable::new()
            }
        }
    }
}

fn spot<'table, 'text>(table: &'table DeTable<'text>, name: &str) -> Option<Spot<'table, 'text>> {
    let (_, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == name)?;
    Some((value.get_ref(), value.span()))
}

fn civil(written: &Datetime) -> Option<DateTime> {
    let (date, time) = (written.date?, written.time?);
    let year = i16::try_from(date.year).ok()?;
    let (month, day) = (i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?);
    let (hour, minute) = (i8::try_from(time.hour).ok()?, i8::try_from(time.minute).ok()?);
    let second = i8::try_from(time.second.unwrap_or(0)).ok()?;
    let nanosecond = i32::try_from(time.nanosecond.unwrap_or(0)).ok()?;
    DateTime::new(year, month, day, hour, minute, second, nanosecond).ok()
}
