//! Test support: private RabbitMQ nodes, the engine as a process, and ways to inspect both. No test
//! needs a service that runs beforehand, and no test touches one.

pub mod broker;
pub mod built;
pub mod copies;
pub mod engine;
pub mod process;
pub mod proxy;
pub mod site;
pub mod wait;
mod watchdog;
pub mod wiring;
