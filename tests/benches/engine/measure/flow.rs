//! How fast messages come through, from a queue that is full: the engine, and the bare client program.

use std::time::{Duration, Instant};

use super::Outcome;
use super::bare::{Route, move_messages};
use hailer_tests::engine::Engine;
use hailer_tests::site::Site;
use hailer_tests::wiring::Wiring;

/// Messages before the clock starts: connections, first calls and caches are warm then.
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

/// Takes away what is left of what was before.
pub(crate) async fn empty(wiring: &Wiring) {
    wiring.client.purge(&wiring.out).await;
    wiring.client.purge(&wiring.events).await;
}

/// Messages a second, by the output queue alone: from its 2000th to its last.
pub(crate) async fn rate(wiring: &Wiring, last: usize) -> f64 {
    let mut started = None;
    loop {
        let (messages, _) = wiring.client.counts(&wiring.out).await;
        match started {
            None if messages >= WARM => started = Some((Instant::now(), messages)),
            Some((since, first)) if messages as usize >= last => {
                return f64::from(messages - first) / Instant::elapsed(&since).as_secs_f64();
            }
            _ => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
