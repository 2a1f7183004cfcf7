//! A recorded entry before it is parsed: a line of a file, or a message of a stream.

use std::path::PathBuf;

use super::stream::StreamQueue;
use crate::sources::lines::{Envelope, Line};

/// The place of recorded events.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Standard input.
    Standard,
    /// A file, or a directory of files.
    Path(PathBuf),
    Stream(Box<StreamQueue>),
}

#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Line(Line),
    /// A message and its offset, which identifies it in the stream for ever.
    Message {
        offset: u64,
        envelope: Envelope,
    },
}

impl From<PathBuf> for Origin {
    fn from(path: PathBuf) -> Origin {
        if path.as_os_str() == "-" { Origin::Standard } else { Origin::Path(path) }
    }
}

impl Entry {
    /// The line's number, or the message's offset.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Entry::Line(line) => line.number,
            Entry::Message { offset, .. } => *offset,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Entry::Line(line) => line.text.len(),
            Entry::Message { envelope, .. } => envelope.body.len(),
        }
    }
}
