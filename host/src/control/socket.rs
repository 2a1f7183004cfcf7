//! The socket and who owns it.
//!
//! **One engine a data directory**: whoever holds the lock on `engine.lock` is it. So a socket found beside an unlocked
//! lock is left over from a crash and may go; the lock itself goes with the process, however that ends.
//!
//! **A data directory belongs to the engine's user, and nobody else can replace what is in it.** Whoever could would
//! answer commands in the engine's place, and choose the code that it starts with.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;

use super::ControlError;
use super::connections::{Bounds, serve_until};
use super::server::{Context, router};

/// Owner and group, as the socket is for both; what is private inside is 0700 of its own.
pub const DATA_DIRECTORY_MODE: u32 = 0o750;
const SOCKET_MODE: u32 = 0o660;
const SOCKET_FILE: &str = "control.sock";
const LOCK_FILE: &str = "engine.lock";
/// What `sun_path` holds on Linux, without the closing zero; macOS holds four bytes less.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// A directory in which only owners rename and remove.
const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Commands are few and short, and none waits for its answer longer than `hailer` does.
const BOUNDS: Bounds = Bounds {
    connections_max: 32,
    head_timeout: Duration::from_secs(5),
    connection_timeout: CONNECTION_TIMEOUT,
    // A long command keeps its place: who may connect is decided by the file's permissions.
    yields_after: CONNECTION_TIMEOUT,
};
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(180);

/// The socket of the engine in a data directory.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    data.join(SOCKET_FILE)
}

/// Whether a data directory that is there may be used: it is our user's, and nobody else can replace what is in it.
///
/// # Errors
/// When it may not, or can't be looked at.
pub fn check_data_directory(data: &Path) -> Result<(), ControlError> {
    let metadata = std::fs::metadata(data).map_err(|source| ControlError::File { path: data.to_owned(), source })?;
    check_owner_and_mode(data, metadata.uid(), metadata.mode())
}

fn check_owner_and_mode(data: &Path, owner: u32, mode: u32) -> Result<(), ControlError> {
    let data = data.to_owned();
    let user = rustix::process::geteuid().as_raw();
    if owner != user {
        return Err(ControlError::ForeignDirectory { data, owner, user });
    }
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(ControlError::OpenDirectory { data, mode: mode & 0o7777 });
    }
    Ok(())
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
        check_data_directory(data)?;
        let lock = lock(data)?;
        remove_left_over(data, &path)?;
        let failed = |source| ControlError::File { path: path.clone(), source };
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(Control { path, listener: Some(listener), _lock: lock })
    }

    /// Answers commands until `shutdown` is done, whatever becomes of single connections.
    pub async fn serve(mut self, context: Context, shutdown: impl Future<Output = ()>) {
        let Some(listener) = self.listener.take() else { return };
        serve_until(listener, BOUNDS, router(context), shutdown).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_that_others_can_write_to_is_refused_with_the_command_that_mends_it() {
        let data = tempfile::tempdir().unwrap();
        for (mode, is_refused) in
            [(0o770, true), (0o702, true), (0o2775, true), (0o750, false), (0o2755, false), (0o1777, false)]
        {
            std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            match check_data_directory(data.path()) {
                Ok(()) => assert!(!is_refused, "{mode:o}"),
                Err(error) => {
                    let command = format!("chmod go-w {}", data.path().display());
                    assert!(is_refused && error.to_string().contains(&command), "{mode:o}: {error}");
                }
            }
        }
        std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Control::bind(data.path()), Err(ControlError::OpenDirectory { mode: 0o777, .. })));
        assert!(!data.path().join(LOCK_FILE).exists(), "nothing is written into a directory that is refused");
    }

    #[test]
    fn a_data_directory_of_somebody_else_is_refused() {
        let ours = rustix::process::geteuid().as_raw();
        let data = Path::new("data");
        check_owner_and_mode(data, ours, 0o750).unwrap();
        let error = check_owner_and_mode(data, ours + 1, 0o750).unwrap_err();
        assert!(
            matches!(error, ControlError::ForeignDirectory { owner, user, .. } if owner == ours + 1 && user == ours)
        );
    }
}
