//! Reading the file as of one commit. Every value is checked, and so is the order of the rows: a damaged key that leads
//! in circles is an error and not an endless answer.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use ::redb::{AccessGuard, Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata};

use super::definition;
use super::open::{failed, guarded};
use crate::store::checksum::{SEAL_BYTES, unseal};
use crate::store::{Row, Snapshot, StoreError, Table, TableSize, Visit};

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;
type Guards = (AccessGuard<'static, &'static [u8]>, AccessGuard<'static, &'static [u8]>);

/// All tables as of one commit.
pub(super) struct View {
    file: Arc<Path>,
    tables: Vec<Rows>,
}

impl View {
    /// As of the last commit.
    pub(super) fn of(database: &Database, file: &Path) -> Result<View, StoreError> {
        let refused = |error| failed(file, error);
        let transaction = database.begin_read().map_err(|error| refused(error.into()))?;
        let table = |table| transaction.open_table(definition(table)).map_err(|error| refused(error.into()));
        Ok(View { file: file.into(), tables: Table::ALL.into_iter().map(table).collect::<Result<_, _>>()? })
    }

    pub(super) fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        guarded(&self.file, || {
            let sealed = self.tables[table.index()].get(key).map_err(|error| failed(&self.file, error.into()))?;
            sealed.map(|sealed| unseal(table, key, sealed.value()).map(<[u8]>::to_vec)).transpose()
        })
    }

    pub(super) fn rows(&self, table: Table) -> Result<u64, StoreError> {
        guarded(&self.file, || self.tables[table.index()].len().map_err(|error| failed(&self.file, error.into())))
    }

    pub(super) fn sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        let size = |table: Table| {
            let rows = self.rows(table)?;
            let statistics = guarded(&self.file, || {
                self.tables[table.index()].stats().map_err(|error| failed(&self.file, error.into()))
            })?;
            let bytes = statistics.stored_bytes().saturating_sub(rows * SEAL_BYTES as u64);
            Ok(TableSize { table, rows, bytes })
        };
        Table::ALL.into_iter().map(size).collect()
    }

    /// Every row of a table, whatever its key is.
    pub(super) fn all(&self, table: Table, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.visit(table, (Bound::Unbounded, Bound::Unbounded), visit)
    }

    fn visit(
        &self,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let mut rows = guarded(&self.file, || {
            self.tables[table.index()].range::<&[u8]>(bounds).map_err(|error| failed(&self.file, error.into()))
        })?;
        let mut before: Option<Guards> = None;
        while let Some((key, sealed)) = guarded(&self.file, || self.read(rows.next()))? {
            if before.is_some_and(|(before, _)| before.value() >= key.value()) {
                return Err(self.unordered(table));
            }
            let value = unseal(table, key.value(), sealed.value())?;
            if visit(key.value(), value).is_break() {
                break;
            }
            before = Some((key, sealed));
        }
        Ok(())
    }

    fn read(&self, row: Option<Result<Guards, ::redb::StorageError>>) -> Result<Option<Guards>, StoreError> {
        row.transpose().map_err(|error| failed(&self.file, error.into()))
    }

    fn unordered(&self, table: Table) -> StoreError {
        let reason = format!("table `{}` is out of order", table.name());
        StoreError::Damaged { file: self.file.to_path_buf(), reason }
    }
}

impl Snapshot for Arc<View> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.value(table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        self.visit(table, (Bound::Included(from), Bound::Excluded(to)), visit)
    }

    fn last(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Row>, StoreError> {
        if from >= to {
            return Ok(None);
        }
        let row = guarded(&self.file, || {
            let rows = self.tables[table.index()].range::<&[u8]>(from..to);
            self.read(rows.map_err(|error| failed(&self.file, error.into()))?.next_back())
        })?;
        let Some((key, sealed)) = row else { return Ok(None) };
        let value = unseal(table, key.value(), sealed.value())?.to_vec();
        Ok(Some((key.value().to_vec(), value)))
    }
}
