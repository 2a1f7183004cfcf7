//! Events: from the bytes of a message to the few fields that rules read.
//!
//! It owns two passes over a body. The first runs where the source runs: it validates the whole
//! body and reads the envelope ([`Event::read`]). The second runs on the shard and fetches only the
//! fields that the loaded rules read ([`Plan::project`]). Whether a body is valid does not depend
//! on the loaded rules. The crate refuses to fail an event because of a field: a field with a wrong
//! value counts as absent, and is counted as a mismatch. It also refuses to put a value of a body
//! into an error.
//!
//! The first pass builds a tape: one word for each key and value, in the order of the body. A word
//! has the offset and the kind of its token, and the place of the next one. The second pass walks
//! the tape and reads the body only where a field is.

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

/// The largest value of `event.bytes_max` in bytes. Everything that stores a whole event has room
/// for one of this size.
pub const EVENT_BYTES_MAX: usize = 64 << 20;

pub use customer::{Customer, CustomerKey, ID_BYTES_MAX};
pub use encode::Unusable;
pub use envelope::Event;
pub use error::{EventError, EventErrorKind};
pub use identity::{DedupKey, EventId, hash_of_block};
pub use members::members_of;
pub use own_time::OwnTimes;
pub use plan::{Plan, PlanBuilder, Slot};
pub use project::{Lack, Projection};
pub use rewrite::Rewrite;
pub use timestamp::read as read_time;
