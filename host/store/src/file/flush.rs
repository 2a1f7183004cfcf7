//! The two background threads of the store. One flushes memory to tables, so that the halves of the
//! log can be used again. The other merges tables.
//!
//! They are separate because a merge may take seconds, and a commit that needs a half of the log
//! must not wait for it. Only when too many runs of tables wait to be merged does a flush wait for
//! merging. Commits then wait for the flush.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::super::StoreError;
use super::super::tree::Tree;
use hailer_base::failpoint::Failpoint;
use hailer_base::metrics::APPLY_SECONDS;

/// The flush thread and the merge thread, with the state that they share.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    tree: Arc<Tree>,
    state: Mutex<State>,
    /// Signals every change of `state`.
    has_changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Commits up to this number are requested to be in tables.
    wanted: u64,
    /// Commits up to this number are in tables.
    written: u64,
    /// Whether tables have changed since the merge thread last looked for work.
    may_merge: bool,
    /// Whether the threads have to end.
    ends: bool,
    /// The reason why one of the threads has failed; `None` if none has.
    failure: Option<String>,
}

impl Flusher {
    /// Starts the threads for a tree whose tables have the commits up to `written`.
    pub(super) fn start(tree: Arc<Tree>, written: u64) -> Flusher {
        let state = State { wanted: written, written, may_merge: true, ..State::default() };
        let shared =
            Arc::new(Shared { tree, state: Mutex::new(state), has_changed: Condvar::new() });
        let mut threads = Vec::new();
        for (name, work) in
            [("store", Shared::flush as fn(&Shared)), ("store-merge", Shared::merge)]
        {
            let theirs = Arc::clone(&shared);
            let thread =
                std::thread::Builder::new().name(name.to_owned()).spawn(move || theirs.run(work));
            match thread {
                Ok(thread) => threads.push(thread),
                // Without the threads no flush happens. The first commit that waits for one gets
                // this error.
                Err(error) => shared.fail(format!("cannot start a thread: {error}")),
            }
        }
        Flusher { shared, threads }
    }

    /// Requests a flush of everything in memory, which is all commits up to `last`.
    pub(super) fn begin(&self, last: u64) {
        let mut state = self.shared.lock();
        if last > state.wanted {
            self.shared.tree.seal_memory();
            state.wanted = last;
            drop(state);
            self.shared.has_changed.notify_all();
        }
    }

    /// Waits until the commits up to a number are in tables.
    ///
    /// # Errors
    /// When the flush has failed.
    pub(super) fn wait(&self, number: u64) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        while state.written < number {
            if let Some(reason) = &state.failure {
                return Err(StoreError::Flush { reason: reason.clone() });
            }
            state = self.shared.wait(state);
        }
        Ok(())
    }

    /// Flushes everything in memory on this thread. No other flush may be requested or running.
    pub(super) fn flush_now(&self) -> Result<(), StoreError> {
        self.shared.tree.seal_memory();
        self.shared.tree.flush()?;
        self.shared.lock().may_merge = true;
        self.shared.has_changed.notify_all();
        Ok(())
    }

    /// Ends the threads without a flush, because the log has everything that is in memory.
    pub(super) fn end(&mut self) {
        self.shared.lock().ends = true;
        self.shared.tree.cancel_merges();
        self.shared.has_changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic is already reported, and the next open reads the log again.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, work: fn(&Shared)) {
        // A panic must not leave a commit waiting for ever. On any other end this does nothing.
        let _guard = FailOnPanic(self);
        work(self);
    }

    fn flush(&self) {
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
            let written = self.tree.flush();
            Failpoint::DuringApply.pass();
            ::metrics::histogram!(APPLY_SECONDS).record(began.elapsed());
            if let Err(error) = written {
                tracing::error!(
                    %error,
                    "cannot write rows to tables; the store stops when its log is full, and the \
                     next start tries again"
                );
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
                    tracing::error!(
                        %error,
                        "cannot merge tables; the store stops when its log is full, and the next \
                         start tries again"
                    );
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
        // Only running out of memory can leave a change half done under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'state>(&self, state: MutexGuard<'state, State>) -> MutexGuard<'state, State> {
        self.has_changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

struct FailOnPanic<'shared>(&'shared Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if !self.0.lock().ends {
            self.0.fail("its thread ended unexpectedly".to_owned());
        }
    }
}
