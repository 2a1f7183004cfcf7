//! What a guest logs: bounded, counted, on one line each, and with the event that it belongs to.

use hailer::engine::Decided;

use super::stage::fixtures::GUILTY;
use super::stage::{Stage, rule_set, told};

fn texts_of(decided: &Decided, event: usize) -> Vec<&str> {
    decided.lines.iter().filter(|line| line.event == event).map(|line| line.line.text.as_str()).collect()
}

#[test]
fn a_flood_of_bytes_is_cut_at_the_limit_of_its_call_and_counted() {
    let mut stage = Stage::new();
    let log_bytes_max = stage.sandbox.limits().log_bytes_max;
    let rules = rule_set([stage.campaign("log-flood").unwrap()]);
    let decided = stage.decide(&rules, &[1, GUILTY, 2]);
    assert_eq!(told(decided), ["ok"; 3]);
    assert_eq!(texts_of(decided, 1).concat().len(), log_bytes_max);
    assert_eq!(decided.log_bytes_cut, 5 + 1024 * 1024 - log_bytes_max as u64);
    // The neighbours' lines are whole.
    assert_eq!(texts_of(decided, 0), ["hello"]);
    assert_eq!(texts_of(decided, 2), ["hello"]);
}

#[test]
fn a_flood_of_lines_is_cut_at_the_limit_of_its_call_and_counted() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("log-lines-flood").unwrap()]);
    let decided = stage.decide(&rules, &[1, GUILTY, 2]);
    assert_eq!(told(decided), ["ok"; 3]);
    assert_eq!(texts_of(decided, 1).len(), 64);
    assert_eq!(decided.log_bytes_cut, 1000 - 64);
}

#[test]
fn a_line_from_a_wild_place_is_ignored_and_a_wild_level_is_the_lowest() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("log-wild").unwrap()]);
    let left = stage.sandbox.limits().log_bytes_max - 5 - 5 - 8;
    let decided = stage.decide(&rules, &[1]);
    assert_eq!(told(decided), ["ok"]);
    let [odd, long] = &decided.lines[..] else { panic!("{} lines", decided.lines.len()) };
    assert_eq!((odd.line.level, long.line.level), (4, 3));
    assert_eq!(odd.line.text, "\u{fffd}\u{fffd} hello");
    // Of a line of four gigabytes, what the ones before it (two of them for calls that there are not) have left: zeros, each written out.
    assert!(long.line.text == r"\u{0}".repeat(left), "{} characters", long.line.text.len());
}

#[test]
fn what_is_logged_before_the_first_call_belongs_to_no_event() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("log-from-start").unwrap()]);
    let decided = stage.decide(&rules, &[1]);
    assert_eq!(told(decided), ["ok"]);
    assert_eq!(texts_of(decided, 0), [""; 0]);
}

#[test]
fn calls_that_are_made_again_log_once() {
    let mut stage = Stage::new();
    for (fixture, fault) in [("log-and-lie", "output"), ("log-and-loop", "deadline"), ("log-and-trap", "trap")] {
        let rules = rule_set([stage.campaign(fixture).unwrap()]);
        let decided = stage.decide(&rules, &[1, 2, GUILTY, 3]);
        assert_eq!(told(decided), ["ok", "ok", fault, "ok"]);
        for event in 0..4 {
            assert_eq!(texts_of(decided, event), ["hello"], "{fixture}");
        }
        let decided = stage.decide(&rules, &[GUILTY]);
        assert_eq!(texts_of(decided, 0), ["hello"], "{fixture}, alone");
    }
}
