//! Dead letters that are durable and not yet known to be published.
//!
//! Their keys are in the outbox's table, behind those of all partitions, so a scan of the outbox by
//! partition does not see them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Partition;
use hailer_base::clock::Millis;
use hailer_broker::communication::{DeadLetter, Origin};

/// The first byte of every key.
const FIRST_BYTE: u8 = Partition::COUNT;

/// A dead letter, as it is published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LetterRow {
    pub reason: String,
    pub message_id: Option<Box<str>>,
    pub routing_key: Option<Box<str>>,
    pub position: Option<Box<str>>,
    pub received_ms: Millis,
    pub body: Bytes,
    pub origin: Option<Box<Origin>>,
}

/// The key of a letter. Letters are numbered in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterKey(pub u64);

impl LetterKey {
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        [&[FIRST_BYTE][..], &self.0.to_be_bytes()].concat()
    }

    /// Reads the result of [`Self::encode`]; `None` if the bytes are no such key.
    #[must_use]
    pub fn decode(key: &[u8]) -> Option<LetterKey> {
        let (first, number) = key.split_first()?;
        (*first == FIRST_BYTE).then_some(LetterKey(u64::from_be_bytes(number.try_into().ok()?)))
    }

    /// The range of all letters: the first key, and the key at which the range ends.
    #[must_use]
    pub fn all() -> (Vec<u8>, Vec<u8>) {
        (vec![FIRST_BYTE], vec![FIRST_BYTE + 1])
    }
}

impl From<DeadLetter> for LetterRow {
    fn from(letter: DeadLetter) -> LetterRow {
        let DeadLetter { body, reason, message_id, routing_key, position, received_ms, origin } =
            letter;
        LetterRow { reason, message_id, routing_key, position, received_ms, body, origin }
    }
}

impl From<LetterRow> for DeadLetter {
    fn from(row: LetterRow) -> DeadLetter {
        let LetterRow { reason, message_id, routing_key, position, received_ms, body, origin } =
            row;
        DeadLetter { body, reason, message_id, routing_key, position, received_ms, origin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letters_key_round_trips_and_sorts_behind_every_partition() {
        let (from, to) = LetterKey::all();
        for number in [0, 1, u64::MAX] {
            let key = LetterKey(number).encode();
            assert_eq!(LetterKey::decode(&key), Some(LetterKey(number)));
            assert!((from.as_slice()..to.as_slice()).contains(&key.as_slice()));
            assert_eq!(Partition::of_key(&key), None);
        }
        assert_eq!(LetterKey::decode(&[1; 9]), None);
        assert_eq!(LetterKey::decode(&[FIRST_BYTE]), None);
    }
}
