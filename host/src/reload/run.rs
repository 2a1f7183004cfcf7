//! The owner's main loop: it waits for change notices, requests, SIGHUP and the slow poll, and
//! handles one at a time.
//!
//! The work (reading, compiling, testing) runs off the async threads; meanwhile, requests wait in
//! their bounded channel. A pause or a suspension is in force while it waits: see
//! `pending_orders.rs`.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::owner::{Owner, Trigger};
use super::watch::Watch;
use super::{ReloadError, Request, Requests, Stage};

/// A directory that keeps changing is read after this many debounce periods anyway.
const DEBOUNCES_MAX: u32 = 10;

/// One task of the owner.
enum Task {
    Load(Trigger),
    Answer(Request),
}

/// Tracks when the directory has been quiet for one debounce period.
#[derive(Default)]
struct Debounce {
    since_first: Option<Instant>,
    due: Option<Instant>,
}

impl Debounce {
    fn noticed(&mut self, now: Instant, debounce: Duration) {
        let first = *self.since_first.get_or_insert(now);
        self.due = Some((now + debounce).min(first + debounce * DEBOUNCES_MAX));
    }
}

impl<S: Stage> Owner<S> {
    /// Keeps the rule set in line with the directory and answers requests, until `shutdown`
    /// resolves.
    ///
    /// # Errors
    /// The process cannot receive SIGHUP.
    pub async fn run(
        self,
        mut requests: Requests,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ReloadError> {
        let mut hangup = signal(SignalKind::hangup()).map_err(ReloadError::Signal)?;
        let (debounce, poll) = (self.debounce, self.poll);
        let (watch, mut changes) =
            Watch::new(self.directory.path().to_owned(), self.partial_writes.write_events.clone());
        let mut debounced = Debounce::default();
        let mut polls = interval_at(Instant::now() + poll, poll);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);

        let mut room = (self, watch);
        // The watch starts before the directory is read again, so no change in between is missed.
        let mut task = Task::Load(Trigger::Changed);
        loop {
            requests.publish_names(room.0.campaigns.keys().cloned().collect());
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
                    Err(failed) if failed.is_panic() => {
                        std::panic::resume_unwind(failed.into_panic())
                    }
                    // The task was cancelled because the runtime is shutting down.
                    Err(_) => return Ok(()),
                },
                // A running compilation is not awaited: none of its results has been swapped in.
                () = &mut shutdown => return Ok(()),
            };
            let recheck = room.0.partial_writes.due;
            let recheck_at = recheck.map_or_else(Instant::now, Instant::from_std);
            task = loop {
                let due = debounced.due.unwrap_or_else(Instant::now);
                tokio::select! {
                    () = &mut shutdown => return Ok(()),
                    Some(request) = requests.recv() => break Task::Answer(request),
                    Some(()) = hangup.recv() => {
                        break Task::Load(Trigger::Asked { allow_removals: false });
                    }
                    Some(()) = changes.recv() => debounced.noticed(Instant::now(), debounce),
                    () = sleep_until(due), if debounced.due.is_some() => {
                        debounced = Debounce::default();
                        break Task::Load(Trigger::Changed);
                    }
                    () = sleep_until(recheck_at), if recheck.is_some() => {
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
    fn each_notice_delays_the_load_up_to_a_limit() {
        let (start, debounce) = (Instant::now(), Duration::from_millis(300));
        let mut debounced = Debounce::default();
        debounced.noticed(start, debounce);
        debounced.noticed(start + Duration::from_millis(100), debounce);
        assert_eq!(debounced.due, Some(start + Duration::from_millis(400)));
        debounced.noticed(start + Duration::from_millis(2_900), debounce);
        assert_eq!(debounced.due, Some(start + Duration::from_millis(3_000)));
    }
}
