//! The control socket, and the ownership of the data directory.
//!
//! **A data directory has one engine**: the process that holds the lock on `engine.lock`. A socket
//! beside an unlocked lock was left by a crash and may be removed. The operating system releases
//! the lock when the process ends, however it ends.
//!
//! **A data directory belongs to the engine's user, and no other user can replace what is in it.**
//! Such a user could answer commands instead of the engine, and choose the code with which it
//! starts.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;

use super::ControlError;
use super::connections::{Bounds, serve_until};
use super::server::{Context, router};

/// The mode of a new data directory: access for the owner and the group, because the socket is for
/// both. Private directories inside have the mode 0700.
pub const DATA_DIRECTORY_MODE: u32 = 0o750;
const SOCKET_MODE: u32 = 0o660;
const SOCKET_FILE: &str = "control.sock";
const LOCK_FILE: &str = "engine.lock";
/// The longest path of a socket, in bytes: `sun_path` on Linux without the closing zero; macOS has
/// four bytes less.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// The mode bit of a directory in which only the owner of a file can rename or remove it.
const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Bounds for commands, which are few and short. None waits longer for its answer than `hailer`
/// does.
const BOUNDS: Bounds = Bounds {
    connections_max: 32,
    head_timeout: Duration::from_secs(5),
    connection_timeout: CONNECTION_TIMEOUT,
    // A long command keeps its slot, because the permissions of the socket decide who may connect.
    yields_after: CONNECTION_TIMEOUT,
};
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(180);

/// The path of the control socket in a data directory.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    data.join(SOCKET_FILE)
}

/// Checks that an existing data directory may be used: it belongs to this user, and no other user
/// can replace what is in it.
///
/// # Errors
/// When it may not be used, or cannot be checked.
pub fn check_data_directory(data: &Path) -> Result<(), ControlError> {
    let metadata = std::fs::metadata(data)
        .map_err(|source| ControlError::File { path: data.to_owned(), source })?;
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

/// A data directory that this process has locked, and its socket. Dropping it removes the socket
/// and releases the lock.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: Option<UnixListener>,
    _lock: File,
}

impl Control {
    /// Locks the data directory, creates it if it is missing, and listens on the socket. Needs a
    /// Tokio runtime with I/O.
    ///
    /// # Errors
    /// When another engine has locked the directory, or its files cannot be created.
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
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(SOCKET_MODE))
            .map_err(failed)?;
        Ok(Control { path, listener: Some(listener), _lock: lock })
    }

    /// Answers commands until `shutdown` completes, also when single connections fail.
    pub async fn serve(mut self, context: Context, shutdown: impl Future<Output = ()>) {
        let Some(listener) = self.listener.take() else { return };
        serve_until(listener, BOUNDS, router(context), shutdown).await;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The lock is still held, so the socket belongs to this process. It may be gone already.
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
    // The lock says that no engine runs, but a network file system may not support locks, so the
    // socket is tried as well.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ControlError::AnotherEngine { data: data.to_owned() });
    }
    std::fs::remove_file(path)
        .map_err(|source| ControlError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_that_others_can_write_to_is_refused_with_the_chmod() {
        let data = tempfile::tempdir().unwrap();
        for (mode, is_refused) in [
            (0o770, true),
            (0o702, true),
            (0o2775, true),
            (0o750, false),
            (0o2755, false),
            (0o1777, false),
        ] {
            std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            match check_data_directory(data.path()) {
                Ok(()) => assert!(!is_refused, "{mode:o}"),
                Err(error) => {
                    let command = format!("chmod go-w {}", data.path().display());
                    assert!(
                        is_refused && error.to_string().contains(&command),
                        "{mode:o}: {error}"
                    );
                }
            }
        }
        std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            Control::bind(data.path()),
            Err(ControlError::OpenDirectory { mode: 0o777, .. })
        ));
        assert!(
            !data.path().join(LOCK_FILE).exists(),
            "nothing is written into a directory that is refused"
        );
    }

    #[test]
    fn a_data_directory_of_another_user_is_refused() {
        let ours = rustix::process::geteuid().as_raw();
        let data = Path::new("data");
        check_owner_and_mode(data, ours, 0o750).unwrap();
        let error = check_owner_and_mode(data, ours + 1, 0o750).unwrap_err();
        let ControlError::ForeignDirectory { owner, user, .. } = error else { panic!("{error}") };
        assert_eq!((owner, user), (ours + 1, ours));
    }
}
