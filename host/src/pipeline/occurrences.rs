//! How often an event without an id has occurred. Two equal messages may be two events, so they are told apart by
//! counting; a copy that the broker says it has delivered before repeats an occurrence of an earlier session that is not settled.
//!
//! An occurrence settles when its outcome is confirmed and the acknowledgement has had time to arrive: until then a lost connection may
//! bring it again. The count lives in memory for now: across a restart, copies are counted from 0 again. Bounded: of more keys than fit, the
//! older half is forgotten.

use std::collections::HashMap;

use crate::clock::Millis;
use crate::event::{DedupKey, EventId};

/// Keys in one generation; two generations are kept.
const GENERATION_KEYS_MAX: usize = 250_000;
/// Two heartbeats: so long may an acknowledgement be on its way on a connection that is dead already.
const SETTLES_AFTER_MS: Millis = 20_000;

/// Counts the occurrences of events without an id.
#[derive(Debug, Default)]
pub(super) struct Occurrences {
    young: HashMap<DedupKey, Known>,
    old: HashMap<DedupKey, Known>,
}

/// An event without an id, as it was counted: to be settled when its outcome is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Occurrence {
    key: DedupKey,
    number: u64,
}

#[derive(Debug, Default)]
struct Known {
    /// The number of the next occurrence.
    next: u64,
    open: Vec<Open>,
}

/// An occurrence that may come again.
#[derive(Debug)]
struct Open {
    number: u64,
    /// The session that delivered it last.
    session: u64,
    settled_ms: Option<Millis>,
}

impl Occurrences {
    /// The id of an event that has just come in, and what to settle later if it had no id of its own.
    pub(super) fn identify(
        &mut self,
        key: DedupKey,
        redelivered: bool,
        session: u64,
        now: Millis,
    ) -> (EventId, Option<Occurrence>) {
        if key.has_id() {
            return (key.event_id(0), None);
        }
        let known = self.known(key);
        known.forget_settled(now);
        let comes_again = |open: &&mut Open| redelivered && open.session != session;
        let number = match known.open.iter_mut().find(comes_again) {
            Some(open) => {
                open.session = session;
                open.settled_ms = None;
                open.number
            }
            None => {
                let number = known.next;
                known.next += 1;
                known.open.push(Open { number, session, settled_ms: None });
                number
            }
        };
        (key.event_id(number), Some(Occurrence { key, number }))
    }

    /// The outcome of an occurrence is confirmed.
    pub(super) fn settle(&mut self, occurrence: Occurrence, now: Millis) {
        let known = self.known(occurrence.key);
        if let Some(open) = known.open.iter_mut().find(|open| open.number == occurrence.number) {
            open.settled_ms = Some(now);
        }
    }

    fn known(&mut self, key: DedupKey) -> &mut Known {
        if self.young.len() >= GENERATION_KEYS_MAX && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_default())
    }
}

impl Known {
    fn forget_settled(&mut self, now: Millis) {
        self.open.retain(|open| open.settled_ms.is_none_or(|settled| now - settled < SETTLES_AFTER_MS));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Event;

    const BODY: &str = r#"{"eventCode":"OnBeginRegistration","customerInfo":{"customerId":1}}"#;

    fn key(message_id: Option<&str>) -> DedupKey {
        Event::read(Bytes::from_static(BODY.as_bytes())).unwrap().dedup_key(message_id, None)
    }

    #[test]
    fn two_equal_messages_without_an_id_are_two_events() {
        let mut occurrences = Occurrences::default();
        let (first, _) = occurrences.identify(key(None), false, 1, 0);
        let (second, _) = occurrences.identify(key(None), false, 1, 0);
        assert_ne!(first, second);
    }

    #[test]
    fn a_message_with_an_id_is_one_event_however_often_it_comes() {
        let mut occurrences = Occurrences::default();
        let with_id = key(Some("m-1"));
        assert_eq!(occurrences.identify(with_id, false, 1, 0), occurrences.identify(with_id, false, 1, 0));
    }

    #[test]
    fn copies_of_the_next_session_repeat_the_open_ones_in_order_and_no_more() {
        let mut occurrences = Occurrences::default();
        let ids: Vec<_> = (0..2).map(|_| occurrences.identify(key(None), false, 1, 0).0).collect();
        let again: Vec<_> = (0..2).map(|_| occurrences.identify(key(None), true, 2, 5).0).collect();
        assert_eq!(again, ids);
        let third = occurrences.identify(key(None), true, 2, 6).0;
        assert!(!ids.contains(&third), "a third copy is a third event");
    }

    #[test]
    fn equal_copies_after_a_restart_stay_two_events() {
        let mut restarted = Occurrences::default();
        let first = restarted.identify(key(None), true, 1, 0).0;
        assert_ne!(restarted.identify(key(None), true, 1, 0).0, first);
    }

    #[test]
    fn an_occurrence_that_settled_long_ago_is_not_repeated() {
        let mut occurrences = Occurrences::default();
        let (first, occurrence) = occurrences.identify(key(None), false, 1, 0);
        occurrences.settle(occurrence.unwrap(), 10);
        let soon = occurrences.identify(key(None), true, 2, 10 + SETTLES_AFTER_MS - 1);
        assert_eq!(soon.0, first, "its acknowledgement may have been lost");
        occurrences.settle(soon.1.unwrap(), 20_000);
        let late = occurrences.identify(key(None), true, 3, 20_000 + SETTLES_AFTER_MS);
        assert_ne!(late.0, first);
    }
}
