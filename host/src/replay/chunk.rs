//! The work of one step: the events of a chunk of lines, and the time to which the clock moves.

use std::sync::Arc;

use crate::clock::Millis;
use crate::dry_run::Arrived;

#[derive(Debug, Default)]
pub(super) struct Work {
    /// The same events for each rule set.
    pub(super) events: Vec<Vec<Arrived>>,
    /// Timers fire up to this time.
    pub(super) until: Millis,
    /// Number of the first event.
    pub(super) first: u64,
    /// File and line of each event.
    pub(super) places: Vec<(Arc<str>, u64)>,
    /// Decisions before this time are not counted.
    pub(super) counts_from: Millis,
}

impl Work {
    /// The place of an event: `events.jsonl:17`.
    pub(super) fn place_of(&self, number: u64) -> String {
        let place = usize::try_from(number.wrapping_sub(self.first))
            .ok()
            .and_then(|at| self.places.get(at));
        place.map(|(file, line)| format!("{file}:{line}")).unwrap_or_default()
    }
}
