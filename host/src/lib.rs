//! Hailer: loyalty events in, sandboxed WebAssembly rules, communications out.
//!
//! Start with [`pipeline`], the life of an event from top to bottom, and [`daemon`], where the rooms are wired.
//! `ARCHITECTURE.md` is the map.

pub mod daemon;
pub mod pipeline;

pub mod erasure;
pub mod policies;
pub mod pseudonyms;
pub mod recording;
pub mod records;
pub mod rehearsal;
pub mod reload;
pub mod replay;
pub mod scenarios;
pub mod story;

pub mod communication;
pub mod delivery;
pub mod sinks;
pub mod sources;

pub mod address;
pub mod broker;
pub mod dead_letters;
pub mod topology;

mod allocator;
pub mod config;
pub mod control;
mod fork;
pub mod health;
pub mod metrics;
pub mod shutdown;
pub mod timeline;
mod zones;

pub mod cli;
pub mod generate;

pub use hailer_base::{clock, failpoint};
pub use hailer_engine as engine;
pub use hailer_event as event;
pub use hailer_store as store;
