//! Handles the signals that stop the engine, at once or after draining. (The owner of the rules
//! handles SIGHUP.)

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::Trigger;
use crate::shutdown::ShutdownTrigger;

/// A supervisor and its process group may both send the first signal. A second signal within this
/// time after the first is taken for the same one.
const SAME_SIGNAL_WITHIN: Duration = Duration::from_secs(1);

/// Handles SIGTERM and SIGINT: the first one drains for at most `drain_max`; a second one ends at
/// once, unless it comes together with the first.
pub(super) fn listen(trigger: ShutdownTrigger, drain_max: Duration) -> anyhow::Result<Trigger> {
    let trigger = Arc::new(trigger);
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    // From here on SIGHUP does not end the process. A SIGHUP before the owner listens is lost,
    // which is harmless, because the owner reads the directory first.
    let _ = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let stopping = Arc::clone(&trigger);
    tokio::spawn(async move {
        let mut next_signal = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let signal = next_signal().await;
        tracing::info!(
            signal,
            drain_max_ms = drain_max.as_millis() as u64,
            "draining; a second signal ends the engine at once"
        );
        stopping.drain();
        let began = tokio::time::Instant::now();
        loop {
            tokio::select! {
                signal = next_signal() => {
                    if began.elapsed() < SAME_SIGNAL_WITHIN {
                        tracing::debug!(signal, "ignored, because it came together with the first \
                            signal");
                        continue;
                    }
                    tracing::warn!(signal, "second signal: the engine ends at once");
                }
                () = tokio::time::sleep_until(began + drain_max) => {
                    tracing::warn!("the time for draining (drain_ms) is up: the engine ends now");
                }
            }
            break;
        }
        stopping.end();
    });
    Ok(trigger)
}
