//! Rules that are not pure functions, and those that only look like it.

use hailer::engine::AdmissionError;

use super::stage::fixtures::{EVENT_CODE, GUILTY};
use super::stage::{Stage, rule_set, told};

#[test]
fn a_rule_that_counts_its_calls_is_refused_with_its_handler_and_event() {
    match Stage::new().campaign("counter") {
        Err(AdmissionError::Impure { handler, code }) => assert_eq!((&*handler, &*code), ("h", EVENT_CODE)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rule_that_faults_on_the_examples_is_admitted() {
    for fixture in ["parrot-once", "place"] {
        assert!(Stage::new().configured(fixture, &[0xff; 8], 1).is_ok(), "{fixture}");
    }
}

#[test]
fn a_rule_that_turns_out_to_be_impure_is_found_by_calling_it_again() {
    let mut stage = Stage::rechecking(10);
    let rules = rule_set([stage.campaign("honest").unwrap(), stage.campaign("secretive").unwrap()]);
    // Twenty calls each and nothing to see: then, over the seed 77, its instance gives itself away.
    assert!(stage.decide(&rules, &[1; 20]).impure.is_empty());
    assert_eq!(stage.decide(&rules, &[77; 20]).impure, [1]);
}

#[test]
fn a_pure_rule_stays_unsuspected_whatever_it_faults_on() {
    for fixture in ["honest", "errs", "trap", "trap-every-third", "log-flood", "flood-of-one", "endless-loop"] {
        let mut stage = Stage::rechecking(1);
        let rules = rule_set([stage.campaign(fixture).unwrap()]);
        let decided = stage.decide(&rules, &[1, GUILTY, 2, 3]);
        assert!(decided.impure.is_empty(), "{fixture}");
        assert_eq!(decided.verdicts.len(), 4, "{fixture}");
    }
}

#[test]
fn one_call_in_so_many_is_made_again_and_no_other() {
    let mut stage = Stage::rechecking(50);
    let rules = rule_set([stage.campaign("secretive").unwrap()]);
    // Calls 1 to 49: none is made again. The 50th would tell.
    assert!(stage.decide(&rules, &[77; 40]).impure.is_empty());
    assert!(stage.decide(&rules, &[77; 9]).impure.is_empty());
    let decided = stage.decide(&rules, &[77]);
    assert_eq!((decided.impure.len(), told(decided).len()), (1, 1));
}
