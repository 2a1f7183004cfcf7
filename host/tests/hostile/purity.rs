//! Rules that are not pure functions, and rules that only seem impure.

use hailer::engine::AdmissionError;

use super::stage::fixtures::{EVENT_CODE, GUILTY};
use super::stage::{Stage, results, rule_set};

#[test]
fn a_rule_that_counts_its_calls_is_refused() {
    match Stage::new().campaign("counter") {
        Err(AdmissionError::Impure { handler, code }) => {
            assert_eq!((&*handler, &*code), ("h", EVENT_CODE))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rule_that_faults_on_every_sample_is_refused_with_its_last_fault() {
    let nonsense: &[u8] = &[0xff; 8];
    let faulty = [
        ("trap-always", &[0x80][..], "trap"),
        ("loop-always", &[0x80], "deadline"),
        ("errs-always", &[0x80], "error"),
        ("parrot-once", nonsense, "output"),
        ("place", nonsense, "output"),
    ];
    for (fixture, params, kind) in faulty {
        match Stage::new().tried(fixture, params, 1) {
            Err(AdmissionError::Faulty { fault, calls, .. }) => {
                assert_eq!(fault.kind(), kind, "{fixture}");
                assert!(calls > 0, "{fixture}");
            }
            other => panic!("{fixture}: {other:?}"),
        }
    }
}

#[test]
fn a_rule_that_faults_on_some_samples_is_admitted() {
    for fixture in ["honest", "trap", "trap-on-one-circumstance", "endless-loop", "errs", "panic"] {
        assert!(Stage::new().tried(fixture, &[0x80], 1).is_ok(), "{fixture}");
    }
}

#[test]
fn a_rule_that_answers_a_later_crossing_differently_is_refused() {
    for fixture in ["wrong-second-crossing", "trap-in-second-crossing"] {
        match Stage::new().tried(fixture, &[0x80], 1) {
            Err(AdmissionError::Crossing { handler, calls }) => {
                assert_eq!((&*handler, calls), ("h", 32), "{fixture}")
            }
            other => panic!("{fixture}: {other:?}"),
        }
    }
}

#[test]
fn rechecking_finds_an_impure_rule() {
    let mut stage = Stage::rechecking(10);
    let rules = rule_set([stage.campaign("honest").unwrap(), stage.campaign("secretive").unwrap()]);
    // The first twenty calls show nothing. For the seed 77 the answer depends on the instance.
    assert!(stage.decide(&rules, &[1; 20]).impure.is_empty());
    assert_eq!(stage.decide(&rules, &[77; 20]).impure, [1]);
}

#[test]
fn a_pure_rule_with_faults_does_not_count_as_impure() {
    for fixture in
        ["honest", "errs", "trap", "trap-every-third", "log-flood", "flood-of-one", "endless-loop"]
    {
        let mut stage = Stage::rechecking(1);
        let rules = rule_set([stage.campaign(fixture).unwrap()]);
        let decided = stage.decide(&rules, &[1, GUILTY, 2, 3]);
        assert!(decided.impure.is_empty(), "{fixture}");
        assert_eq!(decided.results.len(), 4, "{fixture}");
    }
}

#[test]
fn exactly_one_call_in_fifty_is_made_again() {
    let mut stage = Stage::rechecking(50);
    let rules = rule_set([stage.campaign("secretive").unwrap()]);
    // None of the calls 1 to 49 is made again. The 50th is, and differs.
    assert!(stage.decide(&rules, &[77; 40]).impure.is_empty());
    assert!(stage.decide(&rules, &[77; 9]).impure.is_empty());
    let decided = stage.decide(&rules, &[77]);
    assert_eq!((decided.impure.len(), results(decided).len()), (1, 1));
}

#[test]
fn the_rate_of_rechecks_holds_within_a_crossing_and_across_crossings() {
    for (one_in, batches, expected) in
        [(1, [20, 12], [20, 12]), (8, [32, 33], [4, 4]), (33, [32, 34], [0, 2])]
    {
        let mut stage = Stage::rechecking(one_in);
        let rules = rule_set([stage.campaign("honest").unwrap()]);
        let rechecked = batches.map(|calls| stage.decide(&rules, &vec![1; calls]).rechecked);
        assert_eq!(rechecked, expected, "one in {one_in}");
    }
}

#[test]
fn calls_beside_a_fault_are_rechecked_too() {
    let mut stage = Stage::rechecking(1);
    let rules = rule_set([stage.campaign("trap").unwrap()]);
    let decided = stage.decide(&rules, &[1, GUILTY, 2, 3]);
    assert_eq!((decided.rechecked, results(decided)[1].as_str()), (3, "trap"));
}

#[test]
fn a_rule_that_counts_calls_of_timers_or_with_state_is_refused() {
    for (fixture, call) in
        [("counter-in-timer", ("t", "t")), ("counter-of-states", ("h", EVENT_CODE))]
    {
        match Stage::new().campaign(fixture) {
            Err(AdmissionError::Impure { handler, code }) => {
                assert_eq!((&*handler, &*code), call, "{fixture}")
            }
            other => panic!("{fixture}: {other:?}"),
        }
    }
}
