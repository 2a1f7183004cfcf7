//! State at intake: the last `now`, the sessions of the source, and the counters.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Tally;
use super::stall::StallDetector;
use crate::clock_doubt::{ClockDoubt, Contradiction, clock_doubt};
use crate::records::{ClockRecord, Progress, Sessions, SetBack};
use hailer_base::clock::{self, ClockMark, Millis};
use hailer_broker::delivery::{Receipt, Session};

/// The clock that sets `now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The machine's clock.
    Wall,
    /// Event time: the clock shows the time of the last event, and stops at each timer on the
    /// way to the next event.
    Events,
}

/// The upper bound of `now` at a start, in ms since 1970: some years before the last supported
/// date, 9999-12-31.
const DATES_UNTIL_MS: Millis = 253_000_000_000_000;

/// State that the entrance, the shards and the committer share.
#[derive(Debug)]
pub(super) struct IntakeState {
    known: Mutex<Known>,
    clock: Clock,
    pub(super) stalls: StallDetector,
    /// The number of this run. It distinguishes this run's sessions from those of other runs.
    run: u64,
    connected_ms: AtomicI64,
    doubt: watch::Sender<Option<ClockDoubt>>,
}

#[derive(Debug)]
struct Known {
    last_now: Millis,
    clock: ClockRecord,
    /// The `now` to which an operator set the clock back, until a commit records it.
    set_back: Option<Millis>,
    sessions: Sessions,
    /// The session of the last delivery.
    session: Option<(u64, Session)>,
    /// Whether a session has settled since the committer last asked.
    has_settled: bool,
    tally: Tally,
}

/// The time of a delivery, and the number of its session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) now: Millis,
    pub(super) session: u64,
}

impl IntakeState {
    /// Continues from the state of the last run.
    pub(super) fn new(progress: &Progress, clock: Clock, settles_after: Duration) -> IntakeState {
        let known = Known {
            // The bound guards against a corrupt or foreign value: every later time must be a valid
            // date.
            last_now: progress.now.min(DATES_UNTIL_MS),
            clock: ClockRecord { is_of_events: clock == Clock::Events, ..progress.clock },
            set_back: None,
            sessions: progress.sessions.clone(),
            session: None,
            has_settled: false,
            tally: Tally::default(),
        };
        let connected_ms = AtomicI64::new(progress.connected_ms);
        let stalls = StallDetector::new(settles_after);
        let (known, run, doubt) = (Mutex::new(known), progress.runs, watch::Sender::new(None));
        IntakeState { known, clock, stalls, run, connected_ms, doubt }
    }

    /// Reads the machine's clock. Returns the doubt about it; `None` if the clock is trusted.
    pub(super) fn look_at_clock(&self) -> Option<ClockDoubt> {
        if self.clock == Clock::Events {
            return None;
        }
        self.look(&mut self.lock(), clock::reading());
        *self.doubt.borrow()
    }

    /// Waits until the machine's clock is trusted.
    pub(super) async fn clock_is_believed(&self) {
        // `self` owns the sender, so the channel cannot be closed.
        let _ = self.doubt.subscribe().wait_for(Option::is_none).await;
    }

    /// Trusts the machine's clock, as an operator asks. Returns the doubt that this ends; `None` if
    /// there was none.
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

    /// Advances `now` to the reading if the clock is trusted.
    fn look(&self, known: &mut Known, reading: ClockMark) {
        let found = clock_doubt(&known.clock, known.last_now, reading);
        if found.is_none() {
            known.clock.mark = Some(reading);
            // `now` never goes back, even if the machine's clock goes back a little.
            known.last_now = reading.wall_ms.max(known.last_now);
        }
        let contradiction = |doubt: &Option<ClockDoubt>| doubt.map(|doubt| doubt.contradiction);
        self.doubt.send_if_modified(|known| {
            // The first reading of a doubt is kept, so that its report stays the same on every
            // look.
            let is_another = contradiction(known) != contradiction(&found);
            if is_another {
                *known = found;
            }
            is_another
        });
    }

    /// Records a delivery.
    pub(super) fn stamp(&self, receipt: &Receipt) -> Stamp {
        let now = self.now();
        let has_no_stall = self.stalls.has_no_recent_stall(clock::since_boot());
        let mut known = self.lock();
        let session = self.number_of(receipt.session());
        if known.session.as_ref().is_none_or(|(last, _)| *last != session) {
            known.session = Some((session, receipt.session().clone()));
        }
        // A delivery that the session made before a stall may be found only after it. It proves
        // that the session existed, and not that the session is alive now.
        known.sessions.alive(session, if has_no_stall { now } else { Millis::MIN });
        Stamp { now, session }
    }

    /// Records that a session has ended and that its source knows that every acknowledgement has
    /// arrived.
    pub(super) fn session_settled(&self, session: &Session) {
        let mut known = self.lock();
        known.has_settled |= known.sessions.settle(self.number_of(session));
    }

    /// Records that everything that earlier sessions left unacknowledged has been delivered again
    /// and decided.
    pub(super) fn earlier_sessions_settled(&self, session: &Session) {
        let mut known = self.lock();
        known.has_settled |= known.sessions.settle_before(self.number_of(session));
    }

    /// Whether a session has settled since the last call.
    pub(super) fn take_settled(&self) -> bool {
        std::mem::take(&mut self.lock().has_settled)
    }

    /// The session's number among the sessions of all runs. One run has fewer than 2³² sessions.
    fn number_of(&self, session: &Session) -> u64 {
        self.run << 32 | session.number()
    }

    /// The `now` for work that the engine starts itself, such as timers and retries.
    pub(super) fn now(&self) -> Millis {
        let mut known = self.lock();
        if self.clock == Clock::Wall {
            self.look(&mut known, clock::reading());
        }
        known.last_now
    }

    /// The `now` of the last event, or of [`Self::advance`] if that is later.
    pub(super) fn last_now(&self) -> Millis {
        self.lock().last_now
    }

    /// Advances the event clock. It never goes back.
    pub(super) fn advance(&self, now: Millis) {
        let mut known = self.lock();
        known.last_now = known.last_now.max(now);
    }

    /// The record of the machine's clock for the commit after `commit`.
    pub(super) fn clock_record(&self, commit: u64) -> ClockRecord {
        let mut known = self.lock();
        if let Some(now) = known.set_back.take() {
            known.clock.set_back = Some(SetBack { commit, now });
        }
        known.clock
    }

    /// The latest `now`, and when each session was last known to be alive. The current session, if
    /// it is open and the process has not stalled, counts as alive now.
    pub(super) fn now_and_sessions(&self) -> (Millis, Sessions) {
        let has_no_stall = self.stalls.has_no_recent_stall(clock::since_boot());
        let mut known = self.lock();
        if has_no_stall
            && let Some(session) = known
                .session
                .as_ref()
                .filter(|(_, session)| session.is_open())
                .map(|(number, _)| *number)
        {
            let now = if self.doubt.borrow().is_some() { known.last_now } else { clock::now_ms() };
            known.sessions.alive(session, now);
        }
        (known.last_now, known.sessions.clone())
    }

    /// The time for which a source has been connected, in milliseconds over all runs.
    pub(super) fn connected_ms(&self) -> Millis {
        self.connected_ms.load(Ordering::Relaxed)
    }

    pub(super) fn set_connected(&self, connected_ms: Millis) {
        self.connected_ms.store(connected_ms, Ordering::Relaxed);
    }

    /// Updates or reads the counters.
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

    /// An engine that has run for an hour, and whose machine's clock is then wrong by `ms`.
    fn wrong_by(ms: Millis) -> (IntakeState, impl Fn(&IntakeState, Millis, Millis)) {
        let intake = IntakeState::new(&Progress::default(), Clock::Wall, Duration::ZERO);
        let look = |intake: &IntakeState, passed_ms: Millis, wrong_ms: Millis| {
            let wall_ms = START + passed_ms + wrong_ms;
            intake
                .look(&mut intake.lock(), ClockMark { boot: 1, since_boot_ms: passed_ms, wall_ms });
        };
        look(&intake, HOUR, 0);
        look(&intake, HOUR + 200, ms);
        (intake, look)
    }

    fn doubt(intake: &IntakeState) -> Option<Contradiction> {
        intake.doubt.borrow().map(|doubt| doubt.contradiction)
    }

    #[test]
    fn time_stands_still_while_the_clock_is_in_doubt() {
        for (wrong_ms, contradiction) in
            [(HOUR, Contradiction::Leap), (-HOUR, Contradiction::Behind)]
        {
            let (intake, look) = wrong_by(wrong_ms);
            assert_eq!((doubt(&intake), intake.last_now()), (Some(contradiction), START + HOUR));
            assert_eq!(
                intake.clock_record(7).mark.unwrap().wall_ms,
                START + HOUR,
                "the committed clock is the trusted one"
            );
            look(&intake, HOUR + 600_000, wrong_ms);
            assert_eq!((doubt(&intake), intake.last_now()), (Some(contradiction), START + HOUR));
            look(&intake, 3 * HOUR, 0);
            assert_eq!((doubt(&intake), intake.last_now()), (None, START + 3 * HOUR));
        }
        let (intake, _) = wrong_by(-60_000);
        assert_eq!(
            (doubt(&intake), intake.last_now()),
            (None, START + HOUR),
            "time stands still after a small step back"
        );
    }

    #[test]
    fn accepting_the_clock_moves_the_time_either_way() {
        for wrong_ms in [HOUR, -HOUR] {
            let (intake, look) = wrong_by(wrong_ms);
            intake.lock().sessions.alive(1, START + HOUR);
            let wall_ms = START + HOUR + 400 + wrong_ms;
            assert!(
                intake.accept(ClockMark { boot: 1, since_boot_ms: HOUR + 400, wall_ms }).is_some()
            );
            assert_eq!((doubt(&intake), intake.last_now()), (None, wall_ms));
            let set_back = intake.clock_record(7).set_back;
            assert_eq!(set_back, (wrong_ms < 0).then_some(SetBack { commit: 7, now: wall_ms }));
            assert_eq!(intake.lock().sessions.last_alive(1), Some(wall_ms.min(START + HOUR)));
            look(&intake, HOUR + 600, wrong_ms);
            assert_eq!(doubt(&intake), None);
        }
    }
}
