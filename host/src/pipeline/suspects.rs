//! Who took the engine down: how an event that does so again and again is told from those that were only beside it.
//!
//! Each shard names what it is about to decide, in a file, and takes the names back when it has decided. What is found there at a start was being
//! decided when the engine ended: those are suspects. A suspect is decided alone, while no other shard decides anything, and **only an end that
//! comes while a suspect is decided alone counts against it**. One with too many of them is not decided any more: an event becomes a dead
//! letter, a timer and a failure that is tried again a fault of the rule. What gets through, and is committed, is no suspect any more.
//!
//! So an end that no event is to blame for makes suspects, who are acquitted at once, and no dead letter: for that it would have to come three times
//! in a row within the few microseconds in which the same event is decided alone. What ends the engine elsewhere (while it reads a body,
//! commits, publishes) is not looked for: no rule is at work there.

mod slots;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Accepted;
use crate::delivery::Delivery;
use crate::engine::GuestFault;
use crate::event::{DedupKey, Event};
use crate::metrics;
use crate::records::{FailureKey, TimerKey};
pub(super) use slots::Name;
use slots::{Left, Slots, Suspect};

/// The file's name, in the data directory.
pub const FILE_NAME: &str = "in-flight";
/// So many ends while it is decided alone, and it is not decided any more.
const ENDS_MAX: u32 = 3;
/// The most that a shard decides together, so that each of them is named.
const NAMES_MAX: usize = 4096;
/// Suspects of earlier runs that have not come again; of more, the oldest are forgotten.
const OLD_MAX: usize = 4096;

/// The suspects, shared by the entrance and the shards.
#[derive(Debug)]
pub struct Suspects {
    /// `None` if nothing is named.
    slots: Option<Slots>,
    known: Mutex<HashMap<Name, Known>>,
    /// How many are known. None are added in a run, so without any nobody looks, and nobody waits.
    count: AtomicUsize,
    /// Held by everybody who decides while there are suspects, and by one who decides a suspect alone.
    gate: RwLock<()>,
    has_failed: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    place: usize,
    ends: u32,
}

/// What a shard is about to decide.
#[derive(Debug)]
pub(super) struct Part {
    names: Vec<Name>,
    suspect: Option<(Name, u32)>,
}

/// What is being decided; it is named until this is dropped. Not if a panic drops it: that ends the engine, too.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    suspects: &'a Suspects,
    shard: usize,
    _gate: Gate<'a>,
}

#[derive(Debug)]
enum Gate<'a> {
    Open,
    Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'a, ()>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'a, ()>),
}

/// Of a suspect that was decided: to be used once that is committed.
#[derive(Debug)]
pub(super) struct Acquittal {
    suspects: Arc<Suspects>,
    name: Name,
}

impl Suspects {
    /// Reads what the last run left in the file, and begins another. A file that can't be understood is told, and begun anew.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn open(path: &Path, shards: usize, batch_max: usize) -> io::Result<Suspects> {
        let left = Slots::read(path).unwrap_or_else(|error| {
            let path = path.display();
            tracing::warn!(%path, %error, "what was being decided when the engine ended can't be read, and is forgotten");
            Left::default()
        });
        let suspects = suspects_of(left);
        let slots = Slots::create(path, shards, batch_max.min(NAMES_MAX), &suspects)?;
        Ok(Suspects::new(Some(slots), &suspects))
    }

    /// Names nothing, and suspects nobody.
    #[must_use]
    pub fn none() -> Suspects {
        Suspects::new(None, &[])
    }

    fn new(slots: Option<Slots>, suspects: &[Suspect]) -> Suspects {
        let known: HashMap<Name, Known> =
            suspects.iter().enumerate().map(|(place, &(name, ends))| (name, Known { place, ends })).collect();
        ::metrics::gauge!(metrics::SUSPECTS).set(known.len() as f64);
        let (count, gate) = (AtomicUsize::new(known.len()), RwLock::default());
        Suspects { slots, known: Mutex::new(known), count, gate, has_failed: AtomicBool::new(false) }
    }

    /// Cuts a batch so that a suspect is decided alone: what comes first stays, the rest is returned.
    pub(super) fn set_apart(&self, accepted: &mut Vec<Accepted>) -> Vec<Accepted> {
        let is_suspect = |one: &Accepted| one.name.is_some_and(|name| self.ends_of(name).is_some());
        let first = (!self.are_none()).then(|| accepted.iter().position(is_suspect)).flatten();
        let together = first.map_or(accepted.len(), |first| first.max(1));
        accepted.split_off(together.min(NAMES_MAX))
    }

    /// What a batch that was cut like this is called.
    pub(super) fn part(&self, accepted: &[Accepted]) -> Part {
        let names: Vec<Name> = accepted.iter().filter_map(|one| one.name).collect();
        let suspect = if let [name] = names[..] { self.ends_of(name).map(|ends| (name, ends)) } else { None };
        Part { names, suspect }
    }

    /// Names what a shard decides until the answer is dropped.
    pub(super) fn enter(&self, shard: usize, part: &Part) -> InFlight<'_> {
        let gate = match part.suspect {
            Some(_) => Gate::Alone(self.gate.write().unwrap_or_else(PoisonError::into_inner)),
            None if !self.are_none() => Gate::Shared(self.gate.read().unwrap_or_else(PoisonError::into_inner)),
            None => Gate::Open,
        };
        if let Some((_, ends)) = part.suspect.filter(|(_, ends)| *ends > 0) {
            tracing::warn!(ends, "decides alone what the engine has ended at before");
        }
        self.write(|slots| slots.name(shard, part.suspect.is_some(), &part.names));
        InFlight { suspects: self, shard, _gate: gate }
    }

    /// Why an event is not to be decided any more; `None` if it is. Changes nothing.
    pub(super) fn refuses_event(&self, name: Name) -> Option<String> {
        let ends = self.ends_of(name).filter(|ends| *ends >= ENDS_MAX)?;
        Some(format!("the engine ended {ends} times while it decided this event alone"))
    }

    /// An event is not decided any more. Should it come once more, after all, one more end is enough.
    pub(super) fn give_up_event(&self, name: Name, code: &str) {
        let ends = self.sentence(name, "event");
        tracing::error!(code, ends, "the engine ended each time it decided this event alone: dead letter");
    }

    /// The same for a timer.
    pub(super) fn refuse_timer(&self, timer: &TimerKey) -> Result<(), GuestFault> {
        match self.sentence(Name::of_timer(timer), "timer") {
            Some(times) => Err(GuestFault::EndedTheEngine { times }),
            None => Ok(()),
        }
    }

    /// The same for failures that are tried again together, which are called as the first of them is. What is refused stands in front of the
    /// others, so they wait, and nothing tries them again by itself.
    pub(super) fn refuse_retry(&self, first: &FailureKey) -> Result<(), GuestFault> {
        match self.sentence(Name::of_failure(first), "failure") {
            Some(times) => Err(GuestFault::EndedTheEngine { times }),
            None => Ok(()),
        }
    }

    fn sentence(&self, name: Name, kind: &'static str) -> Option<u32> {
        let ends = self.ends_of(name).filter(|ends| *ends >= ENDS_MAX)?;
        if let Some(known) = self.lock().get_mut(&name) {
            known.ends = ENDS_MAX - 1;
            let place = known.place;
            self.write(|slots| slots.suspect(place, name, Some(ENDS_MAX - 1)));
        }
        ::metrics::counter!(metrics::GIVEN_UP_TOTAL, "kind" => kind).increment(1);
        Some(ends)
    }

    /// How often the engine ended while this was decided alone; `None` if it is no suspect.
    fn ends_of(&self, name: Name) -> Option<u32> {
        if self.are_none() { None } else { self.lock().get(&name).map(|known| known.ends) }
    }

    fn acquit(&self, name: Name) {
        let mut known = self.lock();
        if let Some(Known { place, .. }) = known.remove(&name) {
            self.write(|slots| slots.suspect(place, name, None));
            self.count.store(known.len(), Ordering::Release);
            ::metrics::gauge!(metrics::SUSPECTS).set(known.len() as f64);
        }
    }

    fn are_none(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// An error is told once and stops nothing: events are decided without being named.
    fn write(&self, write: impl FnOnce(&Slots) -> io::Result<()>) {
        if let Some(Err(error)) = self.slots.as_ref().map(write)
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            tracing::error!(file = FILE_NAME, %error, "can't name what is being decided: an event that ends the engine won't be found");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// What is to be said when it is committed.
    pub(super) fn acquittal(&self, suspects: &Arc<Suspects>) -> Option<Acquittal> {
        self.suspect.map(|(name, _)| Acquittal { suspects: Arc::clone(suspects), name })
    }
}

impl Acquittal {
    pub(super) fn committed(self) {
        self.suspects.acquit(self.name);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.suspects.write(|slots| slots.name(self.shard, false, &[]));
        }
    }
}

impl Name {
    /// Of an event: what it is deduplicated by. A place that names the run (of standard input) is no name in the next run; the line is.
    pub(super) fn of_event(event: &Event, delivery: &Delivery, key: DedupKey) -> Name {
        match delivery.line_of_run() {
            Some(line) => Name::new(*event.dedup_key(delivery.message_id.as_deref(), Some(line)).as_bytes()),
            None => Name::new(*key.as_bytes()),
        }
    }

    /// Of a timer, whenever it is due: it may be put off between two runs.
    pub(super) fn of_timer(timer: &TimerKey) -> Name {
        Name::hash("hailer timer in flight 1", &TimerKey { due: 0, ..timer.clone() }.encode())
    }

    /// Of failures of which this is the first; its number is its alone.
    pub(super) fn of_failure(first: &FailureKey) -> Name {
        Name::hash("hailer failure in flight 1", &first.number.to_be_bytes())
    }

    fn hash(purpose: &str, of: &[u8]) -> Name {
        let mut name = [0; 16];
        blake3::Hasher::new_derive_key(purpose).update(of).finalize_xof().fill(&mut name);
        Name::new(name)
    }
}

/// Who is a suspect after a run that left this, and says what happened.
fn suspects_of(left: Left) -> Vec<Suspect> {
    let Left { suspects: mut old, slots } = left;
    // Who is decided alone is alone: no other shard decides anything.
    let alone = match &slots[..] {
        [slot] if slot.alone => slot.names.first().copied(),
        _ => None,
    };
    let ends: HashMap<Name, u32> = old.iter().copied().collect();
    let mut named: HashSet<Name> = HashSet::new();
    let mut suspects: Vec<Suspect> = Vec::new();
    for name in slots.iter().flat_map(|slot| &slot.names).copied().filter(|name| named.insert(*name)) {
        let before = ends.get(&name).copied().unwrap_or_default();
        suspects.push((name, before.saturating_add(u32::from(alone == Some(name)))));
    }
    match (alone, &suspects[..]) {
        (Some(_), [(_, ends)]) => {
            tracing::error!(
                ends,
                most = ENDS_MAX,
                "the engine ended while it decided one event or timer alone; it is tried again"
            );
        }
        (_, []) => {}
        _ => tracing::warn!(
            suspects = suspects.len(),
            "the engine ended while it decided these; each is now decided alone"
        ),
    }
    old.retain(|(name, _)| !named.contains(name));
    old.truncate(OLD_MAX);
    suspects.append(&mut old);
    suspects
}
