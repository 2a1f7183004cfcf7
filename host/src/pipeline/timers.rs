//! Due timers come back as ordinary work: this part looks for them in the store and sends them to the shards of
//! their customers, or of whom these have become.
//!
//! What it finds is a hint; whether a timer still stands, its shard knows (a timer behind its own cancellation does not fire). **No timer fires
//! before everything that was waiting in the source when it fell due has been handled (G6)**: the source says up to which moment that is.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::arrivals::Arrivals;
use super::budget::Budget;
use super::clock_doubt::ClockDoubt;
use super::suspects::Name;
use super::{Accepted, Redirects, What};
use crate::clock::{self, Millis};
use crate::health::{Condition, Health};
use crate::metrics;
use crate::store::records::{Key, Partition, TimerKey};
use crate::store::{Store, StoreError, Table};

/// How often it looks. A timer is late by as much at most, when nothing waits; one that was set within the last second by a second more.
const LOOKS_EVERY: Duration = Duration::from_millis(200);
/// Says in `/readyz` whether the machine's clock is believed.
const CLOCK_ROOM: &str = "clock";
/// The most timers that are on their way at once.
const ON_THEIR_WAY_MAX: usize = 4096;
/// What a timer takes of the budget, in bytes, about.
const TIMER_BYTES: usize = 512;

/// The timers that are on their way through the pipeline.
#[derive(Debug, Default)]
pub(super) struct Due(Mutex<HashSet<TimerKey>>);

impl Due {
    /// What came of these timers is committed.
    pub(super) fn settled(&self, timers: &[TimerKey]) {
        if !timers.is_empty() {
            let mut on_their_way = self.lock();
            for timer in timers {
                on_their_way.remove(timer);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<TimerKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Timers {
    pub(super) store: Arc<dyn Store>,
    pub(super) due: Arc<Due>,
    pub(super) arrivals: Arc<Arrivals>,
    /// It doesn't keep the shards alive: they end with their sources.
    pub(super) shards: Vec<mpsc::WeakSender<Accepted>>,
    pub(super) budget: Budget,
    pub(super) redirects: Redirects,
    /// Everything that was waiting in the source at this moment has been handled.
    pub(super) handled: watch::Receiver<Millis>,
    pub(super) health: Health,
}

impl Timers {
    /// Looks for due timers until the shards end.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        let mut looks = tokio::time::interval(LOOKS_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => self.arrivals.awake.tick(clock::since_boot()),
                () = ended(&mut self.handled) => return Ok(()),
            }
            self.fire_due().await?;
        }
    }

    /// Sends the timers that are due, and before which everything has been handled.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub(super) async fn fire_due(&self) -> Result<(), StoreError> {
        let doubt = self.arrivals.look_at_clock();
        self.report(doubt);
        if doubt.is_some() {
            return Ok(());
        }
        let until = clock::now_ms().min(*self.handled.borrow());
        let (store, due) = (Arc::clone(&self.store), Arc::clone(&self.due));
        let found = tokio::task::spawn_blocking(move || find(&*store, &due, until));
        for timer in found.await.map_err(|_| StoreError::Interrupted)?? {
            if self.send(timer).await?.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Says whether the machine's clock is believed.
    pub(super) fn report(&self, doubt: Option<ClockDoubt>) {
        ::metrics::gauge!(metrics::CLOCK_IN_DOUBT).set(if doubt.is_some() { 1.0 } else { 0.0 });
        clock::set_in_doubt(doubt.is_some());
        let condition = doubt.map_or(Condition::Ready, |doubt| Condition::NotReady(doubt.to_string()));
        self.health.report(CLOCK_ROOM, condition);
    }

    /// With a clock that the events tell: lets it jump from timer to timer up to a moment. Each jump waits until everything before it is
    /// durable, as that may set a timer, or cancel one.
    pub(super) async fn advance(&self, until: Millis) -> Result<(), StoreError> {
        while self.arrivals.last_now() < until {
            drop(self.budget.take(usize::MAX).await);
            let (store, due) = (Arc::clone(&self.store), Arc::clone(&self.due));
            let found = tokio::task::spawn_blocking(move || find(&*store, &due, until)).await;
            let found = found.map_err(|_| StoreError::Interrupted)??;
            let Some(next) = found.first().map(|timer| timer.due) else { break };
            self.arrivals.advance(next);
            let (now_due, later): (Vec<_>, Vec<_>) = found.into_iter().partition(|timer| timer.due <= next);
            self.due.settled(&later);
            for timer in now_due {
                if self.send(timer).await?.is_none() {
                    return Ok(());
                }
            }
        }
        self.arrivals.advance(until);
        Ok(())
    }

    /// Sends a timer to its shard; `None` if there are none any more.
    async fn send(&self, timer: TimerKey) -> Result<Option<()>, StoreError> {
        let held = self.budget.take(TIMER_BYTES).await;
        let name = Some(Name::of_timer(&timer));
        // Who has become another may still have it in the view in which it was found: the other's shard knows.
        let now = self.redirects.find(timer.customer).await?.key;
        let Some(shard) = self.shards.get(now.shard(self.shards.len())).and_then(mpsc::WeakSender::upgrade) else {
            return Ok(None);
        };
        let Ok(place) = shard.reserve().await else { return Ok(None) };
        ::metrics::gauge!(metrics::IN_FLIGHT).increment(1);
        place.send(Accepted { what: What::Timer(timer), name, now: self.arrivals.now(), receipt: None, held });
        Ok(Some(()))
    }
}

/// Waits until the entrance is gone, which is what says how far the source has come.
async fn ended(handled: &mut watch::Receiver<Millis>) {
    while handled.changed().await.is_ok() {}
}

/// The timers that are due by then and not on their way, which they are from now on; the earliest of each partition first.
fn find(store: &dyn Store, due: &Due, until: Millis) -> Result<Vec<TimerKey>, StoreError> {
    let mut found = Vec::new();
    // Taken before the view: what is settled meanwhile may still be seen in it, and must not be sent again.
    let on_their_way = due.lock().clone();
    let snapshot = store.snapshot()?;
    for partition in Partition::all() {
        let (from, to) = Key::timers_until(partition, until);
        let mut is_broken = false;
        snapshot.range(Table::Timers, &from, &to, &mut |key, _| {
            if on_their_way.len() + found.len() >= ON_THEIR_WAY_MAX {
                return ControlFlow::Break(());
            }
            match TimerKey::decode(key) {
                Some(timer) if on_their_way.contains(&timer) => {}
                Some(timer) => found.push(timer),
                None => is_broken = true,
            }
            if is_broken { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if is_broken {
            return Err(StoreError::unreadable(Table::Timers, "a key that is no timer's"));
        }
    }
    found.sort_unstable_by_key(|timer| timer.due);
    due.lock().extend(found.iter().cloned());
    Ok(found)
}
