//! Dedup entries: events that have been decided, so that a copy is not decided again (G4).
//!
//! A key consists of the partition, the period in which the row was written, and a hash. So rows
//! that are written together are stored together, few pages are written, and a whole period is
//! deleted once all of it has expired. Each closed period has a filter that rules out most keys:
//! nearly every event is new, and needs no read of the rows.

use serde::{Deserialize, Serialize};

use super::keys::{Partition, of};
use hailer_base::clock::Millis;
use hailer_store::{StoreError, Table};

/// The engine's knowledge about one dedup key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupEntry {
    /// The connected time at which an event with this key last came. No code reads it: entries
    /// expire with their whole period.
    pub connected_ms: Millis,
    /// The number of the next occurrence, for messages without an id.
    pub next: u64,
    /// Occurrences that the broker may deliver again because their session broke.
    pub open: Vec<OpenOccurrence>,
}

/// One occurrence of an event without an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOccurrence {
    pub number: u64,
    /// The session that last delivered it.
    pub session: u64,
    /// When it was decided, in ms since 1970.
    pub decided_ms: Millis,
}

/// The key of an entry. A dedup key may have entries in several periods; the newest is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupEntryKey {
    pub partition: Partition,
    pub period: u64,
    /// The hash of the dedup key.
    pub hash: [u8; 16],
}

impl DedupEntryKey {
    /// The length of an encoded key, in bytes.
    pub const BYTES: usize = 1 + 8 + 16;

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        of(self.partition, &[&self.period.to_be_bytes(), &self.hash])
    }

    /// Reads the result of [`Self::encode`].
    ///
    /// # Errors
    /// `key` is no such key.
    pub fn decode(key: &[u8]) -> Result<DedupEntryKey, StoreError> {
        let parts = || {
            let (period, hash) = key.get(1..)?.split_first_chunk()?;
            Some((Partition::of_key(key)?, u64::from_be_bytes(*period), hash.try_into().ok()?))
        };
        let (partition, period, hash) = parts().ok_or_else(|| {
            StoreError::unreadable(Table::Dedup, "the key is not a dedup entry's")
        })?;
        Ok(DedupEntryKey { partition, period, hash })
    }

    /// The range of all rows of a partition and period: the first key, and the key at which the
    /// range ends.
    #[must_use]
    pub fn of_period(partition: Partition, period: u64) -> (Vec<u8>, Vec<u8>) {
        let from = of(partition, &[&period.to_be_bytes()]);
        let to = [from.as_slice(), &[u8::MAX; 17]].concat();
        (from, to)
    }
}

/// The open period, to which entries are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupPeriod {
    /// The commit that began the period. It is the period's number.
    pub began: u64,
    /// The start of the period, in connected time.
    pub began_ms: Millis,
    /// The number of entries that were added.
    pub rows: u64,
    /// The connected time of the last one.
    pub last_ms: Millis,
}

/// A closed period, to which no entries are added any more. It is a row of `Meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedDedupPeriod {
    pub period: u64,
    /// When its last entry was added, in connected time.
    pub ended_ms: Millis,
    /// The filter that rules out keys; empty if the period has none.
    pub filter: Vec<u8>,
}

impl ClosedDedupPeriod {
    const PREFIX: &[u8] = b"seen ";

    #[must_use]
    pub fn key(period: u64) -> Vec<u8> {
        [Self::PREFIX, &period.to_be_bytes()].concat()
    }

    /// The range of the closed periods from `period` on, in order: the first key, and the key at
    /// which the range ends.
    #[must_use]
    pub fn from(period: u64) -> (Vec<u8>, Vec<u8>) {
        (Self::key(period), [Self::PREFIX, &[u8::MAX; 9]].concat())
    }

    /// The value of the row, without its key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&self.ended_ms.to_be_bytes(), self.filter.as_slice()].concat()
    }

    /// Reads a row: the period's number, when the period ended, and its filter.
    ///
    /// # Errors
    /// `key` and `row` are no row of a closed period.
    pub fn read<'a>(key: &[u8], row: &'a [u8]) -> Result<(u64, Millis, &'a [u8]), StoreError> {
        let parts = || {
            let period = u64::from_be_bytes(key.strip_prefix(Self::PREFIX)?.try_into().ok()?);
            let (ended_ms, filter) = row.split_first_chunk()?;
            // No commit has the number `u64::MAX`.
            (period < u64::MAX).then_some((period, Millis::from_be_bytes(*ended_ms), filter))
        };
        parts()
            .ok_or_else(|| StoreError::unreadable(Table::Meta, "the row is not a dedup period's"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_round_trips_and_lies_in_the_range_of_its_period() {
        let partition = Partition::of_key(&[9]).unwrap();
        let key = |period, byte| DedupEntryKey { partition, period, hash: [byte; 16] };
        for period in [0, 7, u64::MAX] {
            for byte in [0, 255] {
                let encoded = key(period, byte).encode();
                assert_eq!(DedupEntryKey::decode(&encoded).unwrap(), key(period, byte));
                for other in [0, 6, 7, 8, u64::MAX] {
                    let (from, to) = DedupEntryKey::of_period(partition, other);
                    assert_eq!(
                        (from..to).contains(&encoded),
                        other == period,
                        "{period} in {other}"
                    );
                }
            }
        }
        assert!(DedupEntryKey::decode(&key(7, 1).encode()[1..]).is_err());
        assert!(DedupEntryKey::decode(&[]).is_err());
        assert_eq!(key(7, 1).encode().len(), DedupEntryKey::BYTES);
    }

    #[test]
    fn a_closed_period_round_trips() {
        for ended_ms in [Millis::MIN, 0, 1_800_000_000_000] {
            let closed = ClosedDedupPeriod { period: 7, ended_ms, filter: vec![1, 2, 3] };
            let (key, row) = (ClosedDedupPeriod::key(7), closed.encode());
            assert_eq!(ClosedDedupPeriod::read(&key, &row).unwrap(), (7, ended_ms, &[1, 2, 3][..]));
            for (first, is_in) in [(0, true), (7, true), (8, false)] {
                let (from, to) = ClosedDedupPeriod::from(first);
                assert_eq!((from..to).contains(&key), is_in, "from {first} on");
            }
            assert!(ClosedDedupPeriod::read(&key, &row[..7]).is_err());
            assert!(ClosedDedupPeriod::read(&key[1..], &row).is_err());
            assert!(ClosedDedupPeriod::read(&ClosedDedupPeriod::key(u64::MAX), &row).is_err());
        }
    }
}
