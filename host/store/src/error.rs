//! What goes wrong with a store. Each refusal names the file, says why, and shows the way out; none shows a key or a value.

use std::io;
use std::path::PathBuf;

use super::Table;

/// A store can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "there is no store in `{}`: a lost volume is not a first start; mount it, restore a backup, or pass --create-store \
         for a first start",
        directory.display()
    )]
    Missing { directory: PathBuf },
    #[error("`{}` is already in use by another engine or command; stop it, or name another data directory", file.display())]
    InUse { file: PathBuf },
    #[error("`{}` is not a store of hailer ({reason}); name another data directory, or move the file away", file.display())]
    NotAStore { file: PathBuf, reason: String },
    #[error(
        "`{}` is of format {found}, and this version of hailer reads up to {known}; run the version that wrote it, or a later \
         one",
        file.display()
    )]
    Newer { file: PathBuf, found: u32, known: u32 },
    #[error(
        "`{}` was written by an older version of hailer, which this one does not read: if that version has `hailer store export`, \
         export with it and `hailer store import` with this one; else run that version with it, or begin with another data \
         directory",
        file.display()
    )]
    OfOlderVersion { file: PathBuf },
    #[error(
        "`{}` is missing, and the log beside it has events that were acknowledged: put it back, or restore a backup",
        directory.display()
    )]
    TreeMissing { directory: PathBuf },
    #[error(
        "`{}` belongs to the environment `{found}`, and this engine is of `{wanted}`; correct `environment`, or name the \
         data directory of `{wanted}`",
        file.display()
    )]
    Environment { file: PathBuf, found: String, wanted: String },
    #[error(
        "`{}` is missing, and has events that were acknowledged: it belongs beside the tree; put it back, or restore a backup",
        file.display()
    )]
    LogMissing { file: PathBuf },
    #[error(
        "`{}` is not the log of the store beside it, which needs its own; put that back, or restore a backup",
        file.display()
    )]
    LogOfAnother { file: PathBuf },
    #[error("`{}` has been cut off: it has {bytes} bytes of {bytes_expected}; restore a backup", file.display())]
    Truncated { file: PathBuf, bytes: u64, bytes_expected: u64 },
    #[error("`{}` is damaged ({reason}); restore a backup", file.display())]
    Damaged { file: PathBuf, reason: String },
    #[error(
        "the row with key hash {key_hash:016x} of table `{table}` is damaged; see `hailer store verify`, and restore a backup"
    )]
    DamagedRow { table: &'static str, key_hash: u64 },
    #[error("there is no space left for `{}` ({reason}); make room, and start again", file.display())]
    Full { file: PathBuf, reason: String },
    #[error("`{}` can't be used: {error}; see that this user can read and write it, and that the disk is sound", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("`{}` could not be written ({reason}); see to the disk, and start again", file.display())]
    Write { file: PathBuf, reason: String },
    #[error("`{}` is closed ({reason}); open it again by starting the engine", file.display())]
    Closed { file: PathBuf, reason: String },
    #[error(
        "what was committed can't be written to tables ({reason}); nothing is lost: see to the disk, and start again"
    )]
    Behind { reason: String },
    #[error("`{}` is there already; name a place where nothing is", path.display())]
    Exists { path: PathBuf },
    #[error("cannot import `{}`: line {line} {problem}; {next_step}", file.display())]
    Import { file: PathBuf, line: u64, problem: String, next_step: &'static str },
    #[error("a {part} of {bytes} bytes is more than the {bytes_max} that table `{table}` takes; nothing was committed")]
    TooLarge { table: &'static str, part: &'static str, bytes: usize, bytes_max: usize },
    #[error("a commit may not change the rows that say which store this is; nothing was committed")]
    Reserved,
    #[error(
        "a row of table `{table}` can't be understood ({reason}); run the version that wrote it, or restore a backup"
    )]
    Unreadable { table: &'static str, reason: String },
    #[error("a task of the store stopped unexpectedly")]
    Interrupted,
}

impl StoreError {
    /// A row whose bytes are whole, and say nothing that this version knows.
    #[must_use]
    pub fn unreadable(table: Table, reason: &str) -> StoreError {
        StoreError::Unreadable { table: table.name(), reason: reason.to_owned() }
    }
}
