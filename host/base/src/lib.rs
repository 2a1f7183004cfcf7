//! The plain parts that every crate of the engine needs. It owns the clock, the time zones, the
//! health conditions, the shutdown signal, the names of the metrics, the failpoints, and the form
//! of foreign text in messages.
//!
//! It refuses to depend on any other crate of the engine.

pub mod clock;
pub mod failpoint;
pub mod health;
pub mod metrics;
pub mod shutdown;
pub mod wording;
pub mod zones;
