//! Faults during a call: only the event that causes it gets the fault, and every other event gets
//! its result once.

use std::time::{Duration, Instant};

use hailer::engine::GuestFault;

use super::stage::fixtures::GUILTY;
use super::stage::{Stage, fault_of, results, rule_set};

/// Events for two crossings, with the faulting one in the second, and their expected results.
fn crowd(fault: &str) -> (Vec<u64>, Vec<String>) {
    let seeds: Vec<u64> = (100..140).map(|seed| if seed == 135 { GUILTY } else { seed }).collect();
    let expected =
        seeds.iter().map(|seed| if *seed == GUILTY { fault } else { "ok" }.to_owned()).collect();
    (seeds, expected)
}

pub(crate) fn only_the_guilty_event_faults(fixture: &str, fault: &str) {
    let (seeds, expected) = crowd(fault);
    assert_eq!(Stage::new().outcomes(fixture, &seeds), expected, "{fixture}");
    assert_eq!(Stage::new().outcomes(fixture, &[GUILTY]), [fault], "{fixture}, alone");
}

#[test]
fn an_honest_guest_decides_every_event() {
    let (seeds, _) = crowd("");
    assert_eq!(Stage::new().outcomes("honest", &seeds), vec!["ok"; 40]);
}

#[test]
fn an_endless_loop_is_stopped_at_its_deadline() {
    let start = Instant::now();
    only_the_guilty_event_faults("endless-loop", "deadline");
    // Twelve loops of ten milliseconds each, on a machine that may be busy.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn endless_recursion_is_stopped_at_the_stack_limit() {
    only_the_guilty_event_faults("recursion", "stack");
}

#[test]
fn a_guest_gets_no_more_memory_than_its_limit() {
    only_the_guilty_event_faults("memory-bomb", "memory");
}

#[test]
fn a_trap_affects_only_its_own_event() {
    only_the_guilty_event_faults("trap", "trap");
    only_the_guilty_event_faults("wild-read", "trap");
}

#[test]
fn one_output_over_the_limit_is_refused_even_in_a_crossing() {
    only_the_guilty_event_faults("flood-of-one", "output");
}

#[test]
fn a_returned_error_is_a_fault_of_its_own_event_only() {
    only_the_guilty_event_faults("errs", "error");
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("errs").unwrap()]);
    let decided = stage.decide(&rules, &[1, GUILTY, 2]);
    assert_eq!(fault_of(decided), &GuestFault::Returned(r"no\nshop".into()));
}

#[test]
fn every_event_is_decided_once_when_a_third_of_them_fault() {
    let seeds: Vec<u64> = (100..200).collect();
    let expected: Vec<_> =
        seeds.iter().map(|seed| if seed % 3 == 0 { "trap" } else { "ok" }).collect();
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("trap-every-third").unwrap()]);
    let decided = stage.decide(&rules, &seeds);
    assert_eq!(results(decided), expected);
    let events: Vec<_> = decided.results.iter().map(|call| call.event).collect();
    assert_eq!(events, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_guest_that_traps_in_every_second_call_decides_each_event_once() {
    let seeds: Vec<u64> = (100..140).collect();
    let results = Stage::new().outcomes("trap-every-second", &seeds);
    assert_eq!(results, ["ok", "trap"].repeat(20));
}

#[test]
fn a_panic_keeps_its_text_even_when_the_log_is_full() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("panic").unwrap()]);
    for seeds in [&[GUILTY][..], &[1, 2, GUILTY, 3]] {
        let text = r"no basket\nin \u{1b}[31mthe purchase, at src/lib.rs:7";
        assert_eq!(fault_of(stage.decide(&rules, seeds)), &GuestFault::Panic(text.into()));
    }
}

#[test]
fn a_campaign_that_faults_leaves_other_campaigns_alone() {
    let (seeds, _) = crowd("");
    let mut stage = Stage::new();
    let names =
        ["honest", "endless-loop", "trap", "memory-bomb", "recursion", "flood-of-one", "errs"];
    let rules = rule_set(names.map(|name| stage.campaign(name).unwrap()));
    let decided = stage.decide(&rules, &seeds);
    assert_eq!(decided.results.len(), seeds.len() * names.len());
    for call in &decided.results {
        let may_fault = call.campaign > 0 && seeds[call.event] == GUILTY;
        assert_eq!(
            call.result.is_err(),
            may_fault,
            "{} on event {}",
            names[call.campaign],
            call.event
        );
    }
    let order: Vec<_> = decided.results.iter().map(|call| (call.event, call.campaign)).collect();
    assert!(order.is_sorted());
}

#[test]
fn each_call_of_a_late_crossing_gets_its_own_deadline() {
    assert_eq!(Stage::new().outcomes("slow", &[1; 32]), vec!["ok"; 32]);
}

/// Other threads use the processor at the same time, so the elapsed time of the calls is far longer
/// than their CPU time.
#[test]
fn the_time_of_calls_is_their_cpu_time() {
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let spin = || {
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            std::hint::spin_loop()
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(spin);
        }
        let mut stage = Stage::new();
        let rules = rule_set([stage.campaign("slow").unwrap()]);
        let processor_time = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        };
        let spent_first = stage.decide(&rules, &[1]).spent.clone();
        let before = processor_time();
        let mut spent = std::time::Duration::ZERO;
        for _ in 0..100 {
            spent += stage
                .decide(&rules, &[1])
                .spent
                .iter()
                .map(|spent| spent.time)
                .sum::<std::time::Duration>();
        }
        let took = processor_time() - before;
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(spent > took / 4 && spent <= took, "{spent:?} of {took:?}");
        assert!(
            spent_first.is_empty(),
            "the CPU time of the first call is not known: {spent_first:?}"
        );
    });
}

#[test]
fn the_time_of_calls_that_fault_counts_too() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("endless-loop").unwrap()]);
    // The call is late twice, and each time the instance is replaced.
    let decided = stage.decide(&rules, &[GUILTY]);
    assert_eq!(results(decided), ["deadline"]);
    assert_eq!(decided.spent.len(), 1, "the CPU time of the second call is known");
}
