//! A message on its way in, and the ledger that knows when its source may forget it.
//!
//! **A source acknowledges only the contiguous prefix of its deliveries whose outcome is durable (G1).** A receipt
//! travels with its delivery and is settled once, after everything that the delivery promised has been done. A
//! receipt dropped unsettled acknowledges nothing: the session's end gives the message back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::Millis;

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
    /// Set by sources whose place is an identity: `file:line`.
    pub position: Option<Box<str>>,
    /// The broker has delivered it before.
    pub redelivered: bool,
    pub receipt: Receipt,
}

/// The right, and the duty, to settle one delivery.
#[derive(Debug)]
pub struct Receipt {
    ledger: Arc<Ledger>,
    tag: u64,
}

impl Receipt {
    /// What this delivery promised is done.
    pub fn settle(self) {
        self.ledger.settle(self.tag);
    }
}

/// What one session of a source has delivered and not yet acknowledged. Tags count up from 1 without gaps, as AMQP
/// delivery tags do.
#[derive(Debug)]
pub struct Ledger {
    open: Mutex<Open>,
    settled_upto: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Open {
    /// The tag of the front of `settled`.
    first: u64,
    /// Whether each tag from `first` on is settled.
    settled: VecDeque<bool>,
}

impl Ledger {
    /// A ledger for a new session, and the tag up to which everything is settled.
    #[must_use]
    pub fn new() -> (Arc<Ledger>, watch::Receiver<u64>) {
        let (settled_upto, prefix) = watch::channel(0);
        let open = Mutex::new(Open { first: 1, settled: VecDeque::new() });
        (Arc::new(Ledger { open, settled_upto }), prefix)
    }

    /// The receipt of the session's next delivery.
    ///
    /// # Panics
    /// If `tag` does not follow the previous one: acknowledging by prefix would then be a lie.
    #[must_use]
    pub fn receipt(self: &Arc<Self>, tag: u64) -> Receipt {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = open.first + open.settled.len() as u64;
        assert_eq!(tag, expected, "delivery tags must count up without gaps");
        open.settled.push_back(false);
        Receipt { ledger: Arc::clone(self), tag }
    }

    /// Deliveries not yet settled, or settled behind one that is not.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).settled.len()
    }

    fn settle(&self, tag: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (tag - open.first) as usize;
        open.settled[at] = true;
        let mut advanced = false;
        while open.settled.front() == Some(&true) {
            open.settled.pop_front();
            open.first += 1;
            advanced = true;
        }
        if advanced {
            // Sent under the lock, so that the prefix never seems to go back.
            self.settled_upto.send_replace(open.first - 1);
        }
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
    fn a_dropped_receipt_holds_the_prefix_back() {
        let (ledger, prefix) = Ledger::new();
        drop(ledger.receipt(1));
        ledger.receipt(2).settle();
        assert_eq!(*prefix.borrow(), 0);
    }

    #[test]
    #[should_panic(expected = "without gaps")]
    fn a_gap_between_tags_is_a_bug() {
        let (ledger, _prefix) = Ledger::new();
        let _ = ledger.receipt(2);
    }
}
