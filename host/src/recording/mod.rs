//! Recordings: the consumed events, kept in files and read again.
//!
//! A recording is a directory of `events-….jsonl.zst` files, readable only by the engine's user,
//! because every body in it is personal. A line is the envelope of the line source: routing key,
//! message id, the event's `now`, and the unchanged body. The reader accepts more: files of such
//! lines, or of bare events, plain, gzip or zstd, recognised by their contents; and a stream queue
//! of RabbitMQ, which the broker fills and this module only reads.
//!
//! **Recording never delays an event**: an event that cannot be written in time is counted and
//! logged as missing, and not recorded. This module does not depend on rules. It never guesses the
//! contents of a damaged file: it reports where reading stopped.

mod files;
mod line;
mod write;

mod chunks;
mod entry;
mod read;
mod stream;
mod unreadable;

#[cfg(test)]
mod tests;

pub use chunks::{Chunk, Chunks};
pub(crate) use entry::Entry;
pub use entry::Origin;
pub use line::Recorded;
pub use read::{Archive, ArchiveError};
pub use stream::{StreamError, StreamQueue};
pub use unreadable::{UnreadableEntries, UnreadableEntry};
pub use write::{RecordError, Recorder, Recording, Retention};
