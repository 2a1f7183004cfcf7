//! Whether an input that stays open has nothing to say right now.
//!
//! A pipe or a terminal does not tell what waits in it. But a read of it that lasts has found nothing: if the reader is in
//! one and the same read at two looks, nothing was waiting at the first.

use std::io::{Read, Result};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::FileType;

use crate::clock::Millis;

/// From look to look: far longer than a read takes that has found something.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whether its end is somebody else's to decide: a pipe, a socket or a terminal. Of anything else, all that there is is
/// waiting.
pub(super) fn stays_open(input: &impl AsFd) -> bool {
    let status = rustix::fs::fstat(input);
    let kind = status.map(|status| FileType::from_raw_mode(status.st_mode));
    matches!(kind, Ok(FileType::Fifo | FileType::Socket | FileType::CharacterDevice))
}

/// The reader, watched.
pub(super) struct Watched<R> {
    reader: R,
    reads: Arc<AtomicU64>,
}

pub(super) struct Quiet {
    /// Twice the reads that have ended, and one more while there is a read.
    reads: Arc<AtomicU64>,
    /// What the last look found, if it was quiet: the number of reads, and the moment.
    last: Option<(u64, Millis)>,
}

impl Quiet {
    pub(super) fn over<R: Read>(reader: R) -> (Watched<R>, Quiet) {
        let reads = Arc::<AtomicU64>::default();
        (Watched { reader, reads: Arc::clone(&reads) }, Quiet { reads, last: None })
    }

    /// A look, begun at `moment`: the moment of the last one, if nothing was waiting then. `nothing_is_open` says that
    /// everything which has been read is settled.
    pub(super) fn since(&mut self, moment: Millis, nothing_is_open: impl FnOnce() -> bool) -> Option<Millis> {
        // In this order: what was read before this read has been passed on by now.
        let reads = self.reads.load(Ordering::Acquire);
        let is_quiet = reads % 2 == 1 && nothing_is_open();
        let last = self.last.take();
        self.last = is_quiet.then_some((reads, moment));
        last.filter(|(last_reads, _)| is_quiet && *last_reads == reads).map(|(_, moment)| moment)
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.reads.fetch_add(1, Ordering::Release);
        let read = self.reader.read(buffer);
        self.reads.fetch_add(1, Ordering::Release);
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_at_two_looks_means_that_nothing_was_waiting_at_the_first() {
        let (_, mut quiet) = Quiet::over(std::io::empty());
        let reads = Arc::clone(&quiet.reads);
        assert_eq!((quiet.since(1, || true), quiet.since(2, || true)), (None, None), "it has not begun to read");
        reads.store(1, Ordering::Release);
        assert_eq!(quiet.since(3, || true), None);
        assert_eq!(quiet.since(4, || true), Some(3));
        assert_eq!(quiet.since(5, || true), Some(4));
        reads.store(2, Ordering::Release);
        assert_eq!(quiet.since(6, || true), None, "it has found something");
        reads.store(3, Ordering::Release);
        assert_eq!(quiet.since(7, || true), None, "it reads on, not for long enough yet");
        assert_eq!(quiet.since(8, || false), None, "something is not settled");
        assert_eq!(quiet.since(9, || true), None, "and was not at the last look");
        assert_eq!(quiet.since(10, || true), Some(9));
        reads.store(5, Ordering::Release);
        assert_eq!(quiet.since(11, || true), None, "it is another read");
    }

    #[test]
    fn the_reads_of_an_input_are_counted() {
        let (mut watched, quiet) = Quiet::over(&b"ab"[..]);
        let mut buffer = [0; 1];
        for reads in [2, 4, 6] {
            watched.read(&mut buffer).unwrap();
            assert_eq!(quiet.reads.load(Ordering::Acquire), reads);
        }
    }

    #[test]
    fn pipes_stay_open_and_files_do_not() {
        assert!(stays_open(&std::io::pipe().unwrap().0));
        assert!(!stays_open(&tempfile::tempfile().unwrap()));
    }
}
