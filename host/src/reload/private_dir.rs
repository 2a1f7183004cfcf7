//! A private directory: only this user can write it, and a file in it is complete or absent.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

/// Prefix of files that are being written; what a crash leaves behind is found by it and removed.
const UNFINISHED: &str = ".unfinished-";

/// A directory that only this user can write.
#[derive(Clone, Debug)]
pub(super) struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    /// Creates the directory if it is missing, refuses one that other users can write, and removes
    /// unfinished files of a crash.
    pub(super) fn open(path: PathBuf) -> io::Result<PrivateDir> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let found = fs::symlink_metadata(&path)?;
        let refusal = if !found.is_dir() {
            Some("it is not a directory (a symbolic link is not followed)")
        } else if found.uid() != rustix::process::geteuid().as_raw() {
            Some("it belongs to another user")
        } else if found.mode() & 0o022 != 0 {
            Some("other users can write it; run `chmod go-w` on it if nothing in it is foreign")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal));
        }
        let directory = PrivateDir { path };
        for name in directory.names()? {
            if name.starts_with(UNFINISHED) {
                directory.remove(&name);
            }
        }
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file with this name.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Creates an empty file (mode 0600) that is removed unless it is finished.
    pub(super) fn unfinished(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.path)
    }

    /// Writes a file atomically: after a crash it has either its new or its old contents.
    pub(super) fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let mut unfinished = self.unfinished()?;
        for part in parts {
            unfinished.write_all(part)?;
        }
        unfinished.as_file().sync_all()?;
        unfinished.persist(self.file(name)).map_err(|error| error.error)?;
        File::open(&self.path)?.sync_all()
    }

    /// Reads a file of at most `bytes_max` bytes; `None` if it does not exist. A link is not
    /// followed.
    pub(super) fn read(&self, name: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened =
            OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(self.file(name));
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it is larger than any file that hailer writes there",
            ));
        }
        Ok(Some(bytes))
    }

    /// The names of the directory's entries.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    /// Removes a file that is not needed. A failure only wastes space, and is logged.
    pub(super) fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.file(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %self.path.display(), name, %error, "cannot remove a file \
                that is not needed any more");
        }
    }
}
