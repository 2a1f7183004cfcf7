//! What the operating system tells the engine: to stop, to stop at once. (SIGHUP is heard by the rules' owner.)

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::Trigger;
use crate::shutdown::ShutdownTrigger;

/// A supervisor and its process group may both send the first signal. One that comes so soon after it means the same.
const SAME_SIGNAL_WITHIN: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT drain for `drain_max` and then end; a second one ends at once, unless it comes with the first.
pub(super) fn listen(trigger: ShutdownTrigger, drain_max: Duration) -> anyhow::Result<Trigger> {
    let trigger = Arc::new(trigger);
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be heard")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be heard")?;
    // Nobody dies of it from here on. It is heard later on, by an owner that reads the directory first thing anyway.
    let _ = signal(SignalKind::hangup()).context("SIGHUP can't be heard")?;
    let stopping = Arc::clone(&trigger);
    tokio::spawn(async move {
        let mut told = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let signal = told().await;
        tracing::info!(signal, drain_max_ms = drain_max.as_millis() as u64, "draining; again to end at once");
        stopping.drain();
        let began = tokio::time::Instant::now();
        loop {
            tokio::select! {
                signal = told() => {
                    if began.elapsed() < SAME_SIGNAL_WITHIN {
                        tracing::debug!(signal, "taken for the same signal as the one before");
                        continue;
                    }
                    tracing::warn!(signal, "ending at once");
                }
                () = tokio::time::sleep_until(began + drain_max) => {
                    tracing::warn!("the time for draining is up (drain_ms)");
                }
            }
            break;
        }
        stopping.end();
    });
    Ok(trigger)
}
