//! Finds the sections and keys of the file, and collects its mistakes.

use toml::de::{DeTable, DeValue};

use super::{MISTAKES_MAX, Mistake};
use hailer_base::wording::{closest, shown};

/// The file, as it is being read.
pub(super) struct Reader {
    /// The byte offsets of the ends of the lines.
    line_ends: Vec<usize>,
    mistakes: Vec<Mistake>,
}

/// A key that a section may have.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// How the key is written: the hint if it is missing or its value is wrong.
    pub(super) hint: &'static str,
}

/// The keys of a kind of sections.
pub(super) struct Form {
    /// How messages call such a section.
    pub(super) title: &'static str,
    pub(super) keys: &'static [Key],
}

/// A table of the file.
#[derive(Clone, Copy)]
pub(super) struct Section<'file> {
    table: &'file DeTable<'file>,
    /// The byte offset of its header; `None` for the file as a whole.
    pub(super) at: Option<usize>,
}

/// A value of the file.
#[derive(Clone, Copy)]
pub(super) struct Spot<'file> {
    pub(super) key: &'file str,
    pub(super) value: &'file DeValue<'file>,
    pub(super) at: usize,
    pub(super) hint: &'static str,
}

impl Reader {
    pub(super) fn new(text: &str) -> Reader {
        let line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Reader { line_ends: line_ends.map(|(at, _)| at).collect(), mistakes: Vec::new() }
    }

    /// The number of mistakes until now.
    pub(super) fn mistakes_so_far(&self) -> usize {
        self.mistakes.len()
    }

    pub(super) fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|mistake| mistake.line);
        // The TOML parser reports some errors twice.
        self.mistakes.dedup();
        self.mistakes.truncate(MISTAKES_MAX);
        self.mistakes
    }

    /// Adds a mistake at a byte offset; `None` for one that is nowhere in the text.
    pub(super) fn mistake(
        &mut self,
        at: Option<usize>,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let line_of = |at: usize| self.line_ends.partition_point(|end| *end < at) + 1;
        let line = at.and_then(|at| u32::try_from(line_of(at)).ok());
        self.mistakes.push(Mistake { line, reason: reason.into(), hint: hint.into() });
    }

    /// Adds the mistake that a value is not what is wanted.
    pub(super) fn refuse(&mut self, spot: Spot<'_>, wanted: &str, hint: impl Into<String>) {
        let reason = format!("`{}` is {}, not {wanted}", shown(spot.key), spot.found());
        self.mistake(Some(spot.at), reason, hint);
    }

    /// The file as a section.
    pub(super) fn file<'file>(
        &mut self,
        table: &'file DeTable<'file>,
        form: &Form,
    ) -> Section<'file> {
        let section = Section { table, at: None };
        self.unknown_keys(section, form);
        section
    }

    /// The section that a value is.
    pub(super) fn section<'file>(
        &mut self,
        spot: Spot<'file>,
        form: &Form,
    ) -> Option<Section<'file>> {
        let section = self.table(spot)?;
        self.unknown_keys(section, form);
        Some(section)
    }

    /// The table that a value is. Its keys are free, as names of campaigns are.
    pub(super) fn table<'file>(&mut self, spot: Spot<'file>) -> Option<Section<'file>> {
        match spot.value {
            DeValue::Table(table) => Some(Section { table, at: Some(spot.at) }),
            _ => {
                self.refuse(spot, "a table", spot.hint);
                None
            }
        }
    }

    /// The sections of a list such as `[[cap]]`: at most `max`.
    pub(super) fn sections<'file>(
        &mut self,
        file: Section<'file>,
        key: Key,
        form: &Form,
        max: usize,
    ) -> Vec<Section<'file>> {
        let Some(list) = self.optional(file, key) else { return Vec::new() };
        let DeValue::Array(items) = list.value else {
            self.refuse(list, "a list of tables", list.hint);
            return Vec::new();
        };
        if let Some(item) = items.get(max) {
            let reason =
                format!("the file has {} sections {}, the most is {max}", items.len(), form.title);
            self.mistake(Some(item.span().start), reason, "remove some of them");
        }
        let spots = items.iter().take(max).map(|item| list.item(item));
        spots.filter_map(|spot| self.section(spot, form)).collect()
    }

    pub(super) fn optional<'file>(&self, section: Section<'file>, key: Key) -> Option<Spot<'file>> {
        let hint = key.hint;
        section.spots(hint).find(|(_, spot)| spot.key == key.name).map(|(_, spot)| spot)
    }

    pub(super) fn required<'file>(
        &mut self,
        section: Section<'file>,
        key: Key,
    ) -> Option<Spot<'file>> {
        let spot = self.optional(section, key);
        if spot.is_none() {
            self.mistake(section.at, format!("`{}` is missing", key.name), key.hint);
        }
        spot
    }

    fn unknown_keys(&mut self, section: Section<'_>, form: &Form) {
        let known = || form.keys.iter().map(|key| key.name);
        for (at, spot) in section.spots("") {
            if known().any(|name| name == spot.key) {
                continue;
            }
            let hint = suggestion(spot.key, known()).unwrap_or_else(|| {
                let keys: Vec<&str> = known().collect();
                format!("the keys of {} are {}", form.title, keys.join(", "))
            });
            self.mistake(Some(at), format!("there is no key `{}`", shown(spot.key)), hint);
        }
    }
}

impl<'file> Section<'file> {
    /// Whether the section has the key.
    pub(super) fn has(self, key: Key) -> bool {
        self.at_key(key).is_some()
    }

    /// The byte offset of a key.
    pub(super) fn at_key(self, key: Key) -> Option<usize> {
        self.spots("").find(|(_, spot)| spot.key == key.name).map(|(at, _)| at)
    }

    /// The values of the section, each with the byte offset of its key.
    pub(super) fn spots(self, hint: &'static str) -> impl Iterator<Item = (usize, Spot<'file>)> {
        self.table.iter().map(move |(key, value)| {
            let (name, value_at) = (key.get_ref().as_ref(), value.span().start);
            (key.span().start, Spot { key: name, value: value.get_ref(), at: value_at, hint })
        })
    }
}

impl<'file> Spot<'file> {
    /// An element of the list that the value is.
    pub(super) fn item(self, item: &'file toml::Spanned<DeValue<'file>>) -> Spot<'file> {
        Spot { value: item.get_ref(), at: item.span().start, ..self }
    }

    /// The value, as messages show it.
    pub(super) fn found(self) -> String {
        match self.value {
            DeValue::String(text) if text.is_empty() => "an empty string".into(),
            DeValue::String(text) => format!("`{}`", shown(text)),
            DeValue::Integer(number) => shown(&number.to_string()),
            DeValue::Float(number) => shown(number.as_str()),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(time) if time.date.is_some() => format!("the date {time}"),
            DeValue::Datetime(time) => format!("the time {time}"),
            DeValue::Array(items) if items.is_empty() => "an empty list".into(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        }
    }
}

/// The hint that names the known word nearest to a misspelt one.
pub(super) fn suggestion<'words>(
    word: &str,
    known: impl IntoIterator<Item = &'words str>,
) -> Option<String> {
    closest(word, known).map(|known| format!("did you mean `{known}`?"))
}
