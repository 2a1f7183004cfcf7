//! The suspects after a run, and their later decisions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;

use super::in_flight_file::Slot;
use super::*;
use crate::pipeline::What;
use crate::pipeline::budget::Held;
use crate::records::Partition;
use hailer_broker::delivery::Ledger;

/// Successive engines on one data directory.
struct Runs {
    _dir: TempDir,
    path: PathBuf,
}

impl Runs {
    fn new() -> Runs {
        let dir = tempfile::tempdir().unwrap();
        Runs { path: dir.path().join(FILE_NAME), _dir: dir }
    }

    /// Starts the next run, which reads the file of the last one.
    fn next(&self) -> Arc<PoisonGuard> {
        Arc::new(PoisonGuard::open(&self.path, 2, 8).unwrap())
    }
}

fn event(customer: u32) -> Event {
    let body = format!(r#"{{"eventCode":"A","customerInfo":{{"customerId":{customer}}}}}"#);
    Event::read(body.into()).unwrap()
}

fn name(customer: u32) -> InFlightId {
    InFlightId::new(*event(customer).dedup_key(None, None).as_bytes())
}

fn accepted(customers: &[u32]) -> Vec<Accepted> {
    let accept = |&customer: &u32| {
        let event = Box::new(event(customer));
        let key = event.dedup_key(None, None);
        let what = What::Event {
            event,
            customer: None,
            became: None,
            key,
            redelivered: false,
            session: 1,
        };
        Accepted { what, name: Some(name(customer)), now: 0, receipt: None, held: Held::default() }
    };
    customers.iter().map(accept).collect()
}

/// Simulates an end of the engine while a shard decides these.
fn ends_at(guard: &PoisonGuard, shard: usize, customers: &[u32]) {
    std::mem::forget(guard.mark_in_flight(shard, &guard.ids_of(&accepted(customers))));
}

/// A shard decides these, and they are committed.
fn decides(guard: &Arc<PoisonGuard>, customers: &[u32]) {
    let ids = guard.ids_of(&accepted(customers));
    drop(guard.mark_in_flight(0, &ids));
    if let Some(clear_suspect) = ids.clear_suspect(guard) {
        clear_suspect.committed();
    }
}

fn ends_of(guard: &PoisonGuard, customers: &[u32]) -> Vec<Option<u32>> {
    customers.iter().map(|customer| guard.ends_of(name(*customer))).collect()
}

#[test]
fn work_in_flight_at_an_end_is_suspect_and_decided_work_is_not() {
    let runs = Runs::new();
    let first = runs.next();
    decides(&first, &[1, 2]);
    ends_at(&first, 0, &[3, 4]);
    ends_at(&first, 1, &[5]);
    let second = runs.next();
    assert_eq!(
        ends_of(&second, &[1, 2, 3, 4, 5, 6]),
        [None, None, Some(0), Some(0), Some(0), None]
    );
    // None of them came again, and all are still suspects.
    assert_eq!(ends_of(&runs.next(), &[3, 4, 5]), [Some(0); 3]);
}

#[test]
fn suspects_are_split_off_a_batch_in_order() {
    let runs = Runs::new();
    ends_at(&runs.next(), 0, &[3, 4]);
    let guard = runs.next();
    let (mut batch, mut parts) = (accepted(&[1, 2, 3, 4, 5, 6, 3]), Vec::new());
    while !batch.is_empty() {
        let rest = guard.split_off_suspect(&mut batch);
        parts.push(batch.iter().map(|one| one.name.unwrap()).collect::<Vec<_>>());
        batch = rest;
    }
    let expected: [&[u32]; 5] = [&[1, 2], &[3], &[4], &[5, 6], &[3]];
    assert_eq!(parts, expected.map(|part| part.iter().copied().map(name).collect::<Vec<_>>()));
}

#[test]
fn only_ends_while_it_is_alone_count_and_three_give_it_up() {
    let runs = Runs::new();
    ends_at(&runs.next(), 0, &[1, 2]);
    for ends in 0..LONE_ENDS_MAX {
        let run = runs.next();
        assert_eq!(ends_of(&run, &[1, 2]), [Some(ends), Some(0)]);
        assert_eq!(run.refuses_event(name(1)), None);
        // An end while it is decided beside others does not count.
        ends_at(&run, 0, &[7, 1]);
        ends_at(&runs.next(), 1, &[1]);
    }
    let run = runs.next();
    let reason = "the engine ended 3 times while it decided this event alone".to_owned();
    assert_eq!(run.refuses_event(name(1)), Some(reason.clone()));
    assert_eq!(
        run.refuses_event(name(1)),
        Some(reason.clone()),
        "the question has no side effects"
    );
    run.give_up_event(name(1), "A");
    // Publishing it again means that the rule was corrected; otherwise one more end is enough.
    assert_eq!(run.refuses_event(name(1)), None);
    ends_at(&runs.next(), 1, &[1]);
    assert_eq!(runs.next().refuses_event(name(1)), Some(reason));
}

#[test]
fn a_timer_and_a_retry_are_given_up_as_faults() {
    let runs = Runs::new();
    let customer = event(1).customer_key().unwrap();
    let timer = TimerKey { due: 1, customer, campaign: "a".into(), timer: "t".into() };
    let partition = Partition::of_customer(customer);
    let failure =
        |number| FailureKey { partition, customer: Some(customer), campaign: "a".into(), number };
    let ends = |name| {
        let what = What::Timer(timer.clone());
        let accepted =
            [Accepted { what, name: Some(name), now: 0, receipt: None, held: Held::default() }];
        let run = runs.next();
        std::mem::forget(run.mark_in_flight(0, &run.ids_of(&accepted)));
    };
    // The first end makes it a suspect.
    for _ in 0..=LONE_ENDS_MAX {
        ends(InFlightId::of_timer(&timer));
    }
    for _ in 0..=LONE_ENDS_MAX {
        ends(InFlightId::of_failure(&failure(7)));
    }
    let run = runs.next();
    assert_eq!(run.refuse_timer(&timer), Err(GuestFault::EndedTheEngine { times: 3 }));
    assert_eq!(run.refuse_retry(&failure(7)), Err(GuestFault::EndedTheEngine { times: 3 }));
    assert_eq!(run.refuse_retry(&failure(8)), Ok(()));
}

#[test]
fn a_suspect_is_cleared_once_its_decision_is_committed() {
    let runs = Runs::new();
    ends_at(&runs.next(), 0, &[1, 2]);
    for _ in 1..LONE_ENDS_MAX {
        ends_at(&runs.next(), 0, &[1]);
    }
    let run = runs.next();
    assert_eq!(ends_of(&run, &[1, 2]), [Some(LONE_ENDS_MAX - 1), Some(0)]);
    let ids = run.ids_of(&accepted(&[1]));
    drop(run.mark_in_flight(0, &ids));
    assert_eq!(
        ends_of(&runs.next(), &[1, 2]),
        [Some(LONE_ENDS_MAX - 1), Some(0)],
        "it is not committed yet"
    );
    decides(&run, &[1]);
    assert_eq!(ends_of(&run, &[1, 2]), [None, Some(0)]);
    decides(&run, &[2]);
    assert!(run.has_no_suspects());
}

#[test]
fn other_shards_wait_while_a_suspect_is_decided() {
    let runs = Runs::new();
    ends_at(&runs.next(), 0, &[1]);
    let guard = runs.next();
    {
        let _others = guard.mark_in_flight(0, &guard.ids_of(&accepted(&[2, 3])));
        assert!(guard.gate.try_read().is_ok(), "others may");
        assert!(guard.gate.try_write().is_err(), "the suspect waits for them");
    }
    {
        let _alone = guard.mark_in_flight(0, &guard.ids_of(&accepted(&[1])));
        assert!(guard.gate.try_read().is_err(), "others wait for it");
    }
    decides(&guard, &[1]);
    let _others = guard.mark_in_flight(0, &guard.ids_of(&accepted(&[2])));
    assert!(guard.gate.try_write().is_ok(), "without suspects no shard waits");
}

#[test]
fn an_end_counts_for_no_suspect_if_another_shard_was_at_work() {
    let left = |slots| PreviousRun { suspects: vec![(name(1), 2)], slots };
    let slot = |is_alone, customer| Slot { is_alone, ids: vec![name(customer)] };
    assert_eq!(suspects_of(left(vec![slot(true, 1)])), [(name(1), 3)]);
    assert_eq!(
        suspects_of(left(vec![slot(true, 1), slot(false, 2)])),
        [(name(1), 2), (name(2), 0)]
    );
}

#[test]
fn a_panic_leaves_the_ids_in_the_file() {
    let runs = Runs::new();
    let first = runs.next();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _in_flight = first.mark_in_flight(0, &first.ids_of(&accepted(&[1, 2])));
        panic!("a bug of ours");
    }));
    assert!(panicked.is_err());
    assert_eq!(ends_of(&runs.next(), &[1, 2]), [Some(0); 2]);
}

#[test]
fn an_unreadable_file_is_replaced() {
    let runs = Runs::new();
    std::fs::write(&runs.path, "no such file").unwrap();
    let run = runs.next();
    assert!(run.has_no_suspects());
    ends_at(&run, 0, &[1]);
    assert_eq!(ends_of(&runs.next(), &[1]), [Some(0)]);
}

#[test]
fn old_suspects_are_bounded() {
    let old = |number: usize| (InFlightId::new((number as u128).to_be_bytes()), 0);
    let left =
        PreviousRun { suspects: (0..2 * OLD_SUSPECTS_MAX).map(old).collect(), slots: Vec::new() };
    assert_eq!(suspects_of(left).len(), OLD_SUSPECTS_MAX);
}

#[test]
fn ids_do_not_depend_on_the_run_or_on_the_due_time() {
    let name = |position: &str| {
        let (ledger, _prefix) = Ledger::new();
        let delivery = Delivery {
            origin: None,
            body: Bytes::new(),
            message_id: None,
            routing_key: None,
            timestamp_ms: None,
            position: Some(position.into()),
            redelivered: false,
            was_repaired: false,
            defect: None,
            receipt: ledger.receipt(1),
        };
        let event = event(1);
        let key = event.dedup_key(None, delivery.position.as_deref());
        InFlightId::of_event(&event, &delivery, key)
    };
    assert_eq!(name("-@run-1:17"), name("-@run-2:17"));
    assert_ne!(name("-@run-1:17"), name("-@run-1:18"));
    assert_ne!(name("a.jsonl:17"), name("b.jsonl:17"), "another file is another event");
    let customer = event(1).customer_key().unwrap();
    let timer = |due, campaign: &str| TimerKey {
        due,
        customer,
        campaign: campaign.into(),
        timer: "t".into(),
    };
    assert_eq!(InFlightId::of_timer(&timer(1, "a")), InFlightId::of_timer(&timer(2, "a")));
    assert_ne!(InFlightId::of_timer(&timer(1, "a")), InFlightId::of_timer(&timer(1, "b")));
}
