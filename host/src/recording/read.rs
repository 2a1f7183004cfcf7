//! Files of events, one after another, as lines: plain, gzip or zstd, told apart by what is in them; directories of such files; standard input.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::broken::Broken;
use super::files;
use crate::sources::lines::{Line, LineSplitter};

const BUFFER_BYTES: usize = 256 << 10;

/// What kinds of archive are recognised and not read, by how they begin.
const FOREIGN: [(&[u8], &str, &str); 5] = [
    (b"PK\x03\x04", "a zip archive", "unpack it"),
    (b"BZh", "a bzip2 archive", "unpack it with `bunzip2`"),
    (b"\xfd7zXZ\0", "an xz archive", "unpack it with `unxz`"),
    (b"\x04\x22\x4d\x18", "an lz4 archive", "unpack it with `unlz4`"),
    (b"PAR1", "a Parquet file", "export it as JSON lines"),
];

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("can't read `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("there is no recording in `{}`: no file that ends with .jsonl, .jsonl.gz or .jsonl.zst", directory.display())]
    Empty { directory: PathBuf },
    #[error("`{}` is {what}: {next_step}, and name what comes of it", path.display())]
    Foreign { path: PathBuf, what: &'static str, next_step: &'static str },
}

/// Files to be read, in their order.
pub struct Archive {
    waiting: VecDeque<Input>,
    open: Option<Open>,
    line_bytes_max: usize,
    bytes_total: u64,
    bytes_read: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Input {
    /// `None` is standard input.
    path: Option<PathBuf>,
    /// The newest of a directory: an engine may be writing it.
    may_be_unfinished: bool,
}

struct Open {
    place: Arc<str>,
    splitter: LineSplitter<Box<dyn Read + Send>>,
    bytes_read: Arc<AtomicU64>,
    last_line: u64,
    may_be_unfinished: bool,
}

/// What comes next of an archive.
pub(super) enum Piece {
    Lines {
        place: Arc<str>,
        lines: Vec<Line>,
    },
    /// The rest of the file can't be read.
    Broken(Broken),
}

impl Archive {
    /// Looks at every file; none is read yet.
    ///
    /// # Errors
    /// When a file can't be opened, or is certainly none of events.
    pub fn open(paths: &[PathBuf], line_bytes_max: usize) -> Result<Archive, ArchiveError> {
        let mut waiting = VecDeque::new();
        for path in paths {
            let unreadable = |source| ArchiveError::Unreadable { path: path.clone(), source };
            if path.as_os_str() == "-" {
                waiting.push_back(Input { path: None, may_be_unfinished: false });
            } else if path.is_dir() {
                let found = files::readable(path).map_err(unreadable)?;
                let newest = found.last().cloned().ok_or_else(|| ArchiveError::Empty { directory: path.clone() })?;
                let input = |path: PathBuf| Input { may_be_unfinished: path == newest, path: Some(path) };
                waiting.extend(found.into_iter().map(input));
            } else {
                waiting.push_back(Input { path: Some(path.clone()), may_be_unfinished: false });
            }
        }
        let mut bytes_total = 0;
        for path in waiting.iter().filter_map(|input| input.path.as_ref()) {
            bytes_total += look_at(path)?;
        }
        Ok(Archive { waiting, open: None, line_bytes_max, bytes_total, bytes_read: Arc::default() })
    }

    /// How large all of it is, as it is stored; 0 if that can't be known.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// How much has been read of that.
    #[must_use]
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// The next lines of the file that is open, or of the next; `None` at the end of all.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, ArchiveError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(input) = self.waiting.pop_front() else { return Ok(None) };
                self.open = Some(Open::begin(input, self.line_bytes_max, &self.bytes_read)?);
                continue;
            };
            match open.splitter.next_block() {
                Ok(Some(lines)) => {
                    open.last_line = lines.last().map_or(open.last_line, |line| line.number);
                    return Ok(Some(Piece::Lines { place: Arc::clone(&open.place), lines }));
                }
                Ok(None) => self.open = None,
                Err(error) => {
                    let broken = open.broken(&error);
                    self.open = None;
                    if let Some(broken) = broken {
                        return Ok(Some(Piece::Broken(broken)));
                    }
                }
            }
        }
    }
}

impl Open {
    fn begin(input: Input, line_bytes_max: usize, total: &Arc<AtomicU64>) -> Result<Open, ArchiveError> {
        let Input { path, may_be_unfinished } = input;
        let bytes_read = Arc::<AtomicU64>::default();
        let place = path.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        let unreadable = |source| ArchiveError::Unreadable { path: place.clone().into(), source };
        let file: Box<dyn Read + Send> = match &path {
            None => Box::new(io::stdin()),
            Some(path) => Box::new(File::open(path).map_err(unreadable)?),
        };
        let counted = Counted { reader: file, total: Arc::clone(total), own: Arc::clone(&bytes_read) };
        let reader = decompressed(BufReader::with_capacity(BUFFER_BYTES, counted)).map_err(unreadable)?;
        let splitter = LineSplitter::new(reader, line_bytes_max);
        Ok(Open { place: place.into(), splitter, bytes_read, last_line: 0, may_be_unfinished })
    }

    /// What it means that reading goes no further; `None` if that is as it should be.
    fn broken(&self, error: &io::Error) -> Option<Broken> {
        let (place, line) = (&self.place, self.last_line);
        let ends_early = error.kind() == io::ErrorKind::UnexpectedEof;
        if ends_early && self.may_be_unfinished {
            return None;
        }
        let bytes = self.bytes_read.load(Ordering::Relaxed);
        let read = match line {
            0 => "nothing of it was read".to_owned(),
            1 => "line 1 was read".to_owned(),
            _ => format!("lines 1 to {line} were read"),
        };
        let (reason, next_step) = match ends_early {
            true => (
                format!("the archive ends in the middle, after {bytes} bytes; {read}"),
                "copy it again, whole; of an engine that was killed, this is all there is",
            ),
            false => (
                format!("the archive is damaged within its first {bytes} bytes ({error}); {read}"),
                "copy it again, and compare checksums",
            ),
        };
        Some(Broken { place: format!("{place}:{}", line + 1), reason, next_step: next_step.to_owned() })
    }
}

/// Decompresses what is compressed.
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

/// How large a file is; refuses what is certainly no events.
fn look_at(path: &Path) -> Result<u64, ArchiveError> {
    let unreadable = |source| ArchiveError::Unreadable { path: path.to_owned(), source };
    let found = std::fs::metadata(path).map_err(unreadable)?;
    // A pipe is opened once, when its turn comes.
    if !found.is_file() {
        return Ok(0);
    }
    let mut begins = Vec::new();
    File::open(path).and_then(|file| file.take(8).read_to_end(&mut begins)).map_err(unreadable)?;
    match FOREIGN.iter().find(|(magic, ..)| begins.starts_with(magic)) {
        Some((_, what, next_step)) => Err(ArchiveError::Foreign { path: path.to_owned(), what, next_step }),
        None => Ok(found.len()),
    }
}

/// Counts what is read.
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
