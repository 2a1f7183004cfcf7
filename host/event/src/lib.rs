//! From a message's bytes to the few fields that rules ask for.
//!
//! One pass at the edge validates the whole body and reads the envelope ([`Event::read`]); a second one, on the shard, fetches what the
//! loaded rules read and nothing else ([`Plan::project`]). Validity is a property of the body, not of which rules are loaded.
//! This room never fails an event for a field's sake (a mismatch is absent, and counted), and never puts a value of a body into an error.
//!
//! The first pass leaves a tape behind: a word per key and value, in the order of the body, that says where it stands, what it is and
//! where the next one is. The second pass walks the tape and touches the body only where a field was asked for.

mod envelope;
mod error;

mod canonical;
mod customer;
mod hash;
mod identity;

mod members;
mod scan;
mod tape;
mod token;

mod number;
mod text;
mod timestamp;

mod plan;
mod project;

mod own_time;
mod rewrite;

mod encode;
mod locate;
mod msgpack;

#[cfg(test)]
mod tests;

/// The largest event in bytes that `event.bytes_max` may allow. Everything that keeps a whole event has room for one of this size.
pub const EVENT_BYTES_MAX: usize = 64 << 20;

pub use customer::{Customer, CustomerKey, ID_BYTES_MAX};
pub use encode::Unusable;
pub use envelope::Event;
pub use error::{EventError, EventErrorKind};
pub use identity::{DedupKey, EventId};
pub use members::members_of;
pub use own_time::OwnTimes;
pub use plan::{Plan, PlanBuilder, Slot};
pub use project::{Lack, Projection};
pub use rewrite::Rewrite;
pub use timestamp::read as read_time;
