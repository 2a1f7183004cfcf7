//! A source that reads lines of JSON from a file or from standard input. A line is an event as SMC
//! sends it, or an envelope around one.
//!
//! A line's place identifies its event. `EVENTS.jsonl:17` stays the same in every run, so a second
//! run over the file repeats no event. Standard input has no lasting name: its places contain the
//! run, `-@RUN:17`, so that lines piped in later count as different events.
//!
//! Memory is bounded for any input. A line over the limit is delivered as its first bytes with a
//! defect, and reading continues with the next line. Empty lines are skipped, but counted in
//! places.
//!
//! A regular file is completely available from the start, so nothing in it counts as handled before
//! its end. An input that stays open (a pipe, a terminal) counts as handled whenever it is idle and
//! all its lines are settled.

mod envelope;
mod format_hint;
mod idle;
mod splitter;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::delivery::{Delivery, Ledger};
use hailer_base::clock;
use hailer_base::health::{Condition, Health};
use hailer_base::metrics;
use hailer_base::shutdown::Shutdown;

use super::{Intake, SourceError};
pub use envelope::Envelope;
pub use format_hint::format_hint;
use idle::{IdleDetector, stays_open};
pub use splitter::{Line, LineSplitter};

const ROOM: &str = "source";
/// The time without data after which an input that stays open is reported as idle.
const RESTS_AFTER: Duration = Duration::from_secs(1);
/// The number of blocks of lines that may wait for the pipeline.
const BLOCKS_MAX: usize = 4;

/// The longest line for events of at most `event_bytes_max` bytes: an envelope whose body is a
/// string in which every byte is escaped, as in a dead letter. The pipeline checks the length of
/// the event itself.
#[must_use]
pub fn line_bytes_max(event_bytes_max: usize) -> usize {
    const ESCAPED_BYTES: usize = 6;
    const AROUND_BYTES: usize = 64 << 10;
    ESCAPED_BYTES * event_bytes_max + AROUND_BYTES
}

/// Reads one file or standard input, from the first line to the last.
#[derive(Debug)]
pub struct LinesSource {
    input: Input,
    line_bytes_max: usize,
    health: Health,
}

#[derive(Debug)]
enum Input {
    File(PathBuf),
    Standard { run: String },
}

impl LinesSource {
    /// A source that reads a file; `line_bytes_max` limits the length of a line.
    #[must_use]
    pub fn file(path: &Path, line_bytes_max: usize, health: Health) -> LinesSource {
        LinesSource { input: Input::File(path.to_owned()), line_bytes_max, health }
    }

    /// A source that reads standard input. `run` must identify this run, for example by its start
    /// time.
    #[must_use]
    pub fn standard(run: &str, line_bytes_max: usize, health: Health) -> LinesSource {
        LinesSource { input: Input::Standard { run: run.to_owned() }, line_bytes_max, health }
    }

    /// Passes on every line until the input ends, the shutdown drains or the intake closes.
    /// Returns when all lines are settled, or when the time for draining is up.
    ///
    /// # Errors
    /// The input is not readable.
    pub async fn run<I: Intake>(self, intake: I, shutdown: Shutdown) -> Result<(), SourceError> {
        let (place, stays_open, reader): (String, bool, Box<dyn Read + Send>) = match &self.input {
            Input::Standard { run } => {
                let input = std::io::stdin();
                (format!("-@{run}"), stays_open(&input), Box::new(input))
            }
            Input::File(path) => {
                let place = path.display().to_string();
                if is_pipe(path) {
                    self.health.report(
                        ROOM,
                        Condition::NotReady(format!(
                            "{place} is a named pipe; waiting for a writer"
                        )),
                    );
                }
                let opened = tokio::select! {
                    biased;
                    opened = open_on_thread(path.clone()) => opened,
                    () = shutdown.draining() => return Ok(()),
                };
                let file =
                    opened.map_err(|source| SourceError::Read { place: place.clone(), source })?;
                (place, stays_open(&file), Box::new(file))
            }
        };
        self.health.report(ROOM, Condition::Ready);
        self.hand_over(reader, stays_open, &place, &intake, &shutdown).await
    }

    async fn hand_over<I: Intake, R: Read + Send + 'static>(
        &self,
        reader: R,
        stays_open: bool,
        place: &str,
        intake: &I,
        shutdown: &Shutdown,
    ) -> Result<(), SourceError> {
        let (ledger, prefix) = Ledger::new();
        let (reader, mut idle) = IdleDetector::new(reader);
        let mut blocks = read_on_thread(LineSplitter::new(reader, self.line_bytes_max));
        let mut checks = interval(idle::CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut tag, mut read_at) = (0, Some(Instant::now()));
        let unreadable = |source| SourceError::Read { place: place.to_owned(), source };
        let lines = ::metrics::counter!(metrics::SOURCE_MESSAGES_TOTAL);
        let was_read_to_its_end = 'reading: loop {
            let block = tokio::select! {
                biased;
                () = shutdown.draining() => break false,
                block = blocks.recv() => block,
                _ = checks.tick(), if stays_open => {
                    if read_at.is_some_and(|read_at| read_at.elapsed() >= RESTS_AFTER) {
                        read_at = None;
                        intake.idle().await;
                    }
                    // No block is being passed on here: the lines that were read are in the
                    // channel or in the ledger.
                    let nothing_is_open = || blocks.is_empty() && ledger.open_count() == 0;
                    if let Some(moment) = idle.idle_since(clock::now_ms(), nothing_is_open) {
                        intake.handled_until(moment);
                    }
                    continue;
                }
            };
            let Some(block) = block else {
                intake.input_ended().await;
                break true;
            };
            read_at = Some(Instant::now());
            for line in block.map_err(unreadable)? {
                tag += 1;
                if tag == 1
                    && let Some(reason) = format_hint(&line.text)
                {
                    self.health.report(
                        ROOM,
                        Condition::Impaired(format!(
                            "{place} does not have one event a line: {reason}"
                        )),
                    );
                }
                lines.increment(1);
                let delivery = self.delivery(line, place, &ledger, tag);
                tokio::select! {
                    biased;
                    accepted = intake.accept(delivery) => {
                        if accepted.is_err() {
                            break 'reading false;
                        }
                    }
                    () = shutdown.draining() => break 'reading false,
                }
            }
        };
        if !was_read_to_its_end {
            tokio::select! {
                () = intake.idle() => {}
                () = shutdown.ended() => {}
            }
        }
        settled(&ledger, prefix, shutdown).await;
        if was_read_to_its_end && ledger.open_count() == 0 {
            intake.handled_until(clock::now_ms());
            intake.fire_due_timers().await;
        }
        Ok(())
    }

    fn delivery(&self, line: Line, place: &str, ledger: &Arc<Ledger>, tag: u64) -> Delivery {
        let Line { number, text, cut } = line;
        let (envelope, defect) = if cut {
            let limit_bytes = self.line_bytes_max;
            let reason = format!(
                "the line is over the limit of {limit_bytes} bytes (event.bytes_max), and was cut"
            );
            (Envelope::event(text), Some(reason.into_boxed_str()))
        } else {
            Envelope::parse(text)
        };
        Delivery {
            origin: None,
            // A copy, so that a short event does not keep its whole block in memory.
            body: Bytes::copy_from_slice(&envelope.body),
            message_id: envelope.message_id,
            routing_key: envelope.routing_key,
            timestamp_ms: envelope.timestamp_ms,
            position: Some(format!("{place}:{number}").into_boxed_str()),
            redelivered: false,
            was_repaired: envelope.was_repaired,
            defect,
            receipt: ledger.receipt(tag),
        }
    }
}

/// Opens a file on its own thread, because opening a named pipe blocks until another process opens
/// the other end. A shutdown must not wait for that.
async fn open_on_thread(path: PathBuf) -> std::io::Result<File> {
    let (sender, opened) = oneshot::channel();
    std::thread::spawn(move || {
        // After a shutdown the receiver is gone.
        let _ = sender.send(File::open(path));
    });
    opened.await.map_err(std::io::Error::other)?
}

fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Reads on its own thread, because a read of standard input cannot be interrupted. A shutdown must
/// not wait for it. The thread ends at the end of the input, or when the receiver is gone.
fn read_on_thread<R: Read + Send + 'static>(
    mut splitter: LineSplitter<R>,
) -> mpsc::Receiver<std::io::Result<Vec<Line>>> {
    let (sender, blocks) = mpsc::channel(BLOCKS_MAX);
    std::thread::spawn(move || {
        while let Some(block) = splitter.next_block().transpose() {
            let failed = block.is_err();
            if sender.blocking_send(block).is_err() || failed {
                return;
            }
        }
    });
    blocks
}

/// Waits until no receipt is outstanding, or until the time for draining is up.
async fn settled(ledger: &Ledger, prefix: watch::Receiver<u64>, shutdown: &Shutdown) {
    tokio::select! {
        biased;
        () = ledger.drained(prefix) => {}
        () = shutdown.ended() => {}
    }
    let unsettled = ledger.open_count();
    if unsettled > 0 {
        tracing::warn!(unsettled, "the outcome of some lines is not durable; read the input again");
    }
}

#[cfg(test)]
mod tests;
