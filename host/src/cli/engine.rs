//! Requests to the running engine.

use super::settings::{Global, SettingFlags};
use crate::config::Purpose;
use crate::control::Client;

/// A client of the engine whose data directory the configuration names.
pub(super) fn client(global: &Global) -> anyhow::Result<Client> {
    let loaded = global.load(Purpose::Ask, &SettingFlags::default())?;
    Ok(Client::new(&loaded.config.data))
}

/// Waits for an answer on the calling thread; a command has nothing else to do.
pub(super) fn wait<T>(answer: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(answer))
}
