//! Private RabbitMQ nodes, and a client for the tests.
//!
//! A node has a cookie, ports, a database and an epmd of its own, below one temporary directory and
//! in one process group. Many nodes can run side by side. Each ends when its value is dropped.

mod client;
mod node;
mod tls;

pub use client::{Client, Message};
pub use node::{Broker, Options};
pub use tls::Authority;
