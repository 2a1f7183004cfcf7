//! Imports consents into a running engine.

use std::sync::Arc;

use super::{RequestError, Requests};
use crate::consents::{self, ImportRequest, Imported, Step};
use crate::pipeline::group::Group;
use crate::pipeline::notice::ConsentSource;
use crate::pipeline::report::count_consent_changes;

impl Requests {
    /// Imports statements, step by step. Events are decided between two steps, and each sees the
    /// whole row before a step or after it.
    pub(super) async fn import(&self, request: ImportRequest) -> Result<Imported, RequestError> {
        let ImportRequest { statements, replaces_zones, dry_run } = request;
        let statements = Arc::new(statements);
        let mut imported = Imported::default();
        let mut from = 0;
        while from < statements.len() {
            // What is only counted may be counted beside events.
            let bytes = if dry_run { 0 } else { usize::MAX };
            let barrier = Arc::new(self.budget.take(bytes).await);
            let left = Arc::clone(&statements);
            let Step { changes, imported: more, taken, changed_consent } = self
                .read(move |store| {
                    consents::step(&*store.snapshot()?, &left[from..], replaces_zones)
                })
                .await?;
            if !dry_run && !changes.is_empty() {
                self.commit(Group { changes, ..Group::of_nobody() }, barrier).await?;
                count_consent_changes(ConsentSource::Import, changed_consent);
            }
            imported.add(more);
            from += taken;
        }
        Ok(imported)
    }
}
