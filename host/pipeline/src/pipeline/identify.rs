//! Decides whether an event has been decided before, and gives a new one its id (G4).
//!
//! A message with an id is one event, however often it comes. Without an id, two equal messages may
//! be two events, so occurrences are counted. A message that the broker marks as redelivered
//! repeats an occurrence of an earlier session that is not settled.
//!
//! An occurrence settles once the session in which it was decided has outlived two heartbeats.
//! Until then, its acknowledgement may be on its way on a connection that is already dead. All
//! occurrences of a session settle at once if the broker has confirmed its close after the last
//! acknowledgement ([`Sessions::settle`]). Those of all earlier sessions settle once a later
//! session has decided a message that was never delivered before ([`Sessions::settle_before`]):
//! everything that they left unacknowledged was ahead of it in the queue.
//!
//! Some cases stay ambiguous, and are counted: a message that is taken for a repeat may be the
//! first delivery of an equal event, if both came in the last seconds of a session that broke.

use crate::records::{DedupEntry, OpenOccurrence, Sessions};
use hailer_base::clock::Millis;
use hailer_event::{DedupKey, EventId};

/// The most open occurrences of one key. Beyond it, the oldest count as settled.
const OPEN_MAX: usize = 1024;
/// Bits for the occurrences within a millisecond. Fewer than 16,384 equal messages come in one, so
/// the count never overtakes the clock.
const OCCURRENCES_PER_MS_BITS: u32 = 14;

/// The facts about a delivery that determine its identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryFacts {
    pub(super) key: DedupKey,
    pub(super) redelivered: bool,
    pub(super) session: u64,
    pub(super) now: Millis,
    pub(super) connected_ms: Millis,
    /// Two heartbeats, in ms.
    pub(super) settles_after_ms: Millis,
}

/// Whether a delivery is a new event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// The event has not been decided yet.
    Fresh(EventId),
    /// The event has been decided, and the message only needs an acknowledgement. Without a message
    /// id, it may instead be the first delivery of an equal event (`is_certain` is false).
    Repeat { is_certain: bool },
}

/// Identifies a delivery. Also returns the entry to store for its key.
pub(super) fn identify(
    delivery: DeliveryFacts,
    known: Option<DedupEntry>,
    sessions: &Sessions,
) -> (Identity, DedupEntry) {
    let DeliveryFacts { key, redelivered, session, now, connected_ms, settles_after_ms } = delivery;
    if key.has_id() {
        let identity = match known {
            Some(_) => Identity::Repeat { is_certain: true },
            None => Identity::Fresh(key.event_id(0)),
        };
        return (identity, DedupEntry { connected_ms, ..DedupEntry::default() });
    }
    // A new count must not repeat ids of a forgotten one, however fast that one grew. So it starts
    // from the clock.
    let fresh =
        || DedupEntry { next: (now as u64) << OCCURRENCES_PER_MS_BITS, ..DedupEntry::default() };
    let mut row = known.unwrap_or_else(fresh);
    row.connected_ms = connected_ms;
    row.open
        .retain(|open| open.session == session || !has_settled(open, sessions, settles_after_ms));
    let comes_again = |open: &&mut OpenOccurrence| redelivered && open.session != session;
    if let Some(open) = row.open.iter_mut().find(comes_again) {
        open.session = session;
        open.decided_ms = now;
        return (Identity::Repeat { is_certain: false }, row);
    }
    let number = row.next;
    row.next += 1;
    if row.open.len() == OPEN_MAX {
        row.open.remove(0);
    }
    row.open.push(OpenOccurrence { number, session, decided_ms: now });
    (Identity::Fresh(key.event_id(number)), row)
}

fn has_settled(open: &OpenOccurrence, sessions: &Sessions, settles_after_ms: Millis) -> bool {
    sessions
        .last_alive(open.session)
        .is_none_or(|alive| alive >= open.decided_ms + settles_after_ms)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use hailer_event::Event;

    const SETTLES_AFTER_MS: Millis = 20_000;
    const BODY: &str = r#"{"eventCode":"OnBeginRegistration","customerInfo":{"customerId":1}}"#;

    fn key(message_id: Option<&str>) -> DedupKey {
        Event::read(Bytes::from_static(BODY.as_bytes())).unwrap().dedup_key(message_id, None)
    }

    /// A source whose sessions the test breaks.
    #[derive(Default)]
    struct Story {
        known: Option<DedupEntry>,
        sessions: Sessions,
        message_id: Option<&'static str>,
    }

    impl Story {
        fn arrives(&mut self, session: u64, redelivered: bool, now: Millis) -> Identity {
            self.sessions.alive(session, now);
            let (key, settles_after_ms) = (key(self.message_id), SETTLES_AFTER_MS);
            let delivery = DeliveryFacts {
                key,
                redelivered,
                session,
                now,
                connected_ms: now,
                settles_after_ms,
            };
            let (identity, row) = identify(delivery, self.known.take(), &self.sessions);
            self.known = Some(row);
            identity
        }

        fn is_fresh(&mut self, session: u64, redelivered: bool, now: Millis) -> EventId {
            match self.arrives(session, redelivered, now) {
                Identity::Fresh(id) => id,
                repeat @ Identity::Repeat { .. } => panic!("{repeat:?}"),
            }
        }
    }

    const REPEAT: Identity = Identity::Repeat { is_certain: false };

    #[test]
    fn a_message_with_an_id_is_one_event_however_often_it_comes() {
        let mut story = Story { message_id: Some("m-1"), ..Story::default() };
        story.is_fresh(1, false, 0);
        assert_eq!(story.arrives(1, false, 1), Identity::Repeat { is_certain: true });
        assert_eq!(story.arrives(9, true, 1 << 40), Identity::Repeat { is_certain: true });
    }

    #[test]
    fn two_equal_messages_without_an_id_are_two_events() {
        let mut story = Story::default();
        assert_ne!(story.is_fresh(1, false, 0), story.is_fresh(1, false, 0));
    }

    #[test]
    fn redelivered_copies_repeat_open_occurrences_and_no_more() {
        let mut story = Story::default();
        let ids = [story.is_fresh(1, false, 0), story.is_fresh(1, false, 0)];
        assert_eq!(story.arrives(2, true, 5), REPEAT);
        assert_eq!(story.arrives(2, true, 6), REPEAT);
        let third = story.is_fresh(2, true, 7);
        assert!(!ids.contains(&third), "a third copy is a third event");
        assert_eq!(story.arrives(3, true, 8), REPEAT, "in every later session, too");
    }

    #[test]
    fn a_redelivery_that_was_never_decided_is_an_event() {
        let mut story = Story::default();
        story.is_fresh(5, true, 0);
    }

    #[test]
    fn occurrences_settle_after_two_heartbeats() {
        let mut story = Story::default();
        story.is_fresh(1, false, 0);
        story.sessions.alive(1, SETTLES_AFTER_MS - 1);
        assert_eq!(
            story.arrives(2, true, 30_000),
            REPEAT,
            "its acknowledgement may have been lost"
        );
        story.sessions.alive(2, 30_000 + SETTLES_AFTER_MS);
        story.is_fresh(3, true, 60_000);
    }

    #[test]
    fn a_session_that_closed_cleanly_leaves_nothing_open() {
        let mut story = Story::default();
        let first = story.is_fresh(1, false, 0);
        assert!(story.sessions.settle(1));
        // A later sign of life does not open the session again.
        story.sessions.alive(1, 4);
        let second = story.is_fresh(2, true, 5);
        assert_ne!(first, second, "redelivered, but never decided: an equal event");
        assert_eq!(
            story.arrives(3, true, 7),
            REPEAT,
            "a repeat from the session that was not closed"
        );
        story.is_fresh(3, true, 8);
    }

    #[test]
    fn settled_earlier_sessions_explain_no_redelivery() {
        let mut story = Story::default();
        story.is_fresh(1, false, 0);
        story.is_fresh(2, false, 5);
        assert!(story.sessions.settle_before(2), "everything that session 1 left was ahead of it");
        assert!(!story.sessions.settle_before(2), "nothing changes the second time");
        assert_eq!(story.arrives(4, true, 10), REPEAT, "a repeat from session 2, which broke");
        story.is_fresh(4, true, 10);
    }

    #[test]
    fn a_forgotten_count_repeats_no_id_even_after_a_burst() {
        let mut story = Story::default();
        let ids: std::collections::HashSet<_> =
            (0..2000).map(|_| story.is_fresh(1, false, 1000)).collect();
        story.known = None;
        assert!(!ids.contains(&story.is_fresh(1, false, 1001)));
    }

    #[test]
    fn a_forgotten_count_repeats_no_id() {
        let mut story = Story::default();
        let first = story.is_fresh(1, false, 1000);
        story.known = None;
        assert_ne!(story.is_fresh(1, false, 2000), first);
    }

    #[test]
    fn open_occurrences_are_bounded() {
        let mut story = Story::default();
        for _ in 0..2 * OPEN_MAX {
            story.is_fresh(1, false, 0);
        }
        assert_eq!(story.known.unwrap().open.len(), OPEN_MAX);
    }
}
