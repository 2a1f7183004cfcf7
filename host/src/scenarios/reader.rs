//! Reads typed values from a TOML file of scenarios, and collects every problem with its line.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::engine::{closest, shown};
use crate::reload::Problem;

/// Maximum of problems that are reported for one file.
const PROBLEMS_MAX: usize = 20;

/// A value of the file and its position.
pub(super) type Spot<'table, 'text> = (&'table DeValue<'text>, Range<usize>);

pub(super) struct Reader<'file, 'text> {
    file: &'file str,
    text: &'text str,
    problems: Vec<Problem>,
}

impl<'file, 'text> Reader<'file, 'text> {
    pub(super) fn new(file: &'file str, text: &'text str) -> Self {
        Reader { file, text, problems: Vec::new() }
    }

    pub(super) fn table(&mut self) -> Option<DeTable<'text>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            self.problem(
                error.span(),
                format!("not TOML: {}", shown(error.message())),
                "correct the line",
            );
        }
        errors.is_empty().then(|| table.into_inner())
    }

    pub(super) fn problem(
        &mut self,
        span: Option<Range<usize>>,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.problems.len() < PROBLEMS_MAX {
            let line = span.map(|span| self.line_of(span.start));
            self.problems.push(Problem::new(self.file, line, reason, hint));
        }
    }

    /// The problems by line; empty if there are none.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }

    /// The line of a byte offset, counted from 1.
    pub(super) fn line_of(&self, offset: usize) -> u32 {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|&&byte| byte == b'\n').count() as u32 + 1
    }

    pub(super) fn unknown_keys(&mut self, table: &DeTable<'_>, whose: &str, keys: &[&str]) {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if !keys.contains(&name) {
                let hint = match closest(name, keys.iter().copied()) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("{whose} has {}", keys.join(", ")),
                };
                self.problem(
                    Some(key.span()),
                    format!("{whose} has no key `{}`", shown(name)),
                    hint,
                );
            }
        }
    }

    /// Reads a text; a date and time without quotes counts as a text, too.
    pub(super) fn text(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        hint: &str,
    ) -> Option<(String, Range<usize>)> {
        let (value, span) = spot(table, key)?;
        match value {
            DeValue::String(text) => Some((text.to_string(), span)),
            DeValue::Datetime(moment) => Some((moment.to_string(), span)),
            _ => {
                self.problem(
                    Some(span),
                    format!("`{key}` is {}, not a text", kind_of(value)),
                    hint,
                );
                None
            }
        }
    }

    /// Reads a text or a list of texts.
    pub(super) fn texts(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        hint: &str,
    ) -> Vec<(String, Range<usize>)> {
        let Some((value, span)) = spot(table, key) else { return Vec::new() };
        let DeValue::Array(values) = value else {
            return self.text(table, key, hint).into_iter().collect();
        };
        let mut texts = Vec::new();
        for value in values.iter() {
            match value.get_ref().as_str() {
                Some(text) => texts.push((text.to_owned(), value.span())),
                None => self.problem(
                    Some(span.clone()),
                    format!("`{key}` contains something other than a text"),
                    hint,
                ),
            }
        }
        texts
    }

    pub(super) fn number(&mut self, table: &DeTable<'_>, key: &str, max: u32) -> Option<u32> {
        let (value, span) = spot(table, key)?;
        let number = match value {
            DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| (1..=max).contains(number));
        if number.is_none() {
            self.problem(
                Some(span),
                format!("`{key}` is not a whole number from 1 to {max}"),
                "correct it, or remove it",
            );
        }
        number
    }

    /// Reads a table.
    pub(super) fn members<'table, 'value>(
        &mut self,
        (value, span): Spot<'table, 'value>,
        what: &str,
        hint: &str,
    ) -> Option<&'table DeTable<'value>> {
        match value {
            DeValue::Table(table) => Some(table),
            _ => {
                self.problem(
                    Some(span),
                    format!("{what} is {}, not a table", kind_of(value)),
                    hint,
                );
                None
            }
        }
    }
}

pub(super) fn spot<'table, 'text>(
    table: &'table DeTable<'text>,
    name: &str,
) -> Option<Spot<'table, 'text>> {
    let (_, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == name)?;
    Some((value.get_ref(), value.span()))
}

pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
