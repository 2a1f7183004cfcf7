//! Dead letters. A letter is durable in the store before its event is acknowledged, and leaves the store when it is delivered.
//!
//! So a letter that can't be delivered holds up no event. Letters wait up to a bound in number and in bytes; at the bound intake
//! pauses. A letter that is too large for a row is not stored: its event is acknowledged when the letter is delivered.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc, oneshot};

use super::commit::Removal;
use super::group::Group;
use super::{PipelineError, Unreadable};
use crate::communication::DeadLetter;
use crate::event::EVENT_BYTES_MAX;
use crate::metrics;
use crate::records::{LetterKey, LetterRow, decode, encode};
use crate::sinks::DeadLetters;
use crate::store::{Changes, Store, StoreError, Table, VALUE_BYTES_MAX};

/// The most letters that are stored, or delivered, together.
const LETTERS_MAX: usize = 256;
/// The most bytes of bodies that are stored, or delivered, together, unless it is one letter.
const BYTES_MAX: usize = 4 << 20;
/// A letter with a larger body is not stored.
const STORED_BYTES_MAX: usize = EVENT_BYTES_MAX;
const _: () = assert!(STORED_BYTES_MAX + (1 << 20) <= VALUE_BYTES_MAX);
/// Letters that are not stored and may wait.
const DIRECT_MAX: usize = 16;
/// What a letter takes beside its body, in bytes, about.
const LETTER_BYTES: usize = 512;

/// How many dead letters wait in the store.
#[derive(Debug)]
pub(super) struct Waiting {
    letters: AtomicUsize,
    bytes: AtomicUsize,
    letters_max: usize,
    bytes_max: usize,
    is_full: AtomicBool,
    has_changed: Notify,
}

impl Waiting {
    pub(super) fn letters(&self) -> usize {
        self.letters.load(Ordering::Acquire)
    }

    /// Waits until there is room for a letter.
    pub(super) async fn has_room(&self) {
        loop {
            let changed = self.has_changed.notified();
            if self.letters() < self.letters_max && self.bytes.load(Ordering::Acquire) < self.bytes_max {
                if self.is_full.swap(false, Ordering::AcqRel) {
                    tracing::info!("there is room for dead letters again; intake goes on");
                }
                return;
            }
            if !self.is_full.swap(true, Ordering::AcqRel) {
                let letters = self.letters();
                tracing::warn!(letters, "as many dead letters wait as may; intake pauses until some are delivered");
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

/// Stores letters.
pub(super) struct Keeper {
    waiting: Arc<Waiting>,
    next: u64,
    stored: mpsc::UnboundedSender<Stored>,
    direct: mpsc::Sender<Unreadable>,
}

/// Delivers letters.
pub(super) struct Deliverer {
    store: Arc<dyn Store>,
    waiting: Arc<Waiting>,
    stored: mpsc::UnboundedReceiver<Stored>,
    direct: mpsc::Receiver<Unreadable>,
}

/// So many letters more are durable.
#[derive(Clone, Copy, Debug)]
struct Stored {
    letters: usize,
}

/// The two, with what an earlier run left behind.
pub(super) fn open(
    store: &Arc<dyn Store>,
    letters_max: usize,
    bytes_max: usize,
) -> Result<(Keeper, Deliverer, Arc<Waiting>), StoreError> {
    let (mut letters, mut bytes, mut last) = (0, 0, None);
    let (from, to) = LetterKey::all();
    store.snapshot()?.range(Table::Outbox, &from, &to, &mut |key, row| {
        (letters, bytes, last) = (letters + 1, bytes + row.len() + LETTER_BYTES, LetterKey::decode(key));
        ControlFlow::Continue(())
    })?;
    let waiting = Arc::new(Waiting {
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
        tracing::info!(letters, "dead letters of an earlier run wait in the store; they go out now");
        let _ = stored.send(Stored { letters });
    }
    let next = last.map_or(0, |LetterKey(number)| number + 1);
    let keeper = Keeper { waiting: Arc::clone(&waiting), next, stored, direct };
    let (store, of_deliverer) = (Arc::clone(store), Arc::clone(&waiting));
    let deliverer = Deliverer { store, waiting: of_deliverer, stored: stored_sent, direct: direct_sent };
    Ok((keeper, deliverer, waiting))
}

impl Keeper {
    /// Stores letters until no more come. Ends early only when the pipeline does.
    pub(super) async fn keep(mut self, mut letters: mpsc::Receiver<Unreadable>, groups: mpsc::Sender<Group>) {
        let mut taken = Vec::new();
        while letters.recv_many(&mut taken, LETTERS_MAX).await > 0 {
            let (mut group, mut stored, mut bytes) = (Group::of_nobody(), 0, 0);
            let mut changes = Changes::default();
            for unreadable in taken.drain(..) {
                if unreadable.letter.body.len() > STORED_BYTES_MAX {
                    if self.direct.send(unreadable).await.is_err() {
                        return;
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
                return;
            }
            // The deliverer ends early only when the pipeline does.
            let _ = self.stored.send(Stored { letters: stored });
        }
    }
}

impl Deliverer {
    /// Delivers letters until no more come and all are delivered.
    pub(super) async fn deliver(
        mut self,
        mut to: impl DeadLetters,
        removals: mpsc::Sender<Removal>,
    ) -> Result<(), PipelineError> {
        // A view may show letters before the word that they are stored has come, so both sides are counted whole.
        let (mut stored_letters, mut delivered, mut after) = (0, 0, Vec::new());
        let (mut stored_is_open, mut direct_is_open) = (true, true);
        while stored_is_open || direct_is_open || delivered < stored_letters {
            tokio::select! {
                biased;
                unreadable = self.direct.recv(), if direct_is_open => match unreadable {
                    Some(Unreadable { letter, receipt, held: _held }) => {
                        to.bury(&[letter]).await?;
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
                    let Batch { letters, keys, bytes } = self.read(std::mem::take(&mut after)).await?;
                    let (Some(last), count) = (keys.last(), letters.len()) else {
                        let reason = "dead letters that were committed are not there";
                        return Err(StoreError::unreadable(Table::Outbox, reason).into());
                    };
                    to.bury(&letters).await?;
                    after.clone_from(last);
                    delivered += count;
                    self.waiting.remove(count, bytes);
                    // The committer is gone only when the pipeline ends early.
                    let _ = removals.send(Removal { keys, ..Removal::default() }).await;
                }
            }
        }
        Ok(())
    }

    /// The next letters behind a key.
    async fn read(&self, after: Vec<u8>) -> Result<Batch, StoreError> {
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || {
            let (first, to) = LetterKey::all();
            // The least key that is greater.
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
                let is_enough = broken.is_some() || batch.keys.len() >= LETTERS_MAX || batch.bytes >= BYTES_MAX;
                if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            broken.map_or(Ok(batch), Err)
        });
        read.await.map_err(|_| StoreError::Interrupted)?
    }
}

/// Letters that go out together.
#[derive(Default)]
struct Batch {
    letters: Vec<DeadLetter>,
    keys: Vec<Vec<u8>>,
    bytes: usize,
}

#[cfg(test)]
mod tests;
