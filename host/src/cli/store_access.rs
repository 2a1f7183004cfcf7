//! Access to the store for a command: through the running engine, or in a directory that no process
//! has open.
//!
//! A command never answers from a store other than the one that was named. It asks an engine only
//! if that engine has the named store, or if no store was named.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::engine;
use super::settings::{Global, StoreFlags};
use crate::clock::Millis;
use crate::config::{Config, Purpose};
use crate::control::{Client, ControlError, EngineStatus};
use crate::store::{self, FileStore, Opening, StoreError};

/// A command's access to the store: through the engine that runs on it, or directly.
pub(super) enum StoreAccess {
    Engine(Client),
    /// The store of a stopped engine.
    Stopped(Box<Stopped>),
}

pub(super) struct Stopped {
    config: Config,
    pub(super) directory: PathBuf,
}

/// Finds the store that the flags and the configuration name.
pub(super) fn store_access(global: &Global, flags: &StoreFlags) -> anyhow::Result<StoreAccess> {
    let config = global.load(Purpose::Ask, &flags.settings())?.config;
    let named = config.store_dir();
    let client = Client::new(&config.data);
    let no_engine = match engine::wait(client.status())? {
        Ok(status) if named.as_ref().is_none_or(|named| is_of(&status, named)) => {
            flags.check_environment(&status.environment)?;
            return Ok(StoreAccess::Engine(client));
        }
        Ok(_) => None,
        Err(error @ ControlError::NoEngine { .. }) => Some(error),
        Err(error) => return Err(error.into()),
    };
    if let Some(directory) = named {
        return Ok(StoreAccess::Stopped(Box::new(Stopped { config, directory })));
    }
    // The default directory: the store of a stopped engine that consumed RabbitMQ as its flags
    // said.
    let directory = config.default_store_dir();
    match no_engine {
        Some(error) if !store::is_there(&directory) => {
            bail!("{error}; or name the store of a stopped engine with --store or --config")
        }
        _ => Ok(StoreAccess::Stopped(Box::new(Stopped { config, directory }))),
    }
}

/// Finds the store of a stopped engine, for a command that cannot run beside an engine.
pub(super) fn stopped(
    global: &Global,
    flags: &StoreFlags,
    what: &str,
) -> anyhow::Result<Box<Stopped>> {
    match store_access(global, flags)? {
        StoreAccess::Stopped(stopped) => Ok(stopped),
        StoreAccess::Engine(_) => bail!(
            "{what} needs exclusive access to the store, and an engine has it open: {}",
            match what {
                "verifying" =>
                    "stop the engine, or copy the store with `hailer store backup DIR` and verify \
                        the copy with --store DIR",
                "exporting" =>
                    "stop the engine, or copy the store with `hailer store backup DIR` and export \
                        the copy with --store DIR",
                _ => "stop the engine first",
            }
        ),
    }
}

impl Stopped {
    /// Opens the store of a stopped engine. Opening changes no row.
    pub(super) fn open(&self) -> anyhow::Result<FileStore> {
        open(&self.config, &self.directory).map_err(explain)
    }

    /// The time for which the journal keeps decisions, in milliseconds.
    pub(super) fn journal_ms(&self) -> Millis {
        self.config.store.journal_days as Millis * 86_400_000
    }
}

/// Opens an existing store, as [`Stopped::open`] does.
pub(super) fn open(config: &Config, directory: &Path) -> Result<FileStore, StoreError> {
    let Config { environment, store, .. } = config;
    let opening = Opening { cache_bytes: store.cache_bytes, ..Opening::of(environment) };
    FileStore::open(directory, opening)
}

/// Explains an error of opening a store. A command creates no store, so its text does not say how
/// to create one.
pub(super) fn explain(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Missing { directory } => {
            let directory = directory.display();
            anyhow::anyhow!(
                "there is no store in `{directory}`; name the engine's store with --store, --data \
                    or --config"
            )
        }
        error => error.into(),
    }
}

/// Whether an engine's store is in this directory. Links in the path are resolved.
fn is_of(status: &EngineStatus, directory: &Path) -> bool {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    status.store.as_ref() == Some(&directory)
}
