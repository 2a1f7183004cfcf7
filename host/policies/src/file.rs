//! Parses the file `policies.toml`: bytes in, [`Policies`] or all of its mistakes out, each with
//! its line.
//!
//! Nothing is ignored. The file decides who is written to, so a key that is unknown, or that can
//! have no effect, is refused: its author expects something that would not happen.

mod campaigns;
mod caps;
mod quiet;
mod reader;
mod sections;
#[cfg(test)]
mod tests;
mod values;
mod warnings;

use std::sync::Arc;

use jiff::tz::TimeZone;
use toml::de::DeTable;

use self::reader::{Form, Key, Reader, Section};
use super::model::Policies;
use hailer_base::wording::shown;
use hailer_base::zones;

/// The maximum size of the file, in bytes.
pub const FILE_BYTES_MAX: usize = 64 << 10;
/// The maximum of mistakes and of warnings that are reported at once.
const MISTAKES_MAX: usize = 20;

/// A mistake in the file, or a warning about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, counted from 1; `None` if there is none, as of a key that the file lacks.
    pub line: Option<u32>,
    pub reason: String,
    /// How to correct the mistake.
    pub hint: String,
}

const TIME_ZONE: Key = Key {
    name: "time_zone",
    hint: "write the zone of customers whose own is not known: `time_zone = \"Europe/Moscow\"`",
};
const TIME_ZONE_ATTRIBUTE: Key = Key {
    name: "time_zone_attribute",
    hint: "write the code of the attribute: `time_zone_attribute = \"TimeZone\"`",
};
const FILE: Form = Form {
    title: "the file",
    keys: &[
        TIME_ZONE,
        TIME_ZONE_ATTRIBUTE,
        sections::CONSENT,
        quiet::QUIET_HOURS,
        sections::DEFERRAL,
        caps::CAP,
        sections::CONTROL,
        sections::PER_EVENT,
        sections::ALLOW_LIST,
        campaigns::CAMPAIGNS,
    ],
};

impl Policies {
    /// Parses the file.
    ///
    /// # Errors
    /// The mistakes of the file, sorted by line: at least one, and at most 20.
    pub fn parse(text: &[u8]) -> Result<Policies, Vec<Mistake>> {
        let digest = blake3::hash(text).to_hex();
        let text = readable(text).map_err(|mistake| vec![mistake])?;
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader::new(text);
        for error in errors.iter().take(MISTAKES_MAX) {
            let reason = format!("not TOML: {}", shown(error.message()));
            let hint = "correct the line; if the file is still being written, wait";
            reader.mistake(error.span().map(|span| span.start), reason, hint);
        }
        if reader.mistakes_so_far() > 0 {
            return Err(reader.into_mistakes());
        }
        match read(&mut reader, table.get_ref(), digest.as_str().into()) {
            Some(policies) if reader.mistakes_so_far() == 0 => Ok(policies),
            _ => Err(reader.into_mistakes()),
        }
    }
}

/// The text of the file, if it may be parsed at all.
fn readable(bytes: &[u8]) -> Result<&str, Mistake> {
    let line_at = |at: usize| {
        let before = bytes.iter().take(at).filter(|&&byte| byte == b'\n').count();
        u32::try_from(before + 1).ok()
    };
    let mistake = |line, reason: String, hint: &str| Mistake { line, reason, hint: hint.into() };
    if bytes.len() > FILE_BYTES_MAX {
        let reason = format!("the file has {} bytes, the most is {FILE_BYTES_MAX}", bytes.len());
        return Err(mistake(None, reason, "shorten it; comments count, too"));
    }
    let hint = "save the file as UTF-8 text";
    let text = std::str::from_utf8(bytes)
        .map_err(|error| mistake(line_at(error.valid_up_to()), "not UTF-8".into(), hint))?;
    match text.find('\0') {
        Some(at) => Err(mistake(line_at(at), "the file has a NUL character".into(), hint)),
        None => Ok(text),
    }
}

/// Reads all sections. `None` only if there is a mistake.
fn read(reader: &mut Reader, table: &DeTable<'_>, digest: Arc<str>) -> Option<Policies> {
    let file = reader.file(table, &FILE);
    let zone = time_zone(reader, file);
    let zone_attribute = match reader.optional(file, TIME_ZONE_ATTRIBUTE) {
        Some(spot) => reader.text(spot).map(Into::into),
        None => None,
    };
    let consent = sections::consent(reader, file);
    let quiet = quiet::quiet_hours(reader, file);
    let deferral = sections::deferral(reader, file);
    let caps = caps::caps(reader, file);
    let control = sections::control(reader, file);
    let event_campaigns_max = sections::per_event(reader, file);
    let allow_lists = sections::allow_lists(reader, file);
    let others = campaigns::Others {
        has_consent: file.has(sections::CONSENT),
        deferral,
        quiet: &quiet,
        caps: &caps,
    };
    let campaigns = campaigns::campaigns(reader, file, &others);
    campaigns::unreached(reader, &caps.named, &campaigns.policies, |policy| policy.counts);
    campaigns::unreached(reader, &control.named, &campaigns.policies, |_| false);
    if let Some(at) = quiet.defers_at.or(campaigns.defers_at)
        && !file.has(sections::DEFERRAL)
    {
        reader.mistake(Some(at), "\"defer\" needs a section [deferral]", sections::DEFERRAL.hint);
    }
    Some(Policies {
        digest,
        zone: zone?,
        zone_attribute,
        consent,
        quiet_hours: quiet.hours,
        deferral,
        caps: caps.list,
        control: control.groups,
        event_campaigns_max,
        allow_lists,
        campaigns: campaigns.policies,
    })
}

/// The zone of customers whose own is not known. An offset is refused here, because a place may
/// change its offset, and the file would not.
fn time_zone(reader: &mut Reader, file: Section<'_>) -> Option<TimeZone> {
    let spot = reader.required(file, TIME_ZONE)?;
    let zone = spot.value.as_str().and_then(zones::zone);
    if zone.is_none() {
        reader.refuse(spot, "the name of a time zone", spot.hint);
    }
    zone
}
