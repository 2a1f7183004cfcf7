//! The stores that are compared, behind one trait.

mod fjall;
mod ours;
#[cfg(feature = "rocksdb")]
mod rocks;

pub(crate) mod guard;

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::rows::Changes;

pub(crate) type Result<T> = std::result::Result<T, String>;

/// The contenders of this build, in the order in which they run.
pub(crate) const NAMES: &[&str] = &[
    "hailer",
    "fjall",
    "fjall+guard",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
];

/// A store under test.
pub(crate) trait Store {
    /// Makes all of the changes durable, or none. `number` is that of the commit.
    fn commit(&mut self, number: u64, changes: &Changes) -> Result<()>;

    /// Reads one row.
    fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Calls `visit` for every row of a table, in the order of the keys.
    fn all(&self, table: u8, visit: &mut dyn FnMut(&[u8], Vec<u8>)) -> Result<()>;
}

/// Opens the store of a directory. `create` allows a new store; without it a missing one is an
/// error.
pub(crate) fn open(name: &str, directory: &Path, create: bool) -> Result<Box<dyn Store>> {
    match name {
        "hailer" => ours::open(directory, create),
        "fjall" => fjall::open(directory, create, false),
        "fjall+guard" => fjall::open(directory, create, true),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => rocks::open(directory, create),
        _ => Err(format!("there is no contender `{name}`; there are {}", NAMES.join(", "))),
    }
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> Result<()> {
    let synced = std::fs::File::open(directory).and_then(|open| open.sync_all());
    synced.map_err(|error| format!("cannot sync {}: {error}", directory.display()))
}

/// Appends a checksum over table, key and value to a value.
fn seal(table: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(value.len() + 8);
    sealed.extend_from_slice(value);
    sealed.extend_from_slice(&checksum(table, key, value).to_le_bytes());
    sealed
}

/// Checks a sealed value and returns the value in it.
fn unseal(table: u8, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let damaged = || {
        format!(
            "a row of table {} is damaged: its checksum is wrong",
            crate::rows::TABLES[usize::from(table)]
        )
    };
    let (value, sum) = sealed.split_last_chunk().ok_or_else(damaged)?;
    if u64::from_le_bytes(*sum) == checksum(table, key, value) {
        Ok(value.to_vec())
    } else {
        Err(damaged())
    }
}

fn checksum(table: u8, key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64_with_seed(key, u64::from(table)))
}
