//! Reads the caps.

use std::collections::BTreeSet;

use super::campaigns::Named;
use super::reader::{Form, Key, Reader, Section, Spot, suggestion};
use super::sections;
use super::values::{DAY_MS, HOUR_MS, length_of};
use crate::model::{Cap, Span};

const CAPS_MAX: usize = 32;
const MESSAGES_MAX: i32 = 100;
const CALENDAR: [(&str, Span); 3] =
    [("day", Span::Day), ("week", Span::Week), ("month", Span::Month)];

pub(super) const CAP: Key = Key { name: "cap", hint: "write `[[cap]]` above the keys of each cap" };
const NAME: Key = Key { name: "name", hint: "give the cap a name: `name = \"day\"`" };
const MAX: Key = Key { name: "max", hint: "write how often: `max = 2`" };
const PER: Key =
    Key { name: "per", hint: "write `per = \"day\"`, \"week\", \"month\", \"24h\" or \"7d\"" };
const CHANNELS: Key = Key {
    name: "channels",
    hint: "write names of channels: `channels = [\"sms\"]`; without the line, it is for all",
};
const FORM: Form =
    Form { title: "[[cap]]", keys: &[NAME, MAX, PER, sections::CAMPAIGNS, CHANNELS] };

/// The caps, and the campaigns that they name.
pub(super) struct Caps<'file> {
    pub(super) list: Vec<Cap>,
    /// Whether all caps of the file are in the list.
    pub(super) is_whole: bool,
    pub(super) named: Vec<Named<'file>>,
}

pub(super) fn caps<'file>(reader: &mut Reader, file: Section<'file>) -> Caps<'file> {
    let before = reader.mistakes_so_far();
    let (mut list, mut named, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for section in reader.sections(file, CAP, &FORM, CAPS_MAX) {
        list.extend(cap(reader, section, &mut names, &mut named));
    }
    Caps { list, is_whole: reader.mistakes_so_far() == before, named }
}

fn cap<'file>(
    reader: &mut Reader,
    section: Section<'file>,
    names: &mut BTreeSet<&'file str>,
    named: &mut Vec<Named<'file>>,
) -> Option<Cap> {
    let name = reader.name(section, NAME, "a cap", names);
    let max = reader.required(section, MAX).and_then(|spot| reader.whole(spot, 1..=MESSAGES_MAX));
    let per = reader.required(section, PER).and_then(|spot| span(reader, spot));
    let by = name.map_or_else(|| "the cap".into(), |name| format!("cap `{name}`"));
    let campaigns = sections::campaigns(reader, section, &by, named);
    let channels = reader.channels(section, CHANNELS);
    Some(Cap {
        name: name?.into(),
        max: max?.unsigned_abs(),
        per: per?,
        campaigns: campaigns?,
        channels: channels?,
    })
}

fn span(reader: &mut Reader, spot: Spot<'_>) -> Option<Span> {
    let text = spot.value.as_str().unwrap_or_default();
    if let Some((_, span)) = CALENDAR.iter().find(|(name, _)| *name == text) {
        return Some(*span);
    }
    let length = length_of(text).filter(|_| !text.ends_with('m'));
    let length = length.filter(|length| (HOUR_MS..=366 * DAY_MS).contains(length));
    if length.is_none() {
        let names = CALENDAR.iter().map(|(name, _)| *name);
        let hint = suggestion(text, names).unwrap_or_else(|| spot.hint.into());
        reader.refuse(spot, "a day, week or month, or a time from 1h to 366d", hint);
    }
    length.map(Span::Rolling)
}
