//! Errors that keep the owner of the rules directory from starting. Once the owner runs, every
//! failure is a [`Problem`], and the accepted campaigns keep running.

use std::io;
use std::path::PathBuf;

use super::Problem;

/// Why the owner of the rules directory cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("there is no rules directory `{}`; create it, or name another with \
        --rules", path.display())]
    NoDirectory { path: PathBuf },
    #[error("{0}")]
    Directory(Problem),
    #[error("another engine uses `{}`; stop it, or name another data directory", path.display())]
    InUse { path: PathBuf },
    #[error("cannot keep campaigns in `{}`: {error}; make it writable for this user \
        alone", path.display())]
    Ledger { path: PathBuf, error: io::Error },
    #[error(
        "`{}` is damaged ({reason}); restore it, or move it away to start from what the rules \
            directory holds now",
        path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    /// A request about the ledger of a stopped engine was refused.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// `gone` has names of campaigns, and `policies.toml` if the policies are gone.
    #[error(
        "these ran before and are gone from `{}`: {}; put them back, or confirm with `hailer run \
            --allow-removals`",
        path.display(), gone.join(", ")
    )]
    Removed { path: PathBuf, gone: Vec<String> },
    /// The policies cannot be used, and there are no good ones to run with.
    #[error(
        "cannot use the policies in the rules directory `{}`, and there are no accepted ones to \
            run with; correct the file:{}",
        path.display(), listed(problems)
    )]
    Policies { path: PathBuf, problems: Vec<Problem> },
    /// The policies of a directory that no engine loads.
    #[error(
        "cannot use the policies in the rules directory `{}`; correct the file:{}",
        path.display(), listed(problems)
    )]
    UnusablePolicies { path: PathBuf, problems: Vec<Problem> },
    /// A policies file that a command names.
    #[error(
        "cannot use the policies in `{}`; correct the file:{}",
        path.display(), listed(problems)
    )]
    PoliciesFile { path: PathBuf, problems: Vec<Problem> },
    #[error(
        "cannot read the policies in `{}`: {error}; name another file, or make it readable for \
            this user",
        path.display()
    )]
    UnreadablePolicies { path: PathBuf, error: io::Error },
    #[error("cannot receive SIGHUP: {0}; check the process limits")]
    Signal(io::Error),
}

/// Each problem on a line of its own.
fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Why a load changed nothing and has no report.
#[derive(Debug)]
pub(super) enum LoadError {
    /// The ledger cannot be written.
    Ledger(io::Error),
    /// The first load has no good policies.
    Policies(Vec<Problem>),
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> LoadError {
        LoadError::Ledger(error)
    }
}
