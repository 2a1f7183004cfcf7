//! What leaves the engine: communications for SMC, and dead letters for whoever looks after the source. Plain data;
//! the bytes are made once, so that a repeat is the same byte for byte (G3).

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Millis;

/// A communication as a sink sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Communication {
    /// H(event id, campaign, index) in hexadecimal; goes out as `message_id`.
    pub id: Box<str>,
    /// `communication.<channel>.<campaign>`.
    pub routing_key: Arc<str>,
    /// One JSON object, without a line break.
    pub body: Bytes,
    /// `createdAt` of the body; a broker's timestamp is made of it, so that a repeat has the same one.
    pub created_ms: Millis,
}

/// An event that can't be read, on its way to where somebody will look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message as it came.
    pub body: Bytes,
    /// Why it can't be read: path, kind and offset, never a value.
    pub reason: String,
    pub message_id: Option<Box<str>>,
    pub routing_key: Option<Box<str>>,
    /// Where it stood, for a source that has places: `file:line`.
    pub position: Option<Box<str>>,
    pub received_ms: Millis,
}
