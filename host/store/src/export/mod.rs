//! Exports: every row of a store as lines of JSON, and a new store from such lines. An export moves
//! a store to a machine that cannot take a copy of its files. Later formats of the store can read
//! it, too.
//!
//! ```text
//! {"hailerStoreExport":1,"store":{"format":10,"environment":"production","id":"…","createdAt":…}}
//! ["customers","<key>","<value>"]
//! {"rows":{"meta":3,"customers":1,…},"blake3":"…"}
//! ```
//! The first line has the identity of the exported store. Each row has one line, in the order of
//! the tables and of the keys. Keys and values are lower-case hex. The last line has the number of
//! rows of each table, and the BLAKE3 of all lines above it with their line ends.
//!
//! **An import makes a whole store from a whole export, or none (G9).** It refuses every line that
//! an export would not write at that place. Memory is bounded by one row, whatever the size of the
//! store. An error names the line and never contains a key or a value.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _, Write};
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::{END, make};
use super::identity::{FORMAT, IDENTITY_KEY};
use super::{Identity, KEY_BYTES_MAX, Opening, Store, StoreError, Table, VALUE_BYTES_MAX};

/// The version of the export lines. An import refuses any other version.
const VERSION: u32 = 1;
/// The longest first line in bytes; it has only short names.
const HEADER_BYTES_MAX: usize = 4 << 10;
/// The longest line in bytes: the longest key and value in hex, the name of the table, and quotes.
const LINE_BYTES_MAX: usize = 2 * (KEY_BYTES_MAX + VALUE_BYTES_MAX) + 64;

/// The result of an export or an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The identity of the exported store. An import gives it to the store that it makes, as a
    /// backup does.
    pub identity: Identity,
    /// The number of rows of each table.
    pub rows: Vec<(Table, u64)>,
}

/// A store cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    // Not a `#[source]`: then a closed pipe is reported as an error, because the export is
    // incomplete.
    #[error(
        "cannot write the export: {0}; check the disk or the reader of the output, and export again"
    )]
    Write(io::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    hailer_store_export: u32,
    store: Identity,
}

/// The members of a first line that every version of hailer can read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    hailer_store_export: u32,
    store: Format,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Writes all rows of a store as of its last commit. `progress` receives each table and the number
/// of its rows so far.
///
/// # Errors
/// When a row is damaged or a line cannot be written. Every import refuses the incomplete export.
pub fn export(
    store: &dyn Store,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Table, u64),
) -> Result<Exported, ExportError> {
    let (identity, snapshot) = (store.identity().clone(), store.snapshot()?);
    let (mut sum, mut counts) = (blake3::Hasher::new(), Counts::default());
    let mut write = |line: &[u8]| {
        sum.update(line);
        out.write_all(line)
    };
    let header = Header { hailer_store_export: VERSION, store: identity.clone() };
    let mut line = serde_json::to_vec(&header).expect("numbers and strings are always json");
    line.push(b'\n');
    write(&line).map_err(ExportError::Write)?;
    for table in Table::ALL {
        let mut written = Ok(());
        snapshot.range(table, &[], &END, &mut |key, value| {
            write_row(&mut line, table, key, value);
            written = write(&line);
            progress(table, counts.add(table));
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written.map_err(ExportError::Write)?;
    }
    let end = last_line(&counts, &sum) + "\n";
    out.write_all(end.as_bytes()).and_then(|()| out.flush()).map_err(ExportError::Write)?;
    Ok(Exported { identity, rows: counts.all() })
}

/// Makes a new store at `to` from an export, with the environment and log size of `opening`. `file`
/// is the name of `from` in errors.
///
/// # Errors
/// When `to` already exists, or the export is damaged, of another environment, or of another
/// format. Then `to` is not made.
pub fn import(
    from: &mut dyn BufRead,
    file: &Path,
    to: &Path,
    opening: Opening<'_>,
    progress: &mut dyn FnMut(Table, u64),
) -> Result<Exported, StoreError> {
    let (identity, mut lines) = Lines::of(from, file, opening.environment)?;
    let mut counts = Counts::default();
    make(&identity, to, opening.log_bytes, &mut |target| {
        counts = lines.rows(&mut |table, rows, key, value| {
            progress(table, rows);
            target.put(table, key, value)
        })?;
        Ok(())
    })?;
    Ok(Exported { identity, rows: counts.all() })
}

/// Counts the rows of each table.
#[derive(Default)]
struct Counts([u64; Table::ALL.len()]);

impl Counts {
    fn add(&mut self, table: Table) -> u64 {
        let rows = &mut self.0[table.index()];
        *rows += 1;
        *rows
    }

    fn all(&self) -> Vec<(Table, u64)> {
        Table::ALL.into_iter().zip(self.0).collect()
    }
}

fn last_line(counts: &Counts, sum: &blake3::Hasher) -> String {
    let rows: Vec<_> =
        counts.all().iter().map(|(table, rows)| format!("\"{}\":{rows}", table.name())).collect();
    format!("{{\"rows\":{{{}}},\"blake3\":\"{}\"}}", rows.join(","), sum.finalize().to_hex())
}

fn write_row(line: &mut Vec<u8>, table: Table, key: &[u8], value: &[u8]) {
    line.clear();
    line.extend_from_slice(b"[\"");
    line.extend_from_slice(table.name().as_bytes());
    for part in [key, value] {
        line.extend_from_slice(b"\",\"");
        let start = line.len();
        line.resize(start + 2 * part.len(), 0);
        hex::encode_to_slice(part, &mut line[start..]).expect("two digits fit for each byte");
    }
    line.extend_from_slice(b"\"]\n");
}

/// `None` if the text is not lower-case hex, as [`write_row`] writes it.
fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let is_lower_case = !text.iter().any(u8::is_ascii_uppercase);
    is_lower_case.then(|| hex::decode(text).ok()).flatten()
}

/// The lines of an export that is being imported.
struct Lines<'a> {
    from: &'a mut dyn BufRead,
    file: &'a Path,
    /// The current line without its line end.
    line: Vec<u8>,
    /// The number of the current line, from 1 on.
    number: u64,
    /// The hash of all lines before the current one.
    sum: blake3::Hasher,
    /// The value of the identity row, as line 1 has it.
    identity_row: Vec<u8>,
}

const NEITHER: &str = "is neither a row nor the last line of an export";

#[derive(Deserialize)]
struct LastLine {
    rows: BTreeMap<String, u64>,
    #[serde(rename = "blake3")]
    _checksum: String,
}

/// A callback that receives a table, the number of the row in it, the key and the value.
type Put<'a> = dyn FnMut(Table, u64, &[u8], &[u8]) -> Result<(), StoreError> + 'a;

type TableRow = (Table, Vec<u8>, Vec<u8>);

impl<'a> Lines<'a> {
    /// Reads the first line: the identity of the exported store.
    fn of(
        from: &'a mut dyn BufRead,
        file: &'a Path,
        environment: &str,
    ) -> Result<(Identity, Lines<'a>), StoreError> {
        let mut lines = Lines {
            from,
            file,
            line: Vec::new(),
            number: 0,
            sum: blake3::Hasher::new(),
            identity_row: Vec::new(),
        };
        Ok((lines.header(environment)?, lines))
    }

    /// Reads all rows and checks the last line. The rows are proven correct only when it returns
    /// `Ok`.
    fn rows(&mut self, put: &mut Put<'_>) -> Result<Counts, StoreError> {
        let (mut counts, mut before) = (Counts::default(), None);
        while let Some((table, key, value)) = self.row(&counts)? {
            let place = Some((table, key));
            if place <= before {
                return Err(self.damaged("has a row that is not after the row before it"));
            }
            before = place;
            let key = before.as_ref().map_or(&[][..], |(_, key)| key);
            if table == Table::Meta && key == IDENTITY_KEY && value != self.identity_row {
                return Err(self.damaged("names another store than line 1"));
            }
            put(table, counts.add(table), key, &value)?;
        }
        Ok(counts)
    }

    fn header(&mut self, environment: &str) -> Result<Identity, StoreError> {
        const NO_EXPORT: &str = "is not the first line of an export";
        const NAME_ONE: &str =
            "name a file of `hailer store export`, decompressed if it was compressed";
        const ITS_OWN: &str = "import it with the version of hailer that wrote it";
        self.read(HEADER_BYTES_MAX)?;
        let Ok(Versions { hailer_store_export: version, store: Format { format } }) =
            serde_json::from_slice(&self.line)
        else {
            return Err(self.refused(NO_EXPORT, NAME_ONE));
        };
        if version != VERSION {
            let problem = format!(
                "has export version {version}, and this version of hailer reads {VERSION} only"
            );
            return Err(self.refused(problem, ITS_OWN));
        }
        if format != FORMAT {
            let problem = format!(
                "has store format {format}, and this version of hailer imports format {FORMAT} only"
            );
            return Err(self.refused(problem, ITS_OWN));
        }
        let identity = match serde_json::from_slice(&self.line) {
            Ok(Header { store, .. }) if store.has_id() => store,
            _ => return Err(self.refused(NO_EXPORT, NAME_ONE)),
        };
        if identity.environment != environment {
            let found = identity.environment.escape_debug();
            let problem =
                format!("has the environment `{found}`, and the configuration has `{environment}`");
            return Err(self.refused(
                problem,
                "correct `environment`, or pass that of the export with --environment",
            ));
        }
        self.add_to_sum();
        self.identity_row = identity.to_bytes();
        Ok(identity)
    }

    /// Reads the next row; `None` at the last line, if it has these counts and the right checksum.
    fn row(&mut self, counts: &Counts) -> Result<Option<TableRow>, StoreError> {
        self.read(LINE_BYTES_MAX)?;
        if self.line.starts_with(b"{") {
            return self.end(counts).map(|()| None);
        }
        let Some([table, key, value]) = parts(&self.line) else {
            return Err(self.damaged(NEITHER));
        };
        let Some(table) = Table::ALL.into_iter().find(|known| known.name().as_bytes() == table)
        else {
            return Err(self.damaged("has a table that this version of hailer does not have"));
        };
        if key.len() / 2 > KEY_BYTES_MAX || value.len() / 2 > VALUE_BYTES_MAX {
            return Err(self.damaged("has a row that is longer than a store accepts"));
        }
        let (Some(key), Some(value)) = (from_hex(key), from_hex(value)) else {
            return Err(self.damaged("has a key or a value that is not lower-case hex"));
        };
        self.add_to_sum();
        Ok(Some((table, key, value)))
    }

    fn end(&mut self, counts: &Counts) -> Result<(), StoreError> {
        if self.line != last_line(counts, &self.sum).as_bytes() {
            let expected: BTreeMap<_, _> = counts
                .all()
                .into_iter()
                .map(|(table, rows)| (table.name().to_owned(), rows))
                .collect();
            return Err(self.damaged(match serde_json::from_slice(&self.line) {
                Ok(LastLine { rows, .. }) if rows != expected => {
                    "has row counts that do not match the lines above it"
                }
                Ok(_) => "has a checksum that does not match the lines above it",
                Err(_) => NEITHER,
            }));
        }
        self.line.clear();
        self.number += 1;
        let more = self
            .from
            .fill_buf()
            .map_err(|error| StoreError::Io { path: self.file.to_owned(), error })?;
        if more.is_empty() {
            Ok(())
        } else {
            Err(self.damaged("comes after the last line of the export"))
        }
    }

    /// Reads the next line, of at most `bytes_max` bytes.
    fn read(&mut self, bytes_max: usize) -> Result<(), StoreError> {
        self.line.clear();
        self.number += 1;
        let mut line = (&mut *self.from).take(bytes_max as u64 + 1);
        let read = line.read_until(b'\n', &mut self.line);
        read.map_err(|error| StoreError::Io { path: self.file.to_owned(), error })?;
        match self.line.pop() {
            Some(b'\n') => Ok(()),
            None => Err(self.damaged("is missing, and so is the end of the export")),
            Some(_) if self.line.len() == bytes_max => {
                Err(self.damaged("is longer than any line of an export"))
            }
            Some(_) => Err(self.damaged("is cut off")),
        }
    }

    fn add_to_sum(&mut self) {
        self.sum.update(&self.line).update(b"\n");
    }

    fn damaged(&self, problem: &str) -> StoreError {
        self.refused(problem, "copy the file again, or export again")
    }

    fn refused(&self, problem: impl Into<String>, next_step: &'static str) -> StoreError {
        StoreError::Import {
            file: self.file.to_owned(),
            line: self.number,
            problem: problem.into(),
            next_step,
        }
    }
}

/// Splits the line of a row into table, key and value; `None` if it is not the line of a row.
fn parts(line: &[u8]) -> Option<[&[u8]; 3]> {
    let mut parts = line.strip_prefix(b"[\"")?.strip_suffix(b"\"]")?.split(|byte| *byte == b'"');
    let mut next = || parts.next();
    let row = [next()?, next()?, next()?, next()?, next()?];
    match (row, next()) {
        ([table, b",", key, b",", value], None) => Some([table, key, value]),
        _ => None,
    }
}
