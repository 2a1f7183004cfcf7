//! What the tests stand on: private RabbitMQ nodes, and ways to look into them. No test needs a service that runs
//! beforehand, and none touches one that does.

pub mod broker;
pub mod wait;
