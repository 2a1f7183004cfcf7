//! Reads the entries of several origins, one after another: files (plain, gzip or zstd, recognised
//! by their contents), directories of such files, standard input, and streams.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::entry::{Entry, Origin};
use super::files;
use super::stream::{StreamError, StreamReader};
use super::unreadable::UnreadableEntry;
use crate::sources::lines::LineSplitter;

const BUFFER_BYTES: usize = 256 << 10;

/// Formats that are recognised but not read, by their first bytes.
const FOREIGN: [(&[u8], &str, &str); 5] = [
    (b"PK\x03\x04", "a zip archive", "unpack it"),
    (b"BZh", "a bzip2 archive", "unpack it with `bunzip2`"),
    (b"\xfd7zXZ\0", "an xz archive", "unpack it with `unxz`"),
    (b"\x04\x22\x4d\x18", "an lz4 archive", "unpack it with `unlz4`"),
    (b"PAR1", "a Parquet file", "export it as JSON lines"),
];

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("there is no recording in `{}`: no file that ends with .jsonl, .jsonl.gz or \
        .jsonl.zst", directory.display())]
    Empty { directory: PathBuf },
    #[error("`{}` is {what}: {next_step}, and name the result", path.display())]
    Foreign { path: PathBuf, what: &'static str, next_step: &'static str },
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// The origins to read, in their order.
pub struct Archive {
    waiting: VecDeque<Input>,
    open: Option<Open>,
    line_bytes_max: usize,
    bytes_total: u64,
    bytes_read: Arc<AtomicU64>,
}

enum Input {
    Standard,
    File {
        path: PathBuf,
        /// The newest file of a directory; an engine may still be writing it.
        may_be_unfinished: bool,
    },
    Stream(Box<StreamReader>),
}

enum Open {
    File(OpenFile),
    Stream(Box<StreamReader>),
}

struct OpenFile {
    place: Arc<str>,
    splitter: LineSplitter<Box<dyn Read + Send>>,
    bytes_read: Arc<AtomicU64>,
    last_line: u64,
    may_be_unfinished: bool,
}

/// The next part of an archive.
pub(super) enum Piece {
    Entries {
        place: Arc<str>,
        entries: Vec<Entry>,
    },
    /// The rest of the file cannot be read.
    Unreadable(UnreadableEntry),
}

impl Archive {
    /// Checks every file, and finds the end of every stream; reads no entries yet.
    ///
    /// # Errors
    /// A file cannot be opened, or is in a format that is not read. A stream cannot be reached, or
    /// the queue is not a stream.
    pub fn open<O: Clone + Into<Origin>>(
        origins: &[O],
        line_bytes_max: usize,
    ) -> Result<Archive, ArchiveError> {
        let mut waiting = VecDeque::new();
        for origin in origins {
            match origin.clone().into() {
                Origin::Standard => waiting.push_back(Input::Standard),
                Origin::Stream(queue) => waiting.push_back(Input::Stream(Box::new(queue.open()?))),
                Origin::Path(path) if path.is_dir() => {
                    let found = files::readable(&path).map_err(|source| {
                        ArchiveError::Unreadable { path: path.clone(), source }
                    })?;
                    let newest =
                        found.last().cloned().ok_or(ArchiveError::Empty { directory: path })?;
                    let input =
                        |path: PathBuf| Input::File { may_be_unfinished: path == newest, path };
                    waiting.extend(found.into_iter().map(input));
                }
                Origin::Path(path) => {
                    waiting.push_back(Input::File { path, may_be_unfinished: false })
                }
            }
        }
        let mut bytes_total = 0;
        for input in &waiting {
            if let Input::File { path, .. } = input {
                bytes_total += look_at(path)?;
            }
        }
        if waiting.iter().any(|input| matches!(input, Input::Stream(_))) {
            bytes_total = 0;
        }
        Ok(Archive { waiting, open: None, line_bytes_max, bytes_total, bytes_read: Arc::default() })
    }

    /// Total size in bytes as stored, before decompression; 0 if unknown.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Counter of these bytes that have been read.
    #[must_use]
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// The next entries of the current origin, or of the next one; `None` at the end of the last.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, ArchiveError> {
        loop {
            let piece = match &mut self.open {
                Some(Open::File(file)) => file.next(),
                Some(Open::Stream(stream)) => stream.next()?.map(|entries| {
                    let bytes: usize = entries.iter().map(Entry::bytes).sum();
                    self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
                    Piece::Entries { place: Arc::clone(stream.place()), entries }
                }),
                None => {
                    let Some(input) = self.waiting.pop_front() else { return Ok(None) };
                    self.open = Some(Open::begin(input, self.line_bytes_max, &self.bytes_read)?);
                    continue;
                }
            };
            if !matches!(piece, Some(Piece::Entries { .. })) {
                self.open = None;
            }
            if piece.is_some() {
                return Ok(piece);
            }
        }
    }
}

impl Open {
    fn begin(
        input: Input,
        line_bytes_max: usize,
        total: &Arc<AtomicU64>,
    ) -> Result<Open, ArchiveError> {
        let (path, may_be_unfinished) = match input {
            Input::Stream(stream) => return Ok(Open::Stream(stream)),
            Input::Standard => (None, false),
            Input::File { path, may_be_unfinished } => (Some(path), may_be_unfinished),
        };
        let bytes_read = Arc::<AtomicU64>::default();
        let place = path.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        let unreadable = |source| ArchiveError::Unreadable { path: place.clone().into(), source };
        let file: Box<dyn Read + Send> = match &path {
            None => Box::new(io::stdin()),
            Some(path) => Box::new(File::open(path).map_err(unreadable)?),
        };
        let counted =
            Counted { reader: file, total: Arc::clone(total), own: Arc::clone(&bytes_read) };
        let reader =
            decompressed(BufReader::with_capacity(BUFFER_BYTES, counted)).map_err(unreadable)?;
        let splitter = LineSplitter::new(reader, line_bytes_max);
        Ok(Open::File(OpenFile {
            place: place.into(),
            splitter,
            bytes_read,
            last_line: 0,
            may_be_unfinished,
        }))
    }
}

impl OpenFile {
    /// The next lines, or the reason why reading stopped; `None` at the end.
    fn next(&mut self) -> Option<Piece> {
        match self.splitter.next_block() {
            Ok(lines) => lines.map(|lines| {
                self.last_line = lines.last().map_or(self.last_line, |line| line.number);
                let entries = lines.into_iter().map(Entry::Line).collect();
                Piece::Entries { place: Arc::clone(&self.place), entries }
            }),
            Err(error) => self.broken(&error).map(Piece::Unreadable),
        }
    }

    /// The problem to report for a read error; `None` if the file may be unfinished.
    fn broken(&self, error: &io::Error) -> Option<UnreadableEntry> {
        let (place, line) = (&self.place, self.last_line);
        let ends_early = error.kind() == io::ErrorKind::UnexpectedEof;
        if ends_early && self.may_be_unfinished {
            return None;
        }
        let bytes = self.bytes_read.load(Ordering::Relaxed);
        let read = match line {
            0 => "no line was read".to_owned(),
            1 => "line 1 was read".to_owned(),
            _ => format!("lines 1 to {line} were read"),
        };
        let (reason, next_step) = match ends_early {
            true => (
                format!("the archive ends in the middle, after {bytes} bytes; {read}"),
                "copy it again completely; after a kill of the engine, this is all there is",
            ),
            false => (
                format!("the archive is damaged within its first {bytes} bytes ({error}); {read}"),
                "copy it again, and compare checksums",
            ),
        };
        Some(UnreadableEntry {
            place: format!("{place}:{}", line + 1),
            reason,
            next_step: next_step.to_owned(),
        })
    }
}

/// Decompresses the file if it is compressed.
fn decompressed(mut reader: BufReader<Counted>) -> io::Result<Box<dyn Read + Send>> {
    let begins = reader.fill_buf()?;
    Ok(if begins.starts_with(b"\x1f\x8b") {
        Box::new(MultiGzDecoder::new(reader))
    } else if begins.starts_with(b"\x28\xb5\x2f\xfd") {
        Box::new(zstd::stream::read::Decoder::with_buffer(reader)?)
    } else {
        Box::new(reader)
    })
}

/// The size of a file; refuses formats that are not read.
fn look_at(path: &Path) -> Result<u64, ArchiveError> {
    let unreadable = |source| ArchiveError::Unreadable { path: path.to_owned(), source };
    let found = std::fs::metadata(path).map_err(unreadable)?;
    // A named pipe can be opened only once, so it is not checked here.
    if !found.is_file() {
        return Ok(0);
    }
    let mut begins = Vec::new();
    File::open(path).and_then(|file| file.take(8).read_to_end(&mut begins)).map_err(unreadable)?;
    match FOREIGN.iter().find(|(magic, ..)| begins.starts_with(magic)) {
        Some((_, what, next_step)) => {
            Err(ArchiveError::Foreign { path: path.to_owned(), what, next_step })
        }
        None => Ok(found.len()),
    }
}

/// Counts the bytes that are read.
struct Counted {
    reader: Box<dyn Read + Send>,
    total: Arc<AtomicU64>,
    own: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.total.fetch_add(read as u64, Ordering::Relaxed);
        self.own.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
