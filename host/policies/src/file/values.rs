//! Reads single values: texts, names, numbers, times, lengths of time, and lists of these.
//!
//! Each function returns `None` after it has added a mistake.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use jiff::civil::{Time, Weekday};
use toml::de::DeValue;

use super::reader::{Key, Reader, Section, Spot, suggestion};
use crate::channels::Channels;
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;
use hailer_base::wording::shown;

/// The maximum length of a code, a value or an id, in characters.
const TEXT_CHARS_MAX: usize = 128;
/// The maximum of texts in a list. Lists of campaigns have no maximum of their own.
const TEXTS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 64;
const NAME_HINT: &str =
    "use up to 64 lower-case letters, digits, `-` and `_`, and begin with a letter or digit";

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

pub(super) const MINUTE_MS: Millis = 60_000;
pub(super) const HOUR_MS: Millis = 60 * MINUTE_MS;
pub(super) const DAY_MS: Millis = 24 * HOUR_MS;

impl Reader {
    /// One of the texts that a key may have.
    pub(super) fn choice<T: Copy>(
        &mut self,
        spot: Spot<'_>,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let text = spot.value.as_str().unwrap_or_default();
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*choice);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let hint = suggestion(text, names.iter().copied()).unwrap_or_else(|| spot.hint.into());
        self.refuse(spot, &one_of(&names), hint);
        None
    }

    /// A list of some of the texts that a key may have, each at most once.
    fn choices<T: Copy>(
        &mut self,
        spot: Spot<'_>,
        what: &str,
        choices: &[(&'static str, T)],
    ) -> Option<Vec<T>> {
        let names = || choices.iter().map(|(name, _)| *name);
        let mut chosen = Vec::new();
        for (item, text) in self.texts(spot)? {
            match choices.iter().find(|(name, _)| *name == text) {
                Some((_, choice)) => chosen.push(*choice),
                None => {
                    let hint = suggestion(text, names()).unwrap_or_else(|| {
                        format!("use {}", names().collect::<Vec<_>>().join(", "))
                    });
                    let reason = format!("`{}` is not a {what}", shown(text));
                    self.mistake(Some(item.at), reason, hint);
                }
            }
        }
        Some(chosen)
    }

    /// The channels that a section names; all if it names none.
    pub(super) fn channels(&mut self, section: Section<'_>, key: Key) -> Option<Channels> {
        let Some(spot) = self.optional(section, key) else { return Some(Channels::all()) };
        let channels = Channel::ALL.map(|channel| (channel.name(), channel));
        Some(self.choices(spot, "channel", &channels)?.into_iter().collect())
    }

    /// The days that a section names; all if it names none.
    pub(super) fn days(&mut self, section: Section<'_>, key: Key) -> Option<Vec<Weekday>> {
        match self.optional(section, key) {
            Some(spot) => self.choices(spot, "day", &DAYS),
            None => Some(DAYS.map(|(_, day)| day).to_vec()),
        }
    }

    /// A whole number.
    pub(super) fn whole(&mut self, spot: Spot<'_>, range: RangeInclusive<i32>) -> Option<i32> {
        let number = match spot.value {
            DeValue::Integer(number) => i32::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let wanted = format!("a whole number from {} to {}", range.start(), range.end());
            self.refuse(spot, &wanted, spot.hint);
        }
        number
    }

    pub(super) fn flag(&mut self, spot: Spot<'_>) -> Option<bool> {
        let flag = spot.value.as_bool();
        if flag.is_none() {
            self.refuse(spot, "true or false", spot.hint);
        }
        flag
    }

    /// A text such as a code: one line, and not blank.
    pub(super) fn text<'file>(&mut self, spot: Spot<'file>) -> Option<&'file str> {
        let text = spot.value.as_str().filter(|text| is_text(text));
        if text.is_none() {
            let wanted = format!("a line of 1 to {TEXT_CHARS_MAX} characters");
            self.refuse(spot, &wanted, spot.hint);
        }
        text
    }

    /// The id of a customer, as text.
    pub(super) fn id(&mut self, spot: Spot<'_>) -> Option<Box<str>> {
        let id = match spot.value {
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                number.map(|number| number.to_string().into())
            }
            DeValue::String(text) if is_text(text) => Some(text.as_ref().into()),
            _ => None,
        };
        if id.is_none() {
            let wanted = format!("a whole number, or a line of 1 to {TEXT_CHARS_MAX} characters");
            self.refuse(spot, &wanted, spot.hint);
        }
        id
    }

    /// A list of texts that is not empty, each text at most once.
    pub(super) fn texts<'file>(
        &mut self,
        spot: Spot<'file>,
    ) -> Option<Vec<(Spot<'file>, &'file str)>> {
        let items = self.list(spot)?;
        if items.len() > TEXTS_MAX {
            let reason =
                format!("`{}` has {} values, the most is {TEXTS_MAX}", spot.key, items.len());
            self.mistake(Some(spot.at), reason, "remove some of them");
            return None;
        }
        let mut texts = Vec::new();
        for item in items {
            let Some(text) = self.text(item) else { continue };
            texts.push((item, text));
        }
        self.once(&texts);
        Some(texts)
    }

    /// The values of a list that is not empty.
    fn list<'file>(&mut self, spot: Spot<'file>) -> Option<Vec<Spot<'file>>> {
        match spot.value {
            DeValue::Array(items) if !items.is_empty() => {
                Some(items.iter().map(|item| spot.item(item)).collect())
            }
            _ => {
                self.refuse(spot, "a list with at least one value", spot.hint);
                None
            }
        }
    }

    fn once(&mut self, texts: &[(Spot<'_>, &str)]) {
        let mut before = BTreeSet::new();
        for (item, text) in texts {
            if !before.insert(*text) {
                let reason = format!("`{}` has `{}` twice", item.key, shown(text));
                self.mistake(Some(item.at), reason, "remove one of them");
            }
        }
    }

    /// A list of campaigns, each at most once.
    pub(super) fn campaigns<'file>(
        &mut self,
        spot: Spot<'file>,
    ) -> Option<Vec<(Spot<'file>, &'file str)>> {
        let mut campaigns = Vec::new();
        for item in self.list(spot)? {
            match item.value.as_str() {
                Some(name) if self.is_name(name, "a campaign", item.at) => {
                    campaigns.push((item, name));
                }
                Some(_) => {}
                None => self.refuse(item, "the name of a campaign", spot.hint),
            }
        }
        self.once(&campaigns);
        Some(campaigns)
    }

    /// The name of a section, which no other section of its kind has.
    pub(super) fn name<'file>(
        &mut self,
        section: Section<'file>,
        key: Key,
        what: &str,
        names: &mut BTreeSet<&'file str>,
    ) -> Option<&'file str> {
        let spot = self.required(section, key)?;
        let Some(name) = spot.value.as_str() else {
            self.refuse(spot, "a name", spot.hint);
            return None;
        };
        if !self.is_name(name, what, spot.at) {
            return None;
        }
        if !names.insert(name) {
            let reason = format!("another section already has the name `{name}`");
            self.mistake(Some(spot.at), reason, "rename one of them");
        }
        Some(name)
    }

    /// Whether a text may be a name. The rules are those of campaigns, because names become labels
    /// of metrics.
    pub(super) fn is_name(&mut self, name: &str, what: &str, at: usize) -> bool {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = name.len() <= NAME_BYTES_MAX
            && name.bytes().next().is_some_and(plain)
            && name.bytes().all(|byte| plain(byte) || byte == b'-' || byte == b'_');
        if !is_name {
            let reason = format!("`{}` cannot be the name of {what}", shown(name));
            self.mistake(Some(at), reason, NAME_HINT);
        }
        is_name
    }

    /// A time of the day in whole minutes.
    pub(super) fn time(&mut self, spot: Spot<'_>) -> Option<Time> {
        let text = spot.value.as_str().unwrap_or_default();
        let time = time_of(text);
        if time.is_none() {
            let hint = match spot.value {
                DeValue::Datetime(_) => "write the time in quotes, as `\"22:00\"`",
                _ if text == "24:00" => "write `\"00:00\"`; then the hours end at midnight",
                _ => spot.hint,
            };
            self.refuse(spot, "hours and minutes from 00:00 to 23:59", hint);
        }
        time
    }

    /// A length of time such as `14h`, in ms. `wanted` says which are allowed.
    pub(super) fn length(
        &mut self,
        spot: Spot<'_>,
        range: RangeInclusive<Millis>,
        wanted: &str,
    ) -> Option<Millis> {
        let length = spot.value.as_str().and_then(length_of);
        let length = length.filter(|length| range.contains(length));
        if length.is_none() {
            self.refuse(spot, wanted, spot.hint);
        }
        length
    }

    /// A percentage, in hundredths of a percent. The digits are read as they are written, because
    /// a floating-point number would round some of them.
    pub(super) fn percent(&mut self, spot: Spot<'_>) -> Option<u32> {
        let hundredths = match spot.value {
            DeValue::Integer(number) => {
                let percent = u32::from_str_radix(number.as_str(), number.radix()).ok();
                percent.and_then(|percent| percent.checked_mul(100))
            }
            DeValue::Float(number) => hundredths_of(number.as_str()),
            _ => None,
        };
        let hundredths = hundredths.filter(|hundredths| (1..10_000).contains(hundredths));
        if hundredths.is_none() {
            let wanted = "a number from 0.01 to 99.99 with at most two decimal places";
            self.refuse(spot, wanted, spot.hint);
        }
        hundredths
    }
}

/// The names in quotes: `"a", "b" or "c"`.
fn one_of(names: &[&str]) -> String {
    match names {
        [others @ .., one, last] => {
            let others: String = others.iter().map(|name| format!("\"{name}\", ")).collect();
            format!("{others}\"{one}\" or \"{last}\"")
        }
        _ => names.concat(),
    }
}

/// Whether a text may be a code, a value or an id.
fn is_text(text: &str) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= TEXT_CHARS_MAX
        && !text.contains(char::is_control)
}

fn time_of(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute) = (number_of(hour)?, number_of(minute)?);
    Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()
}

/// The length of time that a text such as `14h` states, in ms.
pub(super) fn length_of(text: &str) -> Option<Millis> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "m" => MINUTE_MS,
        "h" => HOUR_MS,
        "d" => DAY_MS,
        _ => return None,
    };
    Millis::from(number_of(number)?).checked_mul(unit_ms)
}

fn hundredths_of(text: &str) -> Option<u32> {
    let (whole, places) = text.split_once('.')?;
    let hundredths = match places.len() {
        1 => number_of(places)?.checked_mul(10)?,
        2 => number_of(places)?,
        _ => return None,
    };
    number_of(whole)?.checked_mul(100)?.checked_add(hundredths)
}

/// A number in digits, without a sign.
fn number_of(digits: &str) -> Option<u32> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}
