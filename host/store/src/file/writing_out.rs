//! Two threads: one writes to tables what is in memory, so that the log's halves can be used again; the other merges tables.
//!
//! They are apart, as a merge may take seconds and a commit that needs a half of the log must not wait for it. Only when merging falls far behind
//! does writing out wait for it, and then commits do.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::super::StoreError;
use super::super::tree::Tree;
use crate::APPLY_SECONDS;
use hailer_base::failpoint::Failpoint;

/// The threads, and what they have to do.
pub(super) struct WritingOut {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    tree: Arc<Tree>,
    state: Mutex<State>,
    /// There is something to do, or something was done.
    has_changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Commits up to this number are to be written out.
    wanted: u64,
    /// And these are.
    written: u64,
    /// Tables were written since somebody looked whether any have to be merged.
    may_merge: bool,
    ends: bool,
    failure: Option<String>,
}

impl WritingOut {
    /// Starts the threads for a tree with so many commits in tables.
    pub(super) fn start(tree: Arc<Tree>, written: u64) -> WritingOut {
        let state = State { wanted: written, written, may_merge: true, ..State::default() };
        let shared = Arc::new(Shared { tree, state: Mutex::new(state), has_changed: Condvar::new() });
        let mut threads = Vec::new();
        for (name, work) in [("store", Shared::write_out as fn(&Shared)), ("store-merge", Shared::merge)] {
            let theirs = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || theirs.run(work));
            match thread {
                Ok(thread) => threads.push(thread),
                // Without them nothing is ever written, and the first commit that needs it is told.
                Err(error) => shared.fail(format!("no thread: {error}")),
            }
        }
        WritingOut { shared, threads }
    }

    /// Has everything in memory be written out: commits up to a number.
    pub(super) fn begin(&self, last: u64) {
        let mut state = self.shared.lock();
        if last > state.wanted {
            self.shared.tree.seal_memory();
            state.wanted = last;
            drop(state);
            self.shared.has_changed.notify_all();
        }
    }

    /// Waits until commits up to a number are in tables.
    ///
    /// # Errors
    /// When they never will be.
    pub(super) fn wait(&self, number: u64) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        while state.written < number {
            if let Some(reason) = &state.failure {
                return Err(StoreError::Behind { reason: reason.clone() });
            }
            state = self.shared.wait(state);
        }
        Ok(())
    }

    /// Writes everything in memory to tables, and returns when it is there. Nothing else may be on its way.
    pub(super) fn write_now(&self) -> Result<(), StoreError> {
        self.shared.tree.seal_memory();
        self.shared.tree.write_out()?;
        self.shared.lock().may_merge = true;
        self.shared.has_changed.notify_all();
        Ok(())
    }

    /// Ends the threads. What is in memory is in the log, too.
    pub(super) fn end(&mut self) {
        self.shared.lock().ends = true;
        self.shared.tree.end();
        self.shared.has_changed.notify_all();
        for thread in self.threads.drain(..) {
            // One that panicked has said so, and the store is read anew at the next start.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, work: fn(&Shared)) {
        // A panic must not leave a commit waiting for ever.
        let _told = ToldAtTheEnd(self);
        work(self);
    }

    fn write_out(&self) {
        let mut state = self.lock();
        while !state.ends && state.failure.is_none() {
            if state.written == state.wanted || self.tree.has_too_many_runs() {
                state = self.wait(state);
                continue;
            }
            let wanted = state.wanted;
            drop(state);
            let began = Instant::now();
            Failpoint::DuringApply.pass();
            let written = self.tree.write_out();
            Failpoint::DuringApply.pass();
            ::metrics::histogram!(APPLY_SECONDS).record(began.elapsed());
            if let Err(error) = written {
                tracing::error!(%error, "what the log has can't be written to tables");
                return self.fail(error.to_string());
            }
            state = self.lock();
            state.written = wanted;
            state.may_merge = true;
            self.has_changed.notify_all();
        }
    }

    fn merge(&self) {
        let mut state = self.lock();
        while !state.ends && state.failure.is_none() {
            if !std::mem::take(&mut state.may_merge) {
                state = self.wait(state);
                continue;
            }
            drop(state);
            Failpoint::DuringApply.pass();
            let merged = self.tree.compact();
            state = self.lock();
            match merged {
                Ok(may_merge) => state.may_merge |= may_merge,
                Err(error) => {
                    drop(state);
                    tracing::error!(%error, "tables can't be merged");
                    return self.fail(error.to_string());
                }
            }
            self.has_changed.notify_all();
        }
    }

    fn fail(&self, reason: String) {
        self.lock().failure.get_or_insert(reason);
        self.has_changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that happens under the lock can be left half done but by running out of memory.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'state>(&self, state: MutexGuard<'state, State>) -> MutexGuard<'state, State> {
        self.has_changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

struct ToldAtTheEnd<'shared>(&'shared Shared);

impl Drop for ToldAtTheEnd<'_> {
    fn drop(&mut self) {
        if !self.0.lock().ends {
            self.0.fail("the thread that does it ended".to_owned());
        }
    }
}
