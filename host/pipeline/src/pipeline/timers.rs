//! Timers: looks up due timers in the store and sends them to their customers' shards, after
//! redirects from merges.
//!
//! A timer that is found is only a hint: the shard knows whether it is still pending. (A timer that
//! was cancelled before its turn does not fire.) **No timer fires before everything that was
//! waiting in the source when it fell due has been handled (G6)**; the source reports up to which
//! moment that is the case.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::budget::Budget;
use super::intake::IntakeState;
use super::poison::InFlightId;
use super::settings::StoreSettings;
use super::shard::Shared;
use super::{Accepted, Redirects, What};
use crate::clock_doubt::ClockDoubt;
use crate::records::{Key, Partition, TimerKey};
use hailer_base::clock::{self, Millis};
use hailer_base::health::{Condition, Health};
use hailer_base::metrics;
use hailer_store::{Store, StoreError, Table};

/// The interval between two lookups. If nothing else waits, a timer fires at most this much late;
/// one that was set within the last second, up to a second more.
const LOOKUP_EVERY: Duration = Duration::from_millis(200);
/// The name in `/readyz` under which the state of the machine's clock is reported.
const CLOCK_CHECK: &str = "clock";
/// The most timers in flight at once.
const IN_FLIGHT_MAX: usize = 4096;
/// A timer's approximate share of the byte budget, in bytes.
const TIMER_BYTES: usize = 512;

/// The timers in flight, and when the next of the other timers is due.
#[derive(Debug)]
pub(super) struct Due {
    state: Mutex<State>,
    /// Locked from a lookup until the timers that it found are sent to their shards. A second
    /// lookup meanwhile finds nothing. It must not return earlier, because the shards may end after
    /// it returns.
    firing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    in_flight: HashSet<TimerKey>,
    /// No timer in the store is due before this, except those in flight. Earlier lookups are
    /// skipped, because a lookup reads every partition and costs far more than an event.
    next: Millis,
}

impl Default for Due {
    fn default() -> Due {
        let state = Mutex::new(State { in_flight: HashSet::new(), next: Millis::MIN });
        Due { state, firing: tokio::sync::Mutex::default() }
    }
}

impl Due {
    /// Takes timers out of flight, because their results are committed.
    pub(super) fn settled(&self, timers: &[TimerKey]) {
        if !timers.is_empty() {
            let mut state = self.lock();
            for timer in timers {
                state.in_flight.remove(timer);
            }
        }
    }

    /// Records that a timer with this due time was committed.
    pub(super) fn committed(&self, due: Millis) {
        let mut state = self.lock();
        state.next = state.next.min(due);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Timers {
    pub(super) store: Arc<dyn Store>,
    pub(super) due: Arc<Due>,
    pub(super) intake: Arc<IntakeState>,
    /// Weak, so that the shards end with their sources.
    pub(super) shards: Vec<mpsc::WeakSender<Accepted>>,
    pub(super) budget: Budget,
    pub(super) redirects: Redirects,
    /// The moment up to which everything that waited in the source has been handled.
    pub(super) handled: watch::Receiver<Millis>,
    pub(super) health: Health,
}

impl Timers {
    pub(super) fn new(
        store_settings: &StoreSettings,
        shared: &Shared,
        shards: &[mpsc::WeakSender<Accepted>],
        budget: &Budget,
        handled: watch::Receiver<Millis>,
    ) -> Timers {
        Timers {
            store: Arc::clone(&store_settings.store),
            due: Arc::default(),
            intake: Arc::clone(&shared.intake),
            shards: shards.to_vec(),
            budget: budget.clone(),
            redirects: shared.redirects.clone(),
            handled,
            health: store_settings.health.clone(),
        }
    }

    /// Looks for due timers until the entrance is gone.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        let mut lookups = tokio::time::interval(LOOKUP_EVERY);
        lookups.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = lookups.tick() => self.intake.stalls.tick(clock::since_boot()),
                () = ended(&mut self.handled) => return Ok(()),
            }
            self.fire_due().await?;
        }
    }

    /// Sends the timers that are due and whose earlier backlog is handled. When it returns, all of
    /// them are with their shards, including those that a concurrent call found.
    ///
    /// # Errors
    /// The store or the redirects cannot be read.
    pub(super) async fn fire_due(&self) -> Result<(), StoreError> {
        let doubt = self.intake.look_at_clock();
        self.report(doubt);
        if doubt.is_some() {
            return Ok(());
        }
        let _firing = self.due.firing.lock().await;
        let until = clock::now_ms().min(*self.handled.borrow());
        let (store, due) = (Arc::clone(&self.store), Arc::clone(&self.due));
        let found = tokio::task::spawn_blocking(move || take_due(&*store, &due, until));
        for timer in found.await.map_err(|_| StoreError::Interrupted)?? {
            if self.send(timer).await?.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reports whether the machine's clock is trusted, to metrics and `/readyz`.
    pub(super) fn report(&self, doubt: Option<ClockDoubt>) {
        ::metrics::gauge!(metrics::CLOCK_IN_DOUBT).set(if doubt.is_some() { 1.0 } else { 0.0 });
        clock::set_in_doubt(doubt.is_some());
        let condition =
            doubt.map_or(Condition::Ready, |doubt| Condition::NotReady(doubt.to_string()));
        self.health.report(CLOCK_CHECK, condition);
    }

    /// Advances the clock of event time from timer to timer up to `until`. Before each step it
    /// waits until everything earlier is durable, because that may set a timer or cancel one.
    pub(super) async fn advance(&self, until: Millis) -> Result<(), StoreError> {
        while self.intake.last_now() < until {
            drop(self.budget.take(usize::MAX).await);
            let (store, due) = (Arc::clone(&self.store), Arc::clone(&self.due));
            let found = tokio::task::spawn_blocking(move || {
                // A lookup is bounded, so it is for the earliest time alone: what it leaves out is
                // not earlier.
                let next = first_due(&*store)?.filter(|next| *next <= until);
                next.map_or(Ok(Vec::new()), |next| take_due(&*store, &due, next))
            });
            let found = found.await.map_err(|_| StoreError::Interrupted)??;
            let Some(next) = found.first().map(|timer| timer.due) else { break };
            self.intake.advance(next);
            for timer in found {
                if self.send(timer).await?.is_none() {
                    return Ok(());
                }
            }
        }
        self.intake.advance(until);
        Ok(())
    }

    /// Sends a timer to its shard; `None` if the shards have ended.
    async fn send(&self, timer: TimerKey) -> Result<Option<()>, StoreError> {
        let held = self.budget.take(TIMER_BYTES).await;
        let name = Some(InFlightId::of_timer(&timer));
        // A customer who was merged away may still have the timer in the snapshot that found it.
        // The shard of the remaining customer decides.
        let now = self.redirects.find(timer.customer).await?.key;
        let Some(shard) =
            self.shards.get(now.shard(self.shards.len())).and_then(mpsc::WeakSender::upgrade)
        else {
            return Ok(None);
        };
        let Ok(place) = shard.reserve().await else { return Ok(None) };
        ::metrics::gauge!(metrics::IN_FLIGHT).increment(1);
        place.send(Accepted {
            what: What::Timer(timer),
            name,
            now: self.intake.now(),
            receipt: None,
            held,
        });
        Ok(Some(()))
    }
}

/// Waits until the entrance is gone. The entrance reports how far the source has come.
async fn ended(handled: &mut watch::Receiver<Millis>) {
    while handled.changed().await.is_ok() {}
}

/// The timers that are due by `until` and not in flight, sorted by due time. They are in flight
/// from now on.
fn take_due(store: &dyn Store, due: &Due, until: Millis) -> Result<Vec<TimerKey>, StoreError> {
    let mut found = Vec::new();
    // Copied before the snapshot is taken. A timer that is settled meanwhile may still be in the
    // snapshot and must not be sent again; one that is set meanwhile may be missing from it.
    let in_flight = {
        let mut state = due.lock();
        if until < state.next {
            return Ok(found);
        }
        state.next = Millis::MAX;
        state.in_flight.clone()
    };
    let mut next = Millis::MAX;
    let result = look_up(store, &in_flight, until, &mut found, &mut next);
    let mut state = due.lock();
    if let Err(error) = result {
        state.next = Millis::MIN;
        return Err(error);
    }
    state.next = state.next.min(next);
    // By the whole key, so that the order of one customer's keys depends on nothing else.
    found.sort_unstable();
    state.in_flight.extend(found.iter().cloned());
    Ok(found)
}

/// The earliest time in the index of timers; `None` if it is empty.
fn first_due(store: &dyn Store) -> Result<Option<Millis>, StoreError> {
    let snapshot = store.snapshot()?;
    let mut first: Option<Millis> = None;
    for partition in Partition::all() {
        let (from, to) = Key::timers_until(partition, Millis::MAX - 1);
        snapshot.range(Table::Timers, &from, &to, &mut |key, _| {
            // A broken key is reported by the lookup itself.
            let due = TimerKey::due_of(key).unwrap_or(Millis::MIN);
            first = Some(first.map_or(due, |first| first.min(due)));
            ControlFlow::Break(())
        })?;
    }
    Ok(first)
}

/// Collects the timers that are due by `until`, and sets `next` to the earliest time at which
/// another lookup may find more.
fn look_up(
    store: &dyn Store,
    in_flight: &HashSet<TimerKey>,
    until: Millis,
    found: &mut Vec<TimerKey>,
    next: &mut Millis,
) -> Result<(), StoreError> {
    let snapshot = store.snapshot()?;
    for partition in Partition::all() {
        let (from, to) = Key::timers_until(partition, Millis::MAX - 1);
        let mut is_broken = false;
        snapshot.range(Table::Timers, &from, &to, &mut |key, _| {
            if in_flight.len() + found.len() >= IN_FLIGHT_MAX {
                *next = Millis::MIN;
                return ControlFlow::Break(());
            }
            match TimerKey::decode(key) {
                Some(timer) if timer.due > until => {
                    *next = timer.due.min(*next);
                    return ControlFlow::Break(());
                }
                Some(timer) if in_flight.contains(&timer) => {}
                Some(timer) => found.push(timer),
                None => is_broken = true,
            }
            if is_broken { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if is_broken {
            return Err(StoreError::unreadable(Table::Timers, "the key is not a timer's"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
