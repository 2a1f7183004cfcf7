//! fjall 3: a keyspace for each table, and a batch with a synced journal for each commit. In
//! addition, each value has a checksum of ours, and there is the end file. With the guard, the
//! files are also checked before fjall opens them.

use std::path::Path;

use ::fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::guard::{self, Touched};
use super::{Result, Store, seal, unseal};
use crate::end_file::{self, EndFile};
use crate::rows::{Changes, META, PROGRESS, TABLES, progress_number};

/// The size at which a memtable is flushed, in bytes. It is small, so that a short run has many
/// flushes and compactions.
const MEMTABLE_BYTES: u64 = 64 << 10;

struct Fjall {
    keyspaces: Vec<Keyspace>,
    db: Database,
    end: EndFile,
    /// The last commit that changed each table; `None` without the guard.
    touched: Option<Touched>,
}

fn text(error: ::fjall::Error) -> String {
    format!("fjall: {error:?}")
}

pub(super) fn open(directory: &Path, create: bool, is_guarded: bool) -> Result<Box<dyn Store>> {
    if !create && !directory.join("version").exists() {
        return Err(format!(
            "there is no store in {}: the file `version` is missing",
            directory.display()
        ));
    }
    if is_guarded && !create {
        guard::check(directory)?;
    }
    let mut builder = Database::builder(directory)
        .cache_size(16 << 20)
        .max_journaling_size(256 << 20)
        .worker_threads(2);
    if is_guarded {
        builder = builder.journal_compression(CompressionType::None);
    }
    let db = builder.open().map_err(text)?;
    if !create && let Some(missing) = TABLES.iter().find(|name| !db.keyspace_exists(name)) {
        return Err(format!("the keyspace `{missing}` is missing"));
    }
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    let keyspaces: Vec<_> = TABLES
        .iter()
        .map(|name| db.keyspace(name, options).map_err(text))
        .collect::<Result<_>>()?;
    let progress = keyspaces[usize::from(META)].get(PROGRESS).map_err(text)?;
    let last = progress.as_deref().and_then(progress_number).unwrap_or(0);
    if let Some(acknowledged) = end_file::read(directory)
        && last < acknowledged
    {
        return Err(format!(
            "commit {acknowledged} was acknowledged, and the store ends with commit {last}"
        ));
    }
    let mut touched = None;
    if is_guarded {
        let row = keyspaces[usize::from(META)].get(guard::TOUCHED).map_err(text)?;
        let after = row.map_or(Ok(Touched::default()), |row| guard::after(&row))?;
        for ((keyspace, name), expected) in keyspaces.iter().zip(TABLES).zip(after) {
            let row = keyspace.get(guard::LAST).map_err(text)?;
            guard::check_last(name, row.as_deref(), expected, true)?;
        }
        touched = Some(after);
    }
    let end = EndFile::open(directory)?;
    if create {
        // fjall does not sync the directory in which it makes those of the keyspaces.
        super::sync_directory(&directory.join("keyspaces"))?;
        end.write(last)?;
        super::sync_directory(directory)?;
    }
    Ok(Box::new(Fjall { keyspaces, db, end, touched }))
}

impl Store for Fjall {
    fn commit(&mut self, number: u64, changes: &Changes) -> Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for ((table, key), value) in changes {
            let keyspace = &self.keyspaces[usize::from(*table)];
            match value {
                Some(value) => batch.insert(keyspace, &key[..], seal(*table, key, value)),
                None => batch.remove(keyspace, &key[..]),
            }
        }
        let mut after = self.touched;
        if let Some(touched) = &mut after {
            let before = *touched;
            for (table, _) in changes.keys() {
                touched[usize::from(*table)] = number;
            }
            for (keyspace, last) in
                self.keyspaces.iter().zip(*touched).filter(|(_, last)| *last == number)
            {
                batch.insert(keyspace, guard::LAST, last.to_be_bytes());
            }
            batch.insert(
                &self.keyspaces[usize::from(META)],
                guard::TOUCHED,
                guard::row(&before, touched),
            );
        }
        batch.commit().map_err(text)?;
        self.touched = after;
        self.end.write(number)
    }

    fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let row = self.keyspaces[usize::from(table)].get(key).map_err(text)?;
        row.map(|sealed| unseal(table, key, &sealed)).transpose()
    }

    fn all(&self, table: u8, visit: &mut dyn FnMut(&[u8], Vec<u8>)) -> Result<()> {
        for row in self.keyspaces[usize::from(table)].iter() {
            let (key, sealed) = row.into_inner().map_err(text)?;
            if !guard::is_own(&key) {
                let value = unseal(table, &key, &sealed)?;
                visit(&key, value);
            }
        }
        Ok(())
    }
}
