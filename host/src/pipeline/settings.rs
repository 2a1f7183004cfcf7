//! What a pipeline is given: its bounds, what runs in it, and what it keeps.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{BreakerSettings, Clock, Retention, Suspects};
use crate::clock::Millis;
use crate::engine::{RuleSet, Sandbox};
use crate::health::Health;
use crate::reload::ReloadHandle;
use crate::store::Store;

/// How a pipeline is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    pub shards: usize,
    /// A larger message is a dead letter.
    pub event_bytes_max: usize,
    /// The most events that a shard takes at once.
    pub batch_max: usize,
    /// The most events that wait for a shard, over all of them.
    pub in_flight_max: usize,
    /// The most bytes of events that wait, and as much again of communications on their way to a commit.
    pub in_flight_bytes_max: usize,
    /// Two heartbeats of the source: so long may an acknowledgement be on its way on a connection that is dead already.
    pub settles_after: Duration,
    pub environment: Arc<str>,
    /// One in so many calls runs again on a fresh instance; 0 means none.
    pub recheck_one_in: u32,
    pub breaker: BreakerSettings,
}

/// What runs, and who is told when a rule misbehaves.
#[derive(Clone, Debug)]
pub struct Rules {
    pub sandbox: Arc<Sandbox>,
    pub current: Arc<ArcSwap<RuleSet>>,
    pub owner: ReloadHandle,
}

/// What is kept, and for how long.
#[derive(Clone, Debug)]
pub struct Keeping {
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    /// With a clock that the events tell: for how long it goes on after the last one.
    pub run_on_ms: Millis,
    pub retention: Retention,
    /// With so many communications in the outbox nothing more is taken in.
    pub outbox_max: usize,
    /// What is kept of one campaign's failures, in bytes.
    pub failures_bytes_max: u64,
    /// What is kept of what one campaign missed while it was stopped, in bytes.
    pub missed_bytes_max: u64,
    /// Who may have taken the engine down.
    pub suspects: Arc<Suspects>,
    /// Where the pipeline says that it does not believe the machine's clock.
    pub health: Health,
    pub letters: LettersBound,
}

/// How many dead letters may wait in the store to be delivered; at the bound intake pauses.
#[derive(Clone, Copy, Debug)]
pub struct LettersBound {
    pub letters_max: usize,
    /// Of bodies and what is noted of them.
    pub bytes_max: usize,
}
