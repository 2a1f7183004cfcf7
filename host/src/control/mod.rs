//! How people and machines reach a running engine: commands over a Unix socket in its data directory, and metrics and
//! health over TCP.
//!
//! **What changes the engine, or says more than numbers, goes over the socket only**, whose file permissions decide who
//! may. What TCP shows holds no personal data and changes nothing.

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
pub use protocol::{BackupRequest, BackupStatus, EngineStatus, PauseRequest, ReloadRequest, RollbackRequest};
pub use server::Context;
pub use socket::{Control, DATA_DIRECTORY_MODE, check_data_directory, socket_path};
pub use store::StoreDoor;

#[cfg(test)]
mod tests;
