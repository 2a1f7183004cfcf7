//! The conditions of handlers, asked before a call is written: of a rule that does not care for an event that is all there is to pay.
//! What a condition means is the ABI's crate to say; here it meets a campaign's parameters and an event's fields.

use std::cell::Cell;
use std::sync::Arc;

use hailer_abi::guard::{Fields, Guard};

use super::campaign::CampaignSpec;
use super::purity::AdmissionError;
use super::ruleset::{Missing, Wanted};
use hailer_event::Projection;

/// One place for each handler of a campaign.
pub(crate) type Guards = Arc<[Option<Arc<Guard>>]>;

/// The guards of a campaign's handlers.
///
/// # Errors
/// When a condition does not fit the fields and the parameters. `read_manifest` refuses such conditions, and parameters are written by the
/// manifest's schema, so this is of a spec that neither has seen.
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

/// The fields that a handler wants of an event.
pub(super) struct Asked<'a> {
    pub(super) fields: &'a [Wanted],
    pub(super) projection: &'a Projection,
}

/// The same, and the first of them that is there and can't be used.
pub(super) struct Watched<'a> {
    pub(super) asked: Asked<'a>,
    pub(super) strict: bool,
    pub(super) unusable: Cell<Option<Missing>>,
}

impl Fields for Watched<'_> {
    fn field(&self, index: usize) -> Option<&[u8]> {
        let unusable = self.asked.fields.get(index).and_then(|wanted| self.asked.projection.unusable(wanted.slot));
        if unusable.is_some() && self.unusable.get().is_none() {
            self.unusable.set(Some(Missing { field: index, sub_field: None, unusable }));
        }
        self.asked.field(index)
    }

    fn is_unusable(&self, index: usize) -> bool {
        let wanted = self.asked.fields.get(index).filter(|_| self.strict);
        wanted.is_some_and(|wanted| wanted.unusable(self.asked.projection).is_some())
    }
}

impl Fields for Asked<'_> {
    #[inline]
    fn field(&self, index: usize) -> Option<&[u8]> {
        self.projection.get(self.fields.get(index)?.slot)
    }
}

#[cfg(test)]
mod tests;
