//! Events that have been decided, so that a copy is not decided again (G4).

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// What is known of one deduplication key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRow {
    /// The engine's connected time when it was last seen: rows expire by the time for which a source was there to send copies.
    pub connected_ms: Millis,
    /// For messages without an id: the number of the next occurrence.
    #[serde(default)]
    pub next: u64,
    /// Occurrences that a broken session may bring again.
    #[serde(default)]
    pub open: Vec<OpenOccurrence>,
}

/// An occurrence of an event without an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOccurrence {
    pub number: u64,
    /// The session that delivered it last.
    pub session: u64,
    /// When it was decided.
    pub decided_ms: Millis,
}
