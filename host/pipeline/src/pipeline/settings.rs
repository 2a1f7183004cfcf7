//! The inputs of a pipeline: its bounds, the rules that run in it, and the store.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::CampaignOwner;
use super::{BreakerSettings, Clock, PoisonGuard, Retention};
use hailer_base::clock::Millis;
use hailer_base::health::Health;
use hailer_engine::{RuleSet, Sandbox};
use hailer_store::Store;

/// The bounds of a pipeline.
#[derive(Clone, Debug)]
pub struct Settings {
    pub shards: usize,
    /// A larger message, in bytes, becomes a dead letter.
    pub event_bytes_max: usize,
    /// The most events that a shard decides in one batch.
    pub batch_max: usize,
    /// The most events that wait for shards, over all shards.
    pub in_flight_max: usize,
    /// The most bytes of events that wait. The same bound applies again to communications that wait
    /// for a commit.
    pub in_flight_bytes_max: usize,
    /// Two heartbeats of the source. An acknowledgement may be on its way for this long on a
    /// connection that is already dead.
    pub settles_after: Duration,
    pub environment: Arc<str>,
    /// One in this many calls runs again on a fresh instance; 0 turns it off.
    pub recheck_one_in: u32,
    pub breaker: BreakerSettings,
}

/// The rules that run, and the owner that stops a rule that misbehaves.
#[derive(Clone, Debug)]
pub struct Rules {
    pub sandbox: Arc<Sandbox>,
    pub current: Arc<ArcSwap<RuleSet>>,
    pub owner: Arc<dyn CampaignOwner>,
}

/// The store, the clock, and the bounds on what the store keeps.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    /// The time by which the clock runs on after the last event, in ms; only with event time.
    pub run_on_ms: Millis,
    pub retention: Retention,
    /// Intake pauses at this many communications in the outbox.
    pub outbox_max: usize,
    /// The most messages that wait for the end of quiet hours.
    pub deferred_max: usize,
    /// The most bytes kept of one campaign's failures.
    pub failures_bytes_max: u64,
    /// The most bytes kept of the events that one campaign missed while it was stopped.
    pub missed_bytes_max: u64,
    /// The guard against poison events.
    pub poison_guard: Arc<PoisonGuard>,
    /// The conditions to which the pipeline reports a doubt about the machine's clock.
    pub health: Health,
    pub letters: LettersBound,
}

/// The bounds on dead letters that wait in the store; at a bound intake pauses.
#[derive(Clone, Copy, Debug)]
pub struct LettersBound {
    pub letters_max: usize,
    /// The bound on bodies and their metadata, in bytes.
    pub bytes_max: usize,
}
