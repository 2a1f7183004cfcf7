//! Checks the ids that a shard gives to equal messages without an id against a model that only
//! counts. Batches hold repeats and new copies in any order, are committed in parts, and the engine
//! may stop between two parts.

use std::collections::{HashMap as Model, HashSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::pipeline::breaker::BreakerSettings;
use crate::pipeline::budget::Held;
use crate::pipeline::dedup::{self, DedupWriter};
use crate::pipeline::failures::FailureTotals;
use crate::pipeline::intake::Clock;
use crate::pipeline::overlay::LastCommitted;
use crate::pipeline::owner::NothingStops;
use crate::pipeline::trials;
use crate::records::Progress;
use hailer_broker::delivery::Ledger;
use hailer_engine::{Limits, Sandbox};
use hailer_store::{Changes, MemoryStore, Store};

const KEYS: usize = 3;
/// The number of sessions that are remembered.
const SESSIONS_MAX: u64 = 32;

/// A store, and a shard that runs over it.
struct Bench {
    store: Arc<dyn Store>,
    sandbox: Arc<Sandbox>,
    progress: Progress,
    writer: DedupWriter,
    shard: Shard,
    last_committed: LastCommitted,
    groups: mpsc::Receiver<Group>,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Bench {
        let sandbox = Sandbox::new(Limits::default()).unwrap();
        Bench::over(Arc::new(MemoryStore::new("test")), sandbox, Progress::default())
    }

    fn over(store: Arc<dyn Store>, sandbox: Arc<Sandbox>, progress: Progress) -> Bench {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let settings = Settings {
            shards: 1,
            event_bytes_max: 1 << 10,
            batch_max: 64,
            in_flight_max: 64,
            in_flight_bytes_max: 1 << 20,
            settles_after: std::time::Duration::from_secs(20),
            environment: "test".into(),
            recheck_one_in: 0,
            breaker: BreakerSettings::default(),
        };
        let owner = Arc::new(NothingStops);
        let current = Arc::new(arc_swap::ArcSwap::from_pointee(RuleSet::empty()));
        let rules = Rules { sandbox: Arc::clone(&sandbox), current, owner };
        // All sessions were last alive at the time of every decision, so no occurrence settles.
        let mut known = progress.clone();
        (1..=SESSIONS_MAX).for_each(|session| known.sessions.alive(session, 0));
        let intake = IntakeState::new(&known, Clock::Events, settings.settles_after);
        let shared = Shared {
            redirects: Redirects::open(&store).unwrap(),
            intake: Arc::new(intake),
            poison_guard: Arc::new(PoisonGuard::off()),
            failures: Arc::new(FailureTotals::new(&progress, 0, 0)),
            quotas: Quotas::default(),
            faults: Default::default(),
            trials: trials::Registry::default(),
            deferrals: Deferrals::new(0, 1000),
        };
        let (filters, writer) = dedup::open(&*store, &progress, (86_400_000, None)).unwrap();
        let last_committed = LastCommitted::default();
        let overlay = Overlay::new(Arc::clone(&store), filters, last_committed.clone());
        let (sender, groups) = mpsc::channel(64);
        let exit = Exit {
            groups: sender,
            budget: Budget::new(1 << 20),
            runtime: runtime.handle().clone(),
        };
        let shard = Shard::new(0, &settings, rules, overlay, shared, exit);
        Bench { store, sandbox, progress, writer, shard, last_committed, groups, _runtime: runtime }
    }

    /// Stops the engine, and starts another from the committed rows.
    fn ends(self) -> Bench {
        let Bench { store, sandbox, progress, .. } = self;
        Bench::over(store, sandbox, progress)
    }

    /// Decides a batch that is cut into parts at these indices, and commits the first `parts` of
    /// them, or all if there are fewer. Returns the committed ids, each with the index of its
    /// event.
    fn decide(
        &mut self,
        session: u64,
        batch: &[(usize, bool)],
        cuts: &[usize],
        parts: usize,
    ) -> Vec<(usize, EventId)> {
        let (ledger, _prefix) = Ledger::new();
        let receive = |(tag, (key, redelivered)): (u64, &(usize, bool))| {
            accepted(*key, *redelivered, session, ledger.receipt(tag))
        };
        let mut batch: Vec<_> = (1..).zip(batch).map(receive).collect();
        self.shard.overlay.begin().unwrap();
        let (cases, repeated) = self.shard.open_cases(&mut batch).unwrap();
        let mut ids = Vec::new();
        let mut rest = cases;
        let mut place = 0;
        let mut closed = 0;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (rest.len() + 1)).collect();
        cuts.sort_unstable();
        for cut in cuts {
            let part: Vec<_> = rest.drain(..cut.saturating_sub(place)).collect();
            if part.is_empty() {
                continue;
            }
            place += part.len();
            let given: Vec<_> = part.iter().map(|case| case.id).collect();
            assert!(self.shard.close(part, Vec::new(), 0).is_ok());
            if closed < parts {
                ids.extend(given);
                self.commit();
            }
            closed += 1;
            self.shard.overlay.begin().unwrap();
        }
        let given: Vec<_> = rest.iter().map(|case| case.id).collect();
        assert!(self.shard.close(rest, repeated, 0).is_ok());
        if closed < parts {
            ids.extend(given);
            self.commit();
        }
        ids.into_iter().enumerate().collect()
    }

    fn commit(&mut self) {
        let Ok(group) = self.groups.try_recv() else { return };
        let mut changes = Changes::default();
        self.progress.commit += 1;
        self.writer.add(group.dedup, &mut self.progress, &mut changes);
        self.store.commit(changes).unwrap();
        // Every other group stays in the overlay for a while.
        if group.number % 2 == 0 {
            self.last_committed.set(group.number);
        }
    }

    /// The number of occurrences of a key, as the overlay and the store show it.
    fn next(&mut self, key: usize) -> Option<u64> {
        let event = event(key);
        let key = event.dedup_key(None, None);
        self.shard.overlay.begin().unwrap();
        self.shard.overlay.seen(seen_in(&event, key), key).unwrap().map(|row| row.next)
    }
}

fn event(key: usize) -> Event {
    let body =
        format!(r#"{{"eventCode":"OnBeginRegistration","customerInfo":{{"customerId":{key}}}}}"#);
    Event::read(Bytes::from(body)).unwrap()
}

fn accepted(
    key: usize,
    redelivered: bool,
    session: u64,
    receipt: hailer_broker::delivery::Receipt,
) -> Accepted {
    let event = event(key);
    let (customer, key) = (event.customer_key(), event.dedup_key(None, None));
    let what =
        What::Event { event: Box::new(event), customer, became: None, key, redelivered, session };
    Accepted { what, name: None, now: 0, receipt: Some(receipt), held: Held::default() }
}

/// The model of a key: its number of occurrences, and the session that last delivered each open
/// occurrence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counted {
    next: u64,
    open: Vec<u64>,
}

impl Counted {
    /// Whether this copy is a new event.
    fn arrives(&mut self, redelivered: bool, session: u64) -> bool {
        if let Some(open) = self.open.iter_mut().find(|open| redelivered && **open != session) {
            *open = session;
            return false;
        }
        self.next += 1;
        self.open.push(session);
        true
    }
}

/// One batch: the copies as key and redelivered flag; the cuts into parts; the number of parts
/// committed before the engine stops (`None`: it does not stop); whether a new session begins.
type Step = (Vec<(usize, bool)>, Vec<usize>, Option<usize>, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let copies = prop::collection::vec((0..KEYS, any::<bool>()), 1..12);
    let cuts = prop::collection::vec(0..64_usize, 0..4);
    prop::collection::vec(
        (copies, cuts, prop::option::weighted(0.3, 0..4_usize), any::<bool>()),
        1..12,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_id_is_given_twice_and_no_count_goes_back(steps in steps()) {
        let mut bench = Bench::new();
        let mut model = Model::<usize, Counted>::new();
        let mut given = HashSet::new();
        let mut session = 1;
        for (copies, cuts, ends_after, breaks) in steps {
            session += u64::from(breaks);
            // The copies that are events, each with the model of its key after it.
            let mut behind = Vec::new();
            let mut after = model.clone();
            for (key, redelivered) in &copies {
                let counted = after.entry(*key).or_default();
                if counted.arrives(*redelivered, session) {
                    behind.push((*key, counted.clone()));
                }
            }
            let parts = ends_after.unwrap_or(usize::MAX);
            let ids = bench.decide(session, &copies, &cuts, parts);
            for (_, id) in &ids {
                prop_assert!(given.insert(*id), "an id was given twice");
            }
            if ends_after.is_none() {
                prop_assert_eq!(ids.len(), behind.len(), "every copy is an event, or repeats an \
                    open one");
                model = after;
            } else {
                // Uncommitted parts were not decided, so their copies come again.
                for (key, counted) in behind.drain(..ids.len()) {
                    model.insert(key, counted);
                }
                bench = bench.ends();
                session += 1;
            }
            for key in 0..KEYS {
                let next = bench.next(key).unwrap_or_default();
                let expected = model.get(&key).map_or(0, |counted| counted.next);
                prop_assert_eq!(next, expected, "the count of key {}", key);
            }
        }
    }
}
