//! A directory of our own: only this user can write it, and a file in it is whole or not there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

/// Marks files that were being written, so that what a crash leaves is found and removed.
const UNFINISHED: &str = ".unfinished-";

/// A directory that nobody else can write.
#[derive(Clone, Debug)]
pub(super) struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    /// Makes the directory if it is missing, refuses one that others can write, and removes what a crash left.
    pub(super) fn open(path: PathBuf) -> io::Result<PrivateDir> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let found = fs::symlink_metadata(&path)?;
        let refusal = if !found.is_dir() {
            Some("it is not a directory (a symbolic link is not followed)")
        } else if found.uid() != rustix::process::geteuid().as_raw() {
            Some("it belongs to another user")
        } else if found.mode() & 0o022 != 0 {
            Some("other users can write it; `chmod go-w` it if nothing in it is foreign")
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

    /// Where a file of this name is.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// An empty file (0600) that is removed unless it is finished.
    pub(super) fn unfinished(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.path)
    }

    /// Writes a file so that after a crash it is there whole, or as it was before.
    pub(super) fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let mut unfinished = self.unfinished()?;
        for part in parts {
            unfinished.write_all(part)?;
        }
        unfinished.as_file().sync_all()?;
        unfinished.persist(self.file(name)).map_err(|error| error.error)?;
        File::open(&self.path)?.sync_all()
    }

    /// Reads a file of at most `bytes_max`; `None` if it is not there. A link is not followed.
    pub(super) fn read(&self, name: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(self.file(name));
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > bytes_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than anything written there"));
        }
        Ok(Some(bytes))
    }

    /// The names of the files in it.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    /// Removes a file that nobody needs; that it stays is no more than wasted space.
    pub(super) fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.file(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %self.path.display(), name, %error, "a file that is not needed stays");
        }
    }
}
