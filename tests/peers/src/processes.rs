//! Runs the bench in several processes.

use std::process::{Command, Stdio};

use crate::measure::Measured;

pub(crate) const PROCESSES: usize = 5;
/// The argument of such a process.
pub(crate) const PART: &str = "part";

/// The figures of each process.
pub(crate) fn run() -> Vec<Vec<Measured>> {
    (0..PROCESSES).map(|_| run_one()).collect()
}

fn run_one() -> Vec<Measured> {
    let itself = std::env::current_exe().unwrap();
    let output = Command::new(itself).arg(PART).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "a process of the bench failed");
    String::from_utf8(output.stdout).unwrap().lines().map(parse).collect()
}

/// Reports to the process that started this one.
pub(crate) fn print(measured: &[Measured]) {
    for Measured { workload, contender, ns, of_hailer } in measured {
        println!("{workload}\t{contender}\t{ns}\t{of_hailer}");
    }
}

fn parse(line: &str) -> Measured {
    let [workload, contender, ns, of_hailer] = line.split('\t').collect::<Vec<_>>()[..] else {
        panic!("{line}");
    };
    Measured {
        workload: workload.to_owned(),
        contender: contender.to_owned(),
        ns: ns.parse().unwrap(),
        of_hailer: of_hailer.parse().unwrap(),
    }
}
