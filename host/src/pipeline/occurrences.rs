//! How often an event without an id has occurred. Two equal messages may be two events, so they are told apart by
//! counting; a copy that the broker says it has delivered before repeats the last one.
//!
//! The count lives in memory for now: across a restart, an unacknowledged event without an id may get the id of an
//! earlier equal one. Bounded: of more keys than fit, the oldest half is forgotten.

use std::collections::HashMap;

use crate::event::{DedupKey, EventId};

/// Keys in one generation; two generations are kept.
const GENERATION_KEYS_MAX: usize = 250_000;

/// Counts the occurrences of events without an id.
#[derive(Debug, Default)]
pub(super) struct Occurrences {
    young: HashMap<DedupKey, u64>,
    old: HashMap<DedupKey, u64>,
}

impl Occurrences {
    /// The id of an event that has just come in.
    pub(super) fn identify(&mut self, key: DedupKey, redelivered: bool) -> EventId {
        if key.has_id() {
            return key.event_id(0);
        }
        let seen = self.young.get(&key).or_else(|| self.old.get(&key)).copied();
        let occurrence = match seen {
            None => 0,
            Some(last) if redelivered => last,
            Some(last) => last + 1,
        };
        if self.young.len() >= GENERATION_KEYS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, occurrence);
        key.event_id(occurrence)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Event;

    fn key(body: &'static str, message_id: Option<&str>) -> DedupKey {
        Event::read(Bytes::from_static(body.as_bytes())).unwrap().dedup_key(message_id, None)
    }

    #[test]
    fn two_equal_messages_without_an_id_are_two_events_and_a_redelivered_copy_is_not() {
        let mut occurrences = Occurrences::default();
        let body = r#"{"eventCode":"OnBeginRegistration","customerInfo":{"customerId":1}}"#;
        let first = occurrences.identify(key(body, None), false);
        let second = occurrences.identify(key(body, None), false);
        assert_ne!(first, second);
        assert_eq!(occurrences.identify(key(body, None), true), second);
        let with_id = key(body, Some("m-1"));
        assert_eq!(occurrences.identify(with_id, false), occurrences.identify(with_id, false));
    }
}
