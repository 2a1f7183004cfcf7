//! Recordings: what an engine consumed, kept in files, and read again.
//!
//! A recording is a directory of `events-….jsonl.zst`, private to the engine's user, as every body in it is personal. A line is the envelope that the
//! line source reads: routing key, message id, the event's `now`, and the body to the byte. Reading takes more than that: any file of such lines, or of bare
//! events, plain, gzip or zstd, told apart by what is in it, and a stream queue of RabbitMQ, which the broker fills and this only reads.
//!
//! **Recording never holds an event up**: what can't be written in time is counted as missing, told, and not recorded. This room knows nothing of rules, and refuses
//! to guess what a damaged file may have said: it tells where it stopped.

mod files;
mod line;
mod write;

mod broken;
mod chunks;
mod entry;
mod read;
mod stream;

#[cfg(test)]
mod tests;

pub use broken::{Broken, Troubles};
pub use chunks::{Chunk, Chunks};
pub(crate) use entry::Entry;
pub use entry::Origin;
pub use line::Recorded;
pub use read::{Archive, ArchiveError};
pub use stream::{StreamError, StreamQueue};
pub use write::{RecordError, Recorder, Recording, Retention};
