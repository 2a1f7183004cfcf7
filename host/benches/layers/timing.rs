//! Timing for the benchmarks: work is measured in rounds of some milliseconds. The result is the
//! median and the middle half of all rounds.

use std::time::{Duration, Instant};

pub(crate) const ROUNDS: usize = 61;
const ROUND: Duration = Duration::from_millis(10);

/// Returns how often `work` runs in a round. Finding it also warms up.
pub(crate) fn turns_of(work: &mut dyn FnMut()) -> u32 {
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < ROUND * 10 {
        work();
        turns += 1;
    }
    turns / 10 + 1
}

/// Returns the nanoseconds of one turn.
pub(crate) fn time(work: &mut dyn FnMut(), turns: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..turns {
        work();
    }
    start.elapsed().as_nanos() as f64 / f64::from(turns)
}

/// The median of all rounds, and the limits of their middle half.
pub(crate) struct Spread {
    quarter: f64,
    median: f64,
    three_quarters: f64,
}

impl Spread {
    pub(crate) fn of(mut rounds: Vec<f64>) -> Spread {
        rounds.sort_by(f64::total_cmp);
        let at = |share: f64| rounds[(rounds.len() as f64 * share) as usize];
        Spread { quarter: at(0.25), median: at(0.5), three_quarters: at(0.75) }
    }

    pub(crate) fn median(&self) -> f64 {
        self.median
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.median < 10.0 { 3 } else { 0 };
        let Self { quarter, median, three_quarters } = self;
        write!(formatter, "{median:.digits$} ({quarter:.digits$} … {three_quarters:.digits$})")
    }
}
