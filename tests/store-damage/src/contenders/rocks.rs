//! RocksDB with its strictest settings: paranoid checks, a log recovery that tolerates only a torn
//! tail, logs tracked in the manifest, and checksums verified on read. In addition, each value has
//! a checksum of ours, and there is the end file.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{Result, Store, seal, unseal};
use crate::end_file::{self, EndFile};
use crate::rows::{Changes, META, PROGRESS, TABLES, progress_number};

const MEMTABLE_BYTES: usize = 64 << 10;

struct Rocks {
    db: DB,
    sync: WriteOptions,
    end: EndFile,
}

fn text(error: rocksdb::Error) -> String {
    format!("rocksdb: {error}")
}

pub(super) fn open(directory: &Path, create: bool) -> Result<Box<dyn Store>> {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(true);
    let cache = Cache::new_lru_cache(16 << 20);
    let families = TABLES.iter().map(|name| {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&cache);
        blocks.set_bloom_filter(10.0, false);
        let mut family = Options::default();
        family.set_paranoid_checks(true);
        family.set_block_based_table_factory(&blocks);
        family.set_compression_type(DBCompressionType::Lz4);
        family.set_write_buffer_size(MEMTABLE_BYTES);
        ColumnFamilyDescriptor::new(*name, family)
    });
    let default = ColumnFamilyDescriptor::new("default", Options::default());
    let db =
        DB::open_cf_descriptors(&options, directory, families.chain([default])).map_err(text)?;
    let mut sync = WriteOptions::default();
    sync.set_sync(true);
    let store = Rocks { db, sync, end: EndFile::open(directory)? };
    let last = store.get(META, PROGRESS)?.as_deref().and_then(progress_number).unwrap_or(0);
    if create {
        store.end.write(last)?;
    }
    match end_file::read(directory) {
        Some(acknowledged) if last < acknowledged => Err(format!(
            "commit {acknowledged} was acknowledged, and the store ends with commit {last}"
        )),
        _ => Ok(Box::new(store)),
    }
}

impl Rocks {
    fn family(&self, table: u8) -> Result<&rocksdb::ColumnFamily> {
        let name = TABLES[usize::from(table)];
        self.db.cf_handle(name).ok_or_else(|| format!("the column family `{name}` is missing"))
    }
}

impl Store for Rocks {
    fn commit(&mut self, number: u64, changes: &Changes) -> Result<()> {
        let mut batch = WriteBatch::default();
        for ((table, key), value) in changes {
            let family = self.family(*table)?;
            match value {
                Some(value) => batch.put_cf(family, key, seal(*table, key, value)),
                None => batch.delete_cf(family, key),
            }
        }
        self.db.write_opt(batch, &self.sync).map_err(text)?;
        self.end.write(number)
    }

    fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        let row = self.db.get_cf_opt(self.family(table)?, key, &options).map_err(text)?;
        row.map(|sealed| unseal(table, key, &sealed)).transpose()
    }

    fn all(&self, table: u8, visit: &mut dyn FnMut(&[u8], Vec<u8>)) -> Result<()> {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        for row in self.db.iterator_cf_opt(self.family(table)?, options, IteratorMode::Start) {
            let (key, sealed) = row.map_err(text)?;
            let value = unseal(table, &key, &sealed)?;
            visit(&key, value);
        }
        Ok(())
    }
}
