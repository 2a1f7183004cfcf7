//! A RabbitMQ node of a test's own, and what a test does with it.
//!
//! The node has its own cookie, ports, database and epmd, all of it under one temporary directory and in one process
//! group. Any number run side by side; all end with the value.

mod client;
mod node;
mod tls;

pub use client::{Client, Message};
pub use node::{Broker, Options};
pub use tls::Authority;
