//! Whether an event has been decided before, and the id of one that has not (G4).
//!
//! A message with an id of its own is one event however often it comes. Without one, two equal messages may be two events, so they are told
//! apart by counting; a copy that the broker says it has delivered before repeats an occurrence of an earlier session that is not settled.
//!
//! An occurrence settles once the session in which it was decided has outlived two heartbeats: until then its acknowledgement may be
//! on its way on a connection that is dead already. All occurrences of a session settle at once if the broker has confirmed its close behind the last
//! acknowledgement ([`Sessions::settle`]), and those of all earlier sessions once a later one has decided a message that was never delivered before
//! ([`Sessions::settle_before`]): what they left unacknowledged stood in front of it. What stays ambiguous is counted: a copy that is taken for a repeat may be the first
//! delivery of an equal event, if both came in the last seconds of a session that broke.

use crate::clock::Millis;
use crate::event::{DedupKey, EventId};
use crate::records::{OpenOccurrence, SeenRow, Sessions};

/// Equal messages of one broken session that are told apart; of more, the oldest are taken for settled.
const OPEN_MAX: usize = 1024;
/// A count goes on by less than 16 384 in a millisecond, and so never overtakes the clock.
const OCCURRENCES_PER_MS_BITS: u32 = 14;

/// A delivery, as far as its identity goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) key: DedupKey,
    pub(super) redelivered: bool,
    pub(super) session: u64,
    pub(super) now: Millis,
    pub(super) connected_ms: Millis,
    /// Two heartbeats.
    pub(super) settles_after_ms: Millis,
}

/// What an arrival is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// It has not been decided yet.
    Fresh(EventId),
    /// It has: there is nothing to do but to acknowledge it. Without an id, it may be an equal one's first delivery.
    Repeat { is_certain: bool },
}

/// Tells what an arrival is, and what is known of its key from now on.
pub(super) fn identify(arrival: Arrival, known: Option<SeenRow>, sessions: &Sessions) -> (Identity, SeenRow) {
    let Arrival { key, redelivered, session, now, connected_ms, settles_after_ms } = arrival;
    if key.has_id() {
        let identity = match known {
            Some(_) => Identity::Repeat { is_certain: true },
            None => Identity::Fresh(key.event_id(0)),
        };
        return (identity, SeenRow { connected_ms, ..SeenRow::default() });
    }
    // A count that starts anew must not meet the ids of one that was forgotten, however fast that one went.
    let fresh = || SeenRow { next: (now as u64) << OCCURRENCES_PER_MS_BITS, ..SeenRow::default() };
    let mut row = known.unwrap_or_else(fresh);
    row.connected_ms = connected_ms;
    row.open.retain(|open| open.session == session || !has_settled(open, sessions, settles_after_ms));
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
    sessions.last_alive(open.session).is_none_or(|alive| alive >= open.decided_ms + settles_after_ms)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Event;

    const SETTLES_AFTER_MS: Millis = 20_000;
    const BODY: &str = r#"{"eventCode":"OnBeginRegistration","customerInfo":{"customerId":1}}"#;

    fn key(message_id: Option<&str>) -> DedupKey {
        Event::read(Bytes::from_static(BODY.as_bytes())).unwrap().dedup_key(message_id, None)
    }

    /// A source whose sessions are told when to break.
    #[derive(Default)]
    struct Story {
        known: Option<SeenRow>,
        sessions: Sessions,
        message_id: Option<&'static str>,
    }

    impl Story {
        fn arrives(&mut self, session: u64, redelivered: bool, now: Millis) -> Identity {
            self.sessions.alive(session, now);
            let (key, settles_after_ms) = (key(self.message_id), SETTLES_AFTER_MS);
            let arrival = Arrival { key, redelivered, session, now, connected_ms: now, settles_after_ms };
            let (identity, row) = identify(arrival, self.known.take(), &self.sessions);
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
    fn copies_of_the_next_session_repeat_the_open_ones_and_no_more() {
        let mut story = Story::default();
        let ids = [story.is_fresh(1, false, 0), story.is_fresh(1, false, 0)];
        assert_eq!(story.arrives(2, true, 5), REPEAT);
        assert_eq!(story.arrives(2, true, 6), REPEAT);
        let third = story.is_fresh(2, true, 7);
        assert!(!ids.contains(&third), "a third copy is a third event");
        assert_eq!(story.arrives(3, true, 8), REPEAT, "and so on, session after session");
    }

    #[test]
    fn a_copy_that_was_never_decided_is_an_event() {
        let mut story = Story::default();
        story.is_fresh(5, true, 0);
    }

    #[test]
    fn an_occurrence_of_a_session_that_outlived_two_heartbeats_is_not_repeated() {
        let mut story = Story::default();
        story.is_fresh(1, false, 0);
        story.sessions.alive(1, SETTLES_AFTER_MS - 1);
        assert_eq!(story.arrives(2, true, 30_000), REPEAT, "its acknowledgement may have been lost");
        story.sessions.alive(2, 30_000 + SETTLES_AFTER_MS);
        story.is_fresh(3, true, 60_000);
    }

    #[test]
    fn a_session_that_closed_with_everything_acknowledged_leaves_nothing_open() {
        let mut story = Story::default();
        let first = story.is_fresh(1, false, 0);
        assert!(story.sessions.settle(1));
        // A later sign of life does not open the session again.
        story.sessions.alive(1, 4);
        let second = story.is_fresh(2, true, 5);
        assert_ne!(first, second, "delivered before, and never taken: an equal event");
        assert_eq!(story.arrives(3, true, 7), REPEAT, "of the session that was not closed");
        story.is_fresh(3, true, 8);
    }

    #[test]
    fn what_a_later_session_never_decided_is_an_event_once_earlier_sessions_have_nothing_left() {
        let mut story = Story::default();
        story.is_fresh(1, false, 0);
        story.is_fresh(2, false, 5);
        assert!(story.sessions.settle_before(2), "what session 1 left stood in front of that");
        assert!(!story.sessions.settle_before(2), "that is known");
        assert_eq!(story.arrives(4, true, 10), REPEAT, "of session 2, which broke");
        story.is_fresh(4, true, 10);
    }

    #[test]
    fn a_count_that_was_forgotten_gives_no_id_again_however_fast_it_went() {
        let mut story = Story::default();
        let ids: std::collections::HashSet<_> = (0..2000).map(|_| story.is_fresh(1, false, 1000)).collect();
        story.known = None;
        assert!(!ids.contains(&story.is_fresh(1, false, 1001)));
    }

    #[test]
    fn a_count_that_was_forgotten_gives_no_id_again() {
        let mut story = Story::default();
        let first = story.is_fresh(1, false, 1000);
        story.known = None;
        assert_ne!(story.is_fresh(1, false, 2000), first);
    }

    #[test]
    fn what_is_open_stays_bounded() {
        let mut story = Story::default();
        for _ in 0..2 * OPEN_MAX {
            story.is_fresh(1, false, 0);
        }
        assert_eq!(story.known.unwrap().open.len(), OPEN_MAX);
    }
}
