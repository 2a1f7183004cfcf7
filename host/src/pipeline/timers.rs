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
use crate::records::{Key, Partition, TimerKey};
use crate::store::{Store, StoreError, Table};

/// How often it looks. A timer is late by as much at most, when nothing waits; one that was set within the last second by a second more.
const LOOKS_EVERY: Duration = Duration::from_millis(200);
/// Says in `/readyz` whether the machine's clock is believed.
const CLOCK_ROOM: &str = "clock";
/// The most timers that are on their way at once.
const ON_THEIR_WAY_MAX: usize = 4096;
/// What a timer takes of the budget, in bytes, about.
const TIMER_BYTES: usize = 512;

/// The timers that are on their way through the pipeline, and when the next of the others is due.
#[derive(Debug)]
pub(super) struct Due {
    state: Mutex<State>,
    /// Held from a look until the timers it found are with their shards. A second look meanwhile finds nothing, and must not say so
    /// before: the shards may end when it is over.
    firing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    on_their_way: HashSet<TimerKey>,
    /// No timer of the store that is not on its way is due before this. So nothing is looked for before it, as a look at every partition costs far more than
    /// an event.
    next: Millis,
}

impl Default for Due {
    fn default() -> Due {
        let state = Mutex::new(State { on_their_way: HashSet::new(), next: Millis::MIN });
        Due { state, firing: tokio::sync::Mutex::default() }
    }
}

impl Due {
    /// What came of these timers is committed.
    pub(super) fn settled(&self, timers: &[TimerKey]) {
        if !timers.is_empty() {
            let mut state = self.lock();
            for timer in timers {
                state.on_their_way.remove(timer);
            }
        }
    }

    /// These timers were not sent after all.
    fn put_back(&self, timers: &[TimerKey]) {
        self.settled(timers);
        if let Some(first) = timers.iter().map(|timer| timer.due).min() {
            self.is_set(first);
        }
    }

    /// A timer was committed that is due then.
    pub(super) fn is_set(&self, due: Millis) {
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

    /// Sends the timers that are due, and before which everything has been handled. At its end they all are with their shards, also
    /// those that another call has found.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub(super) async fn fire_due(&self) -> Result<(), StoreError> {
        let doubt = self.arrivals.look_at_clock();
        self.report(doubt);
        if doubt.is_some() {
            return Ok(());
        }
        let _firing = self.due.firing.lock().await;
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
            self.due.put_back(&later);
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
    // Taken before the snapshot: what is settled meanwhile may still be in it, and must not be sent again; and what is set meanwhile may not be in it.
    let on_their_way = {
        let mut state = due.lock();
        if until < state.next {
            return Ok(found);
        }
        state.next = Millis::MAX;
        state.on_their_way.clone()
    };
    let mut next = Millis::MAX;
    let looked = look(store, &on_their_way, until, &mut found, &mut next);
    let mut state = due.lock();
    if let Err(error) = looked {
        state.next = Millis::MIN;
        return Err(error);
    }
    state.next = state.next.min(next);
    found.sort_unstable_by_key(|timer| timer.due);
    state.on_their_way.extend(found.iter().cloned());
    Ok(found)
}

/// Adds the timers that are due by then, and says from when on the next look may find more.
fn look(
    store: &dyn Store,
    on_their_way: &HashSet<TimerKey>,
    until: Millis,
    found: &mut Vec<TimerKey>,
    next: &mut Millis,
) -> Result<(), StoreError> {
    let snapshot = store.snapshot()?;
    for partition in Partition::all() {
        let (from, to) = Key::timers_until(partition, Millis::MAX - 1);
        let mut is_broken = false;
        snapshot.range(Table::Timers, &from, &to, &mut |key, _| {
            if on_their_way.len() + found.len() >= ON_THEIR_WAY_MAX {
                *next = Millis::MIN;
                return ControlFlow::Break(());
            }
            match TimerKey::decode(key) {
                Some(timer) if timer.due > until => {
                    *next = timer.due.min(*next);
                    return ControlFlow::Break(());
                }
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::event::CustomerKey;
    use crate::pipeline::Clock;
    use crate::records::Progress;
    use crate::store::{Changes, Identity, MemoryStore, Sizes, Snapshot, Upkeep};

    /// Counts its snapshots, and has a timer committed right behind the first.
    #[derive(Debug)]
    struct Watched {
        store: MemoryStore,
        due: Arc<Due>,
        snapshots: AtomicUsize,
        behind: TimerKey,
    }

    impl Store for Watched {
        fn identity(&self) -> &Identity {
            self.store.identity()
        }

        fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
            let snapshot = self.store.snapshot();
            if self.snapshots.fetch_add(1, Ordering::Relaxed) == 0 {
                set(&self.store, &self.due, std::slice::from_ref(&self.behind));
            }
            snapshot
        }

        fn commit(&self, changes: Changes) -> Result<(), StoreError> {
            self.store.commit(changes)
        }

        fn set_upkeep(&self, upkeep: Box<dyn Upkeep>) {
            self.store.set_upkeep(upkeep);
        }

        fn sizes(&self) -> Result<Sizes, StoreError> {
            self.store.sizes()
        }

        fn backup(&self, to: &Path) -> Result<(), StoreError> {
            self.store.backup(to)
        }
    }

    fn timer(customer: u128, due: Millis) -> TimerKey {
        let customer = CustomerKey::from_bytes(customer.to_be_bytes());
        TimerKey { due, customer, campaign: "one".into(), timer: "nudge".into() }
    }

    /// Commits timers as the committer does.
    fn set(store: &dyn Store, due: &Due, timers: &[TimerKey]) {
        let mut changes = Changes::default();
        timers.iter().for_each(|timer| changes.put(Table::Timers, timer.encode(), Vec::new()));
        store.commit(changes).unwrap();
        if let Some(first) = timers.iter().map(|timer| timer.due).min() {
            due.is_set(first);
        }
    }

    fn fire(store: &dyn Store, due: &Due, timers: &[TimerKey]) {
        let mut changes = Changes::default();
        timers.iter().for_each(|timer| changes.delete(Table::Timers, timer.encode()));
        store.commit(changes).unwrap();
        due.settled(timers);
    }

    #[test]
    fn a_timer_is_found_once_when_it_is_due_and_nothing_is_looked_for_before_the_next() {
        let (store, due) = (MemoryStore::new("test"), Due::default());
        let [early, late, later] = [timer(1, 10), timer(2, 20), timer(3, 30)];
        set(&store, &due, &[late.clone(), early.clone(), later.clone()]);
        assert_eq!(find(&store, &due, 9).unwrap(), []);
        assert_eq!(due.lock().next, 10);
        assert_eq!(find(&store, &due, 20).unwrap(), [early.clone(), late.clone()]);
        assert_eq!(due.lock().next, 30);
        assert_eq!(find(&store, &due, 29).unwrap(), [], "they are on their way");
        fire(&store, &due, &[early, late.clone()]);
        // Set anew by what it fired, for an earlier time than the next.
        let again = timer(2, 25);
        set(&store, &due, std::slice::from_ref(&again));
        assert_eq!(find(&store, &due, 24).unwrap(), []);
        assert_eq!(find(&store, &due, 25).unwrap(), std::slice::from_ref(&again));
        fire(&store, &due, &[again]);
        assert_eq!(find(&store, &due, 30).unwrap(), std::slice::from_ref(&later));
        fire(&store, &due, &[later]);
        assert_eq!((find(&store, &due, Millis::MAX - 1).unwrap(), due.lock().next), (vec![], Millis::MAX));
    }

    #[test]
    fn a_timer_that_was_not_sent_after_all_is_found_again() {
        let (store, due) = (MemoryStore::new("test"), Due::default());
        let [first, second] = [timer(1, 10), timer(2, 20)];
        set(&store, &due, &[first.clone(), second.clone()]);
        assert_eq!(find(&store, &due, 20).unwrap(), [first, second.clone()]);
        due.put_back(std::slice::from_ref(&second));
        assert_eq!(find(&store, &due, 19).unwrap(), []);
        assert_eq!(find(&store, &due, 20).unwrap(), [second]);
    }

    #[test]
    fn more_timers_than_may_be_on_their_way_at_once_come_one_part_after_another() {
        let (store, due) = (MemoryStore::new("test"), Due::default());
        let timers: Vec<_> = (0..ON_THEIR_WAY_MAX as u128 + 10).map(|number| timer(number << 8, 10)).collect();
        set(&store, &due, &timers);
        let found = find(&store, &due, 10).unwrap();
        assert_eq!(found.len(), ON_THEIR_WAY_MAX);
        assert_eq!(find(&store, &due, 10).unwrap(), []);
        fire(&store, &due, &found);
        assert_eq!(find(&store, &due, 10).unwrap().len(), 10);
    }

    #[test]
    fn a_timer_that_is_set_behind_a_looks_back_is_found_and_no_look_is_made_for_nothing() {
        let due = Arc::new(Due::default());
        let behind = timer(2, 20);
        let store = MemoryStore::new("test");
        let store = Watched { store, due: Arc::clone(&due), snapshots: AtomicUsize::new(0), behind: behind.clone() };
        set(&store, &due, &[timer(1, 30)]);
        assert_eq!(find(&store, &due, 10).unwrap(), []);
        assert_eq!(find(&store, &due, 19).unwrap(), []);
        assert_eq!(store.snapshots.load(Ordering::Relaxed), 1, "none is due before 20");
        assert_eq!(find(&store, &due, 20).unwrap(), [behind]);
        assert_eq!(store.snapshots.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn firing_due_timers_ends_when_those_that_another_call_found_are_sent_too() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
        let (shard, mut sent) = mpsc::channel(1);
        let (_handled, handled) = watch::channel(Millis::MAX);
        let timers = Timers {
            due: Arc::default(),
            arrivals: Arc::new(Arrivals::new(&Progress::default(), Clock::Wall, Duration::ZERO)),
            shards: vec![shard.downgrade()],
            budget: Budget::new(1 << 20),
            redirects: Redirects::open(&store).unwrap(),
            handled,
            health: Health::default(),
            store,
        };
        let [filler, due] = [timer(1, 10), timer(2, 20)];
        set(&*timers.store, &timers.due, std::slice::from_ref(&filler));
        timers.fire_due().await.unwrap();
        set(&*timers.store, &timers.due, std::slice::from_ref(&due));
        // It waits for a place behind the first timer.
        let first = tokio::spawn({
            let timers = timers.clone();
            async move { timers.fire_due().await }
        });
        while timers.due.lock().on_their_way.len() < 2 {
            tokio::task::yield_now().await;
        }
        let mut second = Box::pin(timers.fire_due());
        let early = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
        assert!(early.is_err(), "it was over before the timer was sent");
        let mut next = async || match sent.recv().await.unwrap().what {
            What::Timer(timer) => timer,
            other => panic!("{other:?}"),
        };
        assert_eq!(next().await, filler);
        second.await.unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(next().await, due);
    }

    #[test]
    fn a_look_that_failed_is_made_again() {
        let (store, due) = (MemoryStore::new("test"), Due::default());
        let mut changes = Changes::default();
        changes.put(Table::Timers, [0, 1], Vec::new());
        store.commit(changes).unwrap();
        assert!(find(&store, &due, 10).is_err());
        assert!(find(&store, &due, 10).is_err());
    }
}
