//! Which instance a call runs on. The fixture `secretive` tells over the seed 77 how many calls its instance has made.

use std::sync::Arc;

use hailer::engine::{Campaign, Mode};

use super::stage::fixtures::GUILTY;
use super::stage::{Stage, rule_set, told};

const TELL: u64 = 77;
const GROW: u64 = 99;

#[test]
fn an_instance_is_used_again_from_batch_to_batch() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("secretive").unwrap()]);
    assert_eq!(told(stage.decide(&rules, &[1, 2, TELL])), ["ok", "ok", "3"]);
    assert_eq!(told(stage.decide(&rules, &[TELL])), ["4"]);
}

#[test]
fn an_instance_is_replaced_after_a_fault() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("secretive").unwrap()]);
    stage.decide(&rules, &[1, 2, 3]);
    assert_eq!(told(stage.decide(&rules, &[GUILTY])), ["trap"]);
    assert_eq!(told(stage.decide(&rules, &[TELL])), ["1"]);
    // In a crossing: the guilty call takes the instance of its own try with it.
    assert_eq!(told(stage.decide(&rules, &[1, TELL, GUILTY, TELL])), ["ok", "2", "trap", "1"]);
}

#[test]
fn an_instance_is_replaced_when_it_has_taken_half_of_its_memory() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("secretive").unwrap()]);
    assert_eq!(told(stage.decide(&rules, &[1, GROW])), ["ok", "ok"]);
    assert_eq!(told(stage.decide(&rules, &[TELL])), ["1"]);
}

#[test]
fn an_instance_that_starts_with_much_memory_is_not_replaced_for_it() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("secretive-and-large").unwrap()]);
    assert_eq!(told(stage.decide(&rules, &[1])), ["ok"]);
    assert_eq!(told(stage.decide(&rules, &[TELL])), ["2"]);
}

#[test]
fn a_swap_keeps_the_instances_of_campaigns_that_did_not_change() {
    let mut stage = Stage::new();
    let secretive = stage.campaign("secretive").unwrap();
    let honest = stage.campaign("honest").unwrap();
    assert_eq!(told(stage.decide(&rule_set([secretive.clone()]), &[1, 2])), ["ok", "ok"]);
    let both = rule_set([honest, secretive]);
    assert_eq!(told(stage.decide(&both, &[TELL])), ["ok", "3"]);
    let changed = rule_set([stage.configured("secretive", &[0x80], 2).unwrap()]);
    assert_eq!(told(stage.decide(&changed, &[TELL])), ["1"]);
}

#[test]
fn a_campaign_that_is_off_is_asked_nothing_and_keeps_its_instance() {
    let mut stage = Stage::new();
    let secretive = stage.campaign("secretive").unwrap();
    let mut off = Campaign::clone(&secretive);
    off.spec.mode = Mode::Off;
    assert_eq!(told(stage.decide(&rule_set([secretive.clone()]), &[1])), ["ok"]);
    assert_eq!(told(stage.decide(&rule_set([Arc::new(off)]), &[1])), [""; 0]);
    assert_eq!(told(stage.decide(&rule_set([secretive]), &[TELL])), ["2"]);
}

#[test]
fn a_batch_after_a_swap_to_fewer_campaigns_decides_only_those() {
    let mut stage = Stage::new();
    let honest = stage.campaign("honest").unwrap();
    let both = rule_set([stage.campaign("secretive").unwrap(), honest.clone()]);
    assert_eq!(told(stage.decide(&both, &[1])), ["ok", "ok"]);
    let one = rule_set([honest]);
    assert_eq!(told(stage.decide(&one, &[1])), ["ok"]);
    assert_eq!(told(stage.decide(&rule_set([]), &[1])), [""; 0]);
}
