//! Events from lines of JSON, in a file or on standard input: an event as SMC sends it, or an envelope around one.
//!
//! A line's place is its identity. `EVENTS.jsonl:17` stays the same however often the file is read, so a second run
//! over it repeats nothing. Standard input has no name that stays: its places carry the run, `-@RUN:17`, so that other
//! lines piped in later are never taken for these.
//!
//! Memory stays bounded whatever the input: a line over the bound goes on as its first bytes and a defect, and reading
//! goes on with the next. Empty lines are skipped, and counted as places.
//!
//! A regular file is all waiting at once, so nothing of it counts as handled before its end. An input that stays open (a
//! pipe, a terminal) is handled whenever it has nothing to say.

mod envelope;
mod quiet;
mod shape;
mod split;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;
use crate::delivery::{Delivery, Ledger};
use crate::health::{Condition, Health};
use crate::metrics;
use crate::shutdown::Shutdown;

use super::{Intake, SourceError};
pub(crate) use envelope::Envelope;
use quiet::{Quiet, stays_open};
pub(crate) use shape::shape;
pub(crate) use split::{Line, LineSplitter};

const ROOM: &str = "source";
/// An input that stays open rests when it has said nothing for so long.
const RESTS_AFTER: Duration = Duration::from_secs(1);
/// Blocks of lines that may wait for the pipeline.
const BLOCKS_MAX: usize = 4;

/// The longest line for events of so many bytes: an envelope whose body is a text in which every byte is escaped, as a dead letter's may be. How long
/// the event itself may be is the pipeline's to say.
#[must_use]
pub fn line_bytes_max(event_bytes_max: usize) -> usize {
    const ESCAPED_BYTES: usize = 6;
    const AROUND_BYTES: usize = 64 << 10;
    ESCAPED_BYTES * event_bytes_max + AROUND_BYTES
}

/// Reads one file, or standard input, from the first line to the last.
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
    /// Reads a file; `line_bytes_max` bounds a line.
    #[must_use]
    pub fn file(path: &Path, line_bytes_max: usize, health: Health) -> LinesSource {
        LinesSource { input: Input::File(path.to_owned()), line_bytes_max, health }
    }

    /// Reads standard input. `run` tells this run from every other; the time at which it started does.
    #[must_use]
    pub fn standard(run: &str, line_bytes_max: usize, health: Health) -> LinesSource {
        LinesSource { input: Input::Standard { run: run.to_owned() }, line_bytes_max, health }
    }

    /// Hands over every line, and returns when all of them are settled: at the end of the input, or when the shutdown
    /// drains or the intake closes.
    ///
    /// # Errors
    /// When the input can't be read.
    pub async fn run<I: Intake>(self, intake: I, shutdown: Shutdown) -> Result<(), SourceError> {
        let (place, stays_open, reader): (String, bool, Box<dyn Read + Send>) = match &self.input {
            Input::Standard { run } => {
                let input = std::io::stdin();
                (format!("-@{run}"), stays_open(&input), Box::new(input))
            }
            Input::File(path) => {
                let place = path.display().to_string();
                if is_pipe(path) {
                    self.health.report(ROOM, Condition::NotReady(format!("{place} opens when somebody writes to it")));
                }
                let opened = tokio::select! {
                    biased;
                    opened = open_apart(path.clone()) => opened,
                    () = shutdown.draining() => return Ok(()),
                };
                let file = opened.map_err(|source| SourceError::Read { place: place.clone(), source })?;
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
        let (reader, mut quiet) = Quiet::over(reader);
        let mut blocks = read_apart(LineSplitter::new(reader, self.line_bytes_max));
        let mut looks = interval(quiet::LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut tag, mut read_at) = (0, Some(Instant::now()));
        let unreadable = |source| SourceError::Read { place: place.to_owned(), source };
        let lines = ::metrics::counter!(metrics::SOURCE_MESSAGES_TOTAL);
        let was_read_to_its_end = 'reading: loop {
            let block = tokio::select! {
                biased;
                () = shutdown.draining() => break false,
                block = blocks.recv() => block,
                _ = looks.tick(), if stays_open => {
                    if read_at.is_some_and(|read_at| read_at.elapsed() >= RESTS_AFTER) {
                        read_at = None;
                        intake.rested().await;
                    }
                    // No block is in hand here, so what was read waits in the channel or is in the ledger.
                    if let Some(moment) = quiet.since(clock::now_ms(), || blocks.is_empty() && ledger.open_count() == 0) {
                        intake.handled_until(moment);
                    }
                    continue;
                }
            };
            let Some(block) = block else {
                intake.ended().await;
                break true;
            };
            read_at = Some(Instant::now());
            for line in block.map_err(unreadable)? {
                tag += 1;
                if tag == 1
                    && let Some(reason) = shape(&line.text)
                {
                    self.health
                        .report(ROOM, Condition::Impaired(format!("{place} has not one event a line: {reason}")));
                }
                lines.increment(1);
                let delivery = self.delivery(line, place, &ledger, tag);
                tokio::select! {
                    biased;
                    accepted = intake.accept(delivery) => if accepted.is_err() { break 'reading false },
                    () = shutdown.draining() => break 'reading false,
                }
            }
        };
        if !was_read_to_its_end {
            tokio::select! {
                () = intake.rested() => {}
                () = shutdown.ended() => {}
            }
        }
        settled(&ledger, prefix, shutdown).await;
        if was_read_to_its_end && ledger.open_count() == 0 {
            intake.handled_until(clock::now_ms());
            intake.handled_all().await;
        }
        Ok(())
    }

    fn delivery(&self, line: Line, place: &str, ledger: &Arc<Ledger>, tag: u64) -> Delivery {
        let Line { number, text, cut } = line;
        let (envelope, defect) = if cut {
            let limit_bytes = self.line_bytes_max;
            let reason = format!("a line over the limit of {limit_bytes} bytes (event.bytes_max), and cut there");
            (Envelope::event(text), Some(reason.into_boxed_str()))
        } else {
            Envelope::open(text)
        };
        Delivery {
            origin: None,
            // Without what was read together with it: a short event must not hold on to a whole block.
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

/// Opens a file on a thread of its own: a named pipe opens only when somebody else opens its other end, and that must not hold up the end
/// either.
async fn open_apart(path: PathBuf) -> std::io::Result<File> {
    let (sender, opened) = oneshot::channel();
    std::thread::spawn(move || {
        // Nobody waits for it any more after a shutdown.
        let _ = sender.send(File::open(path));
    });
    opened.await.map_err(std::io::Error::other)?
}

fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Reads on a thread of its own: reading standard input can't be interrupted, and must not hold up the end. The thread
/// ends at the end of the input, or when the blocks are no longer taken.
fn read_apart<R: Read + Send + 'static>(mut splitter: LineSplitter<R>) -> mpsc::Receiver<std::io::Result<Vec<Line>>> {
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

/// Waits until nobody holds a receipt any more, or until the time for it is up.
async fn settled(ledger: &Ledger, prefix: watch::Receiver<u64>, shutdown: &Shutdown) {
    tokio::select! {
        biased;
        () = ledger.drained(prefix) => {}
        () = shutdown.ended() => {}
    }
    let unsettled = ledger.open_count();
    if unsettled > 0 {
        tracing::warn!(unsettled, "lines were read whose outcome is not durable; read the input again");
    }
}

#[cfg(test)]
mod tests;
