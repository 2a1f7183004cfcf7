//! The conditions of handlers (`#[when]`). A condition is evaluated before the call is written, so
//! an event that does not match costs nothing more. `hailer-abi` defines conditions; this module
//! evaluates them with the parameters of a campaign and the fields of an event.

use std::cell::Cell;
use std::sync::Arc;

use hailer_abi::guard::{Fields, Guard};

use super::campaign::CampaignSpec;
use super::purity::AdmissionError;
use super::ruleset::{FieldRead, Missing};
use hailer_event::Projection;

/// The guard of each handler of a campaign; `None` for a handler without a condition.
pub(crate) type Guards = Arc<[Option<Arc<Guard>>]>;

/// Makes the guards of a campaign's handlers.
///
/// # Errors
/// When a condition does not fit the fields and the parameters. `read_manifest` refuses such
/// conditions, and parameters are encoded after the manifest's schema. So this happens only with a
/// spec that did not pass both.
pub(super) fn guards_of(spec: &CampaignSpec) -> Result<Guards, AdmissionError> {
    let schema = &spec.manifest.params;
    let guards = spec.manifest.handlers.iter().map(|handler| {
        let Some(condition) = &handler.when else { return Ok(None) };
        let guard = Guard::new(condition, &handler.fields, schema, &spec.params);
        guard
            .map(|guard| Some(Arc::new(guard)))
            .ok_or_else(|| AdmissionError::Condition { handler: handler.name.clone() })
    });
    guards.collect()
}

/// The fields that a handler reads from an event.
pub(super) struct HandlerFields<'a> {
    pub(super) fields: &'a [FieldRead],
    pub(super) projection: &'a Projection,
}

/// Like [`HandlerFields`]; it also records the first field that the condition read and that is
/// present and unusable.
pub(super) struct TrackedFields<'a> {
    pub(super) handler: HandlerFields<'a>,
    pub(super) strict: bool,
    pub(super) unusable: Cell<Option<Missing>>,
}

impl Fields for TrackedFields<'_> {
    fn field(&self, index: usize) -> Option<&[u8]> {
        let unusable = self
            .handler
            .fields
            .get(index)
            .and_then(|read| self.handler.projection.unusable(read.slot));
        if unusable.is_some() && self.unusable.get().is_none() {
            self.unusable.set(Some(Missing { field: index, sub_field: None, unusable }));
        }
        self.handler.field(index)
    }

    fn is_unusable(&self, index: usize) -> bool {
        let read = self.handler.fields.get(index).filter(|_| self.strict);
        read.is_some_and(|read| read.unusable(self.handler.projection).is_some())
    }
}

impl Fields for HandlerFields<'_> {
    #[inline]
    fn field(&self, index: usize) -> Option<&[u8]> {
        self.projection.get(self.fields.get(index)?.slot)
    }
}

#[cfg(test)]
mod tests;
