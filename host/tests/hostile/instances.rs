//! The instance on which a call runs. For the seed 77 the fixture `secretive` reports how many
//! calls its instance has made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hailer::engine::{Campaign, Limits, Mode};

use super::stage::fixtures::GUILTY;
use super::stage::{Stage, results, rule_set};

const REPORT: u64 = 77;
const GROW: u64 = 99;

#[test]
fn an_instance_is_used_again_from_batch_to_batch() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("secretive").unwrap()]);
    assert_eq!(results(stage.decide(&rules, &[1, 2, REPORT])), ["ok", "ok", "3"]);
    assert_eq!(results(stage.decide(&rules, &[REPORT])), ["4"]);
}

#[test]
fn an_instance_is_replaced_after_a_fault() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("secretive").unwrap()]);
    stage.decide(&rules, &[1, 2, 3]);
    assert_eq!(results(stage.decide(&rules, &[GUILTY])), ["trap"]);
    assert_eq!(results(stage.decide(&rules, &[REPORT])), ["1"]);
    // In a crossing, only the faulting call loses its instance.
    assert_eq!(
        results(stage.decide(&rules, &[1, REPORT, GUILTY, REPORT])),
        ["ok", "2", "trap", "1"]
    );
}

#[test]
fn an_instance_is_replaced_when_it_uses_half_of_its_memory() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("secretive").unwrap()]);
    assert_eq!(results(stage.decide(&rules, &[1, GROW])), ["ok", "ok"]);
    assert_eq!(results(stage.decide(&rules, &[REPORT])), ["1"]);
}

#[test]
fn an_instance_that_starts_with_much_memory_is_kept() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("secretive-and-large").unwrap()]);
    assert_eq!(results(stage.decide(&rules, &[1])), ["ok"]);
    assert_eq!(results(stage.decide(&rules, &[REPORT])), ["2"]);
}

#[test]
fn a_further_instance_replaces_the_one_that_was_called_least_recently() {
    let mut stage = Stage::with(Limits { instances_max: 2, ..Limits::default() }, 0);
    let secretive = stage.campaign("secretive").unwrap();
    let [one, two, three] = ["one", "two", "three"].map(|name| {
        let mut campaign = Campaign::clone(&secretive);
        campaign.spec.name = name.into();
        Arc::new(campaign)
    });
    let off = |campaign: &Arc<Campaign>| {
        let mut off = Campaign::clone(campaign);
        off.spec.mode = Mode::Off;
        Arc::new(off)
    };
    // Rule sets in which only one of the three is called. Each call adds one to its instance.
    let only =
        |called: &str| {
            let is_called = |campaign: &Arc<Campaign>| *campaign.spec.name == *called;
            rule_set([&one, &two, &three].map(|campaign| {
                if is_called(campaign) { Arc::clone(campaign) } else { off(campaign) }
            }))
        };
    let mut call = |name| {
        let answer = results(stage.decide(&only(name), &[REPORT])).concat();
        (answer, stage.guests.take_given_back())
    };
    assert_eq!(call("one"), ("1".to_owned(), 0));
    assert_eq!(call("two"), ("1".to_owned(), 0));
    assert_eq!(call("one"), ("2".to_owned(), 0));
    assert_eq!(call("three"), ("1".to_owned(), 1), "it takes the place of `two`");
    assert_eq!(call("one"), ("3".to_owned(), 0));
    assert_eq!(call("two"), ("1".to_owned(), 1), "it takes the place of `three`");
}

#[test]
fn an_instance_that_is_not_called_for_ten_minutes_is_given_back() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("secretive").unwrap()]);
    stage.decide(&rules, &[1]);
    let now = Instant::now();
    stage.guests.give_back_idle(now + Duration::from_secs(599));
    assert_eq!(results(stage.decide(&rules, &[REPORT])), ["2"]);
    stage.guests.give_back_idle(now + Duration::from_secs(700));
    assert_eq!(results(stage.decide(&rules, &[REPORT])), ["1"]);
}

#[test]
fn a_swap_keeps_the_instances_of_unchanged_campaigns() {
    let mut stage = Stage::new();
    let secretive = stage.campaign("secretive").unwrap();
    let honest = stage.campaign("honest").unwrap();
    assert_eq!(results(stage.decide(&rule_set([secretive.clone()]), &[1, 2])), ["ok", "ok"]);
    let both = rule_set([honest, secretive]);
    assert_eq!(results(stage.decide(&both, &[REPORT])), ["ok", "3"]);
    let changed = rule_set([stage.configured("secretive", &[0x80], 2).unwrap()]);
    assert_eq!(results(stage.decide(&changed, &[REPORT])), ["1"]);
}

#[test]
fn a_campaign_that_is_off_is_not_called_and_keeps_its_instance() {
    let mut stage = Stage::new();
    let secretive = stage.campaign("secretive").unwrap();
    let mut off = Campaign::clone(&secretive);
    off.spec.mode = Mode::Off;
    assert_eq!(results(stage.decide(&rule_set([secretive.clone()]), &[1])), ["ok"]);
    assert_eq!(results(stage.decide(&rule_set([Arc::new(off)]), &[1])), [""; 0]);
    assert_eq!(results(stage.decide(&rule_set([secretive]), &[REPORT])), ["2"]);
}

#[test]
fn a_batch_after_a_swap_is_decided_only_by_the_new_campaigns() {
    let mut stage = Stage::new();
    let honest = stage.campaign("honest").unwrap();
    let both = rule_set([stage.campaign("secretive").unwrap(), honest.clone()]);
    assert_eq!(results(stage.decide(&both, &[1])), ["ok", "ok"]);
    let one = rule_set([honest]);
    assert_eq!(results(stage.decide(&one, &[1])), ["ok"]);
    assert_eq!(results(stage.decide(&rule_set([]), &[1])), [""; 0]);
}
