//! A group: the decisions that a shard sends to the committer together.

use std::time::Instant;

use tokio::sync::oneshot;

use super::budget::Held;
use super::commit::EncodedJournalEntry;
use super::counts::CampaignFaults;
use super::dedup::EncodedDedupEntry;
use super::poison::ClearSuspect;
use super::quota::Taken;
use super::retries::Concluded;
use crate::records::{DedupEntryKey, FailureDelta, Partition, TimerKey};
use hailer_base::metrics;
use hailer_broker::communication::Communication;
use hailer_broker::delivery::Receipt;
use hailer_store::Changes;

/// Everything that a batch, or a part of it, leads to. It is committed as a whole.
#[derive(Debug)]
pub(super) struct Group {
    /// The shard that decided the group; `None` for a request.
    pub(super) shard: Option<usize>,
    /// The group's number in its shard, from 1; 0 for a request.
    pub(super) number: u64,
    pub(super) changes: Changes,
    pub(super) dedup: Vec<EncodedDedupEntry>,
    pub(super) journal: Vec<EncodedJournalEntry>,
    /// The communications, in the order of their decisions.
    pub(super) outbox: Vec<(Partition, Communication)>,
    pub(super) receipts: Vec<Receipt>,
    /// The due timers that the shard has looked at, also those that did not fire.
    pub(super) timers: Vec<TimerKey>,
    /// The change to the number of deferred messages.
    pub(super) deferred: i64,
    /// The changes to the totals of kept failures.
    pub(super) failures: Vec<FailureDelta>,
    /// The communications that were counted against campaigns' hourly limits.
    pub(super) hours: Vec<Taken>,
    /// The changes to the circuit breakers' counts.
    pub(super) faults: Vec<CampaignFaults>,
    /// The bytes that an erasure has freed in the journal.
    pub(super) journal_bytes_freed: u64,
    /// Receives a message once the group is durable.
    pub(super) committed: Option<oneshot::Sender<()>>,
    /// The results of retries, for their callers.
    pub(super) concluded: Vec<Concluded>,
    /// Set if the group holds a suspect that was decided alone.
    pub(super) clear_suspect: Option<ClearSuspect>,
    /// Whether the group holds events without an id, whose copies are distinguished by counting.
    pub(super) has_open_occurrences: bool,
    /// The budget that the group's events hold; `held_out` is the budget of its communications and
    /// rows. Both are released when the group is settled or dropped.
    pub(super) held_in: Held,
    pub(super) held_out: Held,
}

impl Group {
    /// An empty group of a shard.
    pub(super) fn of_shard(shard: usize) -> Group {
        Group { shard: Some(shard), ..Group::of_nobody() }
    }

    /// An empty group for a request from outside the shards.
    pub(super) fn of_nobody() -> Group {
        Group {
            shard: None,
            number: 0,
            changes: Changes::default(),
            dedup: Vec::new(),
            journal: Vec::new(),
            outbox: Vec::new(),
            receipts: Vec::new(),
            timers: Vec::new(),
            deferred: 0,
            failures: Vec::new(),
            hours: Vec::new(),
            faults: Vec::new(),
            journal_bytes_freed: 0,
            committed: None,
            concluded: Vec::new(),
            clear_suspect: None,
            has_open_occurrences: false,
            held_in: Held::default(),
            held_out: Held::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receipts.is_empty() && self.timers.is_empty() && self.concluded.is_empty()
    }

    /// The number of events and timers in the group.
    pub(super) fn events(&self) -> usize {
        self.receipts.len() + self.timers.len()
    }

    /// The approximate number of bytes that the group adds to the store.
    pub(super) fn bytes(&self) -> usize {
        let dedup: usize =
            self.dedup.iter().map(|piece| DedupEntryKey::BYTES + piece.bytes.len()).sum();
        let journal: usize = self.journal.iter().map(|piece| piece.bytes.len()).sum();
        let outbox: usize =
            self.outbox.iter().map(|(_, communication)| communication.body.len()).sum();
        self.changes.bytes() + dedup + journal + outbox
    }

    /// Settles the receipts and reports results, once the group is durable.
    pub(super) fn settle(self) {
        ::metrics::gauge!(metrics::IN_FLIGHT).decrement(self.receipts.len() as f64);
        if let Some(clear_suspect) = self.clear_suspect {
            clear_suspect.committed();
        }
        let (seconds, now) = (::metrics::histogram!(metrics::EVENT_SECONDS), Instant::now());
        for receipt in self.receipts {
            seconds.record(now - receipt.since());
            receipt.settle();
        }
        self.concluded.into_iter().for_each(Concluded::report);
        // The caller may have stopped waiting.
        let _ = self.committed.map(|committed| committed.send(()));
    }
}
