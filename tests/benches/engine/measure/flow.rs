//! Throughput from a full queue: of the engine, and of the bare client program.

use std::time::{Duration, Instant};

use super::Outcome;
use super::bare::{Route, move_messages};
use hailer_tests::engine::Engine;
use hailer_tests::site::Site;
use hailer_tests::wiring::Wiring;

/// The number of messages before the clock starts: then connections, first calls and caches are
/// warm.
pub(crate) const WARM: u32 = 2000;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Messages a second of the bare program.
pub(crate) async fn of_bare(wiring: &Wiring, events: &[Vec<u8>]) -> Outcome<f64> {
    fill(wiring, events).await;
    let program = tokio::spawn(move_messages(Route::of(wiring), events.len()));
    let rate = rate(wiring, events.len()).await;
    program.abort();
    Ok(rate)
}

/// Events a second of an engine whose campaigns answer each event once.
pub(crate) async fn of_engine(wiring: &Wiring, events: &[Vec<u8>], site: &Site) -> Outcome<f64> {
    fill(wiring, events).await;
    let engine: Engine = site.start(&wiring.flags());
    let rate = rate(wiring, events.len()).await;
    engine.stop().await;
    Ok(rate)
}

async fn fill(wiring: &Wiring, events: &[Vec<u8>]) {
    empty(wiring).await;
    wiring.send(events).await;
}

/// Removes the messages of earlier rounds.
pub(crate) async fn empty(wiring: &Wiring) {
    wiring.client.purge(&wiring.out).await;
    wiring.client.purge(&wiring.events).await;
}

/// Messages a second, measured only at the output queue: from the 2000th message to the last.
pub(crate) async fn rate(wiring: &Wiring, last: usize) -> f64 {
    rate_of(wiring, WARM, last).await
}

/// Messages a second at the output queue, from the `first` message to the last.
pub(crate) async fn rate_of(wiring: &Wiring, first: u32, last: usize) -> f64 {
    let mut started = None;
    loop {
        let (messages, _) = wiring.client.counts(&wiring.out).await;
        match started {
            None if messages >= first => started = Some((Instant::now(), messages)),
            Some((since, first)) if messages as usize >= last => {
                return f64::from(messages - first) / Instant::elapsed(&since).as_secs_f64();
            }
            _ => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
