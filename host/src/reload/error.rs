//! What keeps the directory's owner from starting. Once it runs, everything that goes wrong is a [`Problem`] instead,
//! and what ran goes on.

use std::io;
use std::path::PathBuf;

use super::Problem;

/// The owner of the directory can't start.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("there is no rules directory `{}`; make it, or name another with --rules", path.display())]
    NoDirectory { path: PathBuf },
    #[error("{0}")]
    Directory(Problem),
    #[error("another engine uses `{}`; stop it, or name another data directory", path.display())]
    InUse { path: PathBuf },
    #[error("`{}` can't be used to keep campaigns: {error}; make it writable for this user alone", path.display())]
    Kept { path: PathBuf, error: io::Error },
    #[error(
        "`{}` is damaged ({reason}); restore it, or move it away to start from what the rules directory holds now",
        path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    /// What was asked of the campaigns that are kept can't be done.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(
        "campaigns that ran before are gone from `{}`: {}; put them back, or confirm with `hailer run --allow-removals`",
        path.display(), gone.join(", ")
    )]
    Removed { path: PathBuf, gone: Vec<String> },
    #[error("the system refused to tell of SIGHUP: {0}; check the process limits")]
    Signal(io::Error),
}
