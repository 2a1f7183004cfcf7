//! Writing: data to standard output, everything else to standard error.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Data as text, with a line's end.
pub(super) fn data(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    Ok(stdout.flush()?)
}

/// Data as JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    data(&serde_json::to_string_pretty(value)?)
}

/// A word to whoever is looking on.
pub(super) fn say(text: &str) {
    // Nothing can be said about standard error not taking it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Rows under a heading: as wide as the terminal if there is one, else as wide as they are, one row a line.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heading.map(str::to_uppercase)).add_rows(rows);
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
    }
    // The style pads every column on both sides; the outer padding helps nobody.
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n").collect()
}

/// The reader of our output went away.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |cause: &io::Error| cause.kind() == ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(closed))
}

/// A count of bytes as people read it.
pub(super) fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_000 => return format!("{bytes} B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

/// How far something has come: one line on a terminal, written anew; nothing where nobody looks on.
pub(super) struct Progress {
    is_shown: bool,
    shown_at: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { is_shown: io::stderr().is_terminal(), shown_at: None }
    }

    /// Takes the place of what was shown before.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.is_shown && self.shown_at.is_none_or(|shown_at| shown_at.elapsed() >= PROGRESS_EVERY) {
            self.shown_at = Some(Instant::now());
            self.write(&text());
        }
    }

    fn write(&self, text: &str) {
        // To the line's beginning, and what stood there goes.
        let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown_at.is_some() {
            self.write("");
        }
    }
}
