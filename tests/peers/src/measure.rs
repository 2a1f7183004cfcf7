//! The measurements of one process: every workload, with its contenders in turns.

use std::path::Path;
use std::time::{Duration, Instant};

use hailer::communication::Communication;

use crate::contenders::{self, Contender, HAILER};
use crate::messages::Stream;
use crate::reading;
use crate::same;
use crate::timing::Spread;
use crate::workload::{self, Workload};

/// The number of messages that a contender gets at once.
pub(crate) const MESSAGES: usize = 32;
pub(crate) const ROUNDS: usize = 41;
pub(crate) const ROUND: Duration = Duration::from_millis(10);
pub(crate) const WARM_UP: Duration = Duration::from_millis(200);
const ONLY: Duration = Duration::from_secs(10);

/// The figures of one contender in one workload.
pub(crate) struct Measured {
    pub(crate) workload: String,
    pub(crate) contender: String,
    /// Nanoseconds for one event.
    pub(crate) ns: f64,
    /// The time as a multiple of Hailer's in the same round.
    pub(crate) of_hailer: f64,
}

/// A contender with its stream of messages.
struct Lane<'a> {
    contender: Box<dyn Contender + 'a>,
    stream: Stream,
    sent: Vec<Communication>,
    rounds_ns: Vec<f64>,
}

pub(crate) fn measure(modules: &Path) -> Vec<Measured> {
    let of_workloads = workload::all()
        .iter()
        .flat_map(|workload| measure_workload(workload, modules))
        .collect::<Vec<_>>();
    reading::measure().into_iter().chain(of_workloads).collect()
}

fn measure_workload(workload: &Workload, modules: &Path) -> Vec<Measured> {
    let mut expected = None;
    for mut contender in contenders::all(workload, modules) {
        let sends = same::sends(&mut *contender, workload);
        let expected = expected.get_or_insert_with(|| sends.clone());
        assert_eq!(
            &sends,
            expected,
            "{}: {} sends something else than \
            {HAILER}",
            workload.name,
            contender.name()
        );
    }
    // Fresh contenders that have handled no message yet.
    let mut lanes: Vec<Lane<'_>> =
        contenders::all(workload, modules).into_iter().map(Lane::new).collect();
    for lane in &mut lanes {
        lane.run(workload, WARM_UP);
    }
    for _ in 0..ROUNDS {
        for lane in &mut lanes {
            let ns = lane.run(workload, ROUND);
            lane.rounds_ns.push(ns);
        }
    }
    let hailer_ns = lanes[0].rounds_ns.clone();
    let measured = |lane: Lane<'_>| {
        let ratios = lane.rounds_ns.iter().zip(&hailer_ns).map(|(ns, hailer_ns)| ns / hailer_ns);
        let of_hailer = Spread::of(ratios.collect()).median();
        Measured {
            workload: workload.name.to_owned(),
            contender: lane.contender.name().to_owned(),
            ns: Spread::of(lane.rounds_ns).median(),
            of_hailer,
        }
    };
    lanes.into_iter().map(measured).collect()
}

/// Runs one contender for a while.
pub(crate) fn only(modules: &Path, workload: &str, contender: &str) {
    let workloads = workload::all();
    let workload = workloads.iter().find(|one| one.name == workload).expect("a workload's name");
    let all = contenders::all(workload, modules);
    let contender = all.into_iter().find(|one| one.name() == contender).expect(
        "a contender's \
        name",
    );
    println!("{} ns an event", Lane::new(contender).run(workload, ONLY).round());
}

impl<'a> Lane<'a> {
    fn new(contender: Box<dyn Contender + 'a>) -> Lane<'a> {
        Lane { contender, stream: Stream::new(), sent: Vec::new(), rounds_ns: Vec::new() }
    }

    /// Nanoseconds for one event, without the time to get a message and to drop a communication.
    fn run(&mut self, workload: &Workload, at_least: Duration) -> f64 {
        let (mut took, mut events) = (Duration::ZERO, 0);
        while took < at_least {
            let messages = self.stream.next(MESSAGES);
            let start = Instant::now();
            self.contender.decide(&messages, &mut self.sent);
            took += start.elapsed();
            events += messages.len();
            assert_eq!(
                self.sent.len(),
                MESSAGES * workload.fires,
                "what {} sends",
                self.contender.name()
            );
            self.sent.clear();
        }
        took.as_nanos() as f64 / events as f64
    }
}
