//! Deliveries, and the ledger of each session that decides which of them the source may
//! acknowledge.
//!
//! **A source acknowledges only the contiguous prefix of its deliveries whose outcome is durable
//! (G1).** A receipt travels with its delivery. It is settled once, after everything that the
//! delivery requires is done. If a receipt is dropped without being settled, that delivery and all
//! later ones stay unacknowledged; the broker delivers them again after the session ends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;

use crate::communication::Origin;
use hailer_base::clock::Millis;

/// One message from a source.
#[derive(Debug)]
pub struct Delivery {
    /// The message without its envelope.
    pub body: Bytes,
    /// The AMQP property `message_id`, or `messageId` of a line's envelope; `None` if the source
    /// gives none.
    pub message_id: Option<Box<str>>,
    /// The routing key, copied to a dead letter; no decision depends on it. `None` if there is
    /// none.
    pub routing_key: Option<Box<str>>,
    /// The time at which the sender sent the message, in ms since 1970-01-01 UTC; `None` if
    /// unknown.
    pub timestamp_ms: Option<Millis>,
    /// Other properties that the producer set, copied to a dead letter; `None` if it set none.
    pub origin: Option<Box<Origin>>,
    /// The place of the message in its input, `file:line`, which identifies the event; `None` for a
    /// source without places.
    pub position: Option<Box<str>>,
    /// Whether the broker has delivered the message before.
    pub redelivered: bool,
    /// Whether the envelope had a tolerated JSON error; the event then counts as repaired.
    pub was_repaired: bool,
    /// The reason why the source knows that this is no readable event: a line that is too long, or
    /// a broken envelope. The delivery still goes through the pipeline, so it is dead-lettered and
    /// acknowledged in order. `None` if the source found no defect.
    pub defect: Option<Box<str>>,
    /// Settled when everything that the delivery requires is done.
    pub receipt: Receipt,
}

impl Delivery {
    /// The line number, if the input's places name the run, as those of standard input do
    /// (`-@RUN:17`); otherwise `None`.
    #[must_use]
    pub fn line_of_run(&self) -> Option<&str> {
        self.position.as_deref()?.strip_prefix("-@")?.split_once(':').map(|(_, line)| line)
    }
}

/// Must be settled, once, when everything that its delivery requires is done.
#[derive(Debug)]
pub struct Receipt {
    ledger: Arc<Ledger>,
    tag: u64,
    since: Instant,
    accepted: bool,
    settled: bool,
}

/// Identifies a source's session, and can still be asked after the session has ended.
#[derive(Clone, Debug)]
pub struct Session {
    number: u64,
    is_open: Arc<AtomicBool>,
}

/// Marks the session as ended when it is dropped; the source holds it as long as the session lasts.
#[derive(Debug)]
pub struct SessionGuard(Arc<AtomicBool>);

impl Session {
    /// A number that is unique among the sessions of this process.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether the session is open, as far as the source knows. Acknowledgements in a closed
    /// session have no effect.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Receipt {
    /// The session in which the message was delivered.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.ledger.session
    }

    /// The time of the delivery.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Notes that the pipeline has accepted the delivery. If the receipt is then dropped unsettled,
    /// its outcome may still be durable.
    pub fn mark_accepted(&mut self) {
        self.accepted = true;
    }

    /// Records that everything that this delivery requires is done.
    pub fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.ledger.resolve(self.tag, self.settled, self.accepted);
    }
}

/// The deliveries of one session that are not acknowledged yet. Tags count up from 1 without gaps,
/// as AMQP delivery tags do.
#[derive(Debug)]
pub struct Ledger {
    session: Session,
    state: Mutex<LedgerState>,
    settled_upto: watch::Sender<u64>,
}

#[derive(Debug)]
struct LedgerState {
    /// The tag of the next receipt.
    next: u64,
    /// The tag of the front of `settled`.
    first: u64,
    /// Whether each tag is settled, starting with the tag `first`.
    settled: VecDeque<bool>,
    /// The number of receipts that are neither settled nor dropped.
    outstanding: usize,
    /// A receipt was dropped unsettled. The settled prefix ends before it, so later tags need not
    /// be stored.
    abandoned: bool,
    /// The number of settled receipts, also of those after a gap.
    settled_count: u64,
    /// A receipt was dropped unsettled after the pipeline had accepted its delivery.
    is_uncertain: bool,
}

impl Ledger {
    /// Makes a ledger for a new session, and a receiver with the tag up to which everything is
    /// settled. The receiver is notified when that tag grows, and when the last outstanding receipt
    /// is gone.
    #[must_use]
    pub fn new() -> (Arc<Ledger>, watch::Receiver<u64>) {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let session = Session { number, is_open: Arc::new(AtomicBool::new(true)) };
        let (settled_upto, prefix) = watch::channel(0);
        let state = LedgerState {
            next: 1,
            first: 1,
            settled: VecDeque::new(),
            outstanding: 0,
            abandoned: false,
            settled_count: 0,
            is_uncertain: false,
        };
        (Arc::new(Ledger { session, state: Mutex::new(state), settled_upto }), prefix)
    }

    /// Makes the receipt of the session's next delivery.
    ///
    /// # Panics
    /// `tag` does not follow the previous one. Acknowledging a prefix would then be wrong.
    #[must_use]
    pub fn receipt(self: &Arc<Self>, tag: u64) -> Receipt {
        let mut state = self.lock();
        assert_eq!(tag, state.next, "delivery tags must count up without gaps");
        state.next += 1;
        state.outstanding += 1;
        if !state.abandoned {
            state.settled.push_back(false);
        }
        Receipt {
            ledger: Arc::clone(self),
            tag,
            since: Instant::now(),
            accepted: false,
            settled: false,
        }
    }

    /// The session to which the deliveries belong.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether acknowledging up to this tag covers every delivery whose outcome may be durable.
    /// Deliveries that the pipeline never accepted do not count.
    #[must_use]
    pub fn is_covered_by(&self, acknowledged: u64) -> bool {
        let state = self.lock();
        state.outstanding == 0 && !state.is_uncertain && state.settled_count == acknowledged
    }

    /// A guard that the source drops when the session ends: acknowledgements after that have no
    /// effect.
    #[must_use]
    pub fn session_guard(&self) -> SessionGuard {
        SessionGuard(Arc::clone(&self.session.is_open))
    }

    /// The number of deliveries that are not settled, or are settled after one that is not.
    #[must_use]
    pub fn open_count(&self) -> usize {
        let state = self.lock();
        (state.next - state.first) as usize
    }

    /// The number of receipts that are neither settled nor dropped. If it is 0, nothing more is
    /// settled in this session.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.lock().outstanding
    }

    /// Waits until no receipt is outstanding.
    ///
    /// It reads `outstanding` only between two waits on `prefix`: inside a wait, the channel's lock
    /// is held. Settling a receipt takes that lock while it holds the ledger's, so the opposite
    /// order could deadlock.
    pub async fn drained(&self, mut prefix: watch::Receiver<u64>) {
        while self.outstanding() > 0 && prefix.changed().await.is_ok() {}
    }

    fn resolve(&self, tag: u64, settled: bool, accepted: bool) {
        let mut state = self.lock();
        state.outstanding -= 1;
        state.abandoned |= !settled;
        state.settled_count += u64::from(settled);
        state.is_uncertain |= accepted && !settled;
        let place = (tag - state.first) as usize;
        if settled && let Some(slot) = state.settled.get_mut(place) {
            *slot = true;
        }
        let before = state.first;
        while state.settled.front() == Some(&true) {
            state.settled.pop_front();
            state.first += 1;
        }
        if state.first > before || state.outstanding == 0 {
            // Sent under the lock, so that the prefix never appears to shrink.
            self.settled_upto.send_replace(state.first - 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LedgerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_contiguous_prefix_is_settled() {
        let (ledger, prefix) = Ledger::new();
        let mut receipts: Vec<_> = (1..=4).map(|tag| Some(ledger.receipt(tag))).collect();
        let mut settle = |tag: usize| receipts[tag - 1].take().unwrap().settle();
        settle(2);
        settle(3);
        assert_eq!(*prefix.borrow(), 0);
        settle(1);
        assert_eq!(*prefix.borrow(), 3);
        assert_eq!(ledger.open_count(), 1);
    }

    #[test]
    fn waiting_for_the_last_receipt_never_blocks_settling() {
        for _ in 0..2000 {
            let (ledger, prefix) = Ledger::new();
            let receipts: Vec<_> = (1..=32).map(|tag| ledger.receipt(tag)).collect();
            let (done, finished) = std::sync::mpsc::channel();
            let done_settling = done.clone();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            std::thread::spawn(move || (runtime.block_on(ledger.drained(prefix)), done.send(())));
            std::thread::spawn(move || {
                (receipts.into_iter().for_each(Receipt::settle), done_settling.send(()))
            });
            for _ in 0..2 {
                finished
                    .recv_timeout(std::time::Duration::from_secs(20))
                    .expect("the two threads do not deadlock");
            }
        }
    }

    #[test]
    fn the_prefix_ends_before_a_dropped_receipt() {
        let (ledger, prefix) = Ledger::new();
        drop(ledger.receipt(1));
        ledger.receipt(2).settle();
        assert_eq!(*prefix.borrow(), 0);
    }

    #[test]
    fn tags_after_a_dropped_receipt_are_not_stored() {
        let (ledger, prefix) = Ledger::new();
        let (first, second) = (ledger.receipt(1), ledger.receipt(2));
        drop(second);
        for tag in 3..1000 {
            ledger.receipt(tag).settle();
        }
        assert!(ledger.lock().settled.len() <= 2);
        assert_eq!(ledger.outstanding(), 1);
        first.settle();
        assert_eq!(*prefix.borrow(), 1);
        assert_eq!(ledger.outstanding(), 0);
    }

    #[test]
    fn acknowledgements_cover_a_session_only_with_every_accepted_delivery() {
        let (ledger, _prefix) = Ledger::new();
        assert!(ledger.is_covered_by(0), "nothing was delivered");
        let mut receipts: Vec<_> = (1..=3).map(|tag| ledger.receipt(tag)).collect();
        receipts.iter_mut().take(2).for_each(Receipt::mark_accepted);
        receipts.remove(0).settle();
        assert!(!ledger.is_covered_by(1), "the second is not settled yet");
        receipts.remove(0).settle();
        drop(receipts);
        assert!(!ledger.is_covered_by(1), "the second was not acknowledged");
        assert!(ledger.is_covered_by(2), "the third was never accepted");
        let mut lost = ledger.receipt(4);
        lost.mark_accepted();
        drop(lost);
        assert!(!ledger.is_covered_by(2), "the outcome of the fourth may be durable");
    }

    #[test]
    fn a_delivery_settled_after_a_gap_is_not_covered() {
        let (ledger, prefix) = Ledger::new();
        let (first, second) = (ledger.receipt(1), ledger.receipt(2));
        drop(first);
        second.settle();
        assert_eq!(*prefix.borrow(), 0);
        assert!(!ledger.is_covered_by(0));
    }

    #[test]
    fn dropping_the_last_receipt_notifies_the_receiver() {
        let (ledger, mut prefix) = Ledger::new();
        let receipt = ledger.receipt(1);
        prefix.mark_unchanged();
        drop(receipt);
        assert!(prefix.has_changed().unwrap());
    }

    #[test]
    #[should_panic(expected = "without gaps")]
    fn a_gap_between_tags_panics() {
        let (ledger, _prefix) = Ledger::new();
        let _ = ledger.receipt(2);
    }
}
