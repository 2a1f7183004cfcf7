//! What the store's rows mean: their keys, their shapes, and how both become bytes.
//!
//! Every key begins with its partition, so that a partition can move to another host as one range. A shape is a MessagePack array, told by
//! position: a later version may add members at the end, with a default; any other change needs a new format of the store.
//! A row that can't be read is an error that names it; nothing is ever taken for absent because it is broken.

mod customer;
mod failure;
mod journal;
mod keys;
mod letter;
mod meta;
mod outbox;
mod redirect;
mod seen;
mod trail;

use std::cell::RefCell;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{StoreError, Table};

pub use customer::{ABSORBED_BYTES, CUSTOMER_BYTES_MAX, CampaignRow, CustomerRow, PendingTimer, StateRow, timer_bytes};
pub use failure::{BodyRow, FailureKey, FailureRow, FailureStatus, FailureTotal, Work};
pub(crate) use failure::{FailureDelta, visit_failures};
pub use journal::{Cause, Decided, JournalEntry, JournalRow, Outcome, Proposed, Verdict};
pub use keys::{Key, Partition, TimerKey};
pub use letter::{LetterKey, LetterRow};
pub use meta::{ClockRecord, FaultCount, HourCount, Progress, Sessions, SetBack, Swept, TrialCount};
pub use outbox::{OutboxItem, OutboxRow};
pub use redirect::RedirectRow;
pub use seen::{ClosedPeriod, OpenOccurrence, SeenKey, SeenPeriod, SeenRow};
pub use trail::{Period, TrailKey};

/// The room for a row in the making that a thread keeps, in bytes.
const ROOM_BYTES_KEPT_MAX: usize = 64 << 10;

/// Puts a row into bytes.
pub(crate) fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    thread_local! {
        static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    // A row is written a few bytes at a time: it grows where there is room, and is copied once, when it is known how long it is.
    ROOM.with_borrow_mut(|room| {
        room.clear();
        encode_to(row, room);
        let bytes = room.as_slice().to_vec();
        room.shrink_to(ROOM_BYTES_KEPT_MAX);
        bytes
    })
}

/// Adds a row's bytes to others.
pub(crate) fn encode_to<T: Serialize>(row: &T, bytes: &mut Vec<u8>) {
    // Writing to memory what derives `Serialize` can't fail.
    rmp_serde::encode::write(bytes, row).expect("a row is written as MessagePack");
}

/// Reads a row.
///
/// # Errors
/// When these are not the bytes of such a row.
pub(crate) fn decode<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(bytes)
        .map_err(|error| StoreError::Unreadable { table: table.name(), reason: error.to_string() })
}

/// How many items there are in a row that is a list of them; `None` if it is none.
pub(crate) fn items_in(mut row: &[u8]) -> Option<u32> {
    rmp::decode::read_array_len(&mut row).ok()
}
