//! Faults of the network between engine and broker: it stalls, loses answers, half-opens
//! connections, or resets all connections, once or many times.

use std::time::Duration;

use hailer_tests::engine::Engine;
use hailer_tests::proxy::{Network, Proxy};
use hailer_tests::wait;

use super::testbed::TestBed;

const EVENTS: usize = 400;
/// Longer than two heartbeats of an engine behind a proxy, which are 2 s each.
const TOO_LONG: Duration = Duration::from_secs(7);
/// Shorter than one heartbeat.
const NOT_LONG: Duration = Duration::from_millis(1500);
/// The number of resets. The engine's pause between reconnects grows up to 15 s.
pub(super) const RESETS: usize = 8;

/// Starts an engine behind a proxy, in the middle of events.
async fn behind(bed: &mut TestBed, proxy: &Proxy) -> Engine {
    bed.wiring.address = proxy.address();
    bed.publish(EVENTS).await;
    let engine = bed.start();
    engine.ready().await;
    engine
}

/// The network has a fault while events arrive, and is normal again afterwards.
pub(super) async fn network_fault(
    bed: &mut TestBed,
    proxy: &Proxy,
    network: Network,
    lasts: Duration,
) -> Engine {
    let engine = behind(bed, proxy).await;
    let (before, at_once) = (bed.random.below(60) as u64, bed.ledger.write(EVENTS / 4));
    tokio::time::sleep(Duration::from_millis(before)).await;
    proxy.set_network(network);
    super::testbed::send(&bed.wiring, &at_once).await;
    tokio::time::sleep(lasts).await;
    if lasts == TOO_LONG {
        wait::until("the engine is unready", async || {
            !engine.readyz().await.1.contains("\"ready\":true")
        })
        .await;
    }
    proxy.set_network(Network::Normal);
    wait::until("the engine is back", async || engine.readyz().await.1.contains("\"ready\":true"))
        .await;
    engine
}

pub(super) async fn stalls(bed: &mut TestBed, proxy: &Proxy) -> Engine {
    network_fault(bed, proxy, Network::Stalled, TOO_LONG).await
}

pub(super) async fn stalls_shortly(bed: &mut TestBed, proxy: &Proxy) -> Engine {
    network_fault(bed, proxy, Network::Stalled, NOT_LONG).await
}

pub(super) async fn drops_answers(bed: &mut TestBed, proxy: &Proxy) -> Engine {
    network_fault(bed, proxy, Network::AnswersDropped, TOO_LONG).await
}

pub(super) async fn half_opens(bed: &mut TestBed, proxy: &Proxy) -> Engine {
    network_fault(bed, proxy, Network::HalfOpen, TOO_LONG).await
}

/// Every connection is reset several times, and each time all unacknowledged messages are delivered
/// again.
pub(super) async fn storm(bed: &mut TestBed, proxy: &Proxy) -> Engine {
    let engine = behind(bed, proxy).await;
    for _ in 0..RESETS {
        proxy.reset();
        let messages = bed.ledger.write(EVENTS / 20);
        super::testbed::send(&bed.wiring, &messages).await;
        let consuming = "hailer_source_connected";
        wait::until("it consumes again", async || engine.metric(consuming).await >= 1.0).await;
        tokio::time::sleep(Duration::from_millis(bed.random.below(120) as u64)).await;
    }
    engine
}
