//! The engine ended as by `kill -9`: at each failpoint, and at random moments.

use std::time::Duration;

use hailer::failpoint::Failpoint;
use hailer_tests::engine::Engine;
use hailer_tests::site::campaign;
use hailer_tests::wait;

use super::stand::{Stand, send};

/// Events for one kill.
const EVENTS: usize = 120;
/// At random, an engine is killed at most so long after its start, which is about twice what it takes to come to the first event.
const KILLED_WITHIN_MS: usize = 1200;
/// At random, an engine is told to end at most so long after it is ready, which is about what it takes to come to the last event.
const STOPPED_WITHIN_MS: usize = 300;

/// Ends the engine at this point, and leaves what it left.
pub(super) async fn at(stand: &mut Stand, point: Failpoint) {
    match point {
        Failpoint::DuringCompaction => compaction(stand),
        Failpoint::DuringReload => reload(stand).await,
        Failpoint::DuringMerge => {
            stand.publish(EVENTS / 2).await;
            let merge = stand.ledger.write_merge();
            send(&stand.wiring, &merge).await;
            pass(stand, point, 1).await;
        }
        _ => {
            // The first time, or in the middle of it all.
            let times_max = match point {
                Failpoint::DuringCommit => 24,
                Failpoint::DuringApply => 12,
                _ => 6,
            };
            let times = 1 + stand.random.below(times_max);
            stand.publish(EVENTS).await;
            pass(stand, point, times).await;
        }
    }
}

async fn pass(stand: &mut Stand, point: Failpoint, times: usize) {
    let mut engine = stand.start_armed(&format!("{}={times}", point.name()));
    // Where it waits for the broker a point may be passed less often than events come: more of them.
    let mut more = 0;
    while more < 20 && !ends_within(&mut engine, Duration::from_secs(3)).await {
        more += 1;
        stand.publish(EVENTS / 4).await;
    }
    assert_eq!(engine.ended().await, None, "{} was passed {times} times, and nothing happened", point.name());
    assert!(engine.stderr().contains("HAILER_FAILPOINTS is set"), "it is said loudly: {}", engine.stderr());
}

async fn ends_within(engine: &mut Engine, time: Duration) -> bool {
    tokio::time::timeout(time, engine.ended()).await.is_ok()
}

/// What was accepted is written down, and the engine ends before it runs.
async fn reload(stand: &mut Stand) {
    // The first time is at the start, the second when there is something new.
    let mut engine = stand.start_armed("during-reload=2");
    engine.ready().await;
    stand.publish(EVENTS).await;
    let comment = format!("# {}\n", stand.random.below(1_000_000));
    let same_again = campaign("big-basket", "[params]\nthreshold = \"0\"") + &comment;
    stand.site.put("basket.toml", same_again);
    assert_eq!(engine.ended().await, None);
}

/// The command that has the store to itself.
fn compaction(stand: &Stand) {
    let store = stand.store().display().to_string();
    for armed in ["during-compaction=1", "during-compaction=2", "during-compaction=3"] {
        stand.site.environment(&[(hailer::failpoint::VARIABLE, armed)]);
        let ended = stand.site.command(&["store", "compact", "--store", &store]);
        assert_eq!(ended.code, None, "{armed}: {}", ended.stderr);
        let mut wrong = Vec::new();
        stand.verify(&mut wrong);
        assert!(wrong.is_empty(), "{armed}: {wrong:?}");
    }
}

/// What is held is tried again with a rule that does not fault, and the engine ends in the middle of that, twice. Returns the engine in which it
/// came to an end, and how often it was struck.
pub(super) async fn retried(stand: &mut Stand) -> (Engine, usize) {
    stand.publish(2 * EVENTS).await;
    let engine = stand.start();
    engine.ready().await;
    wait::until("everything is decided", async || {
        stand.wiring.client.counts(&stand.wiring.events).await.0 == 0 && engine.metric("hailer_in_flight").await == 0.0
    })
    .await;
    engine.stop().await;
    stand.hold_every(0);
    stand.ledger.retry();
    let points = [
        Failpoint::BeforeEvaluation,
        Failpoint::AfterEvaluation,
        Failpoint::BeforeCommit,
        Failpoint::DuringCommit,
        Failpoint::AfterCommit,
        Failpoint::DuringApply,
        Failpoint::BeforeRemoval,
    ];
    // Two of them: what is being decided at three ends of the engine is taken for their cause, and not decided any more.
    let first = stand.random.below(points.len());
    let mut struck = 0;
    for point in [points[first], points[(first + 1) % points.len()]] {
        // The start commits, too, and what it commits comes to the tables.
        let times = match point {
            Failpoint::DuringCommit => 5,
            Failpoint::DuringApply => 3,
            _ => 1,
        };
        let mut engine = stand.start_armed(&format!("{}={times}", point.name()));
        if engine.ready_or_ended().await {
            stand.site.environment(&[]);
            let _ = stand.site.command(&["failures", "retry", "--campaign", "held"]);
        }
        // Nothing may be left to be tried, and then nothing strikes.
        if ends_within(&mut engine, Duration::from_secs(2)).await {
            struck += 1;
        } else {
            engine.stop().await;
        }
    }
    let engine = stand.start();
    engine.ready().await;
    let _ = stand.site.command(&["failures", "retry", "--campaign", "held"]).expect(0);
    assert!(struck >= 1, "it never ended");
    (engine, struck)
}

/// Tells the engine to end at a random moment, while events come in, and sees that it drains.
pub(super) async fn stopped(stand: &mut Stand) {
    let messages = stand.ledger.write(EVENTS / 2);
    let engine = stand.start();
    engine.ready().await;
    let moment = Duration::from_millis(stand.random.below(STOPPED_WITHIN_MS) as u64);
    let stopping = async {
        tokio::time::sleep(moment).await;
        engine.stop().await;
    };
    tokio::join!(send(&stand.wiring, &messages), stopping);
}

/// Ends the engine at a random moment, while events come in: during its start, or after it.
pub(super) async fn at_random(stand: &mut Stand) {
    let messages = stand.ledger.write(EVENTS / 2);
    let engine = stand.start();
    let moment = Duration::from_millis(stand.random.below(KILLED_WITHIN_MS) as u64);
    let is_ready_first = stand.random.percent(50);
    let killing = async {
        if is_ready_first {
            engine.ready().await;
        }
        tokio::time::sleep(if is_ready_first { moment / 3 } else { moment }).await;
        engine.kill();
    };
    tokio::join!(send(&stand.wiring, &messages), killing);
    let mut wrong = Vec::new();
    if stand.store().join("tree").exists() {
        stand.verify(&mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    let letters = wait::end_of("a look", stand.wiring.client.counts(&stand.wiring.letters)).await;
    assert_eq!(letters.0, 0, "nobody is dead-lettered for a crash");
}
