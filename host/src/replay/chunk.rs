//! What is decided together: the events of a chunk of lines, and the moment to which it brings the clock.

use std::sync::Arc;

use crate::clock::Millis;
use crate::rehearsal::Arrived;

#[derive(Debug, Default)]
pub(super) struct Work {
    /// For each side the same events.
    pub(super) events: Vec<Vec<Arrived>>,
    /// Up to when timers fire.
    pub(super) until: Millis,
    /// The number of the first line's event.
    pub(super) first: u64,
    /// Where each event stood.
    pub(super) places: Vec<(Arc<str>, u64)>,
    /// What happens before does not count.
    pub(super) counts_from: Millis,
}

impl Work {
    /// `events.jsonl:17`.
    pub(super) fn place_of(&self, number: u64) -> String {
        let place = usize::try_from(number.wrapping_sub(self.first)).ok().and_then(|at| self.places.get(at));
        place.map(|(file, line)| format!("{file}:{line}")).unwrap_or_default()
    }
}
