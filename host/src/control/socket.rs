//! The socket and who owns it.
//!
//! **One engine a data directory**: whoever holds the lock on `engine.lock` is it. So a socket found beside an unlocked
//! lock is left over from a crash and may go; the lock itself goes with the process, however that ends.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::ControlError;
use super::connections::serve_until;
use super::server::{Context, router};

/// Owner and group, as the socket is for both; what is private inside is 0700 of its own.
pub const DATA_DIRECTORY_MODE: u32 = 0o750;
const SOCKET_MODE: u32 = 0o660;
const SOCKET_FILE: &str = "control.sock";
const LOCK_FILE: &str = "engine.lock";
/// What `sun_path` holds on Linux, without the closing zero; macOS holds four bytes less.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// Commands are few and short: more connections than this wait.
const CONNECTIONS_MAX: usize = 32;

/// The socket of the engine in a data directory.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    data.join(SOCKET_FILE)
}

/// A data directory that is ours, and its socket. Dropping it removes the socket and gives the directory up.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: Option<UnixListener>,
    _lock: File,
}

impl Control {
    /// Takes the data directory, makes it if it is missing, and listens. Needs a Tokio runtime with I/O.
    ///
    /// # Errors
    /// When another engine has the directory, or its files can't be made.
    pub fn bind(data: &Path) -> Result<Control, ControlError> {
        let path = socket_path(data);
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(ControlError::PathTooLong { path, bytes, most: SOCKET_PATH_BYTES_MAX });
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DATA_DIRECTORY_MODE)
            .create(data)
            .map_err(|source| ControlError::File { path: data.to_owned(), source })?;
        let lock = lock(data)?;
        remove_left_over(data, &path)?;
        let failed = |source| ControlError::File { path: path.clone(), source };
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(Control { path, listener: Some(listener), _lock: lock })
    }

    /// Answers commands until `shutdown` is done.
    ///
    /// # Errors
    /// When the socket can't be listened on any more.
    pub async fn serve(mut self, context: Context, shutdown: impl Future<Output = ()>) -> Result<(), ControlError> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        serve_until(listener, CONNECTIONS_MAX, router(context), shutdown)
            .await
            .map_err(|source| ControlError::Serve { source })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Still under the lock, so the socket is ours. If it is gone already, all the better.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn lock(data: &Path) -> Result<File, ControlError> {
    let path = data.join(LOCK_FILE);
    let failed = |source| ControlError::File { path: path.clone(), source };
    let lock = File::options().create(true).append(true).open(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(ControlError::AnotherEngine { data: data.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn remove_left_over(data: &Path, path: &Path) -> Result<(), ControlError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(ControlError::NotASocket { path: path.to_owned() });
    }
    // The lock says that nobody is there, but a network file system may not keep locks: ask as well.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ControlError::AnotherEngine { data: data.to_owned() });
    }
    std::fs::remove_file(path).map_err(|source| ControlError::File { path: path.to_owned(), source })
}
