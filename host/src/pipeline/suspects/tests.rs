//! From what a run left behind to who is decided alone, and who not any more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;

use super::slots::Slot;
use super::*;
use crate::delivery::Ledger;
use crate::pipeline::What;
use crate::pipeline::budget::Held;
use crate::records::Partition;

/// One engine after the other over one data directory.
struct Runs {
    _dir: TempDir,
    path: PathBuf,
}

impl Runs {
    fn new() -> Runs {
        let dir = tempfile::tempdir().unwrap();
        Runs { path: dir.path().join(FILE_NAME), _dir: dir }
    }

    /// The next run. However the last one ended: all that it left is the file.
    fn next(&self) -> Arc<Suspects> {
        Arc::new(Suspects::open(&self.path, 2, 8).unwrap())
    }
}

fn event(customer: u32) -> Event {
    let body = format!(r#"{{"eventCode":"A","customerInfo":{{"customerId":{customer}}}}}"#);
    Event::read(body.into()).unwrap()
}

fn name(customer: u32) -> Name {
    Name::new(*event(customer).dedup_key(None, None).as_bytes())
}

fn accepted(customers: &[u32]) -> Vec<Accepted> {
    let accept = |&customer: &u32| {
        let event = Box::new(event(customer));
        let key = event.dedup_key(None, None);
        let what = What::Event { event, customer: None, became: None, key, redelivered: false, session: 1 };
        Accepted { what, name: Some(name(customer)), now: 0, receipt: None, held: Held::default() }
    };
    customers.iter().map(accept).collect()
}

/// The engine ends while a shard decides these.
fn ends_at(suspects: &Suspects, shard: usize, customers: &[u32]) {
    std::mem::forget(suspects.enter(shard, &suspects.part(&accepted(customers))));
}

/// A shard decides these, and they are committed.
fn decides(suspects: &Arc<Suspects>, customers: &[u32]) {
    let part = suspects.part(&accepted(customers));
    drop(suspects.enter(0, &part));
    if let Some(acquittal) = part.acquittal(suspects) {
        acquittal.committed();
    }
}

fn ends_of(suspects: &Suspects, customers: &[u32]) -> Vec<Option<u32>> {
    customers.iter().map(|customer| suspects.ends_of(name(*customer))).collect()
}

#[test]
fn who_was_being_decided_when_the_engine_ended_is_a_suspect_and_who_had_been_is_none() {
    let runs = Runs::new();
    let first = runs.next();
    decides(&first, &[1, 2]);
    ends_at(&first, 0, &[3, 4]);
    ends_at(&first, 1, &[5]);
    let second = runs.next();
    assert_eq!(ends_of(&second, &[1, 2, 3, 4, 5, 6]), [None, None, Some(0), Some(0), Some(0), None]);
    // Nobody came again, and nobody is forgotten.
    assert_eq!(ends_of(&runs.next(), &[3, 4, 5]), [Some(0); 3]);
}

#[test]
fn suspects_are_cut_out_of_a_batch_in_their_order() {
    let runs = Runs::new();
    ends_at(&runs.next(), 0, &[3, 4]);
    let suspects = runs.next();
    let (mut batch, mut parts) = (accepted(&[1, 2, 3, 4, 5, 6, 3]), Vec::new());
    while !batch.is_empty() {
        let rest = suspects.set_apart(&mut batch);
        parts.push(batch.iter().map(|one| one.name.unwrap()).collect::<Vec<_>>());
        batch = rest;
    }
    let expected: [&[u32]; 5] = [&[1, 2], &[3], &[4], &[5, 6], &[3]];
    assert_eq!(parts, expected.map(|part| part.iter().copied().map(name).collect::<Vec<_>>()));
}

#[test]
fn only_an_end_while_it_is_alone_counts_and_the_third_is_the_last() {
    let runs = Runs::new();
    ends_at(&runs.next(), 0, &[1, 2]);
    for ends in 0..ENDS_MAX {
        let run = runs.next();
        assert_eq!(ends_of(&run, &[1, 2]), [Some(ends), Some(0)]);
        assert_eq!(run.refuses_event(name(1)), None);
        // It is beside others, too: that says nothing.
        ends_at(&run, 0, &[7, 1]);
        ends_at(&runs.next(), 1, &[1]);
    }
    let run = runs.next();
    let reason = "the engine ended 3 times while it decided this event alone".to_owned();
    assert_eq!(run.refuses_event(name(1)), Some(reason.clone()));
    assert_eq!(run.refuses_event(name(1)), Some(reason.clone()), "asking changes nothing");
    run.give_up_event(name(1), "A");
    // Whoever publishes it again has corrected the rule, or one more end is enough.
    assert_eq!(run.refuses_event(name(1)), None);
    ends_at(&runs.next(), 1, &[1]);
    assert_eq!(runs.next().refuses_event(name(1)), Some(reason));
}

#[test]
fn a_timer_and_a_failure_that_is_tried_again_are_given_up_as_faults() {
    let runs = Runs::new();
    let customer = event(1).customer_key().unwrap();
    let timer = TimerKey { due: 1, customer, campaign: "a".into(), timer: "t".into() };
    let partition = Partition::of_customer(customer);
    let failure = |number| FailureKey { partition, customer: Some(customer), campaign: "a".into(), number };
    let ends = |name| {
        let what = What::Timer(timer.clone());
        let accepted = [Accepted { what, name: Some(name), now: 0, receipt: None, held: Held::default() }];
        let run = runs.next();
        std::mem::forget(run.enter(0, &run.part(&accepted)));
    };
    // The first makes it a suspect.
    for _ in 0..=ENDS_MAX {
        ends(Name::of_timer(&timer));
    }
    for _ in 0..=ENDS_MAX {
        ends(Name::of_failure(&failure(7)));
    }
    let run = runs.next();
    assert_eq!(run.refuse_timer(&timer), Err(GuestFault::EndedTheEngine { times: 3 }));
    assert_eq!(run.refuse_retry(&failure(7)), Err(GuestFault::EndedTheEngine { times: 3 }));
    assert_eq!(run.refuse_retry(&failure(8)), Ok(()));
}

#[test]
fn what_is_decided_alone_and_committed_is_no_suspect_any_more_however_often_the_engine_ended_before() {
    let runs = Runs::new();
    ends_at(&runs.next(), 0, &[1, 2]);
    for _ in 1..ENDS_MAX {
        ends_at(&runs.next(), 0, &[1]);
    }
    let run = runs.next();
    assert_eq!(ends_of(&run, &[1, 2]), [Some(ENDS_MAX - 1), Some(0)]);
    let part = run.part(&accepted(&[1]));
    drop(run.enter(0, &part));
    assert_eq!(ends_of(&runs.next(), &[1, 2]), [Some(ENDS_MAX - 1), Some(0)], "it is not committed yet");
    decides(&run, &[1]);
    assert_eq!(ends_of(&run, &[1, 2]), [None, Some(0)]);
    decides(&run, &[2]);
    assert!(run.are_none());
}

#[test]
fn nobody_else_decides_anything_while_a_suspect_is_decided_alone() {
    let runs = Runs::new();
    ends_at(&runs.next(), 0, &[1]);
    let suspects = runs.next();
    {
        let _others = suspects.enter(0, &suspects.part(&accepted(&[2, 3])));
        assert!(suspects.gate.try_read().is_ok(), "others may");
        assert!(suspects.gate.try_write().is_err(), "the suspect waits for them");
    }
    {
        let _alone = suspects.enter(0, &suspects.part(&accepted(&[1])));
        assert!(suspects.gate.try_read().is_err(), "others wait for it");
    }
    decides(&suspects, &[1]);
    let _others = suspects.enter(0, &suspects.part(&accepted(&[2])));
    assert!(suspects.gate.try_write().is_ok(), "without suspects nobody waits for anybody");
}

#[test]
fn a_file_in_which_another_shard_was_at_work_beside_the_suspect_blames_nobody() {
    let left = |slots| Left { suspects: vec![(name(1), 2)], slots };
    let slot = |alone, customer| Slot { alone, names: vec![name(customer)] };
    assert_eq!(suspects_of(left(vec![slot(true, 1)])), [(name(1), 3)]);
    assert_eq!(suspects_of(left(vec![slot(true, 1), slot(false, 2)])), [(name(1), 2), (name(2), 0)]);
}

#[test]
fn a_panic_leaves_the_names_as_any_other_end_does() {
    let runs = Runs::new();
    let first = runs.next();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _in_flight = first.enter(0, &first.part(&accepted(&[1, 2])));
        panic!("a bug of ours");
    }));
    assert!(panicked.is_err());
    assert_eq!(ends_of(&runs.next(), &[1, 2]), [Some(0); 2]);
}

#[test]
fn a_file_that_can_not_be_read_is_begun_anew() {
    let runs = Runs::new();
    std::fs::write(&runs.path, "no such file").unwrap();
    let run = runs.next();
    assert!(run.are_none());
    ends_at(&run, 0, &[1]);
    assert_eq!(ends_of(&runs.next(), &[1]), [Some(0)]);
}

#[test]
fn what_did_not_come_again_is_forgotten_when_it_is_too_much() {
    let old = |number: usize| (Name::new((number as u128).to_be_bytes()), 0);
    let left = Left { suspects: (0..2 * OLD_MAX).map(old).collect(), slots: Vec::new() };
    assert_eq!(suspects_of(left).len(), OLD_MAX);
}

#[test]
fn a_line_of_standard_input_has_one_name_in_every_run_and_a_timer_whenever_it_is_due() {
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
        Name::of_event(&event, &delivery, key)
    };
    assert_eq!(name("-@run-1:17"), name("-@run-2:17"));
    assert_ne!(name("-@run-1:17"), name("-@run-1:18"));
    assert_ne!(name("a.jsonl:17"), name("b.jsonl:17"), "another file is another event");
    let customer = event(1).customer_key().unwrap();
    let timer = |due, campaign: &str| TimerKey { due, customer, campaign: campaign.into(), timer: "t".into() };
    assert_eq!(Name::of_timer(&timer(1, "a")), Name::of_timer(&timer(2, "a")));
    assert_ne!(Name::of_timer(&timer(1, "a")), Name::of_timer(&timer(1, "b")));
}
