//! Hostile guests in the sandbox: whatever a rule module does, the host keeps running, and the
//! outcomes of other events and campaigns are right (G7).

#![allow(clippy::unwrap_used, reason = "a test's own set-up")]

mod stage;

mod calls;
mod instances;
mod logs;
mod outputs;
mod properties;
mod purity;
mod remembering;
mod starts;
