//! The log of a guest: it is bounded and counted, each text is one line, and each line belongs to
//! its event.

use hailer::engine::BatchResult;

use super::stage::fixtures::GUILTY;
use super::stage::{Stage, results, rule_set};

fn texts_of(decided: &BatchResult, event: usize) -> Vec<&str> {
    decided
        .lines
        .iter()
        .filter(|line| line.event == event)
        .map(|line| line.line.text.as_str())
        .collect()
}

#[test]
fn too_many_log_bytes_are_cut_at_the_limit_of_the_call_and_counted() {
    let mut stage = Stage::new();
    let log_bytes_max = stage.sandbox.limits().log_bytes_max;
    let rules = rule_set([stage.campaign("log-flood").unwrap()]);
    let decided = stage.decide(&rules, &[1, GUILTY, 2]);
    assert_eq!(results(decided), ["ok"; 3]);
    assert_eq!(texts_of(decided, 1).concat().len(), log_bytes_max);
    assert_eq!(decided.log_bytes_cut, 5 + 1024 * 1024 - log_bytes_max as u64);
    // The lines of the other events are complete.
    assert_eq!(texts_of(decided, 0), ["hello"]);
    assert_eq!(texts_of(decided, 2), ["hello"]);
}

#[test]
fn too_many_log_lines_are_cut_at_the_limit_of_the_call_and_counted() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("log-lines-flood").unwrap()]);
    let decided = stage.decide(&rules, &[1, GUILTY, 2]);
    assert_eq!(results(decided), ["ok"; 3]);
    assert_eq!(texts_of(decided, 1).len(), 64);
    assert_eq!(decided.log_bytes_cut, 1000 - 64);
}

#[test]
fn a_line_outside_the_memory_is_ignored_and_an_unknown_level_is_the_lowest() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("log-wild").unwrap()]);
    let left = stage.sandbox.limits().log_bytes_max - 5 - 5 - 8;
    let decided = stage.decide(&rules, &[1]);
    assert_eq!(results(decided), ["ok"]);
    let [odd, long] = &decided.lines[..] else { panic!("{} lines", decided.lines.len()) };
    assert_eq!((odd.line.level, long.line.level), (4, 3));
    assert_eq!(odd.line.text, "\u{fffd}\u{fffd} hello");
    // The line has four gigabytes. It is cut to the bytes that the lines before it have left; two
    // of these are for calls that do not exist. Its zeros are escaped.
    assert!(long.line.text == r"\u{0}".repeat(left), "{} characters", long.line.text.len());
}

#[test]
fn lines_logged_before_the_first_call_belong_to_no_event() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("log-from-start").unwrap()]);
    let decided = stage.decide(&rules, &[1]);
    assert_eq!(results(decided), ["ok"]);
    assert_eq!(texts_of(decided, 0), [""; 0]);
}

#[test]
fn calls_that_are_made_again_log_once() {
    let mut stage = Stage::new();
    for (fixture, fault) in
        [("log-and-lie", "output"), ("log-and-loop", "deadline"), ("log-and-trap", "trap")]
    {
        let rules = rule_set([stage.campaign(fixture).unwrap()]);
        let decided = stage.decide(&rules, &[1, 2, GUILTY, 3]);
        assert_eq!(results(decided), ["ok", "ok", fault, "ok"]);
        for event in 0..4 {
            assert_eq!(texts_of(decided, event), ["hello"], "{fixture}");
        }
        let decided = stage.decide(&rules, &[GUILTY]);
        assert_eq!(texts_of(decided, 0), ["hello"], "{fixture}, alone");
    }
}
