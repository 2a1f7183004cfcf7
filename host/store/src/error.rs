//! The errors of a store. Each one names the file, the cause and the next step. None contains a key
//! or a value.

use std::io;
use std::path::PathBuf;

use super::Table;

/// A store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "there is no store in `{}`: a lost volume is not a first start; mount it, restore a \
         backup, or pass --create-store for a first start",
        directory.display()
    )]
    Missing { directory: PathBuf },
    #[error(
        "`{}` is already in use by another engine or command; stop it, or name another data \
         directory",
        file.display()
    )]
    InUse { file: PathBuf },
    #[error(
        "`{}` is not a store of hailer ({reason}); name another data directory, or move the file \
         away",
        file.display()
    )]
    NotAStore { file: PathBuf, reason: String },
    #[error(
        "`{}` has store format {found}, and this version of hailer reads format {known} only; run \
         the version of hailer that wrote it, or name another data directory",
        file.display()
    )]
    OtherFormat { file: PathBuf, found: u32, known: u32 },
    #[error(
        "`{}` is missing, and the log beside it has acknowledged events; put it back, or restore \
         a backup",
        directory.display()
    )]
    TreeMissing { directory: PathBuf },
    #[error(
        "`{}` belongs to the environment `{found}`, and this engine to `{wanted}`; correct \
         `environment`, or name the data directory of `{wanted}`",
        file.display()
    )]
    Environment { file: PathBuf, found: String, wanted: String },
    #[error(
        "`{}` is missing, and it has acknowledged events; put it back beside the tree, or restore \
         a backup",
        file.display()
    )]
    LogMissing { file: PathBuf },
    #[error(
        "`{}` is not the log of the store beside it; put the store's own log back, or restore a \
         backup",
        file.display()
    )]
    LogOfAnother { file: PathBuf },
    #[error(
        "`{}` has been cut off: it has {bytes} bytes of {bytes_expected}; restore a backup",
        file.display()
    )]
    Truncated { file: PathBuf, bytes: u64, bytes_expected: u64 },
    #[error("`{}` is damaged ({reason}); restore a backup", file.display())]
    Damaged { file: PathBuf, reason: String },
    #[error(
        "the row with key hash {key_hash:016x} of table `{table}` is damaged; run `hailer store \
         verify`, and restore a backup"
    )]
    DamagedRow { table: &'static str, key_hash: u64 },
    #[error(
        "there is no space left for `{}` ({reason}); make room, and start again",
        file.display()
    )]
    Full { file: PathBuf, reason: String },
    #[error(
        "cannot use `{}`: {error}; check that this user can read and write it, and that the disk \
         works",
        path.display()
    )]
    Io { path: PathBuf, error: io::Error },
    #[error("cannot write `{}`: {reason}; check the disk, and start again", file.display())]
    Write { file: PathBuf, reason: String },
    #[error("`{}` accepts no more commits ({reason}); start the engine again", file.display())]
    Closed { file: PathBuf, reason: String },
    #[error(
        "cannot write committed rows to tables: {reason}; the log has all of them: check the \
         disk, and start again"
    )]
    Flush { reason: String },
    #[error("`{}` already exists; name a path that does not exist", path.display())]
    Exists { path: PathBuf },
    #[error("cannot import `{}`: line {line} {problem}; {next_step}", file.display())]
    Import { file: PathBuf, line: u64, problem: String, next_step: &'static str },
    #[error(
        "a {part} of {bytes} bytes is more than the {bytes_max} that table `{table}` takes; \
         nothing was committed"
    )]
    TooLarge { table: &'static str, part: &'static str, bytes: usize, bytes_max: usize },
    #[error("a commit may not change the identity row of the store; nothing was committed")]
    Reserved,
    #[error(
        "cannot read a row of table `{table}`: {reason}; run the version of hailer that wrote it, \
         or restore a backup"
    )]
    Unreadable { table: &'static str, reason: String },
    #[error("a task of the store stopped unexpectedly")]
    Interrupted,
}

impl StoreError {
    /// The error for a row with a valid checksum that this version cannot decode.
    #[must_use]
    pub fn unreadable(table: Table, reason: &str) -> StoreError {
        StoreError::Unreadable { table: table.name(), reason: reason.to_owned() }
    }
}
