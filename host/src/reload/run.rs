//! The owner's life: it waits for notices, requests, SIGHUP and the slow poll, and does one thing at a time.
//!
//! The work itself (reading, compiling, trying) runs off the async threads; while it runs, requests wait in their
//! bounded channel. A pause or suspension among them is in force all the same: see `brake.rs`.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::owner::{Owner, Trigger};
use super::watch::Watch;
use super::{ReloadError, Request, Requests, Stage};

/// A directory that never gets quiet is read after this many debounces all the same.
const DEBOUNCES_MAX: u32 = 10;

/// One thing to do.
enum Task {
    Load(Trigger),
    Answer(Request),
}

/// When the directory has been quiet for long enough.
#[derive(Default)]
struct Quiet {
    since_first: Option<Instant>,
    due: Option<Instant>,
}

impl Quiet {
    fn noticed(&mut self, now: Instant, debounce: Duration) {
        let first = *self.since_first.get_or_insert(now);
        self.due = Some((now + debounce).min(first + debounce * DEBOUNCES_MAX));
    }
}

impl<S: Stage> Owner<S> {
    /// Keeps the rule set what the directory says, and answers requests, until `shutdown` resolves.
    ///
    /// # Errors
    /// When the system refuses to tell of SIGHUP.
    pub async fn run(self, mut requests: Requests, shutdown: impl Future<Output = ()>) -> Result<(), ReloadError> {
        let mut hangup = signal(SignalKind::hangup()).map_err(ReloadError::Signal)?;
        let (debounce, poll) = (self.debounce, self.poll);
        let (watch, mut changes) = Watch::new(self.directory.path().to_owned(), self.settling.writers.clone());
        let mut quiet = Quiet::default();
        let mut polls = interval_at(Instant::now() + poll, poll);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);

        let mut room = (self, watch);
        // The watch is set before the directory is read again, so that nothing falls between the two.
        let mut task = Task::Load(Trigger::Changed);
        loop {
            requests.tell_names(room.0.campaigns.keys().cloned().collect());
            let work = tokio::task::spawn_blocking(move || {
                let (mut owner, mut watch) = room;
                watch.renew();
                match task {
                    Task::Load(trigger) => drop(owner.load(trigger)),
                    Task::Answer(request) => owner.answer(request),
                }
                (owner, watch)
            });
            room = tokio::select! {
                done = work => match done {
                    Ok(room) => room,
                    Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                    // Cancelled: the runtime is shutting down.
                    Err(_) => return Ok(()),
                },
                // A compilation under way is not waited for: nothing of it is on the stage yet.
                () = &mut shutdown => return Ok(()),
            };
            let settles = room.0.settling.due;
            task = loop {
                let due = quiet.due.unwrap_or_else(Instant::now);
                tokio::select! {
                    () = &mut shutdown => return Ok(()),
                    Some(request) = requests.recv() => break Task::Answer(request),
                    Some(()) = hangup.recv() => break Task::Load(Trigger::Asked { allow_removals: false }),
                    Some(()) = changes.recv() => quiet.noticed(Instant::now(), debounce),
                    () = sleep_until(due), if quiet.due.is_some() => {
                        quiet = Quiet::default();
                        break Task::Load(Trigger::Changed);
                    }
                    () = sleep_until(settles.map_or_else(Instant::now, Instant::from_std)), if settles.is_some() => {
                        break Task::Load(Trigger::Changed);
                    }
                    _ = polls.tick() => break Task::Load(Trigger::Changed),
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_notice_puts_the_reading_off_but_not_for_ever() {
        let (start, debounce) = (Instant::now(), Duration::from_millis(300));
        let mut quiet = Quiet::default();
        quiet.noticed(start, debounce);
        quiet.noticed(start + Duration::from_millis(100), debounce);
        assert_eq!(quiet.due, Some(start + Duration::from_millis(400)));
        quiet.noticed(start + Duration::from_millis(2_900), debounce);
        assert_eq!(quiet.due, Some(start + Duration::from_millis(3_000)));
    }
}
