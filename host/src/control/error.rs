//! The errors of both sides of the control socket.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(
        "no engine answers on {}: start one with `hailer run`, or name its data directory with \
            --data", socket.display()
    )]
    NoEngine { socket: PathBuf },
    #[error("not allowed to connect to {}: run the command as the engine's user, or as a member \
        of its group", socket.display())]
    Forbidden { socket: PathBuf },
    #[error(
        "another engine runs in the data directory {}: stop it first, or use another directory \
            with --data",
        data.display()
    )]
    AnotherEngine { data: PathBuf },
    #[error(
        "the data directory {0} belongs to the user {owner}, and this process is the user {user}: \
            `chown {user} {0}`, run as the user {owner}, or use another directory with --data",
        data.display()
    )]
    ForeignDirectory { data: PathBuf, owner: u32, user: u32 },
    #[error(
        "users other than its owner can write to the data directory {0} (mode {mode:o}): `chmod \
            go-w {0}`, or use another directory with --data",
        data.display()
    )]
    OpenDirectory { data: PathBuf, mode: u32 },
    #[error("{} is not a socket: move it away, or choose another data directory with \
        --data", path.display())]
    NotASocket { path: PathBuf },
    #[error(
        "the path {} is too long for a socket ({bytes} bytes, at most {most}): choose a shorter \
            data directory with --data",
        path.display()
    )]
    PathTooLong { path: PathBuf, bytes: usize, most: usize },
    #[error("cannot use {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "cannot listen on `{listen}`: use another address with --listen, or an empty one to \
            listen nowhere"
    )]
    Listen { listen: String, source: std::io::Error },
    /// The reason that the engine gave.
    #[error("{0}")]
    Refused(String),
    #[error("the engine did not answer within {seconds} s: look at its log, then try again")]
    Timeout { seconds: u64 },
    #[error(
        "cannot read the engine's answer ({0}): check with `hailer --version` that command and \
            engine have the same version"
    )]
    Exchange(String),
}
