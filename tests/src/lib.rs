//! What the tests stand on: private RabbitMQ nodes, the engine as a process of its own, and ways to look into both. No
//! test needs a service that runs beforehand, and none touches one that does.

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
