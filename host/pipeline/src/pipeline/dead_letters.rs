//! Dead letters. A dead letter is durable in the store before its event is acknowledged, and leaves
//! the store once it is published.
//!
//! So a dead letter that cannot be published delays no event. Dead letters wait up to a bound in
//! number and in bytes; at the bound, intake pauses. A dead letter that is too large for a row is
//! not stored: its event is acknowledged when the letter is published.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc, oneshot};

use super::commit::Removal;
use super::group::Group;
use super::{PipelineError, Unreadable};
use crate::records::{LetterKey, LetterRow, decode, encode};
use hailer_base::metrics;
use hailer_broker::communication::DeadLetter;
use hailer_broker::sinks::DeadLetterSink;
use hailer_event::EVENT_BYTES_MAX;
use hailer_store::{Changes, Store, StoreError, Table, VALUE_BYTES_MAX};

/// The most dead letters that are stored, or published, together.
const LETTERS_MAX: usize = 256;
/// The most bytes of bodies that are stored, or published, together. A single letter may be larger.
const BYTES_MAX: usize = 4 << 20;
/// A dead letter with a larger body, in bytes, is published without being stored.
const STORED_BYTES_MAX: usize = EVENT_BYTES_MAX;
const _: () = assert!(STORED_BYTES_MAX + (1 << 20) <= VALUE_BYTES_MAX);
/// The most letters that wait to be published without being stored.
const DIRECT_MAX: usize = 16;
/// The approximate size of a letter without its body, in bytes.
const LETTER_BYTES: usize = 512;

/// Counts the dead letters that wait in the store.
#[derive(Debug)]
pub(super) struct WaitingLetters {
    letters: AtomicUsize,
    bytes: AtomicUsize,
    letters_max: usize,
    bytes_max: usize,
    is_full: AtomicBool,
    has_changed: Notify,
}

impl WaitingLetters {
    pub(super) fn letters(&self) -> usize {
        self.letters.load(Ordering::Acquire)
    }

    /// Waits until one more letter may be stored.
    pub(super) async fn has_room(&self) {
        loop {
            let changed = self.has_changed.notified();
            if self.letters() < self.letters_max
                && self.bytes.load(Ordering::Acquire) < self.bytes_max
            {
                if self.is_full.swap(false, Ordering::AcqRel) {
                    tracing::info!("there is room for dead letters again; intake resumes");
                }
                return;
            }
            if !self.is_full.swap(true, Ordering::AcqRel) {
                let letters = self.letters();
                tracing::warn!(
                    letters,
                    "too many dead letters wait; intake pauses until some are published"
                );
            }
            changed.await;
        }
    }

    fn add(&self, letters: usize, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let now = self.letters.fetch_add(letters, Ordering::AcqRel) + letters;
        ::metrics::gauge!(metrics::DEAD_LETTERS).set(now as f64);
    }

    fn remove(&self, letters: usize, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        let now = self.letters.fetch_sub(letters, Ordering::AcqRel) - letters;
        ::metrics::gauge!(metrics::DEAD_LETTERS).set(now as f64);
        self.has_changed.notify_waiters();
    }
}

/// Stores dead letters.
pub(super) struct LetterWriter {
    waiting: Arc<WaitingLetters>,
    next: u64,
    stored: mpsc::UnboundedSender<Stored>,
    direct: mpsc::Sender<Unreadable>,
}

/// Publishes dead letters.
pub(super) struct LetterPublisher {
    store: Arc<dyn Store>,
    waiting: Arc<WaitingLetters>,
    stored: mpsc::UnboundedReceiver<Stored>,
    direct: mpsc::Receiver<Unreadable>,
}

/// Reports to the publisher how many more letters are durable.
#[derive(Clone, Copy, Debug)]
struct Stored {
    letters: usize,
}

/// The writer and the publisher, which begins with the letters of earlier runs.
pub(super) fn open(
    store: &Arc<dyn Store>,
    letters_max: usize,
    bytes_max: usize,
) -> Result<(LetterWriter, LetterPublisher, Arc<WaitingLetters>), StoreError> {
    let (mut letters, mut bytes, mut last) = (0, 0, None);
    let (from, to) = LetterKey::all();
    store.snapshot()?.range(Table::Outbox, &from, &to, &mut |key, row| {
        (letters, bytes, last) =
            (letters + 1, bytes + row.len() + LETTER_BYTES, LetterKey::decode(key));
        ControlFlow::Continue(())
    })?;
    let waiting = Arc::new(WaitingLetters {
        letters: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        letters_max,
        bytes_max,
        is_full: AtomicBool::new(false),
        has_changed: Notify::new(),
    });
    waiting.add(letters, bytes);
    let (stored, stored_sent) = mpsc::unbounded_channel();
    let (direct, direct_sent) = mpsc::channel(DIRECT_MAX);
    if letters > 0 {
        tracing::info!(
            letters,
            "dead letters of an earlier run wait in the store; the engine publishes them now"
        );
        let _ = stored.send(Stored { letters });
    }
    let next = last.map_or(0, |LetterKey(number)| number + 1);
    let writer = LetterWriter { waiting: Arc::clone(&waiting), next, stored, direct };
    let (store, waiting_of_publisher) = (Arc::clone(store), Arc::clone(&waiting));
    let publisher = LetterPublisher {
        store,
        waiting: waiting_of_publisher,
        stored: stored_sent,
        direct: direct_sent,
    };
    Ok((writer, publisher, waiting))
}

impl LetterWriter {
    /// Stores letters until the channel closes. It ends early only if the pipeline does.
    pub(super) async fn run(
        mut self,
        mut letters: mpsc::Receiver<Unreadable>,
        groups: mpsc::Sender<Group>,
    ) -> Result<(), PipelineError> {
        let mut taken = Vec::new();
        while letters.recv_many(&mut taken, LETTERS_MAX).await > 0 {
            let (mut group, mut stored, mut bytes) = (Group::of_nobody(), 0, 0);
            let mut changes = Changes::default();
            for unreadable in taken.drain(..) {
                if unreadable.letter.body.len() > STORED_BYTES_MAX {
                    if self.direct.send(unreadable).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                let Unreadable { letter, receipt, held } = unreadable;
                let row = encode(&LetterRow::from(letter));
                bytes += row.len() + LETTER_BYTES;
                stored += 1;
                changes.put(Table::Outbox, LetterKey(self.next).encode(), row);
                self.next += 1;
                group.receipts.push(receipt);
                group.held_in.absorb(held);
            }
            if stored == 0 {
                continue;
            }
            let (committed, is_committed) = oneshot::channel();
            group.changes = changes;
            group.committed = Some(committed);
            self.waiting.add(stored, bytes);
            if groups.send(group).await.is_err() || is_committed.await.is_err() {
                return Ok(());
            }
            // The publisher ends early only if the pipeline does.
            let _ = self.stored.send(Stored { letters: stored });
        }
        Ok(())
    }
}

impl LetterPublisher {
    /// Publishes letters until the channels are closed and every letter is published.
    pub(super) async fn run(
        mut self,
        mut to: impl DeadLetterSink,
        removals: mpsc::Sender<Removal>,
    ) -> Result<(), PipelineError> {
        // A snapshot may show letters before the message that announces them has arrived. So the
        // loop compares totals: letters announced and letters published.
        let (mut stored_letters, mut delivered, mut after) = (0, 0, Vec::new());
        let (mut stored_is_open, mut direct_is_open) = (true, true);
        while stored_is_open || direct_is_open || delivered < stored_letters {
            tokio::select! {
                biased;
                unreadable = self.direct.recv(), if direct_is_open => match unreadable {
                    Some(Unreadable { letter, receipt, held: _held }) => {
                        to.dead_letter(&[letter]).await?;
                        ::metrics::gauge!(metrics::IN_FLIGHT).decrement(1);
                        receipt.settle();
                    }
                    None => direct_is_open = false,
                },
                stored = self.stored.recv(), if stored_is_open => match stored {
                    Some(Stored { letters }) => stored_letters += letters,
                    None => stored_is_open = false,
                },
                () = std::future::ready(()), if delivered < stored_letters => {
                    let Batch { letters, keys, bytes } =
                        self.read(std::mem::take(&mut after)).await?;
                    let (Some(last), count) = (keys.last(), letters.len()) else {
                        let reason = "committed dead letters are missing";
                        return Err(StoreError::unreadable(Table::Outbox, reason).into());
                    };
                    to.dead_letter(&letters).await?;
                    after.clone_from(last);
                    delivered += count;
                    self.waiting.remove(count, bytes);
                    // The committer is gone only if the pipeline ends early.
                    let _ = removals.send(Removal { keys, ..Removal::default() }).await;
                }
            }
        }
        Ok(())
    }

    /// The next letters with keys greater than `after`.
    async fn read(&self, after: Vec<u8>) -> Result<Batch, StoreError> {
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || {
            let (first, to) = LetterKey::all();
            // The least key that is greater than `after`.
            let from = if after.is_empty() { first } else { [&after[..], &[0]].concat() };
            let mut batch = Batch::default();
            let mut broken = None;
            store.snapshot()?.range(Table::Outbox, &from, &to, &mut |key, row| {
                match decode::<LetterRow>(Table::Outbox, row) {
                    Ok(letter) => {
                        batch.bytes += row.len() + LETTER_BYTES;
                        batch.keys.push(key.to_vec());
                        batch.letters.push(letter.into());
                    }
                    Err(error) => broken = Some(error),
                }
                let is_enough =
                    broken.is_some() || batch.keys.len() >= LETTERS_MAX || batch.bytes >= BYTES_MAX;
                if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            broken.map_or(Ok(batch), Err)
        });
        read.await.map_err(|_| StoreError::Interrupted)?
    }
}

/// Letters that are published together.
#[derive(Default)]
struct Batch {
    letters: Vec<DeadLetter>,
    keys: Vec<Vec<u8>>,
    bytes: usize,
}

#[cfg(test)]
mod tests;
