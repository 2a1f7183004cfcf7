//! provisional
pub mod records;
use std::ops::ControlFlow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table { Meta, Customers, Timers, Seen, Outbox, Journal, Trail, Failures, Bodies, Redirects }
impl Table { pub fn name(self) -> &'static str { "x" } }
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("a row of {table} can't be read: {reason}")]
    Unreadable { table: &'static str, reason: String },
}
#[derive(Debug, Default)]
pub struct Changes { pub(crate) all: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>> }
impl Changes {
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) { self.all.insert((table, key), Some(value)); }
    pub fn delete(&mut self, table: Table, key: Vec<u8>) { self.all.insert((table, key), None); }
    pub fn append(&mut self, mut later: Changes) { self.all.append(&mut later.all); }
    pub fn is_empty(&self) -> bool { self.all.is_empty() }
}
pub trait Store: Send + Sync + std::fmt::Debug {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;
    fn commit(&self, changes: &Changes) -> Result<(), StoreError>;
}
pub trait Snapshot: Send {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    fn range(&self, table: Table, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<(), StoreError>;
}
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Arc<BTreeMap<(Table, Vec<u8>), Vec<u8>>>>);
struct MemSnap(Arc<BTreeMap<(Table, Vec<u8>), Vec<u8>>>);
impl Snapshot for MemSnap {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> { Ok(self.0.get(&(table, key.to_vec())).cloned()) }
    fn range(&self, table: Table, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<(), StoreError> {
        for ((_, k), v) in self.0.range((table, from.to_vec())..(table, to.to_vec())) { if visit(k, v).is_break() { break; } }
        Ok(())
    }
}
impl Store for MemoryStore {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> { Ok(Box::new(MemSnap(self.0.lock().expect("x").clone()))) }
    fn commit(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut g = self.0.lock().expect("x");
        let m = Arc::make_mut(&mut g);
        for (k, v) in &changes.all { match v { Some(v) => { m.insert(k.clone(), v.clone()); } None => { m.remove(k); } } }
        Ok(())
    }
}
