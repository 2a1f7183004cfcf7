//! Compares Hailer with the engines that people would use in its place, on the same events and the
//! same rule, in one run: `scripts/bench.sh peers`.
//!
//! The work is the same for all: from the bytes of a purchase, through a decision by the rules of a
//! workload, to the bytes of the communications. The contenders take turns in every round, so
//! whatever slows the machine down slows all of them. The figures of a process depend on its memory
//! layout, so the whole bench runs in five processes one after another, and a figure is the median
//! of theirs.
//!
//! `BENCH_PEERS` names the directory of the modules. `hailer-peers only WORKLOAD CONTENDER` runs
//! one contender for ten seconds, for a profile.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has no result")]

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
#[expect(
    dead_code,
    reason = "rounds are made here of batches, whose messages are not part of \
    what is measured"
)]
#[path = "../../../host/benches/layers/timing.rs"]
mod timing;

use std::path::PathBuf;

fn main() {
    let modules =
        std::env::var_os("BENCH_PEERS").expect("BENCH_PEERS names the directory of the modules");
    let modules = PathBuf::from(modules);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => report::report(&processes::run()),
        [processes::PART] => processes::print(&measure::measure(&modules)),
        ["only", workload, contender] => measure::only(&modules, workload, contender),
        _ => panic!("hailer-peers [only WORKLOAD CONTENDER]"),
    }
}
