//! Hailer's own store: a write-ahead log before a tree of lsm-tree.

use std::ops::ControlFlow;
use std::path::Path;

use hailer_store::{FileStore, Opening, Snapshot, Store as _, Table};

use super::{Result, Store};
use crate::rows::Changes;

/// A small log, so that a short run flushes and merges many tables.
const LOG_BYTES: usize = 1 << 20;

struct Ours {
    store: FileStore,
}

pub(super) fn open(directory: &Path, create: bool) -> Result<Box<dyn Store>> {
    let opening = Opening { create, log_bytes: LOG_BYTES, ..Opening::of("damage") };
    let store = FileStore::open(directory, opening).map_err(|error| error.to_string())?;
    Ok(Box::new(Ours { store }))
}

impl Ours {
    fn view(&self) -> Result<Box<dyn Snapshot>> {
        self.store.snapshot().map_err(|error| error.to_string())
    }
}

fn table(number: u8) -> Table {
    Table::ALL[usize::from(number)]
}

impl Store for Ours {
    fn commit(&mut self, _: u64, changes: &Changes) -> Result<()> {
        let mut all = hailer_store::Changes::new();
        for ((number, key), value) in changes {
            match value {
                Some(value) => all.put(table(*number), &key[..], &value[..]),
                None => all.delete(table(*number), &key[..]),
            }
        }
        self.store.commit(all).map_err(|error| error.to_string())
    }

    fn get(&self, number: u8, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.view()?.get(table(number), key).map_err(|error| error.to_string())
    }

    fn all(&self, number: u8, visit: &mut dyn FnMut(&[u8], Vec<u8>)) -> Result<()> {
        let mut show = |key: &[u8], value: &[u8]| {
            // The identity row belongs to the store itself.
            if number != crate::rows::META || key != b"store" {
                visit(key, value.to_vec());
            }
            ControlFlow::Continue(())
        };
        self.view()?
            .range(table(number), &[], &[0xff; 64], &mut show)
            .map_err(|error| error.to_string())
    }
}
