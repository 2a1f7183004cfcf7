//! The guard against poison events: events, timers and retries whose decision kills the engine. It
//! distinguishes them from work that was only in flight at the same time.
//!
//! Each shard names the work that it is about to decide in a file, and removes the names when it
//! has decided. Names that a start finds in the file were in flight when the engine ended: they are
//! suspects. A suspect is decided alone, while no other shard decides anything, and **only an end
//! that comes while a suspect is decided alone counts against it**. After too many of them it is
//! not decided any more: an event becomes a dead letter; a timer or a retry becomes a fault of the
//! rule. A suspect whose decision is committed is cleared.
//!
//! So an end without a poison event makes suspects, which are cleared at once, and no dead letter.
//! For a dead letter, the engine would have to end three times in a row within the few microseconds
//! in which the same event is decided alone. Ends in other places (while a body is read, during a
//! commit, while publishing) are not examined: no rule runs there.

mod in_flight_file;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Accepted;
use crate::records::{FailureKey, TimerKey};
use hailer_base::metrics;
use hailer_broker::delivery::Delivery;
use hailer_engine::GuestFault;
use hailer_event::{DedupKey, Event};
pub(super) use in_flight_file::InFlightId;
use in_flight_file::{InFlightFile, PreviousRun, Suspect};

/// The name of the file in the data directory.
pub const FILE_NAME: &str = "in-flight";
/// The number of ends of the engine during a lone decision after which the work is given up.
const LONE_ENDS_MAX: u32 = 3;
/// The most work that a shard decides together, so that the file has a name for each item.
const IDS_MAX: usize = 4096;
/// The most suspects of earlier runs that are kept although their work has not come again. Beyond
/// it, the oldest are forgotten.
const OLD_SUSPECTS_MAX: usize = 4096;

/// The guard, shared by the entrance and the shards.
#[derive(Debug)]
pub struct PoisonGuard {
    /// `None` if the guard is off.
    file: Option<InFlightFile>,
    suspects: Mutex<HashMap<InFlightId, SuspectState>>,
    /// The number of suspects. A run adds none, so at zero the shards neither take the lock nor
    /// wait.
    count: AtomicUsize,
    /// Shards share this lock while there are suspects; a shard that decides a suspect holds it
    /// exclusively.
    gate: RwLock<()>,
    has_logged_error: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct SuspectState {
    index: usize,
    ends: u32,
}

/// The ids of the work that a shard is about to decide.
#[derive(Debug)]
pub(super) struct BatchIds {
    ids: Vec<InFlightId>,
    suspect: Option<(InFlightId, u32)>,
}

/// Names work in the file until it is dropped. A panic leaves the names in the file, because it
/// ends the engine too.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    guard: &'a PoisonGuard,
    shard: usize,
    _gate: Gate<'a>,
}

#[derive(Debug)]
enum Gate<'a> {
    Open,
    Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'a, ()>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'a, ()>),
}

/// Clears a decided suspect once its decision is committed.
#[derive(Debug)]
pub(super) struct ClearSuspect {
    guard: Arc<PoisonGuard>,
    id: InFlightId,
}

impl PoisonGuard {
    /// Reads the file of the last run, and starts a new one. A file that cannot be read is logged
    /// and replaced.
    ///
    /// # Errors
    /// The new file cannot be created.
    pub fn open(path: &Path, shards: usize, batch_max: usize) -> io::Result<PoisonGuard> {
        let left = InFlightFile::read(path).unwrap_or_else(|error| {
            let path = path.display();
            tracing::warn!(%path, %error, "cannot read the events in flight of the last run; the \
                guard against poison events starts without suspects");
            PreviousRun::default()
        });
        let suspects = suspects_of(left);
        let file = InFlightFile::create(path, shards, batch_max.min(IDS_MAX), &suspects)?;
        Ok(PoisonGuard::new(Some(file), &suspects))
    }

    /// A guard that names nothing and has no suspects.
    #[must_use]
    pub fn off() -> PoisonGuard {
        PoisonGuard::new(None, &[])
    }

    /// A guard that gives up this work.
    #[cfg(test)]
    pub(super) fn with_suspect(id: InFlightId) -> PoisonGuard {
        PoisonGuard::new(None, &[(id, LONE_ENDS_MAX)])
    }

    fn new(file: Option<InFlightFile>, suspects: &[Suspect]) -> PoisonGuard {
        let known: HashMap<InFlightId, SuspectState> = suspects
            .iter()
            .enumerate()
            .map(|(index, &(id, ends))| (id, SuspectState { index, ends }))
            .collect();
        ::metrics::gauge!(metrics::SUSPECTS).set(known.len() as f64);
        let (count, gate) = (AtomicUsize::new(known.len()), RwLock::default());
        PoisonGuard {
            file,
            suspects: Mutex::new(known),
            count,
            gate,
            has_logged_error: AtomicBool::new(false),
        }
    }

    /// Splits a batch so that a suspect is decided alone. The first part stays in `accepted`; the
    /// rest is returned.
    pub(super) fn split_off_suspect(&self, accepted: &mut Vec<Accepted>) -> Vec<Accepted> {
        let is_suspect = |one: &Accepted| one.name.is_some_and(|id| self.ends_of(id).is_some());
        let first =
            (!self.has_no_suspects()).then(|| accepted.iter().position(is_suspect)).flatten();
        let together = first.map_or(accepted.len(), |first| first.max(1));
        accepted.split_off(together.min(IDS_MAX))
    }

    /// The ids of a batch that [`Self::split_off_suspect`] has split.
    pub(super) fn ids_of(&self, accepted: &[Accepted]) -> BatchIds {
        let ids: Vec<InFlightId> = accepted.iter().filter_map(|one| one.name).collect();
        let suspect =
            if let [id] = ids[..] { self.ends_of(id).map(|ends| (id, ends)) } else { None };
        BatchIds { ids, suspect }
    }

    /// Names work in the file until the result is dropped. Waits if a suspect must be decided
    /// alone.
    pub(super) fn mark_in_flight(&self, shard: usize, batch: &BatchIds) -> InFlight<'_> {
        let gate = match batch.suspect {
            Some(_) => Gate::Alone(self.gate.write().unwrap_or_else(PoisonError::into_inner)),
            None if !self.has_no_suspects() => {
                Gate::Shared(self.gate.read().unwrap_or_else(PoisonError::into_inner))
            }
            None => Gate::Open,
        };
        if let Some((_, ends)) = batch.suspect.filter(|(_, ends)| *ends > 0) {
            tracing::warn!(
                ends,
                "the engine has ended while it decided this alone; it is decided alone again"
            );
        }
        self.write(|file| file.write_slot(shard, batch.suspect.is_some(), &batch.ids));
        InFlight { guard: self, shard, _gate: gate }
    }

    /// Why an event is not to be decided any more; `None` if it may be. It has no side effects.
    pub(super) fn refuses_event(&self, id: InFlightId) -> Option<String> {
        let ends = self.ends_of(id).filter(|ends| *ends >= LONE_ENDS_MAX)?;
        Some(format!("the engine ended {ends} times while it decided this event alone"))
    }

    /// Records that an event is given up. If it comes once more, one more end is enough to give it
    /// up again.
    pub(super) fn give_up_event(&self, id: InFlightId, code: &str) {
        let ends = self.give_up(id, "event");
        tracing::error!(
            code,
            ends,
            "poison event: the engine ended each time it decided this event alone; the event \
             becomes a dead letter"
        );
    }

    /// Refuses a timer that has been given up.
    pub(super) fn refuse_timer(&self, timer: &TimerKey) -> Result<(), GuestFault> {
        match self.give_up(InFlightId::of_timer(timer), "timer") {
            Some(times) => Err(GuestFault::EndedTheEngine { times }),
            None => Ok(()),
        }
    }

    /// Refuses a retry that has been given up; `first` is the first of the failures that are
    /// retried together. The refused failure is ahead of the others in its queue. So they wait, and
    /// the engine does not retry them unasked.
    pub(super) fn refuse_retry(&self, first: &FailureKey) -> Result<(), GuestFault> {
        match self.give_up(InFlightId::of_failure(first), "failure") {
            Some(times) => Err(GuestFault::EndedTheEngine { times }),
            None => Ok(()),
        }
    }

    fn give_up(&self, id: InFlightId, kind: &'static str) -> Option<u32> {
        let ends = self.ends_of(id).filter(|ends| *ends >= LONE_ENDS_MAX)?;
        if let Some(known) = self.lock().get_mut(&id) {
            known.ends = LONE_ENDS_MAX - 1;
            let index = known.index;
            self.write(|file| file.write_suspect(index, id, Some(LONE_ENDS_MAX - 1)));
        }
        ::metrics::counter!(metrics::GIVEN_UP_TOTAL, "kind" => kind).increment(1);
        Some(ends)
    }

    /// The number of ends of the engine while this work was decided alone; `None` if it is no
    /// suspect.
    fn ends_of(&self, id: InFlightId) -> Option<u32> {
        if self.has_no_suspects() { None } else { self.lock().get(&id).map(|known| known.ends) }
    }

    fn clear(&self, id: InFlightId) {
        let mut known = self.lock();
        if let Some(SuspectState { index, .. }) = known.remove(&id) {
            self.write(|file| file.write_suspect(index, id, None));
            self.count.store(known.len(), Ordering::Release);
            ::metrics::gauge!(metrics::SUSPECTS).set(known.len() as f64);
        }
    }

    fn has_no_suspects(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Writes to the file. An error is logged once and stops nothing: work is then decided without
    /// being named.
    fn write(&self, write: impl FnOnce(&InFlightFile) -> io::Result<()>) {
        if let Some(Err(error)) = self.file.as_ref().map(write)
            && !self.has_logged_error.swap(true, Ordering::Relaxed)
        {
            tracing::error!(file = FILE_NAME, %error, "cannot name the events in flight; the \
                engine goes on without the guard against poison events");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InFlightId, SuspectState>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BatchIds {
    /// The suspect to clear when the batch is committed; `None` if it has none.
    pub(super) fn clear_suspect(&self, guard: &Arc<PoisonGuard>) -> Option<ClearSuspect> {
        self.suspect.map(|(id, _)| ClearSuspect { guard: Arc::clone(guard), id })
    }
}

impl ClearSuspect {
    pub(super) fn committed(self) {
        self.guard.clear(self.id);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.guard.write(|file| file.write_slot(self.shard, false, &[]));
        }
    }
}

impl InFlightId {
    /// The id of an event, which is its dedup key. For standard input the position contains the
    /// run, so the id uses the line instead: it is the same in the next run.
    pub(super) fn of_event(event: &Event, delivery: &Delivery, key: DedupKey) -> InFlightId {
        match delivery.line_of_run() {
            Some(line) => InFlightId::new(
                *event.dedup_key(delivery.message_id.as_deref(), Some(line)).as_bytes(),
            ),
            None => InFlightId::new(*key.as_bytes()),
        }
    }

    /// The id of a timer. It does not depend on the due time, because a timer may be postponed
    /// between two runs.
    pub(super) fn of_timer(timer: &TimerKey) -> InFlightId {
        InFlightId::hash("hailer timer in flight 1", &TimerKey { due: 0, ..timer.clone() }.encode())
    }

    /// The id of a retry, from the number of its first failure. That number is unique.
    pub(super) fn of_failure(first: &FailureKey) -> InFlightId {
        InFlightId::hash("hailer failure in flight 1", &first.number.to_be_bytes())
    }

    fn hash(purpose: &str, of: &[u8]) -> InFlightId {
        let mut bytes = [0; 16];
        blake3::Hasher::new_derive_key(purpose).update(of).finalize_xof().fill(&mut bytes);
        InFlightId::new(bytes)
    }
}

/// The suspects after a run that left this file. Logs what happened.
fn suspects_of(left: PreviousRun) -> Vec<Suspect> {
    let PreviousRun { suspects: mut old, slots } = left;
    // Work that is decided alone is the only work in the file: no other shard decides anything.
    let alone = match &slots[..] {
        [slot] if slot.is_alone => slot.ids.first().copied(),
        _ => None,
    };
    let ends: HashMap<InFlightId, u32> = old.iter().copied().collect();
    let mut named: HashSet<InFlightId> = HashSet::new();
    let mut suspects: Vec<Suspect> = Vec::new();
    for id in slots.iter().flat_map(|slot| &slot.ids).copied().filter(|id| named.insert(*id)) {
        let before = ends.get(&id).copied().unwrap_or_default();
        suspects.push((id, before.saturating_add(u32::from(alone == Some(id)))));
    }
    match (alone, &suspects[..]) {
        (Some(_), [(_, ends)]) => {
            tracing::error!(
                ends,
                most = LONE_ENDS_MAX,
                "the engine ended while it decided one event or timer alone; it is decided alone \
                 once more"
            );
        }
        (_, []) => {}
        _ => tracing::warn!(
            suspects = suspects.len(),
            "the engine ended while it decided these events or timers; each is now decided alone"
        ),
    }
    old.retain(|(id, _)| !named.contains(id));
    old.truncate(OLD_SUSPECTS_MAX);
    suspects.append(&mut old);
    suspects
}
