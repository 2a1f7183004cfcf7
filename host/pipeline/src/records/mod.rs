//! The rows of the store: their keys, their shapes, and how both are encoded.
//!
//! Every key begins with its partition, so that a partition can move to another host as one range.
//! A row is a MessagePack array whose members are identified by position. A later version may add
//! members at the end, with a default; any other change needs a new format of the store. A row that
//! cannot be read is an error that names the table. The engine never takes a broken row for an
//! absent one.

mod customer;
mod dedup;
mod deferred;
mod failure;
mod journal;
mod keys;
mod letter;
mod meta;
mod outbox;
mod redirect;
mod trail;

use std::cell::RefCell;

use serde::Serialize;
use serde::de::DeserializeOwned;

use hailer_store::{StoreError, Table};

pub use customer::{
    ABSORBED_BYTES, CUSTOMER_BYTES_MAX, CampaignRow, CustomerRow, PendingTimer, StateRow,
    timer_bytes,
};
pub use dedup::{ClosedDedupPeriod, DedupEntry, DedupEntryKey, DedupPeriod, OpenOccurrence};
pub use deferred::{DEFERRED_MAX, DeferredRow};
pub use failure::{BodyRow, FailureKey, FailureRow, FailureStatus, FailureTotal, Work};
pub use failure::{FailureDelta, visit_failures};
pub use journal::{Cause, Decided, JournalEntry, JournalRow, Outcome, Proposed, Released, Verdict};
pub use keys::{Key, Partition, TimerKey};
pub use letter::{LetterKey, LetterRow};
pub use meta::{
    ClockRecord, ExpiredTotals, FaultCount, HourCount, Progress, Sessions, SetBack, TrialCount,
};
pub use outbox::{OutboxItem, OutboxRow};
pub use redirect::RedirectRow;
pub use trail::{TrailKey, TrailPeriod};

/// The most bytes of buffer that a thread keeps for encoding rows.
const ROOM_BYTES_KEPT_MAX: usize = 64 << 10;

/// Encodes a row.
pub fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    thread_local! {
        static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    // A row is written a few bytes at a time. So it is encoded into a reused buffer, and copied
    // once when its length is known.
    ROOM.with_borrow_mut(|room| {
        room.clear();
        encode_to(row, room);
        let bytes = room.as_slice().to_vec();
        room.shrink_to(ROOM_BYTES_KEPT_MAX);
        bytes
    })
}

/// Encodes a row and appends its bytes to `bytes`.
pub fn encode_to<T: Serialize>(row: &T, bytes: &mut Vec<u8>) {
    // A derived `Serialize` cannot fail when it writes to memory.
    rmp_serde::encode::write(bytes, row).expect("a row is written as MessagePack");
}

/// Decodes a row.
///
/// # Errors
/// The bytes are no such row.
pub fn decode<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(bytes)
        .map_err(|error| StoreError::Unreadable { table: table.name(), reason: error.to_string() })
}

/// The number of items in a row that is a list; `None` if the row is no list.
pub fn items_in(mut row: &[u8]) -> Option<u32> {
    rmp::decode::read_array_len(&mut row).ok()
}
