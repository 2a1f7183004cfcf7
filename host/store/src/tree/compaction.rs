//! A merge of tables can be told to end: it has then done nothing, and what it wrote is removed at the next start.

use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lsm_tree::compaction::filter::Context;
use lsm_tree::compaction::{CompactionFilter, Factory, ItemAccessor, Verdict};

/// Looks at every row that is merged, keeps it, and fails once it is told to end.
pub(super) struct EndsEarly(pub(super) Arc<AtomicBool>);

impl Factory for EndsEarly {
    fn name(&self) -> &'static str {
        "ends-early"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(EndsEarly(Arc::clone(&self.0)))
    }
}

impl CompactionFilter for EndsEarly {
    fn filter_item(&mut self, _: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        if self.0.load(Ordering::Relaxed) { Err(Error::from(ErrorKind::Interrupted).into()) } else { Ok(Verdict::Keep) }
    }
}
