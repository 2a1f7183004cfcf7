//! The order of decisions, and their size in memory.

use std::cmp::Ordering;

use super::Decision;
use crate::records::{Cause, Decided};
use hailer_base::clock::Millis;
use hailer_event::CustomerKey;

impl Decision {
    /// The approximate size of the decision in memory, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        let sent = self.communications.iter().map(|sent| sent.body.len());
        let said = self.lines.iter().map(|(_, line)| line.text.len());
        let outcomes = self.outcomes.iter().map(|outcome| match &outcome.decided {
            Decided::Answered { communications, notes, .. } => {
                size_of_val(&communications[..])
                    + notes.iter().map(|note| note.len()).sum::<usize>()
            }
            Decided::Released { communications } => size_of_val(&communications[..]),
            Decided::Failed { error } => error.len(),
            Decided::Skipped { .. }
            | Decided::Held
            | Decided::OutsideRollout
            | Decided::Missed { .. } => 0,
        });
        size_of::<Decision>() + sent.chain(said).chain(outcomes).sum::<usize>()
    }

    /// Compares two decisions by their place in the run. The result does not depend on which dry
    /// runs decided them.
    #[must_use]
    pub fn in_order(&self, other: &Decision) -> Ordering {
        (self.now, self.turn)
            .cmp(&(other.now, other.turn))
            .then_with(|| (self.number, self.timer_key()).cmp(&(other.number, other.timer_key())))
    }

    /// The order of timers and releases of one time, as the index of timers has it; `None` for an
    /// event.
    fn timer_key(&self) -> Option<(Millis, Option<CustomerKey>, &str, &str)> {
        match &self.cause {
            Cause::Event { .. } => None,
            Cause::Timer { campaign, name, due } => Some((*due, self.customer, campaign, name)),
            Cause::Release { due } => Some((*due, self.customer, "", "")),
        }
    }
}
