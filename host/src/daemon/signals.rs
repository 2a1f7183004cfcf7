//! What the operating system tells the engine: to stop, to stop at once. (SIGHUP is heard by the rules' owner.)

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::Trigger;
use crate::shutdown::ShutdownTrigger;

/// SIGTERM and SIGINT drain for `drain_max` and then end; a second one ends at once.
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
        tokio::select! {
            signal = told() => tracing::warn!(signal, "ending at once"),
            () = tokio::time::sleep(drain_max) => tracing::warn!("the time for draining is up (drain_ms)"),
        }
        stopping.end();
    });
    Ok(trigger)
}
