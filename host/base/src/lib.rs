//! What every crate of the engine needs: its clock, and the places at which tests end it.
//!
//! It refuses to know any of them.

pub mod clock;
pub mod failpoint;
