//! The life of an event, from its delivery to its communications, and all that the store remembers
//! of it.
//!
//! This crate owns what the rows of the store mean ([`records`]), the pipeline itself
//! ([`mod@pipeline`]: accept, decide, commit, publish), the policies, timers, retention, erasure,
//! imports of consents ([`consents`]), and dry runs ([`dry_run`]), which decide in memory with the
//! engine's own code. It refuses to know where rules come from, which command asks, and how a
//! broker is reached.
//!
//! Start with [`mod@pipeline`].

pub mod pipeline;

pub use pipeline::dry_run;

pub mod records;

pub mod clock_doubt;
pub mod clock_report;
pub mod consents;
pub mod customers;
pub mod deferred;
pub mod erasure;
pub mod timeline;
