//! Brings what the log has to the tables: many commits in one, on a thread of its own.
//!
//! It waits for company, up to a time and a size, as a page of a table costs the same for one row as for ten; and for nobody when somebody
//! waits for it. What nobody waits for is brought over gently, so that the log's syncs needn't wait for it either. Whoever appends much faster than it can go on waits when the log is full.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::log::{BLOCK_BYTES, Nonce};
use super::super::redb::{LogMark, Pace, RedbStore};
use super::super::{Changes, Store, StoreError, Upkeep};
use crate::metrics;

/// What was appended is brought over after this time at the latest, if nothing holds it up.
const WAITS_MAX: Duration = Duration::from_millis(1000);
/// So much of the log is brought over without waiting for more: less than a half of it, so that the other takes what comes meanwhile.
const BYTES_ENOUGH: usize = 7 << 20;

/// The thread, and what is on its way to it.
#[derive(Debug)]
pub(super) struct Applier {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something was added, or is wanted.
    is_wanted: Condvar,
    /// The tables show more, or never will.
    has_shown: Condvar,
    upkeep: Mutex<Option<Box<dyn Upkeep>>>,
    pace: Arc<Pace>,
}

#[derive(Debug, Default)]
struct Waiting {
    nonce: Nonce,
    changes: Vec<Changes>,
    bytes: usize,
    /// Since when the oldest of them waits.
    since: Option<Instant>,
    /// The number of the last that was added, and of the last that the tables show.
    added: u64,
    shown: u64,
    /// Somebody waits for everything up to this number.
    wanted: u64,
    is_ending: bool,
    failure: Option<String>,
}

impl Applier {
    pub(super) fn start(tables: Arc<RedbStore>) -> Applier {
        let shared = Arc::new(Shared { pace: Arc::clone(tables.pace()), ..Shared::default() });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || theirs.run(&tables));
        // Without the thread nothing is ever shown, and the first who waits is told.
        let thread = thread.inspect_err(|error| shared.lock().failure = Some(format!("no thread: {error}"))).ok();
        Applier { shared, thread }
    }

    pub(super) fn begin(&self, nonce: Nonce) {
        self.shared.lock().nonce = nonce;
    }

    pub(super) fn set_upkeep(&self, upkeep: Box<dyn Upkeep>) {
        *self.shared.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = Some(upkeep);
    }

    /// Takes what is durable.
    pub(super) fn add(&self, number: u64, changes: Changes) -> Result<(), StoreError> {
        let mut waiting = self.shared.lock();
        waiting.check()?;
        waiting.added = number;
        waiting.bytes += changes.bytes().next_multiple_of(BLOCK_BYTES);
        waiting.changes.push(changes);
        waiting.since.get_or_insert_with(Instant::now);
        if waiting.bytes >= BYTES_ENOUGH {
            self.shared.pace.set_gentle(false);
        }
        drop(waiting);
        self.shared.is_wanted.notify_one();
        Ok(())
    }

    /// The number of the last commit that the tables show.
    pub(super) fn shown(&self) -> Result<u64, StoreError> {
        let waiting = self.shared.lock();
        waiting.check()?;
        Ok(waiting.shown)
    }

    /// Brings over what was added without waiting for more.
    pub(super) fn hasten(&self) {
        let mut waiting = self.shared.lock();
        waiting.wanted = waiting.added;
        self.shared.pace.set_gentle(false);
        drop(waiting);
        self.shared.is_wanted.notify_one();
    }

    /// Waits until the tables show everything that was added.
    pub(super) fn wait_for_all(&self) -> Result<(), StoreError> {
        let added = self.shared.lock().added;
        self.wait(added)
    }

    /// Waits until the tables show everything up to a number.
    pub(super) fn wait(&self, number: u64) -> Result<(), StoreError> {
        let mut waiting = self.shared.lock();
        while waiting.shown < number {
            waiting.check()?;
            waiting.wanted = waiting.wanted.max(number);
            self.shared.pace.set_gentle(false);
            self.shared.is_wanted.notify_one();
            waiting = self.shared.has_shown.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Ends the thread when everything is in the tables; returns whether it is.
    pub(super) fn finish(&mut self) -> bool {
        self.shared.lock().is_ending = true;
        self.shared.pace.set_gentle(false);
        self.shared.is_wanted.notify_one();
        let has_ended = self.thread.take().is_some_and(|thread| thread.join().is_ok());
        let waiting = self.shared.lock();
        has_ended && waiting.failure.is_none() && waiting.shown == waiting.added
    }
}

impl Shared {
    fn run(&self, tables: &RedbStore) {
        // A panic must not leave anybody waiting for ever.
        let _told = ToldAtTheEnd(self);
        while let Some((changes, mark)) = self.next() {
            let began = Instant::now();
            let applied = self.apply(tables, changes, mark);
            ::metrics::histogram!(metrics::APPLY_SECONDS).record(began.elapsed());
            let mut waiting = self.lock();
            match applied {
                Ok(()) => waiting.shown = mark.shown,
                Err(error) => {
                    tracing::error!(%error, "what the log has can't be brought to the tables");
                    waiting.failure = Some(error.to_string());
                    return;
                }
            }
            drop(waiting);
            self.has_shown.notify_all();
        }
    }

    /// Waits for what is to be brought over next.
    fn next(&self) -> Option<(Vec<Changes>, LogMark)> {
        let mut waiting = self.lock();
        loop {
            let left = match waiting.since {
                Some(_) if waiting.is_due() => break,
                Some(since) => WAITS_MAX.saturating_sub(since.elapsed()),
                None if waiting.is_ending => return None,
                None => Duration::MAX,
            };
            waiting = match left {
                Duration::MAX => self.is_wanted.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                left => self.is_wanted.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        // Whoever begins to wait meanwhile sees to it that it is no longer.
        self.pace.set_gentle(!waiting.is_awaited());
        waiting.since = None;
        waiting.bytes = 0;
        let mark = LogMark { nonce: waiting.nonce, shown: waiting.added };
        Some((std::mem::take(&mut waiting.changes), mark))
    }

    fn apply(&self, tables: &RedbStore, changes: Vec<Changes>, mark: LogMark) -> Result<(), StoreError> {
        let mut changes = Changes::united(changes);
        if let Some(upkeep) = &mut *self.upkeep.lock().unwrap_or_else(PoisonError::into_inner) {
            upkeep.add(&*tables.snapshot()?, &mut changes)?;
        }
        tables.commit_marked(&changes, Some(mark))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that happens under the lock can be left half done but by running out of memory.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_due(&self) -> bool {
        self.is_awaited() || self.since.is_some_and(|since| since.elapsed() >= WAITS_MAX)
    }

    /// Somebody waits for it, or would soon.
    fn is_awaited(&self) -> bool {
        self.is_ending || self.wanted > self.shown || self.bytes >= BYTES_ENOUGH
    }

    fn check(&self) -> Result<(), StoreError> {
        match &self.failure {
            Some(reason) => Err(StoreError::Behind { reason: reason.clone() }),
            None => Ok(()),
        }
    }
}

struct ToldAtTheEnd<'shared>(&'shared Shared);

impl Drop for ToldAtTheEnd<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        if !waiting.is_ending {
            waiting.failure.get_or_insert_with(|| "the thread that does it ended".to_owned());
        }
        drop(waiting);
        self.0.has_shown.notify_all();
    }
}

#[cfg(test)]
mod tests;
