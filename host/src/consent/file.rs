//! Reads a file of consents as a whole.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Terms;
use super::line::{self, Line, LineConsent, Said};
use crate::clock::Millis;
use crate::consents::Statement;
use crate::engine::shown;
use crate::event::CustomerKey;
use crate::policies::{Channels, ImportedConsent};
use crate::sources::lines::LineSplitter;
use hailer_abi::wire::Channel;

/// The longest line in bytes; a longer one is a mistake.
const LINE_BYTES_MAX: usize = 16 << 10;
/// The most statements of one file. They are in memory at once, some 80 bytes each.
const STATEMENTS_MAX: usize = 5_000_000;
/// The most mistakes that are kept; further ones are counted.
pub const MISTAKES_SHOWN: usize = 20;
/// The most different values that are counted one by one.
const VALUES_MAX: usize = 16;

/// A file without mistakes.
#[derive(Clone, Debug, Default)]
pub struct ConsentFile {
    /// The statements of one customer and subscription follow each other, the oldest first.
    pub statements: Vec<Statement>,
    /// The different values of channels, sorted; of very many, only some.
    pub values: Vec<SaidValue>,
}

/// A value that a file gives channels, and how the policies read it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SaidValue {
    /// Without what may be personal.
    pub value: String,
    pub is_yes: bool,
    pub count: u64,
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LineMistake {
    pub line: u64,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{}` has more than {STATEMENTS_MAX} lines; split it: imports may be repeated and \
        are in no order", path.display())]
    TooLong { path: PathBuf },
    #[error(
        "`{}`:{line}: the value of `{channel}` cannot be read, because the policies have no \
         [consent]; add it to policies.toml, or write true or false", path.display()
    )]
    NoConsentPolicy { path: PathBuf, line: u64, channel: &'static str },
    /// The first mistakes, sorted by line, and the number of all of them.
    #[error("{}", shown_mistakes(path, mistakes, *count))]
    Mistakes { path: PathBuf, mistakes: Vec<LineMistake>, count: u64 },
}

impl ConsentFile {
    /// Reads a file; `-` is standard input. `now` is the machine's time in ms since 1970: no
    /// statement is later.
    ///
    /// # Errors
    /// The file cannot be read, or one of its lines cannot be used.
    pub fn read(path: &Path, terms: &Terms, now: Millis) -> Result<ConsentFile, FileError> {
        let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
        let reader: Box<dyn Read> = match path == Path::new("-") {
            true => Box::new(io::stdin().lock()),
            false => Box::new(File::open(path).map_err(unreadable)?),
        };
        Self::read_from(reader, path, terms, now)
    }

    pub(super) fn read_from(
        reader: impl Read,
        path: &Path,
        terms: &Terms,
        now: Millis,
    ) -> Result<ConsentFile, FileError> {
        let mut reading = Reading::new(path, terms);
        let mut lines = LineSplitter::new(reader, LINE_BYTES_MAX);
        let next = |lines: &mut LineSplitter<_>| {
            let source = |source| FileError::Unreadable { path: path.to_owned(), source };
            lines.next_block().map_err(source)
        };
        while let Some(block) = next(&mut lines)? {
            for line in block {
                if line.cut {
                    let reason = format!(
                        "the line has more than {LINE_BYTES_MAX} bytes; write one customer a line"
                    );
                    reading.mistake(line.number, reason);
                    continue;
                }
                let text = match line.number {
                    // A byte order mark.
                    1 => line.text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line.text),
                    _ => &line.text,
                };
                match line::parse(text, now) {
                    Ok(read) => reading.add(read, line.number)?,
                    Err(reason) => reading.mistake(line.number, reason),
                }
            }
        }
        reading.finish()
    }
}

/// A file that is being read.
struct Reading<'a> {
    path: &'a Path,
    terms: &'a Terms,
    /// Each statement with its line.
    statements: Vec<(Statement, u64)>,
    /// Names of subscriptions and time zones, each once in memory.
    names: HashSet<Arc<str>>,
    values: BTreeMap<String, (bool, u64)>,
    mistakes: Vec<LineMistake>,
    mistakes_count: u64,
}

impl<'a> Reading<'a> {
    fn new(path: &'a Path, terms: &'a Terms) -> Reading<'a> {
        Reading {
            path,
            terms,
            statements: Vec::new(),
            names: HashSet::new(),
            values: BTreeMap::new(),
            mistakes: Vec::new(),
            mistakes_count: 0,
        }
    }

    fn mistake(&mut self, line: u64, reason: String) {
        self.mistakes_count += 1;
        if self.mistakes.len() < MISTAKES_SHOWN {
            self.mistakes.push(LineMistake { line, reason });
        }
    }

    fn add(&mut self, line: Line, number: u64) -> Result<(), FileError> {
        if self.statements.len() >= STATEMENTS_MAX {
            return Err(FileError::TooLong { path: self.path.to_owned() });
        }
        let Line { customer, consent, zone } = line;
        let consent = consent.map(|consent| self.consent(consent, number)).transpose()?;
        let time_zone = zone.map(|zone| self.shared(zone));
        self.statements.push((Statement { customer, consent, time_zone }, number));
        Ok(())
    }

    fn consent(&mut self, said: LineConsent, line: u64) -> Result<ImportedConsent, FileError> {
        let LineConsent { subscription, channels, at } = said;
        let (mut named, mut agreed) = (Channels::default(), Channels::default());
        for (channel, said) in Channel::ALL.into_iter().zip(channels) {
            let is_yes = match (said, &self.terms.yes) {
                (None, _) => continue,
                (Some(Said::Answer(is_yes)), _) => is_yes,
                (Some(Said::Value(value)), Some(yes)) => {
                    let is_yes = yes.iter().any(|yes| **yes == *value);
                    self.count_value(value, is_yes);
                    is_yes
                }
                (Some(Said::Value(_)), None) => {
                    let path = self.path.to_owned();
                    let channel = channel.name();
                    return Err(FileError::NoConsentPolicy { path, line, channel });
                }
            };
            named.insert(channel);
            if is_yes {
                agreed.insert(channel);
            }
        }
        let subscription = self.shared(subscription);
        Ok(ImportedConsent { subscription, channels: named, agreed, at })
    }

    fn count_value(&mut self, value: String, is_yes: bool) {
        let value = line::discreet(&value);
        if let Some((_, count)) = self.values.get_mut(&value) {
            *count += 1;
        } else if self.values.len() < VALUES_MAX {
            self.values.insert(value, (is_yes, 1));
        }
    }

    fn shared(&mut self, name: String) -> Arc<str> {
        if let Some(known) = self.names.get(&*name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    fn finish(mut self) -> Result<ConsentFile, FileError> {
        let mut statements = std::mem::take(&mut self.statements);
        statements.sort_by(|(one, line), (other, other_line)| {
            (order(one), line).cmp(&(order(other), other_line))
        });
        self.find_contradictions(&statements);
        if self.mistakes_count > 0 {
            self.mistakes.sort_by_key(|mistake| mistake.line);
            let (mistakes, count) = (self.mistakes, self.mistakes_count);
            return Err(FileError::Mistakes { path: self.path.to_owned(), mistakes, count });
        }
        let values = self.values.into_iter();
        Ok(ConsentFile {
            statements: statements.into_iter().map(|(statement, _)| statement).collect(),
            values: values
                .map(|(value, (is_yes, count))| SaidValue { value, is_yes, count })
                .collect(),
        })
    }

    /// Two lines must not give one consent two answers for one moment, nor a customer two time
    /// zones: the result would depend on their order.
    fn find_contradictions(&mut self, statements: &[(Statement, u64)]) {
        let mut answers: [Option<(bool, u64)>; Channel::ALL.len()] = Default::default();
        let mut zone: Option<(&Arc<str>, u64)> = None;
        let mut before: Option<&Statement> = None;
        for (statement, line) in statements {
            if before.is_none_or(|before| before.customer != statement.customer) {
                zone = None;
            }
            if before.is_none_or(|before| order(before) != order(statement)) {
                answers = Default::default();
            }
            before = Some(statement);
            if let Some(named) = &statement.time_zone {
                match zone {
                    Some((known, other)) if known != named => {
                        let (first, last) = (other.min(*line), other.max(*line));
                        self.mistake(
                            last,
                            format!(
                                "the customer has another time zone in line \
                            {first}; leave one out"
                            ),
                        );
                    }
                    _ => zone = Some((named, *line)),
                }
            }
            let Some(consent) = &statement.consent else { continue };
            for channel in consent.channels.iter() {
                let is_yes = consent.agreed.contains(channel);
                match answers[channel as usize] {
                    Some((known, other)) if known != is_yes => {
                        let name = channel.name();
                        self.mistake(
                            *line,
                            format!(
                                "`{name}` has another value in line {other}, \
                            for the same customer and time; leave one out"
                            ),
                        );
                    }
                    _ => answers[channel as usize] = Some((is_yes, *line)),
                }
            }
        }
    }
}

/// The order of statements. Those with an equal one are about one subscription at one moment.
fn order(statement: &Statement) -> (CustomerKey, Option<(&str, Millis)>) {
    let consent = statement.consent.as_ref();
    (statement.customer, consent.map(|consent| (&*consent.subscription, consent.at)))
}

fn shown_mistakes(path: &Path, mistakes: &[LineMistake], count: u64) -> String {
    let file = shown(&path.to_string_lossy());
    let mut text = format!("nothing was imported, because {count} lines cannot be used:");
    if count == 1 {
        "nothing was imported, because one line cannot be used:".clone_into(&mut text);
    }
    for LineMistake { line, reason } in mistakes {
        text += &format!("\n  {file}:{line}: {reason}");
    }
    let more = count - mistakes.len() as u64;
    if more > 0 {
        text += &format!("\n  and {more} more");
    }
    text
}
