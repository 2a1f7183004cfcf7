//! Detects that an input that stays open has no data at the moment.
//!
//! A pipe or a terminal does not report how much data waits in it, but a read that blocks has found
//! none. If the reader is inside the same read at two checks, no data was waiting at the first
//! check.

use std::io::{Read, Result};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::FileType;

use hailer_base::clock::Millis;

/// The interval between two checks; far longer than a read that finds data.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Whether the input is a pipe, a socket or a character device (a terminal), whose writer decides
/// when it ends. Any other input is completely available from the start.
pub(super) fn stays_open(input: &impl AsFd) -> bool {
    let status = rustix::fs::fstat(input);
    let kind = status.map(|status| FileType::from_raw_mode(status.st_mode));
    matches!(kind, Ok(FileType::Fifo | FileType::Socket | FileType::CharacterDevice))
}

/// A reader that counts the starts and ends of its reads.
pub(super) struct CountedReader<R> {
    reader: R,
    reads: Arc<AtomicU64>,
}

pub(super) struct IdleDetector {
    /// Twice the number of completed reads, plus one during a read.
    reads: Arc<AtomicU64>,
    /// The read count and the moment of the last check; `None` if the input was not idle then.
    last: Option<(u64, Millis)>,
}

impl IdleDetector {
    pub(super) fn new<R: Read>(reader: R) -> (CountedReader<R>, IdleDetector) {
        let reads = Arc::<AtomicU64>::default();
        (CountedReader { reader, reads: Arc::clone(&reads) }, IdleDetector { reads, last: None })
    }

    /// Checks the input at `moment`. Returns the moment of the last check if no data was waiting
    /// then; otherwise `None`. `nothing_is_open` must return whether everything that was read is
    /// settled.
    pub(super) fn idle_since(
        &mut self,
        moment: Millis,
        nothing_is_open: impl FnOnce() -> bool,
    ) -> Option<Millis> {
        // The count is loaded first: everything from earlier reads has been passed on by then.
        let reads = self.reads.load(Ordering::Acquire);
        let is_idle = reads % 2 == 1 && nothing_is_open();
        let last = self.last.take();
        self.last = is_idle.then_some((reads, moment));
        last.filter(|(last_reads, _)| is_idle && *last_reads == reads).map(|(_, moment)| moment)
    }
}

impl<R: Read> Read for CountedReader<R> {
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
    fn one_read_at_two_checks_means_that_no_data_waited_at_the_first() {
        let (_, mut idle) = IdleDetector::new(std::io::empty());
        let reads = Arc::clone(&idle.reads);
        assert_eq!(
            (idle.idle_since(1, || true), idle.idle_since(2, || true)),
            (None, None),
            "the first read has not started"
        );
        reads.store(1, Ordering::Release);
        assert_eq!(idle.idle_since(3, || true), None);
        assert_eq!(idle.idle_since(4, || true), Some(3));
        assert_eq!(idle.idle_since(5, || true), Some(4));
        reads.store(2, Ordering::Release);
        assert_eq!(idle.idle_since(6, || true), None, "the read has found data");
        reads.store(3, Ordering::Release);
        assert_eq!(idle.idle_since(7, || true), None, "a new read has been seen once only");
        assert_eq!(idle.idle_since(8, || false), None, "a line is not settled");
        assert_eq!(idle.idle_since(9, || true), None, "the last check was not idle");
        assert_eq!(idle.idle_since(10, || true), Some(9));
        reads.store(5, Ordering::Release);
        assert_eq!(idle.idle_since(11, || true), None, "another read has started");
    }

    #[test]
    fn the_reads_of_an_input_are_counted() {
        let (mut watched, idle) = IdleDetector::new(&b"ab"[..]);
        let mut buffer = [0; 1];
        for reads in [2, 4, 6] {
            let _some = watched.read(&mut buffer).unwrap();
            assert_eq!(idle.reads.load(Ordering::Acquire), reads);
        }
    }

    #[test]
    fn pipes_stay_open_but_files_do_not() {
        assert!(stays_open(&std::io::pipe().unwrap().0));
        assert!(!stays_open(&tempfile::tempfile().unwrap()));
    }
}
