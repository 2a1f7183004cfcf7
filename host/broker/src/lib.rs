//! The edges of the engine: it receives messages and sends communications and dead letters.
//!
//! This crate owns addresses, TLS, RabbitMQ sessions, files and standard streams, the topology that
//! a broker needs, and the acknowledgement of deliveries. It does not depend on rules, the store or
//! its rows. It declares nothing on a broker except through [`topology`], and it never shows a
//! password.

pub mod communication;
pub mod delivery;

pub mod sinks;
pub mod sources;

pub mod address;
pub mod connection;
pub mod dead_letters;
pub mod topology;

mod settings;

pub use settings::RabbitMqConfig;
