//! Hailer beside what people would use in its place, on the same events and the same rule, in one run: `scripts/bench.sh peers`.
//!
//! The work is the same for all: a purchase's bytes, a decision by the rules of a workload, the bytes of the communications that come of it. The
//! contenders take turns in every round, so that whatever slows the machine slows all. What a process measures depends on where its memory
//! happens to lie, so the whole is run in five processes one after the other, and a figure is the median of theirs.
//!
//! `BENCH_PEERS` names the directory of the modules. `hailer-peers only WORKLOAD CONTENDER` keeps one of them at work for ten seconds, for
//! a profile.

#![expect(clippy::print_stdout, reason = "a benchmark's output is for whoever runs it")]
#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up has nothing to say")]

mod processes;

mod contenders;
mod measure;
mod messages;
mod reading;
mod workload;

mod compose;
mod report;
mod same;
mod typed;

#[path = "../../../host/benches/layers/marks.rs"]
mod marks;
#[expect(dead_code, reason = "rounds are made here of batches, whose messages are not part of what is measured")]
#[path = "../../../host/benches/layers/timing.rs"]
mod timing;

use std::path::PathBuf;

fn main() {
    let modules = std::env::var_os("BENCH_PEERS").expect("BENCH_PEERS names the directory of the modules");
    let modules = PathBuf::from(modules);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => report::report(&processes::run()),
        [processes::PART] => processes::tell(&measure::measure(&modules)),
        ["only", workload, contender] => measure::only(&modules, workload, contender),
        _ => panic!("hailer-peers [only WORKLOAD CONTENDER]"),
    }
}
