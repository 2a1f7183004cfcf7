//! The network between engine and broker: it stalls, swallows answers, forgets one side, or resets everything, once or in a storm.

use std::time::Duration;

use hailer_tests::engine::Engine;
use hailer_tests::proxy::{Proxy, Weather};
use hailer_tests::wait;

use super::stand::Stand;

const EVENTS: usize = 400;
/// More than two heartbeats of an engine behind a proxy, which are 2 s each.
const TOO_LONG: Duration = Duration::from_secs(7);
/// Less than one.
const NOT_LONG: Duration = Duration::from_millis(1500);
/// The engine waits longer and longer between them, up to 15 s.
pub(super) const RESETS: usize = 8;

/// An engine behind a proxy, in the middle of events.
async fn behind(stand: &mut Stand, proxy: &Proxy) -> Engine {
    stand.wiring.address = proxy.address();
    stand.publish(EVENTS).await;
    let engine = stand.start();
    engine.ready().await;
    engine
}

/// The weather changes while events are under way, and becomes fair again.
pub(super) async fn weather(stand: &mut Stand, proxy: &Proxy, weather: Weather, lasts: Duration) -> Engine {
    let engine = behind(stand, proxy).await;
    let (before, at_once) = (stand.random.below(60) as u64, stand.ledger.write(EVENTS / 4));
    tokio::time::sleep(Duration::from_millis(before)).await;
    proxy.becomes(weather);
    super::stand::send(&stand.wiring, &at_once).await;
    tokio::time::sleep(lasts).await;
    if lasts == TOO_LONG {
        wait::until("the engine says so", async || !engine.readyz().await.1.contains("\"ready\":true")).await;
    }
    proxy.becomes(Weather::Fair);
    wait::until("the engine is back", async || engine.readyz().await.1.contains("\"ready\":true")).await;
    engine
}

pub(super) async fn stalls(stand: &mut Stand, proxy: &Proxy) -> Engine {
    weather(stand, proxy, Weather::Stalled, TOO_LONG).await
}

pub(super) async fn stalls_shortly(stand: &mut Stand, proxy: &Proxy) -> Engine {
    weather(stand, proxy, Weather::Stalled, NOT_LONG).await
}

pub(super) async fn swallows_answers(stand: &mut Stand, proxy: &Proxy) -> Engine {
    weather(stand, proxy, Weather::Deaf, TOO_LONG).await
}

pub(super) async fn half_opens(stand: &mut Stand, proxy: &Proxy) -> Engine {
    weather(stand, proxy, Weather::HalfOpen, TOO_LONG).await
}

/// Every connection is reset again and again, and everything that is not acknowledged comes again each time.
pub(super) async fn storm(stand: &mut Stand, proxy: &Proxy) -> Engine {
    let engine = behind(stand, proxy).await;
    for _ in 0..RESETS {
        proxy.reset();
        let messages = stand.ledger.write(EVENTS / 20);
        super::stand::send(&stand.wiring, &messages).await;
        let consuming = "hailer_source_connected";
        wait::until("it consumes again", async || engine.metric(consuming).await >= 1.0).await;
        tokio::time::sleep(Duration::from_millis(stand.random.below(120) as u64)).await;
    }
    engine
}
