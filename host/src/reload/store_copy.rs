//! A copy of the ledger, and of the files that it names, in the engine's store. So a backup of the
//! store contains pauses, suspensions and rollbacks, and a restore on another host starts with
//! them.
//!
//! **The copy is of the last ledger that was written**: the ledger's own file is written first, and
//! has precedence if both exist.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use crate::store::{Changes, Store, StoreError, Table};

const LEDGER_KEY: &[u8] = b"rules/ledger";
/// Prefix of a file's keys; the file's digest and the part's number (four bytes) follow.
const FILES: &[u8] = b"rules/file/";
/// End of the range of all files' keys, exclusive.
const FILES_END: &[u8] = b"rules/file0";
const PART_BYTES: usize = 1 << 20;

/// The copy in a durable store.
#[derive(Debug)]
pub(super) struct StoreCopy {
    /// A weak reference: the pipeline closes the store at its end, and the owner of the rules
    /// directory may outlive it.
    store: Weak<dyn Store>,
    /// The number of parts of each file in the store, by digest.
    files: BTreeMap<String, u32>,
}

/// The ledger's bytes, and the files by digest.
pub(super) type Restored = (Vec<u8>, BTreeMap<String, Vec<u8>>);

impl StoreCopy {
    pub(super) fn open(store: &Arc<dyn Store>) -> Result<StoreCopy, StoreError> {
        let mut files = BTreeMap::new();
        visit(&**store, &mut |digest, part, _| {
            files.insert(digest.to_owned(), part + 1);
        })?;
        Ok(StoreCopy { store: Arc::downgrade(store), files })
    }

    /// Reads the copy of a restored store; `None` if the store contains no ledger.
    pub(super) fn restore(&self) -> Result<Option<Restored>, StoreError> {
        let store = self.store()?;
        let Some(ledger) = store.snapshot()?.get(Table::Meta, LEDGER_KEY)? else { return Ok(None) };
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        visit(&*store, &mut |digest, _, bytes| {
            files.entry(digest.to_owned()).or_default().extend_from_slice(bytes);
        })?;
        Ok(Some((ledger, files)))
    }

    /// Writes the ledger and those of its files that the store lacks; deletes files that it no
    /// longer names.
    pub(super) fn write(
        &mut self,
        ledger: &[u8],
        named: &BTreeSet<&str>,
        read: &dyn Fn(&str) -> io::Result<Arc<[u8]>>,
    ) -> io::Result<()> {
        let mut changes = Changes::new();
        changes.put(Table::Meta, LEDGER_KEY, ledger);
        let mut files = self.files.clone();
        files.retain(|digest, parts| {
            let stays = named.contains(&**digest);
            if !stays {
                (0..*parts).for_each(|part| changes.delete(Table::Meta, key(digest, part)));
            }
            stays
        });
        for digest in named.iter().filter(|digest| !self.files.contains_key(**digest)) {
            // A damaged file is reported where it is needed.
            let Ok(bytes) = read(digest) else { continue };
            let mut parts = 0;
            for part in bytes.chunks(PART_BYTES) {
                changes.put(Table::Meta, key(digest, parts), part);
                parts += 1;
            }
            files.insert((*digest).to_owned(), parts);
        }
        self.store().and_then(|store| store.commit(changes)).map_err(io::Error::other)?;
        self.files = files;
        Ok(())
    }

    fn store(&self) -> Result<Arc<dyn Store>, StoreError> {
        self.store.upgrade().ok_or(StoreError::Interrupted)
    }
}

fn key(digest: &str, part: u32) -> Vec<u8> {
    [FILES, digest.as_bytes(), &part.to_be_bytes()].concat()
}

/// Visits every part of every file, in order.
fn visit(store: &dyn Store, see: &mut dyn FnMut(&str, u32, &[u8])) -> Result<(), StoreError> {
    let mut is_broken = false;
    store.snapshot()?.range(Table::Meta, FILES, FILES_END, &mut |key, bytes| {
        let parts = key.strip_prefix(FILES).and_then(|rest| rest.split_last_chunk::<4>());
        let named = parts.and_then(|(digest, part)| {
            Some((std::str::from_utf8(digest).ok()?, u32::from_be_bytes(*part)))
        });
        match named {
            Some((digest, part)) => see(digest, part, bytes),
            None => is_broken = true,
        }
        if is_broken { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if is_broken {
        Err(StoreError::unreadable(Table::Meta, "a key that does not belong to a stored file"))
    } else {
        Ok(())
    }
}
