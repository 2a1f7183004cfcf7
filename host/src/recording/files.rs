//! The directory of a recording: names of its files, and their retention.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::Access;

use crate::clock::Millis;

const PREFIX: &str = "events-";
const ENDING: &str = ".jsonl.zst";
/// File names that are read in a directory; an engine writes only the last kind.
const ENDINGS: [&str; 3] = [".jsonl", ".jsonl.gz", ENDING];

/// Maximum of names that are tried for files that begin within one millisecond.
const NAMES_MAX: Millis = 1000;

/// Creates the directory if it is missing. Refuses a directory that other users can access, because
/// its contents are personal.
pub(super) fn open_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    may_be_used(directory, &fs::metadata(directory)?)
}

/// Checks a directory as [`open_directory`] does, without changes. Returns whether it exists.
pub(super) fn look_at_directory(directory: &Path) -> io::Result<bool> {
    let found = match fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    if !found.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    may_be_used(directory, &found)?;
    rustix::fs::access(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(true)
}

fn may_be_used(directory: &Path, found: &fs::Metadata) -> io::Result<()> {
    let refusal = if found.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user".to_owned()
    } else if found.mode() & 0o077 != 0 {
        format!(
            "other users can access it, and recordings are personal: run `chmod 700 {}`, or \
             name another directory",
            directory.display()
        )
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal))
}

/// Creates the next file, readable only by its owner. Its name sorts after all existing names.
pub(super) fn create(directory: &Path, now: Millis) -> io::Result<(PathBuf, File)> {
    let last = names(directory)?.pop();
    for now in now..now + NAMES_MAX {
        let at = jiff::Timestamp::from_millisecond(now).map_err(io::Error::other)?;
        let name = format!("{PREFIX}{}{ENDING}", at.strftime("%Y%m%dT%H%M%S.%3fZ"));
        // A clock that was set back must not sort a later file before an earlier one.
        if last.as_ref().is_some_and(|last| name <= *last) {
            continue;
        }
        let path = directory.join(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (path, file)),
        }
    }
    let last = last.unwrap_or_default();
    Err(io::Error::other(format!(
        "the clock is behind {last}; set it right, or move that file elsewhere"
    )))
}

/// Deletes files older than `days`, and the oldest files beyond `bytes_max`, but never `current`.
/// Returns the number of deleted files.
pub(super) fn sweep(
    directory: &Path,
    current: Option<&Path>,
    now: Millis,
    days: u64,
    bytes_max: u64,
) -> io::Result<usize> {
    let mut files = Vec::new();
    for name in names(directory)? {
        let path = directory.join(name);
        let found = fs::metadata(&path)?;
        let written = found
            .modified()?
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as Millis);
        files.push((path, found.len(), written));
    }
    let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    let oldest = now.saturating_sub(days as Millis * 86_400_000);
    let mut removed = 0;
    for (path, file_bytes, written) in files {
        if (written < oldest || bytes > bytes_max) && current != Some(&*path) {
            fs::remove_file(&path)?;
            bytes -= file_bytes;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Names of the engine's own files, the oldest first.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = all_names(directory)?;
    names.retain(|name| name.starts_with(PREFIX) && name.ends_with(ENDING));
    Ok(names)
}

/// The files of a directory that can be read as events, by name.
pub(super) fn readable(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = all_names(directory)?;
    names.retain(|name| ENDINGS.iter().any(|ending| name.ends_with(ending)));
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

fn all_names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        // An engine's own names are UTF-8, so other names are skipped.
        names.extend(entry?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}
