//! Reads the rules directory: a snapshot of the campaign files, the modules that they name, and the
//! policies, taken when two readings agree.
//!
//! The bytes that are hashed here are the bytes that are compiled later; no file is read twice. No
//! file outside of the directory is read, whatever a path or a symbolic link names. A link that
//! stays inside the directory works, as in a Kubernetes `ConfigMap`.

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
use super::policies_file::POLICIES_FILE;
use crate::engine::{digest_of, shown};

/// Maximum of campaigns in a directory.
pub(super) const CAMPAIGNS_MAX: usize = 10_000;
pub(super) const ENTRIES_MAX: usize = 32 << 10;
const BYTES_MAX: usize = 256 << 20;
/// Maximum of readings; after that the files change too often for a snapshot.
const READINGS_MAX: usize = 8;
const BETWEEN_READINGS: Duration = Duration::from_millis(10);

/// The rules directory.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
    module_bytes_max: usize,
}

/// Why there is no snapshot.
#[derive(Debug)]
pub(super) enum SnapshotError {
    /// The directory does not exist.
    Missing,
    /// The directory cannot be read, or its contents exceed a limit.
    Unreadable(Problem),
}

/// The contents of one reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The campaign files, the bare modules, the modules that campaign files name, and the
    /// policies, by path relative to the rules directory.
    pub(super) files: BTreeMap<String, FileState>,
    /// Files whose names cannot be campaign names.
    pub(super) problems: Vec<Problem>,
}

/// A file's contents, or why they cannot be used.
#[derive(Clone, Debug)]
pub(super) enum FileState {
    File {
        bytes: Arc<[u8]>,
        digest: Arc<str>,
        written: Option<SystemTime>,
        /// The path after all symbolic links are resolved.
        place: PathBuf,
    },
    Missing,
    Unusable {
        reason: String,
        hint: String,
    },
    /// The file may be incomplete.
    MaybePartial {
        reason: String,
        digest: Arc<str>,
    },
}

/// Two states are equal if the contents are equal, whatever the modification times are. So a file
/// that is touched all the time counts as stable.
impl PartialEq for FileState {
    fn eq(&self, other: &FileState) -> bool {
        self.kind_and_text() == other.kind_and_text()
    }
}

impl Eq for FileState {}

impl Directory {
    pub(super) fn new(path: PathBuf, module_bytes_max: usize) -> Directory {
        Directory { path, module_bytes_max }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a snapshot on which two readings agree. One reading is enough if it equals the
    /// snapshot with the signature `last`.
    pub(super) fn snapshot(&self, last: Option<Signature>) -> Result<Snapshot, SnapshotError> {
        let first = self.read()?;
        if last == Some(first.signature()) {
            return Ok(first);
        }
        let settled = settle(first, || self.read(), || std::thread::sleep(BETWEEN_READINGS))?;
        settled.ok_or_else(|| {
            let reason = "the files keep changing while they are read";
            SnapshotError::Unreadable(Problem::new(
                ".",
                None,
                reason,
                "write a file under another name and rename it",
            ))
        })
    }

    fn read(&self) -> Result<Snapshot, SnapshotError> {
        let root = fs::canonicalize(&self.path).map_err(snapshot_error)?;
        let mut snapshot = Snapshot::default();
        let mut total = 0;
        for name in self.names_at_top(&root, &mut snapshot.problems)? {
            let bytes_max = match &*name {
                POLICIES_FILE => hailer_policies::FILE_BYTES_MAX,
                name if name.ends_with(".toml") => CAMPAIGN_FILE_BYTES_MAX,
                _ => self.module_bytes_max,
            };
            let found = read_file(&root, &name, bytes_max);
            total += found.len();
            let module = match &found {
                FileState::File { bytes, .. }
                    if name.ends_with(".toml") && name != POLICIES_FILE =>
                {
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
                let reason =
                    format!("campaigns and modules together have more than {BYTES_MAX} bytes");
                let problem =
                    Problem::new(".", None, reason, "make modules smaller, or remove some");
                return Err(SnapshotError::Unreadable(problem));
            }
        }
        Ok(snapshot)
    }

    /// Names of the campaign files, the modules and the policies at the top of the directory,
    /// sorted. Hidden files belong to editors and to Kubernetes.
    fn names_at_top(
        &self,
        root: &Path,
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<String>, SnapshotError> {
        let (mut names, mut has_policies) = (Vec::new(), false);
        for (count, entry) in fs::read_dir(root).map_err(snapshot_error)?.enumerate() {
            let name = entry.map_err(snapshot_error)?.file_name();
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
            has_policies |= lossy == POLICIES_FILE;
            if names.len() > CAMPAIGNS_MAX + usize::from(has_policies) {
                return Err(too_many("campaigns", CAMPAIGNS_MAX));
            }
        }
        names.sort();
        Ok(names)
    }
}

/// A hash of a snapshot's contents, without modification times. Snapshots with equal signatures
/// need no new load.
pub(super) type Signature = [u8; blake3::OUT_LEN];

impl Snapshot {
    pub(super) fn signature(&self) -> Signature {
        let mut hasher = blake3::Hasher::new();
        for (path, found) in &self.files {
            let (kind, text) = found.kind_and_text();
            // The lengths come first, so different snapshots never hash the same bytes.
            hasher.update(&(path.len() as u64).to_le_bytes()).update(path.as_bytes());
            hasher
                .update(&[kind])
                .update(&(text.len() as u64).to_le_bytes())
                .update(text.as_bytes());
        }
        for problem in &self.problems {
            hasher.update(problem.file.as_bytes()).update(b"\0");
        }
        hasher.finalize().into()
    }
}

impl FileState {
    fn len(&self) -> usize {
        match self {
            FileState::File { bytes, .. } => bytes.len(),
            FileState::Missing | FileState::Unusable { .. } | FileState::MaybePartial { .. } => 0,
        }
    }

    fn kind_and_text(&self) -> (u8, &str) {
        match self {
            FileState::File { digest, .. } => (0, digest),
            FileState::Missing => (1, ""),
            FileState::Unusable { reason, .. } => (2, reason),
            FileState::MaybePartial { digest, .. } => (3, digest),
        }
    }
}

/// Reads until two consecutive readings agree; `None` if they never do.
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

fn read_file(root: &Path, path: &str, bytes_max: usize) -> FileState {
    match try_read_file(root, path, bytes_max) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileState::Missing,
        Err(error) => FileState::Unusable {
            reason: format!("cannot read it: {error}"),
            hint: "make it a regular file that the engine's user may read".into(),
        },
    }
}

fn try_read_file(root: &Path, path: &str, bytes_max: usize) -> io::Result<FileState> {
    let resolved = fs::canonicalize(root.join(path))?;
    if !resolved.starts_with(root) {
        return Ok(FileState::Unusable {
            reason: "a symbolic link leads out of the rules directory".into(),
            hint: "copy the file into the directory".into(),
        });
    }
    // Opening a named pipe must not block.
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
        let reason = format!("it has {size} bytes, the most is {bytes_max}");
        let hint = match path {
            POLICIES_FILE => "shorten it; comments count, too",
            path if path.ends_with(".toml") => "a campaign needs a few lines",
            _ => {
                "build with `hailer build`, which optimises and strips, or raise \
                 limits.module_bytes_max"
            }
        };
        return Ok(FileState::Unusable { reason, hint: hint.into() });
    }
    let digest = digest_of(&bytes);
    Ok(FileState::File {
        bytes: bytes.into(),
        digest,
        written: metadata.modified().ok(),
        place: resolved,
    })
}

fn snapshot_error(error: io::Error) -> SnapshotError {
    if error.kind() == io::ErrorKind::NotFound {
        return SnapshotError::Missing;
    }
    let reason = format!("cannot read the rules directory: {error}");
    SnapshotError::Unreadable(Problem::new(
        ".",
        None,
        reason,
        "make it a directory that the engine's user may read",
    ))
}

fn too_many(what: &str, max: usize) -> SnapshotError {
    let reason = format!("the rules directory has more than {max} {what}");
    SnapshotError::Unreadable(Problem::new(
        ".",
        None,
        reason,
        "remove some, or run a second engine",
    ))
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
    fn a_touched_file_counts_as_unchanged() {
        let found = |seconds| FileState::File {
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
    fn files_that_never_stop_changing_have_no_snapshot() {
        let mut reading = 0;
        let read = || {
            reading += 1;
            Ok::<_, Infallible>(reading)
        };
        assert_eq!(settle(0, read, || {}), Ok(None));
    }
}
