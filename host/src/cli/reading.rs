//! Where the store is that a command is to look into: with the engine that runs, or in a directory that no process has open.
//!
//! A command never answers from another store than was meant: an engine is asked only if its store is the one that was named, or if none was.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::engine;
use super::settings::{Global, StoreFlags};
use crate::clock::Millis;
use crate::config::{Config, Purpose};
use crate::control::{Client, ControlError, EngineStatus};
use crate::store::{self, FileStore, Opening, StoreError};

/// Where to ask.
pub(super) enum Place {
    Engine(Client),
    /// Of an engine that is stopped: where its store is.
    Stopped(Box<Stopped>),
}

pub(super) struct Stopped {
    config: Config,
    pub(super) directory: PathBuf,
}

/// Finds the store.
pub(super) fn place(global: &Global, flags: &StoreFlags) -> anyhow::Result<Place> {
    let config = global.load(Purpose::Ask, &flags.settings())?.config;
    let named = config.store_dir();
    let client = Client::new(&config.data);
    let no_engine = match engine::wait(client.status())? {
        Ok(status) if named.as_ref().is_none_or(|named| is_of(&status, named)) => {
            flags.check_environment(&status.environment)?;
            return Ok(Place::Engine(client));
        }
        Ok(_) => None,
        Err(error @ ControlError::NoEngine { .. }) => Some(error),
        Err(error) => return Err(error.into()),
    };
    if let Some(directory) = named {
        return Ok(Place::Stopped(Box::new(Stopped { config, directory })));
    }
    // An engine of RabbitMQ that was told so by flags, and is stopped.
    let directory = config.default_store_dir();
    match no_engine {
        Some(error) if !store::is_there(&directory) => {
            bail!("{error}; or name the store of a stopped one with --store or --config")
        }
        _ => Ok(Place::Stopped(Box::new(Stopped { config, directory }))),
    }
}

/// Finds the store of a stopped engine, for what can't be done while one runs.
pub(super) fn stopped(global: &Global, flags: &StoreFlags, what: &str) -> anyhow::Result<Box<Stopped>> {
    match place(global, flags)? {
        Place::Stopped(stopped) => Ok(stopped),
        Place::Engine(_) => bail!(
            "{what} needs the store to itself, and an engine is running with it: {}",
            match what {
                "verifying" =>
                    "stop the engine, or make a copy with `hailer store backup DIR` and verify that with --store DIR",
                "exporting" =>
                    "stop the engine, or make a copy with `hailer store backup DIR` and export that with --store DIR",
                _ => "stop the engine first",
            }
        ),
    }
}

impl Stopped {
    /// Opens the store of a stopped engine. No row is changed.
    pub(super) fn open(&self) -> anyhow::Result<FileStore> {
        open(&self.config, &self.directory).map_err(explained)
    }

    /// For how long decisions are kept.
    pub(super) fn journal_ms(&self) -> Millis {
        self.config.store.journal_days as Millis * 86_400_000
    }
}

/// Opens a store that is there, as [`Stopped::open`] does.
pub(super) fn open(config: &Config, directory: &Path) -> Result<FileStore, StoreError> {
    let Config { environment, store, .. } = config;
    let opening = Opening { cache_bytes: store.cache_bytes, ..Opening::of(environment) };
    FileStore::open(directory, opening)
}

/// A command makes no store, so it needn't say how one is made.
pub(super) fn explained(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Missing { directory } => {
            let directory = directory.display();
            anyhow::anyhow!("there is no store in `{directory}`; name the engine's with --store, --data or --config")
        }
        error => error.into(),
    }
}

/// Whether the store of an engine is in this directory, by whatever path.
fn is_of(status: &EngineStatus, directory: &Path) -> bool {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    status.store.as_ref() == Some(&directory)
}
