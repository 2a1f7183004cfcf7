//! Hailer decides loyalty events with sandboxed WebAssembly rules, and sends the communications
//! that they ask for.
//!
//! Start with [`pipeline`], the life of an event from top to bottom, and [`daemon`], where the
//! components are wired. `ARCHITECTURE.md` is the map.

pub mod daemon;

pub mod consent;
pub mod explain;
pub mod pseudonyms;
pub mod recording;
pub mod reload;
pub mod replay;
pub mod scenarios;

mod allocator;
pub mod config;
pub mod control;
pub mod metrics;
mod parallel;

pub mod cli;

pub use hailer_base::{clock, failpoint, health, shutdown, zones};
pub use hailer_broker::{
    address, communication, connection, dead_letters, delivery, sinks, sources, topology,
};
pub use hailer_engine as engine;
pub use hailer_event as event;
pub use hailer_generate as generate;
pub use hailer_pipeline::{
    clock_report, consents, customers, deferred, dry_run, erasure, pipeline, records, timeline,
};
pub use hailer_policies as policies;
pub use hailer_store as store;
