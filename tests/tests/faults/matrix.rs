//! Runs the faults on test beds in a fixed order, and adds up the results.

use std::sync::Arc;
use std::time::Instant;

use hailer::failpoint::Failpoint;
use hailer_tests::broker::Broker;
use hailer_tests::engine::Engine;
use hailer_tests::proxy::Proxy;

use super::check::Count;
use super::nights::{Kill, Nights};
use super::oracle::HELD_EVERY;
use super::testbed::TestBed;
use super::{brokers, damage, kills, machine, network};

/// The totals of all test beds.
#[derive(Debug, Default)]
pub(super) struct Total {
    faults: usize,
    /// The totals of the finished test beds.
    done: Count,
}

/// A test bed, and its results so far.
struct TestRun<'total> {
    bed: TestBed,
    count: Count,
    total: &'total mut Total,
}

impl TestRun<'_> {
    /// Checks the test bed after faults. `engine` is the running engine, if one is left.
    async fn survives(&mut self, fault: &str, faults: usize, engine: Option<Engine>) {
        let began = Instant::now();
        let engine = engine.unwrap_or_else(|| self.bed.start());
        let (count, checked) = self.bed.settle(engine).await;
        self.count = count;
        self.total.faults += faults;
        let (all, events) = (self.total.faults, count.events);
        eprintln!(
            "{all:4} {fault}: {events} events so far, settled in {:.1} s",
            began.elapsed().as_secs_f32()
        );
        if let Err(wrong) = checked {
            self.total.add(count);
            panic!("after {fault}: {wrong}\n{}", self.total.report());
        }
    }

    fn done(self) {
        self.total.add(self.count);
    }
}

impl Total {
    async fn bed(
        &mut self,
        broker: &Arc<Broker>,
        name: &str,
        with_ids: bool,
        seed: u64,
    ) -> TestRun<'_> {
        let bed = TestBed::new(broker, name, with_ids, seed).await;
        TestRun { bed, count: Count::default(), total: self }
    }

    /// Kills the engine at each failpoint, `times` times.
    pub(super) async fn failpoints(
        &mut self,
        broker: &Arc<Broker>,
        name: &str,
        with_ids: bool,
        seed: u64,
        times: usize,
    ) {
        let mut run = self.bed(broker, name, with_ids, seed).await;
        // Without policies nothing is deferred.
        let without_policies = |point: &Failpoint| {
            ![Failpoint::DuringDeferral, Failpoint::DuringRelease].contains(point)
        };
        let points: Vec<_> = Failpoint::ALL.into_iter().filter(without_policies).collect();
        for point in points.iter().copied().cycle().take(times * points.len()) {
            kills::at(&mut run.bed, point).await;
            run.survives(point.name(), 1, None).await;
        }
        run.done();
    }

    /// Kills the engine under policies, one or two times a night.
    pub(super) async fn nights(
        &mut self,
        broker: &Arc<Broker>,
        name: &str,
        seed: u64,
        kills: impl IntoIterator<Item = &[Kill]>,
    ) {
        let mut nights = Nights::new(broker, name, seed).await;
        let mut last = Count::default();
        for kills in kills {
            let began = Instant::now();
            let (count, checked) = nights.pass(kills).await;
            last = count;
            self.faults += kills.len();
            let (all, events, took) = (self.faults, count.events, began.elapsed().as_secs_f32());
            let points: Vec<_> = kills.iter().map(|(_, point)| point.name()).collect();
            eprintln!("{all:4} a night with {points:?}: {events} events so far, {took:.1} s");
            if let Err(wrong) = checked {
                self.add(count);
                panic!("after a night with {kills:?}: {wrong}\n{}", self.report());
            }
        }
        self.add(last);
    }

    /// Kills the engine at random moments, and checks everything after every tenth kill.
    pub(super) async fn random_kills(
        &mut self,
        broker: &Arc<Broker>,
        name: &str,
        with_ids: bool,
        seed: u64,
        kills: usize,
    ) {
        let mut run = self.bed(broker, name, with_ids, seed).await;
        let mut left = kills;
        while left > 0 {
            let some = left.min(10);
            for _ in 0..some {
                kills::at_random(&mut run.bed).await;
            }
            left -= some;
            run.survives("random kills", some, None).await;
        }
        run.done();
    }

    /// All faults of the broker, the network and the machine.
    pub(super) async fn surroundings(
        &mut self,
        broker: &Arc<Broker>,
        name: &str,
        with_ids: bool,
        seed: u64,
    ) {
        let mut run = self.bed(broker, name, with_ids, seed).await;
        let bed = &mut run.bed;
        let engine = brokers::restarted(bed).await;
        run.survives("a broker restart", 1, Some(engine)).await;
        // A killed broker forgets which messages it had delivered, so a repeat without an id cannot
        // be recognised.
        if with_ids {
            let engine = brokers::killed(&mut run.bed).await;
            run.survives("a killed broker", 1, Some(engine)).await;
        }
        let engine = brokers::alarmed(&mut run.bed).await;
        run.survives("a memory alarm", 1, Some(engine)).await;
        let engine = brokers::queue_deleted(&mut run.bed).await;
        run.survives("a deleted queue", 1, Some(engine)).await;
        let engine = brokers::unbound(&mut run.bed).await;
        run.survives("a missing binding", 1, Some(engine)).await;
        let engine = brokers::full(&mut run.bed).await;
        run.survives("a full queue", 1, Some(engine)).await;
        let engine = brokers::acknowledged_too_late(&mut run.bed).await;
        run.survives("late acknowledgements", 1, Some(engine)).await;
        let engine = machine::stopped(&mut run.bed).await;
        run.survives("a stopped process", 2, Some(engine)).await;

        let (direct, proxy) = (run.bed.wiring.address.clone(), Proxy::before(broker.port()).await);
        let engine = network::stalls_shortly(&mut run.bed, &proxy).await;
        run.survives("a short network stall", 1, Some(engine)).await;
        let engine = network::stalls(&mut run.bed, &proxy).await;
        run.survives("a network stall", 1, Some(engine)).await;
        let engine = network::drops_answers(&mut run.bed, &proxy).await;
        run.survives("lost answers", 1, Some(engine)).await;
        let engine = network::half_opens(&mut run.bed, &proxy).await;
        run.survives("half-open connections", 1, Some(engine)).await;
        let engine = network::storm(&mut run.bed, &proxy).await;
        run.survives("a storm of redeliveries", network::RESETS, Some(engine)).await;
        run.bed.wiring.address = direct;

        machine::full_disk(&mut run.bed).await;
        run.survives("a full disk", 1, None).await;
        let refused = damage::refused(&run.bed);
        run.survives("refused stores", refused, None).await;
        let (engine, kill_count) = kills::retried(&mut run.bed).await;
        run.survives("killed retries", kill_count, Some(engine)).await;
        run.bed.hold_every(HELD_EVERY);
        let refused = damage::log_refused(&mut run.bed).await;
        run.survives("refused logs", refused, None).await;
        damage::opened_twice(&run.bed).await;
        run.survives("a second engine", 1, None).await;
        // Last, because the engine's clock never goes back.
        let engine = machine::clock(&mut run.bed).await;
        run.survives("clock jumps", 3, Some(engine)).await;
        run.done();
    }

    /// Equal messages without ids. An engine that drained to its end leaves nothing open, so each
    /// message is an event of its own. After a kill some messages may be treated as copies, but no
    /// id is used twice.
    pub(super) async fn equal_messages(
        &mut self,
        broker: &Arc<Broker>,
        name: &str,
        seed: u64,
        times: usize,
    ) {
        let bed = TestBed::of_equal_messages(broker, &format!("{name}-clean"), seed).await;
        let mut run = TestRun { bed, count: Count::default(), total: self };
        let mut left = times;
        while left > 0 {
            let some = left.min(5);
            for _ in 0..some {
                kills::stopped(&mut run.bed).await;
            }
            left -= some;
            run.survives("clean restarts among equal messages", some, None).await;
        }
        run.done();
        let bed = TestBed::of_equal_messages(broker, &format!("{name}-killed"), seed + 1).await;
        let mut run = TestRun { bed, count: Count::default(), total: self };
        for time in 0..times {
            // A batch as large as the prefetch mixes repeats with undecided messages.
            let batch_max = if time % 2 == 0 { 16 } else { 200 };
            run.bed.flags = vec!["--set".to_owned(), format!("event.batch_max={batch_max}")];
            match time % 3 {
                2 => kills::at_random(&mut run.bed).await,
                _ => kills::at(&mut run.bed, Failpoint::BeforeAck).await,
            }
        }
        let (count, checked) = run.bed.settle_ids().await;
        run.count = count;
        run.total.faults += times;
        run.done();
        checked.unwrap_or_else(|wrong| {
            panic!("after kills among equal messages: {wrong}\n{}", self.report())
        });
    }

    fn add(&mut self, count: Count) {
        let done = &mut self.done;
        done.events += count.events;
        done.communications += count.communications;
        done.lost += count.lost;
        done.twice += count.twice;
        done.over_cap += count.over_cap;
        done.at_night += count.at_night;
        done.without_consent += count.without_consent;
        done.repeats += count.repeats;
        done.altered += count.altered;
    }

    /// The results in one line. The line is also written to the file that `HAILER_FAULTS_SUMMARY`
    /// names, for `make faults`.
    pub(super) fn report(&self) -> String {
        let Count { events, communications, lost, twice, over_cap, .. } = self.done;
        let Count { at_night, without_consent, repeats, altered, .. } = self.done;
        let faults = self.faults;
        let line = format!(
            "faults {faults}, events {events}, communications {communications}, lost {lost}, \
             twice {twice}, over a cap {over_cap}, at night {at_night}, without consent \
             {without_consent}, repeats {repeats}, altered {altered}"
        );
        if let Some(file) = std::env::var_os("HAILER_FAULTS_SUMMARY") {
            std::fs::write(file, format!("{line}\n")).expect("a file for the summary");
        }
        line
    }
}
