//! What the entrance remembers from message to message: the last `now`, the sessions, and what it has counted.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Tally;
use super::awake::Awake;
use super::clock_doubt::{ClockDoubt, Contradiction, clock_doubt};
use crate::clock::{self, ClockMark, Millis};
use crate::delivery::{Receipt, Session};
use crate::records::{ClockRecord, Progress, Sessions, SetBack};

/// What tells the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The machine's clock.
    Wall,
    /// The events themselves: it stands at the time of the last one, and jumps to each timer on the way to the next.
    Events,
}

/// Some years before the last date that there is, 9999-12-31.
const DATES_UNTIL_MS: Millis = 253_000_000_000_000;

/// Shared by the entrance, the shards and the committer.
#[derive(Debug)]
pub(super) struct Arrivals {
    known: Mutex<Known>,
    clock: Clock,
    pub(super) awake: Awake,
    /// Sessions of this run are told from those of others by it.
    run: u64,
    connected_ms: AtomicI64,
    doubt: watch::Sender<Option<ClockDoubt>>,
}

#[derive(Debug)]
struct Known {
    last_now: Millis,
    clock: ClockRecord,
    /// The operator had `last_now` set back, and no commit says so yet.
    set_back: Option<Millis>,
    sessions: Sessions,
    /// The session of the last delivery.
    session: Option<(u64, Session)>,
    /// A session has settled since the committer asked last.
    has_settled: bool,
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
            // Whatever wrote it: every moment is a date.
            last_now: progress.now.min(DATES_UNTIL_MS),
            clock: ClockRecord { is_of_events: clock == Clock::Events, ..progress.clock },
            set_back: None,
            sessions: progress.sessions.clone(),
            session: None,
            has_settled: false,
            tally: Tally::default(),
        };
        let connected_ms = AtomicI64::new(progress.connected_ms);
        let awake = Awake::new(settles_after);
        let (known, run, doubt) = (Mutex::new(known), progress.runs, watch::Sender::new(None));
        Arrivals { known, clock, awake, run, connected_ms, doubt }
    }

    /// Looks at the machine's clock. The doubt about it, if there is one.
    pub(super) fn look_at_clock(&self) -> Option<ClockDoubt> {
        if self.clock == Clock::Events {
            return None;
        }
        self.look(&mut self.lock(), clock::reading());
        *self.doubt.borrow()
    }

    /// Waits until the machine's clock is believed.
    pub(super) async fn clock_is_believed(&self) {
        // The sender is this.
        let _ = self.doubt.subscribe().wait_for(Option::is_none).await;
    }

    /// The machine's clock is right, by the word of an operator: goes by it. The doubt that was settled, if there was one.
    pub(super) fn accept_clock(&self) -> Option<ClockDoubt> {
        self.accept(clock::reading())
    }

    fn accept(&self, reading: ClockMark) -> Option<ClockDoubt> {
        let mut known = self.lock();
        self.look(&mut known, reading);
        let doubt = (*self.doubt.borrow())?;
        if doubt.contradiction == Contradiction::Behind {
            known.last_now = reading.wall_ms;
            known.sessions.set_back(reading.wall_ms);
            known.set_back = Some(reading.wall_ms);
        }
        known.clock.mark = Some(reading);
        self.look(&mut known, reading);
        Some(doubt)
    }

    /// Lets the time go on if the clock is believed.
    fn look(&self, known: &mut Known, reading: ClockMark) {
        let found = clock_doubt(&known.clock, known.last_now, reading);
        if found.is_none() {
            known.clock.mark = Some(reading);
            // Never backwards, if the machine's clock goes back a little.
            known.last_now = reading.wall_ms.max(known.last_now);
        }
        let contradiction = |doubt: &Option<ClockDoubt>| doubt.map(|doubt| doubt.contradiction);
        self.doubt.send_if_modified(|known| {
            // The first reading of a doubt stands for it: what is said of it does not change with every look.
            let is_another = contradiction(known) != contradiction(&found);
            if is_another {
                *known = found;
            }
            is_another
        });
    }

    /// Notes a delivery.
    pub(super) fn stamp(&self, receipt: &Receipt) -> Stamp {
        let now = self.now();
        let is_certain = self.awake.is_certain(clock::since_boot());
        let mut known = self.lock();
        let session = self.number_of(receipt.session());
        if known.session.as_ref().is_none_or(|(last, _)| *last != session) {
            known.session = Some((session, receipt.session().clone()));
        }
        // What a session delivered before the process stood still is found after it, and says nothing but that there was that session.
        known.sessions.alive(session, if is_certain { now } else { Millis::MIN });
        Stamp { now, session }
    }

    /// A session has ended, and its source knows that every acknowledgement has arrived.
    pub(super) fn session_settled(&self, session: &Session) {
        let mut known = self.lock();
        known.has_settled |= known.sessions.settle(self.number_of(session));
    }

    /// Whatever sessions before this one left unacknowledged has been delivered again and decided.
    pub(super) fn earlier_sessions_settled(&self, session: &Session) {
        let mut known = self.lock();
        known.has_settled |= known.sessions.settle_before(self.number_of(session));
    }

    /// Whether a session has settled since this was asked last.
    pub(super) fn take_settled(&self) -> bool {
        std::mem::take(&mut self.lock().has_settled)
    }

    /// The session's number among those of all runs: one run has fewer than 2³² sessions.
    fn number_of(&self, session: &Session) -> u64 {
        self.run << 32 | session.number()
    }

    /// The `now` of what comes of itself.
    pub(super) fn now(&self) -> Millis {
        let mut known = self.lock();
        if self.clock == Clock::Wall {
            self.look(&mut known, clock::reading());
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

    /// What is known of the machine's clock, for the commit after `commit`.
    pub(super) fn clock_record(&self, commit: u64) -> ClockRecord {
        let mut known = self.lock();
        if let Some(now) = known.set_back.take() {
            known.clock.set_back = Some(SetBack { commit, now });
        }
        known.clock
    }

    /// The latest `now`, and when each session was last known to be alive: the last one now, if it is still open.
    pub(super) fn now_and_sessions(&self) -> (Millis, Sessions) {
        let is_certain = self.awake.is_certain(clock::since_boot());
        let mut known = self.lock();
        if is_certain
            && let Some(session) =
                known.session.as_ref().filter(|(_, session)| session.is_open()).map(|(number, _)| *number)
        {
            let now = if self.doubt.borrow().is_some() { known.last_now } else { clock::now_ms() };
            known.sessions.alive(session, now);
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

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = 1_800_000_000_000;
    const HOUR: Millis = 3_600_000;

    /// An engine that has run for an hour, whose machine's clock is then so far from right.
    fn wrong_by(ms: Millis) -> (Arrivals, impl Fn(&Arrivals, Millis, Millis)) {
        let arrivals = Arrivals::new(&Progress::default(), Clock::Wall, Duration::ZERO);
        let look = |arrivals: &Arrivals, passed_ms: Millis, wrong_ms: Millis| {
            let wall_ms = START + passed_ms + wrong_ms;
            arrivals.look(&mut arrivals.lock(), ClockMark { boot: 1, since_boot_ms: passed_ms, wall_ms });
        };
        look(&arrivals, HOUR, 0);
        look(&arrivals, HOUR + 200, ms);
        (arrivals, look)
    }

    fn doubt(arrivals: &Arrivals) -> Option<Contradiction> {
        arrivals.doubt.borrow().map(|doubt| doubt.contradiction)
    }

    #[test]
    fn a_clock_that_leaps_while_the_engine_runs_moves_no_time_until_it_is_right_again() {
        for (wrong_ms, contradiction) in [(HOUR, Contradiction::Leap), (-HOUR, Contradiction::Behind)] {
            let (arrivals, look) = wrong_by(wrong_ms);
            assert_eq!((doubt(&arrivals), arrivals.last_now()), (Some(contradiction), START + HOUR));
            assert_eq!(arrivals.clock_record(7).mark.unwrap().wall_ms, START + HOUR, "what is committed is believed");
            look(&arrivals, HOUR + 600_000, wrong_ms);
            assert_eq!((doubt(&arrivals), arrivals.last_now()), (Some(contradiction), START + HOUR));
            look(&arrivals, 3 * HOUR, 0);
            assert_eq!((doubt(&arrivals), arrivals.last_now()), (None, START + 3 * HOUR));
        }
        let (arrivals, _) = wrong_by(-60_000);
        assert_eq!((doubt(&arrivals), arrivals.last_now()), (None, START + HOUR), "a little is held");
    }

    #[test]
    fn an_operators_word_moves_the_time_either_way() {
        for wrong_ms in [HOUR, -HOUR] {
            let (arrivals, look) = wrong_by(wrong_ms);
            arrivals.lock().sessions.alive(1, START + HOUR);
            let wall_ms = START + HOUR + 400 + wrong_ms;
            assert!(arrivals.accept(ClockMark { boot: 1, since_boot_ms: HOUR + 400, wall_ms }).is_some());
            assert_eq!((doubt(&arrivals), arrivals.last_now()), (None, wall_ms));
            let set_back = arrivals.clock_record(7).set_back;
            assert_eq!(set_back, (wrong_ms < 0).then_some(SetBack { commit: 7, now: wall_ms }));
            assert_eq!(arrivals.lock().sessions.last_alive(1), Some(wall_ms.min(START + HOUR)));
            look(&arrivals, HOUR + 600, wrong_ms);
            assert_eq!(doubt(&arrivals), None);
        }
    }
}
