//! Reads an archive in chunks of entries, ahead of the caller, on a thread of its own. The end of a
//! chunk depends on the entries alone, so every run has the same chunks.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::entry::Entry;
use super::read::{Archive, ArchiveError, Piece};
use super::unreadable::UnreadableEntry;

/// Maximum of chunks that are read ahead.
const AHEAD_MAX: usize = 2;

/// Entries of an archive in their order, and the unreadable parts among them.
#[derive(Debug, Default)]
pub struct Chunk {
    pub(crate) entries: Vec<(Arc<str>, Entry)>,
    pub broken: Vec<UnreadableEntry>,
}

/// An iterator over the chunks of an archive.
pub struct Chunks {
    chunks: Receiver<Result<Chunk, ArchiveError>>,
    reader: Option<JoinHandle<()>>,
    bytes_total: u64,
    bytes_read: Arc<AtomicU64>,
}

impl Chunks {
    /// Reads ahead in chunks of at most `entries_max` entries, and about `bytes_max` bytes.
    #[must_use]
    pub fn of(mut archive: Archive, entries_max: usize, bytes_max: usize) -> Chunks {
        let (bytes_total, bytes_read) = (archive.bytes_total(), archive.bytes_read());
        let (sender, chunks) = sync_channel(AHEAD_MAX);
        let reader = std::thread::spawn(move || {
            let mut rest = Rest::default();
            loop {
                let chunk = rest.chunk(&mut archive, entries_max, bytes_max).transpose();
                let Some(chunk) = chunk else { return };
                let is_last = chunk.is_err();
                // The receiver is gone after an error elsewhere.
                if sender.send(chunk).is_err() || is_last {
                    return;
                }
            }
        });
        Chunks { chunks, reader: Some(reader), bytes_total, bytes_read }
    }

    /// Total size in bytes as stored, before decompression; 0 if unknown.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Number of these bytes that have been read.
    #[must_use]
    pub fn bytes_read(&self) -> &AtomicU64 {
        &self.bytes_read
    }
}

impl Iterator for Chunks {
    type Item = Result<Chunk, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.chunks.recv().ok();
        if next.is_none()
            && let Some(reader) = self.reader.take()
            && let Err(panic) = reader.join()
        {
            // A panic of the reader must not look like the end of the archive.
            std::panic::resume_unwind(panic);
        }
        next
    }
}

/// Entries that were read but did not fit into the chunk.
#[derive(Default)]
struct Rest {
    place: Option<Arc<str>>,
    entries: std::vec::IntoIter<Entry>,
}

impl Rest {
    fn chunk(
        &mut self,
        archive: &mut Archive,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Chunk>, ArchiveError> {
        let mut chunk = Chunk::default();
        let mut bytes = 0;
        loop {
            while let Some(place) = &self.place {
                if chunk.entries.len() >= entries_max || bytes >= bytes_max {
                    return Ok(Some(chunk));
                }
                let Some(entry) = self.entries.next() else { break };
                bytes += entry.bytes();
                chunk.entries.push((Arc::clone(place), entry));
            }
            match archive.next()? {
                Some(Piece::Entries { place, entries }) => {
                    (self.place, self.entries) = (Some(place), entries.into_iter());
                }
                Some(Piece::Unreadable(broken)) => chunk.broken.push(broken),
                None if chunk.entries.is_empty() && chunk.broken.is_empty() => return Ok(None),
                None => return Ok(Some(chunk)),
            }
        }
    }
}
