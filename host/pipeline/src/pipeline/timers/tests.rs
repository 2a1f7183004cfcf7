//! The lookup of due timers: each is found once, in order, and never too early.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::pipeline::Clock;
use crate::records::Progress;
use hailer_event::CustomerKey;
use hailer_store::{Changes, Identity, MemoryStore, Sizes, Snapshot, Upkeep};

/// A store that counts its snapshots, and commits a timer right after the first snapshot.
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
        due.committed(first);
    }
}

fn fire(store: &dyn Store, due: &Due, timers: &[TimerKey]) {
    let mut changes = Changes::default();
    timers.iter().for_each(|timer| changes.delete(Table::Timers, timer.encode()));
    store.commit(changes).unwrap();
    due.settled(timers);
}

#[test]
fn a_due_timer_is_found_once_and_no_lookup_comes_too_early() {
    let (store, due) = (MemoryStore::new("test"), Due::default());
    let [early, late, later] = [timer(1, 10), timer(2, 20), timer(3, 30)];
    set(&store, &due, &[late.clone(), early.clone(), later.clone()]);
    assert_eq!(take_due(&store, &due, 9).unwrap(), []);
    assert_eq!(due.lock().next, 10);
    assert_eq!(take_due(&store, &due, 20).unwrap(), [early.clone(), late.clone()]);
    assert_eq!(due.lock().next, 30);
    assert_eq!(take_due(&store, &due, 29).unwrap(), [], "they are in flight");
    fire(&store, &due, &[early, late.clone()]);
    // A timer that the fired one set again, due before the next one.
    let again = timer(2, 25);
    set(&store, &due, std::slice::from_ref(&again));
    assert_eq!(take_due(&store, &due, 24).unwrap(), []);
    assert_eq!(take_due(&store, &due, 25).unwrap(), std::slice::from_ref(&again));
    fire(&store, &due, &[again]);
    assert_eq!(take_due(&store, &due, 30).unwrap(), std::slice::from_ref(&later));
    fire(&store, &due, &[later]);
    assert_eq!(
        (take_due(&store, &due, Millis::MAX - 1).unwrap(), due.lock().next),
        (vec![], Millis::MAX)
    );
}

#[test]
fn due_timers_of_all_partitions_come_by_due_time_customer_and_name() {
    let (store, due) = (MemoryStore::new("test"), Due::default());
    // Customers of many partitions. The later its partition, the earlier a timer is due.
    let customer = |number: u128| number << 56 | number;
    let mut timers: Vec<_> =
        (0..200).map(|number| timer(customer(number), 1000 - number as Millis / 2)).collect();
    let of_one = |name: &str| TimerKey { campaign: name.into(), ..timer(customer(7), 1000) };
    timers.extend(["b", "a"].map(of_one));
    timers.push(TimerKey::release(timer(customer(7), 0).customer, 1000));
    set(&store, &due, &timers);
    let found = take_due(&store, &due, 1000).unwrap();
    assert_eq!(found.len(), timers.len());
    let order = |timer: &TimerKey| {
        let TimerKey { due, customer, campaign, timer } = timer.clone();
        (due, customer, campaign, timer)
    };
    assert!(found.is_sorted_by_key(order), "{found:?}");
}

#[tokio::test]
async fn the_event_clock_goes_on_behind_a_customer_with_more_timers_than_fit_in_flight() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
    let (shard, mut sent) = mpsc::channel::<Accepted>(16);
    let (_handled, handled) = watch::channel(Millis::MAX);
    let clock = Clock::Events;
    let timers = Timers {
        due: Arc::default(),
        intake: Arc::new(IntakeState::new(&Progress::default(), clock, Duration::ZERO)),
        shards: vec![shard.downgrade()],
        budget: Budget::new(8 << 20),
        redirects: Redirects::open(&store).unwrap(),
        handled,
        health: Health::default(),
        store: Arc::clone(&store),
    };
    let all: Vec<_> = (0..IN_FLIGHT_MAX + 10)
        .map(|number| TimerKey { timer: number.to_string().into(), ..timer(1, 10) })
        .chain([timer(2, 20)])
        .collect();
    set(&*store, &timers.due, &all);
    // The shard decides and commits each timer at once.
    let due = Arc::clone(&timers.due);
    let decided = tokio::spawn(async move {
        let mut fired = Vec::new();
        while let Some(accepted) = sent.recv().await {
            let What::Timer(timer) = &accepted.what else { panic!("{accepted:?}") };
            fire(&*store, &due, std::slice::from_ref(timer));
            fired.push((accepted.now, timer.due));
        }
        fired
    });
    timers.advance(30).await.unwrap();
    assert_eq!(timers.intake.last_now(), 30);
    drop(shard);
    let fired = decided.await.unwrap();
    assert_eq!(fired.len(), all.len());
    assert!(fired.iter().all(|(now, due)| now == due), "each at its time");
}

#[test]
fn more_due_timers_than_fit_in_flight_come_in_parts() {
    let (store, due) = (MemoryStore::new("test"), Due::default());
    let timers: Vec<_> =
        (0..IN_FLIGHT_MAX as u128 + 10).map(|number| timer(number << 8, 10)).collect();
    set(&store, &due, &timers);
    let found = take_due(&store, &due, 10).unwrap();
    assert_eq!(found.len(), IN_FLIGHT_MAX);
    assert_eq!(take_due(&store, &due, 10).unwrap(), []);
    fire(&store, &due, &found);
    assert_eq!(take_due(&store, &due, 10).unwrap().len(), 10);
}

#[test]
fn a_timer_set_during_a_lookup_is_found_by_the_next() {
    let due = Arc::new(Due::default());
    let behind = timer(2, 20);
    let store = MemoryStore::new("test");
    let store = Watched {
        store,
        due: Arc::clone(&due),
        snapshots: AtomicUsize::new(0),
        behind: behind.clone(),
    };
    set(&store, &due, &[timer(1, 30)]);
    assert_eq!(take_due(&store, &due, 10).unwrap(), []);
    assert_eq!(take_due(&store, &due, 19).unwrap(), []);
    assert_eq!(store.snapshots.load(Ordering::Relaxed), 1, "none is due before 20");
    assert_eq!(take_due(&store, &due, 20).unwrap(), [behind]);
    assert_eq!(store.snapshots.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn firing_waits_for_timers_that_another_call_found() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
    let (shard, mut sent) = mpsc::channel(1);
    let (_handled, handled) = watch::channel(Millis::MAX);
    let timers = Timers {
        due: Arc::default(),
        intake: Arc::new(IntakeState::new(&Progress::default(), Clock::Wall, Duration::ZERO)),
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
    // It waits for a place in the channel behind the first timer.
    let first = tokio::spawn({
        let timers = timers.clone();
        async move { timers.fire_due().await }
    });
    while timers.due.lock().in_flight.len() < 2 {
        tokio::task::yield_now().await;
    }
    let mut second = Box::pin(timers.fire_due());
    let early = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
    assert!(early.is_err(), "it ended before the timer was sent");
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
fn a_failed_lookup_is_repeated() {
    let (store, due) = (MemoryStore::new("test"), Due::default());
    let mut changes = Changes::default();
    changes.put(Table::Timers, [0, 1], Vec::new());
    store.commit(changes).unwrap();
    assert!(take_due(&store, &due, 10).is_err());
    assert!(take_due(&store, &due, 10).is_err());
}
