//! The engine is killed as by `kill -9`: at each failpoint, and at random moments.

use std::time::Duration;

use hailer::failpoint::Failpoint;
use hailer_tests::engine::Engine;
use hailer_tests::site::campaign;
use hailer_tests::wait;

use super::testbed::{TestBed, send};

/// The number of events for one kill.
const EVENTS: usize = 120;
/// The latest moment of a random kill after the engine's start: about twice the time until the
/// first event.
const KILLED_WITHIN_MS: usize = 1200;
/// The latest moment of a random SIGTERM after the engine is ready: about the time until the last
/// event.
const STOPPED_WITHIN_MS: usize = 300;

/// Kills the engine at this failpoint.
pub(super) async fn at(bed: &mut TestBed, point: Failpoint) {
    match point {
        Failpoint::DuringCompaction => compaction(bed),
        Failpoint::DuringReload => reload(bed).await,
        Failpoint::DuringMerge => {
            bed.publish(EVENTS / 2).await;
            let merge = bed.ledger.write_merge();
            send(&bed.wiring, &merge).await;
            pass(bed, point, 1).await;
        }
        _ => {
            // At the first pass, or at a later one.
            let times_max = match point {
                Failpoint::DuringCommit => 24,
                Failpoint::DuringApply => 12,
                _ => 6,
            };
            let times = 1 + bed.random.below(times_max);
            bed.publish(EVENTS).await;
            pass(bed, point, times).await;
        }
    }
}

async fn pass(bed: &mut TestBed, point: Failpoint, times: usize) {
    let mut engine = bed.start_armed(&format!("{}={times}", point.name()));
    // An engine that waits for the broker may pass a failpoint less often than events arrive; then
    // it gets more events.
    let mut more = 0;
    while more < 20 && !ends_within(&mut engine, Duration::from_secs(3)).await {
        more += 1;
        bed.publish(EVENTS / 4).await;
    }
    assert_eq!(
        engine.ended().await,
        None,
        "{} was passed {times} times, and nothing happened",
        point.name()
    );
    assert!(
        engine.stderr().contains("HAILER_FAILPOINTS is set"),
        "the engine warns about the failpoint: {}",
        engine.stderr()
    );
}

async fn ends_within(engine: &mut Engine, time: Duration) -> bool {
    tokio::time::timeout(time, engine.ended()).await.is_ok()
}

/// The engine is killed after it has stored the accepted campaigns and before it uses them.
async fn reload(bed: &mut TestBed) {
    // The first pass is at the start, the second at the change.
    let mut engine = bed.start_armed("during-reload=2");
    engine.ready().await;
    bed.publish(EVENTS).await;
    let comment = format!("# {}\n", bed.random.below(1_000_000));
    let same_again = campaign("big-basket", "[params]\nthreshold = \"0\"") + &comment;
    bed.site.put("basket.toml", same_again);
    assert_eq!(engine.ended().await, None);
}

/// `hailer store compact` is killed.
fn compaction(bed: &TestBed) {
    let store = bed.store().display().to_string();
    for armed in ["during-compaction=1", "during-compaction=2", "during-compaction=3"] {
        bed.site.environment(&[(hailer::failpoint::VARIABLE, armed)]);
        let ended = bed.site.command(&["store", "compact", "--store", &store]);
        assert_eq!(ended.code, None, "{armed}: {}", ended.stderr);
        let mut wrong = Vec::new();
        bed.verify(&mut wrong);
        assert!(wrong.is_empty(), "{armed}: {wrong:?}");
    }
}

/// Held events are retried with a rule that does not fault, and the engine is killed twice
/// meanwhile. Returns the engine in which the retry finished, and the number of kills.
pub(super) async fn retried(bed: &mut TestBed) -> (Engine, usize) {
    bed.publish(2 * EVENTS).await;
    bed.wiring.run_until_handled(|| bed.start()).await;
    bed.hold_every(0);
    bed.ledger.retry();
    let points = [
        Failpoint::BeforeEvaluation,
        Failpoint::AfterEvaluation,
        Failpoint::BeforeCommit,
        Failpoint::DuringCommit,
        Failpoint::AfterCommit,
        Failpoint::DuringApply,
        Failpoint::BeforeRemoval,
    ];
    // Only two kills: after three, the engine would treat what it was deciding as poison events.
    let first = bed.random.below(points.len());
    let mut kills = 0;
    for point in [points[first], points[(first + 1) % points.len()]] {
        // The start commits, too, and its rows are applied to the tables.
        let times = match point {
            Failpoint::DuringCommit => 5,
            Failpoint::DuringApply => 3,
            _ => 1,
        };
        let mut engine = bed.start_armed(&format!("{}={times}", point.name()));
        if engine.ready_or_ended().await {
            bed.site.environment(&[]);
            let _ = bed.site.command(&["failures", "retry", "--campaign", "held"]);
        }
        // If nothing is left to retry, the failpoint is not reached.
        if ends_within(&mut engine, Duration::from_secs(2)).await {
            kills += 1;
        } else {
            engine.stop().await;
        }
    }
    let engine = bed.start();
    engine.ready().await;
    let _ = bed.site.command(&["failures", "retry", "--campaign", "held"]).expect(0);
    assert!(kills >= 1, "no failpoint was reached");
    (engine, kills)
}

/// Sends SIGTERM at a random moment while events arrive, and checks that the engine drains.
pub(super) async fn stopped(bed: &mut TestBed) {
    let messages = bed.ledger.write(EVENTS / 2);
    let engine = bed.start();
    engine.ready().await;
    let moment = Duration::from_millis(bed.random.below(STOPPED_WITHIN_MS) as u64);
    let stopping = async {
        tokio::time::sleep(moment).await;
        engine.stop().await;
    };
    tokio::join!(send(&bed.wiring, &messages), stopping);
}

/// Kills the engine at a random moment while events arrive: during its start, or after it.
pub(super) async fn at_random(bed: &mut TestBed) {
    let messages = bed.ledger.write(EVENTS / 2);
    let engine = bed.start();
    let moment = Duration::from_millis(bed.random.below(KILLED_WITHIN_MS) as u64);
    let is_ready_first = bed.random.percent(50);
    let killing = async {
        if is_ready_first {
            engine.ready().await;
        }
        tokio::time::sleep(if is_ready_first { moment / 3 } else { moment }).await;
        engine.kill();
    };
    tokio::join!(send(&bed.wiring, &messages), killing);
    let mut wrong = Vec::new();
    if bed.store().join("tree").exists() {
        bed.verify(&mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    let letters =
        wait::end_of("the count of dead letters", bed.wiring.client.counts(&bed.wiring.letters))
            .await;
    assert_eq!(letters.0, 0, "no event is dead-lettered after a kill");
}
