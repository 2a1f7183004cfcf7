//! What the entrance remembers from message to message: the last `now`, the sessions, and what it has counted.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Tally;
use super::awake::Awake;
use crate::clock::{self, Millis};
use crate::delivery::{Receipt, Session};
use crate::store::records::{Progress, Sessions};

/// What tells the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The machine's clock.
    Wall,
    /// The events themselves: it stands at the time of the last one, and jumps to each timer on the way to the next.
    Events,
}

/// Shared by the entrance, the shards and the committer.
#[derive(Debug)]
pub(super) struct Arrivals {
    known: Mutex<Known>,
    clock: Clock,
    pub(super) awake: Awake,
    /// Sessions of this run are told from those of others by it.
    run: u64,
    connected_ms: AtomicI64,
}

#[derive(Debug)]
struct Known {
    last_now: Millis,
    sessions: Sessions,
    /// The session of the last delivery.
    session: Option<(u64, Session)>,
    tally: Tally,
}

/// When something came in, and by which session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) now: Millis,
    pub(super) session: u64,
}

impl Arrivals {
    /// Goes on from where the engine stopped.
    pub(super) fn new(progress: &Progress, clock: Clock, settles_after: Duration) -> Arrivals {
        let known = Known {
            last_now: progress.now,
            sessions: progress.sessions.clone(),
            session: None,
            tally: Tally::default(),
        };
        let connected_ms = AtomicI64::new(progress.connected_ms);
        let awake = Awake::new(settles_after);
        Arrivals { known: Mutex::new(known), clock, awake, run: progress.runs, connected_ms }
    }

    /// Notes a delivery.
    pub(super) fn stamp(&self, receipt: &Receipt) -> Stamp {
        let now = self.now();
        let is_certain = self.awake.is_certain(clock::since_boot());
        let mut known = self.lock();
        // More than four thousand million sessions in one run are not to be had.
        let session = self.run << 32 | receipt.session().number();
        if known.session.as_ref().is_none_or(|(last, _)| *last != session) {
            known.session = Some((session, receipt.session().clone()));
        }
        // What a session delivered before the process stood still is found after it, and says nothing but that there was that session.
        known.sessions.alive(session, if is_certain { now } else { Millis::MIN });
        Stamp { now, session }
    }

    /// The `now` of what comes of itself.
    pub(super) fn now(&self) -> Millis {
        let mut known = self.lock();
        // Never backwards, whatever the machine's clock does.
        if self.clock == Clock::Wall {
            known.last_now = clock::now_ms().max(known.last_now);
        }
        known.last_now
    }

    /// The time by the last event, and by [`Self::advance`].
    pub(super) fn last_now(&self) -> Millis {
        self.lock().last_now
    }

    /// Lets a clock that events tell go on, and never back.
    pub(super) fn advance(&self, now: Millis) {
        let mut known = self.lock();
        known.last_now = known.last_now.max(now);
    }

    /// The latest `now`, and when each session was last known to be alive: the last one now, if it is still open.
    pub(super) fn now_and_sessions(&self) -> (Millis, Sessions) {
        let is_certain = self.awake.is_certain(clock::since_boot());
        let mut known = self.lock();
        if is_certain
            && let Some(session) =
                known.session.as_ref().filter(|(_, session)| session.is_open()).map(|(number, _)| *number)
        {
            known.sessions.alive(session, clock::now_ms());
        }
        (known.last_now, known.sessions.clone())
    }

    /// For how long a source has been connected.
    pub(super) fn connected_ms(&self) -> Millis {
        self.connected_ms.load(Ordering::Relaxed)
    }

    pub(super) fn set_connected(&self, connected_ms: Millis) {
        self.connected_ms.store(connected_ms, Ordering::Relaxed);
    }

    /// Counts.
    pub(super) fn count<T>(&self, count: impl FnOnce(&mut Tally) -> T) -> T {
        count(&mut self.lock().tally)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
