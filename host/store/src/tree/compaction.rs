//! Cancelling a merge of tables. A cancelled merge changes nothing, and the next open removes the
//! files that it wrote.

use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lsm_tree::compaction::filter::Context;
use lsm_tree::compaction::{CompactionFilter, Factory, ItemAccessor, Verdict};

/// A compaction filter that keeps every row, and fails as soon as the flag is set.
pub(super) struct CancelFilter(pub(super) Arc<AtomicBool>);

impl Factory for CancelFilter {
    fn name(&self) -> &'static str {
        "ends-early"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(CancelFilter(Arc::clone(&self.0)))
    }
}

impl CompactionFilter for CancelFilter {
    fn filter_item(&mut self, _: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        if self.0.load(Ordering::Relaxed) {
            Err(Error::from(ErrorKind::Interrupted).into())
        } else {
            Ok(Verdict::Keep)
        }
    }
}
