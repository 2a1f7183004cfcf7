//! The interfaces of a running engine for people and machines: commands over a Unix socket in its
//! data directory, and metrics and health over TCP.
//!
//! **Everything that changes the engine, or shows more than metrics and health, is available on the
//! socket only.** The permissions of its file decide who may connect. TCP shows no personal data
//! and changes nothing.

mod error;
mod protocol;

mod server;
mod socket;
mod store;

mod client;
mod connections;
mod http;

pub use client::Client;
pub use error::ControlError;
pub use http::{Http, Observed};
pub use protocol::{
    BackupRequest, BackupStatus, EngineStatus, PauseRequest, ReloadRequest, RollbackRequest,
};
pub use server::Context;
pub use socket::{Control, DATA_DIRECTORY_MODE, check_data_directory, socket_path};
pub use store::StoreQueries;

#[cfg(test)]
mod tests;
