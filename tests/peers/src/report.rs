//! The results of the processes, as a table and as marks.

use crate::contenders::{CEL, DATALOGIC, EXTISM, NATIVE, ZEN};
use crate::marks::{Against, mark};
use crate::measure::Measured;

/// The targets: Hailer's speed as a multiple of a peer's, by workload.
const FASTER_THAN: [(&str, &str, f64); 7] = [
    ("1 rule", DATALOGIC, 1.2),
    ("1 rule", EXTISM, 4.0),
    ("1 rule", ZEN, 5.0),
    ("1 rule", CEL, 10.0),
    ("100 rules, all fire", DATALOGIC, 1.0),
    ("100 rules, all fire", EXTISM, 20.0),
    ("100 rules, 5 fire", DATALOGIC, 3.0),
];
const OF_NATIVE_MAX: f64 = 1.5;

pub(crate) fn report(processes: &[Vec<Measured>]) {
    let mut workload = "";
    for row in &processes[0] {
        if row.workload != workload {
            workload = &row.workload;
            println!("\n{workload:<28} {:>12}  times as long as hailer", "ns an event");
        }
        let Measured { workload, contender, .. } = row;
        let ns = Figures::of(processes, workload, contender, |row| row.ns).median();
        let times = Figures::of(processes, workload, contender, |row| row.of_hailer);
        println!("{contender:<28} {ns:>12.0}  {times}");
    }
    println!();
    for (workload, peer, limit) in FASTER_THAN {
        let times = Figures::of(processes, workload, peer, |row| row.of_hailer);
        let name = format!("{workload}: speed beside {peer}");
        mark(&name, times.median(), Against::AtLeast(limit), " ×", &format!("processes {times}"));
    }
    let times = Figures::of(processes, "1 rule", NATIVE, |row| 1.0 / row.of_hailer);
    let beside = format!("of the rule by hand; processes {times}");
    mark(
        "1 rule: time beside the \
        floor",
        times.median(),
        Against::AtMost(OF_NATIVE_MAX),
        " ×",
        &beside,
    );
}

/// One figure from each process, sorted.
struct Figures(Vec<f64>);

impl Figures {
    fn of(
        processes: &[Vec<Measured>],
        workload: &str,
        contender: &str,
        figure: impl Fn(&Measured) -> f64,
    ) -> Figures {
        let is_meant = |row: &&Measured| row.workload == workload && row.contender == contender;
        let mut figures: Vec<f64> =
            processes.iter().flatten().filter(is_meant).map(figure).collect();
        figures.sort_by(f64::total_cmp);
        Figures(figures)
    }

    fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, last) = (self.0[0], self.0[self.0.len() - 1]);
        write!(formatter, "{:.2} ({first:.2} … {last:.2})", self.median())
    }
}
