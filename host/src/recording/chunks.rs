//! An archive in chunks of entries, read ahead on a thread of its own. Where a chunk ends depends on the entries alone, so that whoever works through them does the
//! same work each time.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::broken::Broken;
use super::entry::Entry;
use super::read::{Archive, ArchiveError, Piece};

/// Chunks that are read ahead.
const AHEAD_MAX: usize = 2;

/// Entries of an archive, in their order, and what could not be read among them.
#[derive(Debug, Default)]
pub struct Chunk {
    pub(crate) entries: Vec<(Arc<str>, Entry)>,
    pub broken: Vec<Broken>,
}

/// Everything that an archive holds.
pub struct Chunks {
    chunks: Receiver<Result<Chunk, ArchiveError>>,
    reader: Option<JoinHandle<()>>,
    bytes_total: u64,
    bytes_read: Arc<AtomicU64>,
}

impl Chunks {
    /// Reads ahead in chunks of at most so many entries, and not many more bytes.
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
                // Nobody takes them any more after an error elsewhere.
                if sender.send(chunk).is_err() || is_last {
                    return;
                }
            }
        });
        Chunks { chunks, reader: Some(reader), bytes_total, bytes_read }
    }

    /// How large all of it is, as it is stored; 0 if that can't be known.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// How much has been read of that.
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
            // An archive that a bug of ours has cut short must not look like one that ends here.
            std::panic::resume_unwind(panic);
        }
        next
    }
}

/// What was read and did not fit any more.
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
                Some(Piece::Broken(broken)) => chunk.broken.push(broken),
                None if chunk.entries.is_empty() && chunk.broken.is_empty() => return Ok(None),
                None => return Ok(Some(chunk)),
            }
        }
    }
}
