//! Reading the directory: a snapshot of campaign files and the modules that they name, taken when two readings agree.
//!
//! What is hashed here is what is compiled later: nothing is read twice. Nothing outside of the directory is read,
//! whatever a path or a symbolic link says; a link that stays inside, as a Kubernetes `ConfigMap` makes them, is fine.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use super::Problem;
use super::campaign_file::{CAMPAIGN_FILE_BYTES_MAX, module_named_in};
use crate::engine::{digest_of, shown};

/// The most campaigns of one directory.
pub(super) const CAMPAIGNS_MAX: usize = 1024;
const ENTRIES_MAX: usize = 16 << 10;
const BYTES_MAX: usize = 256 << 20;
/// Readings until one is given up because the files keep changing.
const READINGS_MAX: usize = 8;
const BETWEEN_READINGS: Duration = Duration::from_millis(10);

/// The directory of campaigns.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
    module_bytes_max: usize,
}

/// Why there is no snapshot.
#[derive(Debug)]
pub(super) enum Unread {
    /// The directory is not there.
    Vanished,
    /// It is there, or may be, and can't be read.
    Unreadable(Problem),
}

/// What one reading found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// By path from the root: every campaign file, every bare module, every module that a campaign file names.
    pub(super) files: BTreeMap<String, Found>,
    /// Files that can't be campaigns because of their names.
    pub(super) problems: Vec<Problem>,
}

/// One file, or why it is none.
#[derive(Clone, Debug)]
pub(super) enum Found {
    File {
        bytes: Arc<[u8]>,
        digest: Arc<str>,
        written: Option<SystemTime>,
        /// Where links lead.
        place: PathBuf,
    },
    Missing,
    Unusable {
        reason: String,
        hint: String,
    },
    /// It may not be whole yet.
    Unsettled {
        reason: String,
        digest: Arc<str>,
    },
}

/// What a file says counts, and not when it was written: a file that is touched all the time is whole.
impl PartialEq for Found {
    fn eq(&self, other: &Found) -> bool {
        self.kind_and_text() == other.kind_and_text()
    }
}

impl Eq for Found {}

impl Directory {
    pub(super) fn new(path: PathBuf, module_bytes_max: usize) -> Directory {
        Directory { path, module_bytes_max }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A snapshot that two readings agree on. One reading is enough if nothing differs from the `last` snapshot.
    pub(super) fn snapshot(&self, last: Option<Signature>) -> Result<Snapshot, Unread> {
        let first = self.read()?;
        if last == Some(first.signature()) {
            return Ok(first);
        }
        let settled = settle(first, || self.read(), || std::thread::sleep(BETWEEN_READINGS))?;
        settled.ok_or_else(|| {
            let reason = "the files keep changing while they are read";
            Unread::Unreadable(Problem::new(".", None, reason, "write a file under another name and rename it"))
        })
    }

    fn read(&self) -> Result<Snapshot, Unread> {
        let root = fs::canonicalize(&self.path).map_err(unread)?;
        let mut snapshot = Snapshot::default();
        let mut total = 0;
        for name in self.campaign_names(&root, &mut snapshot.problems)? {
            let bytes_max = if name.ends_with(".toml") { CAMPAIGN_FILE_BYTES_MAX } else { self.module_bytes_max };
            let found = read_file(&root, &name, bytes_max);
            total += found.len();
            let module = match &found {
                Found::File { bytes, .. } if name.ends_with(".toml") => {
                    std::str::from_utf8(bytes).ok().and_then(module_named_in)
                }
                _ => None,
            };
            snapshot.files.insert(name, found);
            if let Some(module) = module
                && !snapshot.files.contains_key(&module)
            {
                let found = read_file(&root, &module, self.module_bytes_max);
                total += found.len();
                snapshot.files.insert(module, found);
            }
            if total > BYTES_MAX {
                let reason = format!("campaigns and modules have more than {BYTES_MAX} bytes together");
                let problem = Problem::new(".", None, reason, "make modules smaller, or remove some");
                return Err(Unread::Unreadable(problem));
            }
        }
        Ok(snapshot)
    }

    /// The names at the top that make campaigns, in order. Hidden files belong to editors and to Kubernetes.
    fn campaign_names(&self, root: &Path, problems: &mut Vec<Problem>) -> Result<Vec<String>, Unread> {
        let mut names = Vec::new();
        for (count, entry) in fs::read_dir(root).map_err(unread)?.enumerate() {
            let name = entry.map_err(unread)?.file_name();
            if count >= ENTRIES_MAX {
                return Err(too_many("entries", ENTRIES_MAX));
            }
            let lossy = name.to_string_lossy();
            if lossy.starts_with('.') || !(lossy.ends_with(".toml") || lossy.ends_with(".wasm")) {
                continue;
            }
            match name.to_str() {
                Some(name) => names.push(name.to_owned()),
                None => problems.push(Problem::new(
                    shown(&lossy),
                    None,
                    "the file's name is not UTF-8",
                    "rename it to lower-case letters, digits, `-` and `_`",
                )),
            }
            if names.len() > CAMPAIGNS_MAX {
                return Err(too_many("campaigns", CAMPAIGNS_MAX));
            }
        }
        names.sort();
        Ok(names)
    }
}

/// What a snapshot says, without when it was written: equal signatures mean that nothing is to be done.
pub(super) type Signature = [u8; blake3::OUT_LEN];

impl Snapshot {
    pub(super) fn signature(&self) -> Signature {
        let mut hasher = blake3::Hasher::new();
        for (path, found) in &self.files {
            let (kind, text) = found.kind_and_text();
            // Lengths go first, so that no two snapshots are the same bytes.
            hasher.update(&(path.len() as u64).to_le_bytes()).update(path.as_bytes());
            hasher.update(&[kind]).update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        for problem in &self.problems {
            hasher.update(problem.file.as_bytes()).update(b"\0");
        }
        hasher.finalize().into()
    }
}

impl Found {
    fn len(&self) -> usize {
        match self {
            Found::File { bytes, .. } => bytes.len(),
            Found::Missing | Found::Unusable { .. } | Found::Unsettled { .. } => 0,
        }
    }

    fn kind_and_text(&self) -> (u8, &str) {
        match self {
            Found::File { digest, .. } => (0, digest),
            Found::Missing => (1, ""),
            Found::Unusable { reason, .. } => (2, reason),
            Found::Unsettled { digest, .. } => (3, digest),
        }
    }
}

/// Reads until two readings in a row agree; `None` if they never do.
fn settle<Reading: PartialEq, Failure>(
    mut last: Reading,
    mut read: impl FnMut() -> Result<Reading, Failure>,
    mut pause: impl FnMut(),
) -> Result<Option<Reading>, Failure> {
    for _ in 1..READINGS_MAX {
        pause();
        let next = read()?;
        if next == last {
            return Ok(Some(next));
        }
        last = next;
    }
    Ok(None)
}

fn read_file(root: &Path, path: &str, bytes_max: usize) -> Found {
    match try_read_file(root, path, bytes_max) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Missing,
        Err(error) => Found::Unusable {
            reason: format!("it can't be read: {error}"),
            hint: "make it a regular file that the engine's user may read".into(),
        },
    }
}

fn try_read_file(root: &Path, path: &str, bytes_max: usize) -> io::Result<Found> {
    let resolved = fs::canonicalize(root.join(path))?;
    if !resolved.starts_with(root) {
        return Ok(Found::Unusable {
            reason: "a symbolic link leads out of the rules directory".into(),
            hint: "copy the file into the directory".into(),
        });
    }
    // A pipe must not hold the reader up.
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&resolved)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let size = metadata.len().max(bytes.len() as u64);
        let (reason, hint) = if path.ends_with(".toml") {
            (format!("it has {size} bytes, the most is {bytes_max}"), "a campaign needs a few lines")
        } else {
            let hint = "build with `hailer build`, which optimises and strips, or raise limits.module_bytes_max";
            (format!("it has {size} bytes, the most is {bytes_max}"), hint)
        };
        return Ok(Found::Unusable { reason, hint: hint.into() });
    }
    let digest = digest_of(&bytes);
    Ok(Found::File { bytes: bytes.into(), digest, written: metadata.modified().ok(), place: resolved })
}

fn unread(error: io::Error) -> Unread {
    if error.kind() == io::ErrorKind::NotFound {
        return Unread::Vanished;
    }
    let reason = format!("the rules directory can't be read: {error}");
    Unread::Unreadable(Problem::new(".", None, reason, "make it a directory that the engine's user may read"))
}

fn too_many(what: &str, max: usize) -> Unread {
    let reason = format!("the rules directory has more than {max} {what}");
    Unread::Unreadable(Problem::new(".", None, reason, "remove some, or run a second engine"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_snapshot_is_taken_when_two_readings_agree() {
        let mut readings = [2, 3, 3, 4].into_iter();
        let read = || Ok::<_, Infallible>(readings.next().unwrap());
        assert_eq!(settle(1, read, || {}), Ok(Some(3)));
    }

    #[test]
    fn a_file_that_is_only_touched_is_no_other_file() {
        let found = |seconds| Found::File {
            bytes: b"text".as_slice().into(),
            digest: "digest".into(),
            written: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
            place: PathBuf::from("text"),
        };
        let mut touched = 0;
        let read = || {
            touched += 1;
            Ok::<_, Infallible>(found(touched))
        };
        assert!(settle(found(0), read, || {}).unwrap().is_some());
    }

    #[test]
    fn files_that_never_stop_changing_are_given_up() {
        let mut reading = 0;
        let read = || {
            reading += 1;
            Ok::<_, Infallible>(reading)
        };
        assert_eq!(settle(0, read, || {}), Ok(None));
    }
}
