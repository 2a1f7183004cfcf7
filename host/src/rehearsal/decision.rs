//! Decisions among each other: which comes first, and how much they take.

use std::cmp::Ordering;

use super::Decision;
use crate::records::{Cause, Decided};

impl Decision {
    /// About how much memory it takes, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        let sent = self.communications.iter().map(|sent| sent.body.len());
        let said = self.lines.iter().map(|(_, line)| line.text.len());
        let outcomes = self.outcomes.iter().map(|outcome| match &outcome.decided {
            Decided::Answered { communications, notes, .. } => {
                size_of_val(&communications[..]) + notes.iter().map(|note| note.len()).sum::<usize>()
            }
            Decided::Failed { error } => error.len(),
            Decided::Skipped { .. } | Decided::Held | Decided::OutsideRollout | Decided::Missed { .. } => 0,
        });
        size_of::<Decision>() + sent.chain(said).chain(outcomes).sum::<usize>()
    }

    /// Which of two comes first, whichever rehearsals decided them.
    #[must_use]
    pub fn in_order(&self, other: &Decision) -> Ordering {
        (self.now, self.turn).cmp(&(other.now, other.turn)).then_with(|| match (&self.cause, &other.cause) {
            (
                Cause::Timer { campaign, name, due },
                Cause::Timer { campaign: other_campaign, name: other_name, due: other_due },
            ) => (due, self.customer, campaign, name).cmp(&(other_due, other.customer, other_campaign, other_name)),
            _ => self.number.cmp(&other.number),
        })
    }
}
