//! A message on its way in, and the ledger that knows when its source may forget it.
//!
//! **A source acknowledges only the contiguous prefix of its deliveries whose outcome is durable (G1).** A receipt
//! travels with its delivery and is settled once, after everything that the delivery promised has been done. A
//! receipt dropped unsettled acknowledges nothing, nor does any behind it: the session's end gives the messages back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::Millis;
use crate::communication::Origin;

/// One message from a source.
#[derive(Debug)]
pub struct Delivery {
    pub body: Bytes,
    /// AMQP `message_id`, or `messageId` of a line's envelope.
    pub message_id: Option<Box<str>>,
    /// Kept for dead letters; never dispatched on.
    pub routing_key: Option<Box<str>>,
    /// When the sender says that it sent the message.
    pub timestamp_ms: Option<Millis>,
    /// Kept for dead letters as well.
    pub origin: Option<Box<Origin>>,
    /// Set by sources whose place is an identity: `file:line`.
    pub position: Option<Box<str>>,
    /// The broker has delivered it before.
    pub redelivered: bool,
    /// Something around the body had to be forgiven: the event counts as a repaired one.
    pub was_repaired: bool,
    /// Why the source knows already that this can't be read as an event (a line that is too long, a broken envelope).
    /// It goes on with the others all the same, so that it is buried in its turn and acknowledged like them.
    pub defect: Option<Box<str>>,
    pub receipt: Receipt,
}

impl Delivery {
    /// The line that it is of an input whose places name the run: of standard input, `-@RUN:17`.
    #[must_use]
    pub fn line_of_run(&self) -> Option<&str> {
        self.position.as_deref()?.strip_prefix("-@")?.split_once(':').map(|(_, line)| line)
    }
}

/// The right, and the duty, to settle one delivery.
#[derive(Debug)]
pub struct Receipt {
    ledger: Arc<Ledger>,
    tag: u64,
    since: Instant,
    taken: bool,
    settled: bool,
}

/// A source's session, as long as somebody remembers it.
#[derive(Clone, Debug)]
pub struct Session {
    number: u64,
    is_open: Arc<AtomicBool>,
}

/// Held by a source while its session lasts.
#[derive(Debug)]
pub struct OpenSession(Arc<AtomicBool>);

impl Session {
    /// A number of its own for every session of this process.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether acknowledgements still reach whoever delivered, as far as the source knows.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Receipt {
    /// The session that delivered it.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.ledger.session
    }

    /// When it was delivered.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// The delivery is in the pipeline: even if the receipt is dropped, its outcome may be durable.
    pub fn take(&mut self) {
        self.taken = true;
    }

    /// What this delivery promised is done.
    pub fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.ledger.resolve(self.tag, self.settled, self.taken);
    }
}

/// What one session of a source has delivered and not yet acknowledged. Tags count up from 1 without gaps, as AMQP
/// delivery tags do.
#[derive(Debug)]
pub struct Ledger {
    session: Session,
    open: Mutex<Open>,
    settled_upto: watch::Sender<u64>,
}

#[derive(Debug)]
struct Open {
    /// The tag of the next receipt.
    next: u64,
    /// The tag of the front of `settled`.
    first: u64,
    /// Whether each tag from `first` on is settled.
    settled: VecDeque<bool>,
    /// Receipts that have been neither settled nor dropped.
    outstanding: usize,
    /// A receipt was dropped unsettled, so the prefix ends before it and later tags needn't be kept.
    abandoned: bool,
    /// How many receipts were settled, within the prefix or behind it.
    settled_count: u64,
    /// A receipt was dropped unsettled after its delivery was taken.
    is_uncertain: bool,
}

impl Ledger {
    /// A ledger for a new session, and the tag up to which everything is settled. The receiver is told when that
    /// tag moves, and when no receipt is outstanding any more.
    #[must_use]
    pub fn new() -> (Arc<Ledger>, watch::Receiver<u64>) {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let session = Session { number, is_open: Arc::new(AtomicBool::new(true)) };
        let (settled_upto, prefix) = watch::channel(0);
        let open = Open {
            next: 1,
            first: 1,
            settled: VecDeque::new(),
            outstanding: 0,
            abandoned: false,
            settled_count: 0,
            is_uncertain: false,
        };
        (Arc::new(Ledger { session, open: Mutex::new(open), settled_upto }), prefix)
    }

    /// The receipt of the session's next delivery.
    ///
    /// # Panics
    /// If `tag` does not follow the previous one: acknowledging by prefix would then be a lie.
    #[must_use]
    pub fn receipt(self: &Arc<Self>, tag: u64) -> Receipt {
        let mut open = self.lock();
        assert_eq!(tag, open.next, "delivery tags must count up without gaps");
        open.next += 1;
        open.outstanding += 1;
        if !open.abandoned {
            open.settled.push_back(false);
        }
        Receipt { ledger: Arc::clone(self), tag, since: Instant::now(), taken: false, settled: false }
    }

    /// The session that these deliveries are of.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether acknowledging up to this tag covers every delivery whose outcome may be durable. Deliveries that were never taken don't count.
    #[must_use]
    pub fn is_covered_by(&self, acknowledged: u64) -> bool {
        let open = self.lock();
        open.outstanding == 0 && !open.is_uncertain && open.settled_count == acknowledged
    }

    /// To be dropped when the session ends: an acknowledgement that is sent later reaches nobody.
    #[must_use]
    pub fn open_session(&self) -> OpenSession {
        OpenSession(Arc::clone(&self.session.is_open))
    }

    /// Deliveries not yet settled, or settled behind one that is not.
    #[must_use]
    pub fn open_count(&self) -> usize {
        let open = self.lock();
        (open.next - open.first) as usize
    }

    /// Receipts that somebody still holds. At zero nothing more will be settled in this session.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.lock().outstanding
    }

    /// Waits until nobody holds a receipt any more. It asks between the looks at `prefix` and not in one, as a look holds a lock that whoever settles takes
    /// under the ledger's.
    pub async fn drained(&self, mut prefix: watch::Receiver<u64>) {
        while self.outstanding() > 0 && prefix.changed().await.is_ok() {}
    }

    fn resolve(&self, tag: u64, settled: bool, taken: bool) {
        let mut open = self.lock();
        open.outstanding -= 1;
        open.abandoned |= !settled;
        open.settled_count += u64::from(settled);
        open.is_uncertain |= taken && !settled;
        let place = (tag - open.first) as usize;
        if settled && let Some(slot) = open.settled.get_mut(place) {
            *slot = true;
        }
        let before = open.first;
        while open.settled.front() == Some(&true) {
            open.settled.pop_front();
            open.first += 1;
        }
        if open.first > before || open.outstanding == 0 {
            // Sent under the lock, so that the prefix never seems to go back.
            self.settled_upto.send_replace(open.first - 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn whoever_waits_for_the_last_receipt_holds_up_nobody_who_settles() {
        for _ in 0..2000 {
            let (ledger, prefix) = Ledger::new();
            let receipts: Vec<_> = (1..=32).map(|tag| ledger.receipt(tag)).collect();
            let (told, ends) = std::sync::mpsc::channel();
            let tells = told.clone();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            std::thread::spawn(move || (runtime.block_on(ledger.drained(prefix)), told.send(())));
            std::thread::spawn(move || (receipts.into_iter().for_each(Receipt::settle), tells.send(())));
            for _ in 0..2 {
                ends.recv_timeout(std::time::Duration::from_secs(20)).expect("neither waits for the other");
            }
        }
    }

    #[test]
    fn a_dropped_receipt_holds_the_prefix_back() {
        let (ledger, prefix) = Ledger::new();
        drop(ledger.receipt(1));
        ledger.receipt(2).settle();
        assert_eq!(*prefix.borrow(), 0);
    }

    #[test]
    fn the_prefix_ends_before_a_dropped_receipt_and_nothing_behind_it_is_kept() {
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
    fn acknowledgements_cover_a_session_only_if_nothing_that_was_taken_is_left() {
        let (ledger, _prefix) = Ledger::new();
        assert!(ledger.is_covered_by(0), "nothing was delivered");
        let mut receipts: Vec<_> = (1..=3).map(|tag| ledger.receipt(tag)).collect();
        receipts.iter_mut().take(2).for_each(Receipt::take);
        receipts.remove(0).settle();
        assert!(!ledger.is_covered_by(1), "the second is on its way");
        receipts.remove(0).settle();
        drop(receipts);
        assert!(!ledger.is_covered_by(1), "the second was not acknowledged");
        assert!(ledger.is_covered_by(2), "the third was never taken");
        let mut lost = ledger.receipt(4);
        lost.take();
        drop(lost);
        assert!(!ledger.is_covered_by(2), "the outcome of the fourth may be durable");
    }

    #[test]
    fn what_is_settled_behind_a_gap_is_not_covered() {
        let (ledger, prefix) = Ledger::new();
        let (first, second) = (ledger.receipt(1), ledger.receipt(2));
        drop(first);
        second.settle();
        assert_eq!(*prefix.borrow(), 0);
        assert!(!ledger.is_covered_by(0));
    }

    #[test]
    fn the_last_receipt_to_go_is_told() {
        let (ledger, mut prefix) = Ledger::new();
        let receipt = ledger.receipt(1);
        prefix.mark_unchanged();
        drop(receipt);
        assert!(prefix.has_changed().unwrap());
    }

    #[test]
    #[should_panic(expected = "without gaps")]
    fn a_gap_between_tags_is_a_bug() {
        let (ledger, _prefix) = Ledger::new();
        let _ = ledger.receipt(2);
    }
}
