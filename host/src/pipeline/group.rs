//! What a shard has decided together, on its way to the committer.

use std::time::Instant;

use tokio::sync::oneshot;

use super::budget::Held;
use super::commit::JournalPiece;
use super::counts::CampaignFaults;
use super::quota::Taken;
use super::retries::Concluded;
use super::seen::SeenPiece;
use super::suspects::Acquittal;
use crate::communication::Communication;
use crate::delivery::Receipt;
use crate::metrics;
use crate::records::{FailureDelta, Partition, SeenKey, TimerKey};
use crate::store::Changes;

/// Everything that a batch led to: it is committed as a whole.
#[derive(Debug)]
pub(super) struct Group {
    /// `None` if no shard has: a request.
    pub(super) shard: Option<usize>,
    /// Counts up from 1 in each shard.
    pub(super) number: u64,
    pub(super) changes: Changes,
    pub(super) seen: Vec<SeenPiece>,
    pub(super) journal: Vec<JournalPiece>,
    /// In the order in which they were decided.
    pub(super) outbox: Vec<(Partition, Communication)>,
    pub(super) receipts: Vec<Receipt>,
    /// Timers that were looked at.
    pub(super) timers: Vec<TimerKey>,
    /// What it changes of what is kept for campaigns that failed.
    pub(super) failures: Vec<FailureDelta>,
    /// Places in campaigns' hours that its communications have taken.
    pub(super) hours: Vec<Taken>,
    /// What the circuit breakers have counted.
    pub(super) faults: Vec<CampaignFaults>,
    /// What was erased of the journal, in bytes.
    pub(super) journal_bytes_freed: u64,
    /// To be told when it is durable.
    pub(super) committed: Option<oneshot::Sender<()>>,
    /// Failures that were tried again.
    pub(super) concluded: Vec<Concluded>,
    /// It holds a suspect, decided alone.
    pub(super) acquittal: Option<Acquittal>,
    /// It holds events without an id, whose copies are told apart by counting.
    pub(super) has_open_occurrences: bool,
    /// What its events hold of one budget, and its communications of another; given back when the group is settled or dropped.
    pub(super) held_in: Held,
    pub(super) held_out: Held,
}

impl Group {
    /// With nothing in it yet.
    pub(super) fn of_shard(shard: usize) -> Group {
        Group { shard: Some(shard), ..Group::of_nobody() }
    }

    /// What was asked for from outside.
    pub(super) fn of_nobody() -> Group {
        Group {
            shard: None,
            number: 0,
            changes: Changes::default(),
            seen: Vec::new(),
            journal: Vec::new(),
            outbox: Vec::new(),
            receipts: Vec::new(),
            timers: Vec::new(),
            failures: Vec::new(),
            hours: Vec::new(),
            faults: Vec::new(),
            journal_bytes_freed: 0,
            committed: None,
            concluded: Vec::new(),
            acquittal: None,
            has_open_occurrences: false,
            held_in: Held::default(),
            held_out: Held::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receipts.is_empty() && self.timers.is_empty() && self.concluded.is_empty()
    }

    /// How many events and timers it holds.
    pub(super) fn events(&self) -> usize {
        self.receipts.len() + self.timers.len()
    }

    /// About what it adds to the store, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let seen: usize = self.seen.iter().map(|piece| SeenKey::BYTES + piece.bytes.len()).sum();
        let journal: usize = self.journal.iter().map(|piece| piece.bytes.len()).sum();
        let outbox: usize = self.outbox.iter().map(|(_, communication)| communication.body.len()).sum();
        self.changes.bytes() + seen + journal + outbox
    }

    /// Everything that these events and timers led to is durable.
    pub(super) fn settle(self) {
        ::metrics::gauge!(metrics::IN_FLIGHT).decrement(self.receipts.len() as f64);
        if let Some(acquittal) = self.acquittal {
            acquittal.committed();
        }
        let (seconds, now) = (::metrics::histogram!(metrics::EVENT_SECONDS), Instant::now());
        for receipt in self.receipts {
            seconds.record(now - receipt.since());
            receipt.settle();
        }
        self.concluded.into_iter().for_each(Concluded::tell);
        // Whoever asked may have gone.
        let _ = self.committed.map(|committed| committed.send(()));
    }
}
