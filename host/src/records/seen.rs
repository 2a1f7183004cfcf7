//! Events that have been decided, so that a copy is not decided again (G4).
//!
//! Behind the partition a key has the period in which its row was written. So rows that are written together stand together, a page that is written
//! takes many of them, and a period goes as a whole when all of it is old enough. A period is kept with a filter, which tells whether a key may be in it: nearly
//! every event is new, and needs no look at the rows.

use serde::{Deserialize, Serialize};

use super::keys::{Partition, of};
use crate::clock::Millis;
use hailer_store::{StoreError, Table};

/// What is known of one deduplication key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRow {
    /// The engine's connected time when it was last seen. Nothing reads it: what is too old goes with its period.
    pub connected_ms: Millis,
    /// For messages without an id: the number of the next occurrence.
    #[serde(default)]
    pub next: u64,
    /// Occurrences that a broken session may bring again.
    #[serde(default)]
    pub open: Vec<OpenOccurrence>,
}

/// An occurrence of an event without an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOccurrence {
    pub number: u64,
    /// The session that delivered it last.
    pub session: u64,
    /// When it was decided.
    pub decided_ms: Millis,
}

/// Where a row stands. A key may have one in several periods, of which the last holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenKey {
    pub partition: Partition,
    pub period: u64,
    /// The deduplication key's hash.
    pub hash: [u8; 16],
}

impl SeenKey {
    /// How long a key is.
    pub const BYTES: usize = 1 + 8 + 16;

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        of(self.partition, &[&self.period.to_be_bytes(), &self.hash])
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub fn decode(key: &[u8]) -> Result<SeenKey, StoreError> {
        let parts = || {
            let (period, hash) = key.get(1..)?.split_first_chunk()?;
            Some((Partition::of_key(key)?, u64::from_be_bytes(*period), hash.try_into().ok()?))
        };
        let (partition, period, hash) =
            parts().ok_or_else(|| StoreError::unreadable(Table::Seen, "a key that is none"))?;
        Ok(SeenKey { partition, period, hash })
    }

    /// All rows that a partition has of a period: from the first key on, up to the second.
    #[must_use]
    pub fn of_period(partition: Partition, period: u64) -> (Vec<u8>, Vec<u8>) {
        let from = of(partition, &[&period.to_be_bytes()]);
        let to = [from.as_slice(), &[u8::MAX; 17]].concat();
        (from, to)
    }
}

/// The period to which rows are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenPeriod {
    /// The commit that began it, which is its number.
    pub began: u64,
    /// When that was, in connected time.
    pub began_ms: Millis,
    /// How many rows were added to it, and when the last was.
    pub rows: u64,
    pub last_ms: Millis,
}

/// A period to which nothing is added any more: a row of `Meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedPeriod {
    pub period: u64,
    /// When its last row was added, in connected time.
    pub ended_ms: Millis,
    /// Tells whether a key may be in it; empty if nothing does.
    pub filter: Vec<u8>,
}

impl ClosedPeriod {
    const PREFIX: &[u8] = b"seen ";

    #[must_use]
    pub fn key(period: u64) -> Vec<u8> {
        [Self::PREFIX, &period.to_be_bytes()].concat()
    }

    /// Those from this one on, in their order: from the first key on, up to the second.
    #[must_use]
    pub fn from(period: u64) -> (Vec<u8>, Vec<u8>) {
        (Self::key(period), [Self::PREFIX, &[u8::MAX; 9]].concat())
    }

    /// Its row, without its key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&self.ended_ms.to_be_bytes(), self.filter.as_slice()].concat()
    }

    /// Reads a row of [`Self::encode`]: the number of the period, when it ended, and its filter.
    ///
    /// # Errors
    /// When it is something else.
    pub fn read<'a>(key: &[u8], row: &'a [u8]) -> Result<(u64, Millis, &'a [u8]), StoreError> {
        let parts = || {
            let period = u64::from_be_bytes(key.strip_prefix(Self::PREFIX)?.try_into().ok()?);
            let (ended_ms, filter) = row.split_first_chunk()?;
            // No commit has that number.
            (period < u64::MAX).then_some((period, Millis::from_be_bytes(*ended_ms), filter))
        };
        parts().ok_or_else(|| StoreError::unreadable(Table::Meta, "a period that is none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_and_stands_in_its_period() {
        let partition = Partition::of_key(&[9]).unwrap();
        let key = |period, byte| SeenKey { partition, period, hash: [byte; 16] };
        for period in [0, 7, u64::MAX] {
            for byte in [0, 255] {
                let encoded = key(period, byte).encode();
                assert_eq!(SeenKey::decode(&encoded).unwrap(), key(period, byte));
                for other in [0, 6, 7, 8, u64::MAX] {
                    let (from, to) = SeenKey::of_period(partition, other);
                    assert_eq!((from..to).contains(&encoded), other == period, "{period} in {other}");
                }
            }
        }
        assert!(SeenKey::decode(&key(7, 1).encode()[1..]).is_err());
        assert!(SeenKey::decode(&[]).is_err());
        assert_eq!(key(7, 1).encode().len(), SeenKey::BYTES);
    }

    #[test]
    fn a_closed_period_comes_back() {
        for ended_ms in [Millis::MIN, 0, 1_800_000_000_000] {
            let closed = ClosedPeriod { period: 7, ended_ms, filter: vec![1, 2, 3] };
            let (key, row) = (ClosedPeriod::key(7), closed.encode());
            assert_eq!(ClosedPeriod::read(&key, &row).unwrap(), (7, ended_ms, &[1, 2, 3][..]));
            for (first, is_in) in [(0, true), (7, true), (8, false)] {
                let (from, to) = ClosedPeriod::from(first);
                assert_eq!((from..to).contains(&key), is_in, "from {first} on");
            }
            assert!(ClosedPeriod::read(&key, &row[..7]).is_err());
            assert!(ClosedPeriod::read(&key[1..], &row).is_err());
            assert!(ClosedPeriod::read(&ClosedPeriod::key(u64::MAX), &row).is_err());
        }
    }
}
