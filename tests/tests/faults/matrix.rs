//! Which faults strike which stands, in which order; and what all of it came to.

use std::sync::Arc;
use std::time::Instant;

use hailer::failpoint::Failpoint;
use hailer_tests::broker::Broker;
use hailer_tests::engine::Engine;
use hailer_tests::proxy::Proxy;

use super::check::Count;
use super::oracle::HELD_EVERY;
use super::stand::Stand;
use super::{brokers, damage, kills, machine, network};

/// What all stands came to.
#[derive(Debug, Default)]
pub(super) struct Total {
    faults: usize,
    /// Of the stands that are done with.
    done: Count,
}

/// A stand, and what it came to so far.
struct Struck<'total> {
    stand: Stand,
    count: Count,
    total: &'total mut Total,
}

impl Struck<'_> {
    /// Faults have struck, and this engine is left of it.
    async fn survives(&mut self, fault: &str, faults: usize, engine: Option<Engine>) {
        let began = Instant::now();
        let engine = engine.unwrap_or_else(|| self.stand.start());
        let (count, checked) = self.stand.settle(engine).await;
        self.count = count;
        self.total.faults += faults;
        let (all, events) = (self.total.faults, count.events);
        eprintln!("{all:4} {fault}: {events} events so far, settled in {:.1} s", began.elapsed().as_secs_f32());
        if let Err(wrong) = checked {
            self.total.add(count);
            panic!("after {fault}: {wrong}\n{}", self.total.tell());
        }
    }

    fn done(self) {
        self.total.add(self.count);
    }
}

impl Total {
    async fn stand(&mut self, broker: &Arc<Broker>, name: &str, with_ids: bool, seed: u64) -> Struck<'_> {
        let stand = Stand::new(broker, name, with_ids, seed).await;
        Struck { stand, count: Count::default(), total: self }
    }

    /// Ended at each failpoint so many times.
    pub(super) async fn failpoints(
        &mut self,
        broker: &Arc<Broker>,
        name: &str,
        with_ids: bool,
        seed: u64,
        times: usize,
    ) {
        let mut struck = self.stand(broker, name, with_ids, seed).await;
        for point in Failpoint::ALL.into_iter().cycle().take(times * Failpoint::ALL.len()) {
            kills::at(&mut struck.stand, point).await;
            struck.survives(point.name(), 1, None).await;
        }
        struck.done();
    }

    /// Killed so often at random, and looked at in full after every tenth.
    pub(super) async fn random_kills(
        &mut self,
        broker: &Arc<Broker>,
        name: &str,
        with_ids: bool,
        seed: u64,
        kills: usize,
    ) {
        let mut struck = self.stand(broker, name, with_ids, seed).await;
        let mut left = kills;
        while left > 0 {
            let some = left.min(10);
            for _ in 0..some {
                kills::at_random(&mut struck.stand).await;
            }
            left -= some;
            struck.survives("random kills", some, None).await;
        }
        struck.done();
    }

    /// Everything that a broker, a network and a machine can do.
    pub(super) async fn surroundings(&mut self, broker: &Arc<Broker>, name: &str, with_ids: bool, seed: u64) {
        let mut struck = self.stand(broker, name, with_ids, seed).await;
        let stand = &mut struck.stand;
        let engine = brokers::restarted(stand).await;
        struck.survives("a broker that was restarted", 1, Some(engine)).await;
        // A broker that dies forgets what it has delivered: without an id nobody can tell that it comes again.
        if with_ids {
            let engine = brokers::killed(&mut struck.stand).await;
            struck.survives("a broker that was killed", 1, Some(engine)).await;
        }
        let engine = brokers::alarmed(&mut struck.stand).await;
        struck.survives("an alarm", 1, Some(engine)).await;
        let engine = brokers::queue_deleted(&mut struck.stand).await;
        struck.survives("a queue that was deleted", 1, Some(engine)).await;
        let engine = brokers::unbound(&mut struck.stand).await;
        struck.survives("no binding", 1, Some(engine)).await;
        let engine = brokers::full(&mut struck.stand).await;
        struck.survives("a full queue", 1, Some(engine)).await;
        let engine = brokers::acknowledged_too_late(&mut struck.stand).await;
        struck.survives("acknowledgements that came too late", 1, Some(engine)).await;
        let engine = machine::stopped(&mut struck.stand).await;
        struck.survives("a process that stood still", 2, Some(engine)).await;

        let (direct, proxy) = (struck.stand.wiring.address.clone(), Proxy::before(broker.port()).await);
        let engine = network::stalls_shortly(&mut struck.stand, &proxy).await;
        struck.survives("a network that stalled shortly", 1, Some(engine)).await;
        let engine = network::stalls(&mut struck.stand, &proxy).await;
        struck.survives("a network that stalled", 1, Some(engine)).await;
        let engine = network::swallows_answers(&mut struck.stand, &proxy).await;
        struck.survives("a network that swallowed answers", 1, Some(engine)).await;
        let engine = network::half_opens(&mut struck.stand, &proxy).await;
        struck.survives("half-open connections", 1, Some(engine)).await;
        let engine = network::storm(&mut struck.stand, &proxy).await;
        struck.survives("a storm of redeliveries", network::RESETS, Some(engine)).await;
        struck.stand.wiring.address = direct;

        machine::full_disk(&mut struck.stand).await;
        struck.survives("a full disk", 1, None).await;
        let refused = damage::refused(&struck.stand);
        struck.survives("stores that were refused", refused, None).await;
        let (engine, struck_times) = kills::retried(&mut struck.stand).await;
        struck.survives("retries that were killed", struck_times, Some(engine)).await;
        struck.stand.hold_every(HELD_EVERY);
        let refused = damage::log_refused(&mut struck.stand).await;
        struck.survives("logs that were refused", refused, None).await;
        damage::opened_twice(&struck.stand).await;
        struck.survives("a second engine", 1, None).await;
        // Last, as the clock never goes back.
        let engine = machine::clock(&mut struck.stand).await;
        struck.survives("a clock that jumped", 3, Some(engine)).await;
        struck.done();
    }

    /// Streams of equal messages without ids. An engine that was told to end, and had time to, leaves nothing open, so that each message is an event
    /// of its own. After a crash some may be taken for copies; but no id is given twice.
    pub(super) async fn equal_messages(&mut self, broker: &Arc<Broker>, name: &str, seed: u64, times: usize) {
        let stand = Stand::of_equal_messages(broker, &format!("{name}-clean"), seed).await;
        let mut struck = Struck { stand, count: Count::default(), total: self };
        let mut left = times;
        while left > 0 {
            let some = left.min(5);
            for _ in 0..some {
                kills::stopped(&mut struck.stand).await;
            }
            left -= some;
            struck.survives("clean restarts among equal messages", some, None).await;
        }
        struck.done();
        let stand = Stand::of_equal_messages(broker, &format!("{name}-killed"), seed + 1).await;
        let mut struck = Struck { stand, count: Count::default(), total: self };
        for time in 0..times {
            // A batch as large as the prefetch mixes repeats with undecided messages.
            let batch_max = if time % 2 == 0 { 16 } else { 200 };
            struck.stand.flags = vec!["--set".to_owned(), format!("event.batch_max={batch_max}")];
            match time % 3 {
                2 => kills::at_random(&mut struck.stand).await,
                _ => kills::at(&mut struck.stand, Failpoint::BeforeAck).await,
            }
        }
        let (count, checked) = struck.stand.settle_ids().await;
        struck.count = count;
        struck.total.faults += times;
        struck.done();
        checked.unwrap_or_else(|wrong| panic!("after kills among equal messages: {wrong}\n{}", self.tell()));
    }

    fn add(&mut self, Count { events, communications, lost, twice, repeats, altered }: Count) {
        self.done.events += events;
        self.done.communications += communications;
        self.done.lost += lost;
        self.done.twice += twice;
        self.done.repeats += repeats;
        self.done.altered += altered;
    }

    /// What it came to, in a line; and where `make faults` finds it, if that is who runs this.
    pub(super) fn tell(&self) -> String {
        let Count { events, communications, lost, twice, repeats, altered } = self.done;
        let faults = self.faults;
        let line = format!(
            "faults {faults}, events {events}, communications {communications}, lost {lost}, twice {twice}, repeats {repeats}, altered {altered}"
        );
        if let Some(file) = std::env::var_os("HAILER_FAULTS_SUMMARY") {
            std::fs::write(file, format!("{line}\n")).expect("a file for the summary");
        }
        line
    }
}
