//! Writes a recording on a thread of its own, behind a bounded queue on which no sender waits.
//!
//! Written events are flushed to the operating system every second. So an engine that is killed
//! loses at most one second, and its file can be read up to that point. A file is closed and synced
//! when it is full or the day (UTC) ends. **A full, slow or missing disk loses events of the
//! recording, and delays no event**: each event is counted and logged as missing, and a new
//! file is tried some seconds later.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zstd::stream::write::Encoder;

use super::files;
use super::line::Message;
use crate::clock::{self, Millis};
use crate::config::RecordConfig;
use crate::delivery::Delivery;
use crate::health::{Condition, Health};
use crate::metrics;
use crate::pipeline;

const ROOM: &str = "recording";
/// Maximum of messages that wait to be written.
const WAITING_MAX: usize = 8192;
const WAITING_BYTES_MAX: usize = 32 << 20;
const FLUSH_EVERY: Duration = Duration::from_secs(1);
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// Maximum wait at the end for a thread whose disk hangs.
const END_WITHIN: Duration = Duration::from_secs(10);
const DAY_MS: Millis = 86_400_000;
const LEVEL: i32 = 3;

/// Why a recording cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot record into `{}`: {source} (record.dir)", directory.display())]
pub struct RecordError {
    directory: PathBuf,
    pub(crate) source: io::Error,
}

/// Retention of the files.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub file_bytes_max: u64,
    pub days: u64,
    pub bytes_max: u64,
}

/// Accepts events for the recording; clones share the queue.
#[derive(Clone, Debug)]
pub struct Recorder {
    messages: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting_bytes: AtomicUsize,
    missing: AtomicU64,
    health: Health,
}

/// A running recording.
#[derive(Debug)]
pub struct Recording {
    recorder: Recorder,
    thread: JoinHandle<()>,
}

impl Recording {
    /// Starts a recording if the configuration has one.
    ///
    /// # Errors
    /// The directory cannot be used, or other users can access it.
    pub fn begin(config: &RecordConfig, health: &Health) -> Result<Option<Recording>, RecordError> {
        let Some(directory) = &config.dir else { return Ok(None) };
        let RecordConfig { file_bytes_max, days, bytes_max, .. } = *config;
        Recording::into_directory(directory, Retention { file_bytes_max, days, bytes_max }, health)
            .map(Some)
    }

    /// Checks whether a recording could start in a directory, without creating anything. Returns
    /// whether the directory exists.
    ///
    /// # Errors
    /// The directory cannot be used, or other users can access it.
    pub fn look_at(directory: &Path) -> Result<bool, RecordError> {
        files::look_at_directory(directory)
            .map_err(|source| RecordError { directory: directory.to_owned(), source })
    }

    pub(super) fn into_directory(
        directory: &Path,
        retention: Retention,
        health: &Health,
    ) -> Result<Recording, RecordError> {
        let unusable = |source| RecordError { directory: directory.to_owned(), source };
        files::open_directory(directory).map_err(unusable)?;
        let (messages, taken) = sync_channel(WAITING_MAX);
        let shared = Arc::new(Shared {
            waiting_bytes: AtomicUsize::new(0),
            missing: AtomicU64::new(0),
            health: health.clone(),
        });
        let mut writer = Writer {
            directory: directory.to_owned(),
            retention,
            shared: Arc::clone(&shared),
            open: None,
            line: Vec::new(),
            failed_at: None,
            swept_at: None,
            missing_before: 0,
        };
        // A disk that cannot be written should be noticed at the start.
        writer.open().map_err(unusable)?;
        let thread = std::thread::Builder::new().name("recording".to_owned());
        let thread = thread.spawn(move || writer.run(&taken)).map_err(unusable)?;
        Ok(Recording { recorder: Recorder { messages, shared }, thread })
    }

    #[must_use]
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Waits until all recorders are gone and their events are on disk; returns the number of
    /// missing events.
    pub fn end(self) -> u64 {
        let Recording { recorder: Recorder { messages, shared }, thread } = self;
        drop(messages);
        let until = Instant::now() + END_WITHIN;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !thread.is_finished() {
            tracing::error!(
                "the recording does not end, because its disk hangs; unflushed events are missing"
            );
        }
        shared.missing.load(Ordering::Relaxed)
    }
}

impl pipeline::Recorder for Recorder {
    /// Records an event with its `now`, or counts it as missing; never waits.
    fn note(&self, delivery: &Delivery, was_repaired: bool, now: Millis) {
        let message = Message {
            body: delivery.body.clone(),
            was_repaired,
            message_id: delivery.message_id.clone(),
            routing_key: delivery.routing_key.clone(),
            now,
            redelivered: delivery.redelivered,
        };
        self.hand_in(message);
    }
}

impl Recorder {
    pub(super) fn hand_in(&self, message: Message) {
        let bytes = message.bytes();
        let waiting = self.shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        // A single event larger than the limit is accepted alone.
        let fits = waiting == 0 || waiting + bytes <= WAITING_BYTES_MAX;
        let sent =
            if fits { self.messages.try_send(message) } else { Err(TrySendError::Full(message)) };
        if sent.is_err() {
            self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.count_missing(1, "the disk is too slow for the incoming events");
        }
    }
}

impl Shared {
    /// Counts and logs events that will be missing in the recording.
    fn count_missing(&self, count: u64, why: &str) {
        ::metrics::counter!(metrics::RECORD_MISSING_TOTAL).increment(count);
        let before = self.missing.fetch_add(count, Ordering::Relaxed);
        let missing = before + count;
        // A disk that stays full must not flood the log, so each power of two is logged.
        if before.checked_ilog2() != missing.checked_ilog2() {
            tracing::error!(
                missing,
                why,
                "an event is missing in the recording; it is decided nevertheless"
            );
        }
        let said = format!(
            "events are missing in the recording: {why}; free space for `record.dir`, or unset it"
        );
        self.health.report(ROOM, Condition::Impaired(said));
    }
}

/// The writer thread's state.
struct Writer {
    directory: PathBuf,
    retention: Retention,
    shared: Arc<Shared>,
    open: Option<Open>,
    line: Vec<u8>,
    /// The last time that a file could not be written.
    failed_at: Option<Instant>,
    swept_at: Option<Instant>,
    /// Number of missing events at the last flush.
    missing_before: u64,
}

/// The file that is being written.
struct Open {
    path: PathBuf,
    encoder: Encoder<'static, Counted>,
    day: Millis,
    /// When the first unflushed event was written.
    dirty_since: Option<Instant>,
    /// Number of unflushed events; they count as missing if a flush fails.
    unflushed: u64,
    is_empty: bool,
}

/// A file and the number of bytes written.
struct Counted {
    file: File,
    bytes: u64,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        self.sweep();
        loop {
            let dirty_since = self.open.as_ref().and_then(|open| open.dirty_since);
            let wait = dirty_since
                .map_or(SWEEP_EVERY, |since| FLUSH_EVERY.saturating_sub(since.elapsed()));
            match messages.recv_timeout(wait) {
                Ok(message) => {
                    let bytes = message.bytes();
                    self.take(&message);
                    self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.keep_up();
        }
        let closed = self.close();
        self.check(closed);
    }

    fn take(&mut self, message: &Message) {
        if self.open.is_none() && !self.try_again() {
            return self.shared.count_missing(1, "its file can't be written");
        }
        self.line.clear();
        let Some(open) = &mut self.open else { return };
        let written =
            message.append_to(&mut self.line).and_then(|()| open.encoder.write_all(&self.line));
        open.unflushed += 1;
        open.is_empty = false;
        open.dirty_since.get_or_insert_with(Instant::now);
        self.check(written);
    }

    /// Flushes, closes and applies the retention when each is due.
    fn keep_up(&mut self) {
        let is_due =
            |open: &Open| open.dirty_since.is_some_and(|since| since.elapsed() >= FLUSH_EVERY);
        if let Some(open) = self.open.as_mut().filter(|open| is_due(open)) {
            let flushed = open.flush();
            let missing = self.shared.missing.load(Ordering::Relaxed);
            if flushed.is_ok() && missing == self.missing_before {
                self.shared.health.report(ROOM, Condition::Ready);
            }
            self.missing_before = missing;
            self.check(flushed);
        }
        let is_full = |open: &Open| open.encoder.get_ref().bytes >= self.retention.file_bytes_max;
        let is_over = |open: &Open| open.day != clock::now_ms().div_euclid(DAY_MS);
        if self.open.as_ref().is_some_and(|open| is_full(open) || is_over(open)) {
            let closed = self.close();
            self.check(closed);
            self.sweep();
        } else if self.swept_at.is_none_or(|swept_at| swept_at.elapsed() >= SWEEP_EVERY) {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        // The age of a file depends on the machine's clock.
        if clock::is_in_doubt() {
            return;
        }
        self.swept_at = Some(Instant::now());
        let Retention { days, bytes_max, .. } = self.retention;
        let current = self.open.as_ref().map(|open| &*open.path);
        match files::sweep(&self.directory, current, clock::now_ms(), days, bytes_max) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "deleted expired files of the recording"),
            Err(error) => {
                tracing::error!(%error, "cannot delete expired files of the recording; it grows \
                    beyond its limits")
            }
        }
    }

    /// Opens a new file if none is open; after an error, only after some time.
    fn try_again(&mut self) -> bool {
        if self.failed_at.is_some_and(|failed_at| failed_at.elapsed() < TRY_AGAIN_AFTER) {
            return false;
        }
        let opened = self.open();
        if opened.is_ok() && self.failed_at.take().is_some() {
            let missing = self.shared.missing.load(Ordering::Relaxed);
            tracing::warn!(missing, "recording again; events in between are missing");
        }
        self.check(opened);
        self.open.is_some()
    }

    fn open(&mut self) -> io::Result<()> {
        let now = clock::now_ms();
        let (path, file) = files::create(&self.directory, now)?;
        let mut encoder = Encoder::new(Counted { file, bytes: 0 }, LEVEL)?;
        encoder.include_checksum(true)?;
        let day = now.div_euclid(DAY_MS);
        self.open =
            Some(Open { path, encoder, day, dirty_since: None, unflushed: 0, is_empty: true });
        Ok(())
    }

    /// Finishes the file and syncs it.
    fn close(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let Open { path, encoder, unflushed, is_empty, .. } = open;
        if is_empty {
            return std::fs::remove_file(path);
        }
        match encoder.finish().and_then(|counted| counted.file.sync_all()) {
            Ok(()) => ::metrics::counter!(metrics::RECORDED_TOTAL).increment(unflushed),
            Err(error) => {
                self.shared.count_missing(unflushed, "its file can't be written");
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives up the file on an error. The file can be read up to its last flush.
    fn check(&mut self, done: io::Result<()>) {
        let Err(error) = done else { return };
        let directory = self.directory.display();
        if self.failed_at.is_none() {
            tracing::error!(%directory, %error, "cannot write the recording; events are decided \
                without it, and writing is tried again");
        }
        self.failed_at = Some(Instant::now());
        if let Some(open) = self.open.take() {
            self.shared.count_missing(open.unflushed, "its file can't be written");
        }
    }
}

impl Open {
    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()?;
        ::metrics::counter!(metrics::RECORDED_TOTAL).increment(self.unflushed);
        (self.dirty_since, self.unflushed) = (None, 0);
        Ok(())
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
