//! Reading the tree as of one commit. Each read checks the values and the order of the rows.

use std::sync::Arc;

use lsm_tree::{AbstractTree, Guard as _, KvPair, SeqNo};

use super::{Tree, row_key};
use crate::sealed::{SEAL_BYTES, unseal};
use crate::{Row, Snapshot, StoreError, Table, TableSize, Visit};

/// All rows as of one commit. Merges keep these rows until the snapshot is dropped.
pub(crate) struct TreeSnapshot {
    tree: Arc<Tree>,
    at: SeqNo,
}

impl TreeSnapshot {
    pub(super) fn new(tree: Arc<Tree>, at: SeqNo) -> TreeSnapshot {
        TreeSnapshot { tree, at }
    }

    /// Calls `visit` for every row of a table, even one with a key longer than allowed.
    pub(crate) fn all(&self, table: Table, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let end = [table.index() as u8 + 1];
        self.visit(table, row_key(table, &[]), end.to_vec(), visit)
    }

    pub(crate) fn sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        let size = |table: Table| {
            let (mut rows, mut bytes) = (0, 0);
            for row in self.tree.tree.range(
                row_key(table, &[])..vec![table.index() as u8 + 1],
                self.at,
                None,
            ) {
                let (key, sealed) = self.read(row)?;
                rows += 1;
                bytes += (key.len() - 1 + sealed.len().saturating_sub(SEAL_BYTES)) as u64;
            }
            Ok(TableSize { table, rows, bytes })
        };
        Table::ALL.into_iter().map(size).collect()
    }

    fn visit(
        &self,
        table: Table,
        from: Vec<u8>,
        to: Vec<u8>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let mut before: Option<lsm_tree::Slice> = None;
        for row in self.tree.tree.range(from..to, self.at, None) {
            let (row, sealed) = self.read(row)?;
            if before.is_some_and(|before| before >= row) {
                let reason = format!("table `{}` is out of order", table.name());
                return Err(StoreError::Damaged { file: self.tree.path.clone(), reason });
            }
            let key = &row[1..];
            if visit(key, &unseal(table, key, &sealed)?).is_break() {
                break;
            }
            before = Some(row);
        }
        Ok(())
    }

    fn read(&self, row: lsm_tree::IterGuardImpl) -> Result<KvPair, StoreError> {
        row.into_inner().map_err(|error| self.tree.failed(error))
    }
}

impl Snapshot for TreeSnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self
            .tree
            .tree
            .get(row_key(table, key), self.at)
            .map_err(|error| self.tree.failed(error))?;
        found.map(|sealed| Ok(unseal(table, key, &sealed)?.into_owned())).transpose()
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        self.visit(table, row_key(table, from), row_key(table, to), visit)
    }

    fn last(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Row>, StoreError> {
        if from >= to {
            return Ok(None);
        }
        let row = self
            .tree
            .tree
            .range(row_key(table, from)..row_key(table, to), self.at, None)
            .next_back();
        let Some(row) = row else { return Ok(None) };
        let (row, sealed) = self.read(row)?;
        let key = &row[1..];
        Ok(Some((key.to_vec(), unseal(table, key, &sealed)?.into_owned())))
    }
}

impl Drop for TreeSnapshot {
    fn drop(&mut self) {
        self.tree.close_snapshot(self.at);
    }
}
