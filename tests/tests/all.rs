//! Every test that needs more than one room: through the public interface, against real brokers. One binary, so that
//! what is expensive to start is started once.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod authoring;
mod bad_input;
mod bounds;
mod broker_trouble;
mod clock;
mod commands;
mod docs;
mod edges;
mod equal_messages;
mod erase;
mod event_times;
mod failures;
mod faults;
mod golden;
mod hostile_guests;
mod hot_reload;
mod input_forms;
mod memory;
mod moving;
mod new_rule;
mod operations;
mod privacy;
mod rehearsal;
mod replay;
mod scenarios;
mod seed;
mod sizes;
mod soak;
mod standard_streams;
mod store_commands;
mod stream_replay;
mod suspects;
mod swaps;
mod trials;
mod why;

mod lines;
mod rabbitmq_backlog;
mod rabbitmq_recovery;
mod rabbitmq_requests;
mod rabbitmq_single;
mod rabbitmq_sink;
mod rabbitmq_source;
mod rabbitmq_standby;
mod rabbitmq_tls;
mod topology;
