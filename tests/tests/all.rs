//! Tests that need more than one module: through the public interface, against real brokers. All
//! are in one binary, so that expensive set-up is done once.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod support;

mod authoring;
mod bad_input;
mod bounds;
mod broker_trouble;
mod clock;
mod commands;
mod consent;
mod crates;
mod deferred;
mod docs;
mod dry_run;
mod equal_messages;
mod erase;
mod event_times;
mod examples;
mod failures;
mod faults;
mod golden;
mod hostile_guests;
mod hot_reload;
mod input_forms;
mod new_rule;
mod operations;
mod poison_events;
mod policies;
mod policies_engine;
mod policies_reload;
mod privacy;
mod replay;
mod restore;
mod scenarios;
mod sizes;
mod soak;
mod standard_streams;
mod state_and_timers;
mod store_commands;
mod stream_replay;
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
