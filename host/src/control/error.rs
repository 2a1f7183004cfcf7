//! What can go wrong on either side of the socket.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(
        "no engine answers on {}: start one with `hailer run`, or point --data at its data directory", socket.display()
    )]
    NoEngine { socket: PathBuf },
    #[error("may not connect to {}: run the command as the engine's user, or as a member of its group", socket.display())]
    Forbidden { socket: PathBuf },
    #[error(
        "another engine runs in the data directory {}: stop it first, or give this one its own with --data",
        data.display()
    )]
    AnotherEngine { data: PathBuf },
    #[error(
        "the data directory {0} belongs to the user {owner}, and this process is the user {user}: `chown {user} {0}`, run as the user {owner}, or choose another with --data",
        data.display()
    )]
    ForeignDirectory { data: PathBuf, owner: u32, user: u32 },
    #[error(
        "users other than its owner can write to the data directory {0} (mode {mode:o}): `chmod go-w {0}`, or choose another with --data",
        data.display()
    )]
    OpenDirectory { data: PathBuf, mode: u32 },
    #[error("{} is not a socket: move it away, or choose another data directory with --data", path.display())]
    NotASocket { path: PathBuf },
    #[error(
        "the path {} is too long for a socket ({bytes} bytes, at most {most}): choose a shorter data directory with --data",
        path.display()
    )]
    PathTooLong { path: PathBuf, bytes: usize, most: usize },
    #[error("can't use {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("can't listen on `{listen}`: choose another address with --listen, or an empty one to listen nowhere")]
    Listen { listen: String, source: std::io::Error },
    /// The engine's own words.
    #[error("{0}")]
    Refused(String),
    #[error("the engine did not answer within {seconds} s: look at its log, then try again")]
    Timeout { seconds: u64 },
    #[error("can't understand the engine's answer ({0}): are both of the same version? `hailer --version`")]
    Exchange(String),
}
