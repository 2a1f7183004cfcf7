//! The trail: the index from a customer to their entries in the journal. It has a key for every
//! commit with entries of the customer, and no values.
//!
//! A key consists of the partition, the period of its commit, and then the customer and the commit.
//! So keys that are written together are stored together, and few pages are written however long
//! the trail is. A lookup of a customer reads one period after another, newest first. The number of
//! periods is the number of stored keys divided by [`KEYS_MAX`].

use serde::{Deserialize, Serialize};

use super::keys::{Partition, of};
use hailer_event::CustomerKey;
use hailer_store::{Snapshot, StoreError, Table};

/// Keys in a full period: so few that they fill only some pages of each partition. The small number
/// in tests makes every test of commits pass through several periods.
const KEYS_MAX: u64 = if cfg!(test) { 1 << 6 } else { 1 << 14 };

/// A key of the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrailKey {
    /// The commit that began its period.
    pub period: u64,
    pub customer: CustomerKey,
    pub commit: u64,
}

impl TrailKey {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let partition = Partition::of_customer(self.customer);
        of(
            partition,
            &[&self.period.to_be_bytes(), self.customer.as_bytes(), &self.commit.to_be_bytes()],
        )
    }

    /// Reads the result of [`Self::encode`].
    ///
    /// # Errors
    /// `key` is no such key.
    pub fn decode(key: &[u8]) -> Result<TrailKey, StoreError> {
        let parts = || {
            let (period, rest) = key.get(1..)?.split_first_chunk()?;
            let (customer, commit) = rest.split_first_chunk()?;
            Some((period, customer, commit.try_into().ok()?))
        };
        let (period, customer, commit) =
            parts().ok_or_else(|| unreadable("the key is not one of the trail"))?;
        Ok(TrailKey {
            period: u64::from_be_bytes(*period),
            customer: CustomerKey::from_bytes(*customer),
            commit: u64::from_be_bytes(commit),
        })
    }

    /// A customer's last commit before `commit`; `None` if there is none.
    ///
    /// # Errors
    /// The trail cannot be read.
    pub fn before(
        snapshot: &dyn Snapshot,
        customer: CustomerKey,
        commit: u64,
    ) -> Result<Option<TrailKey>, StoreError> {
        let partition = Partition::of_customer(customer);
        let mut next = period_before(snapshot, partition, commit)?;
        while let Some(period) = next {
            let from = TrailKey { period, customer, commit: 0 };
            let to = TrailKey { commit, ..from };
            if let Some((key, _)) = snapshot.last(Table::Trail, &from.encode(), &to.encode())? {
                return TrailKey::decode(&key).map(Some);
            }
            next = period_before(snapshot, partition, period)?;
        }
        Ok(None)
    }

    /// The keys of some customers of one commit.
    ///
    /// # Errors
    /// The trail cannot be read.
    pub fn of_commit(
        snapshot: &dyn Snapshot,
        partition: Partition,
        commit: u64,
        customers: impl IntoIterator<Item = CustomerKey>,
    ) -> Result<impl Iterator<Item = TrailKey>, StoreError> {
        let mut customers = customers.into_iter().peekable();
        let period = match customers.peek() {
            // A period that began before the next commit began with this commit or earlier.
            Some(_) => period_before(snapshot, partition, commit.saturating_add(1))?,
            None => None,
        };
        Ok(customers
            .filter_map(move |customer| Some(TrailKey { period: period?, customer, commit })))
    }
}

/// The last period of a partition that began before `commit`; `None` if there is none.
fn period_before(
    snapshot: &dyn Snapshot,
    partition: Partition,
    commit: u64,
) -> Result<Option<u64>, StoreError> {
    let last = snapshot.last(
        Table::Trail,
        &of(partition, &[]),
        &of(partition, &[&commit.to_be_bytes()]),
    )?;
    last.map(|(key, _)| TrailKey::decode(&key).map(|key| key.period)).transpose()
}

fn unreadable(reason: &str) -> StoreError {
    StoreError::unreadable(Table::Trail, reason)
}

/// The period of the trail to which commits add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailPeriod {
    /// The commit that began it.
    began: u64,
    /// The number of keys that were added to the period.
    keys: u64,
}

impl TrailPeriod {
    /// The period to which a commit adds: the current one, or a new one that the commit begins.
    pub fn at_commit(&mut self, commit: u64) -> u64 {
        if self.keys >= KEYS_MAX {
            *self = TrailPeriod { began: commit, keys: 0 };
        }
        self.began
    }

    /// Counts keys that were added.
    pub fn add(&mut self, keys: usize) {
        self.keys += keys as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hailer_store::{Changes, MemoryStore, Store};

    fn customer(number: u8) -> CustomerKey {
        CustomerKey::from_bytes([number; 16])
    }

    /// A store with these keys: (period, customer, commit).
    fn with(keys: &[(u64, u8, u64)]) -> Box<dyn Snapshot> {
        let store = MemoryStore::new("test");
        let mut changes = Changes::new();
        for &(period, number, commit) in keys {
            changes.put(
                Table::Trail,
                TrailKey { period, customer: customer(number), commit }.encode(),
                Vec::new(),
            );
        }
        store.commit(changes).unwrap();
        store.snapshot().unwrap()
    }

    fn way_back(snapshot: &dyn Snapshot, number: u8) -> Vec<u64> {
        let mut commits = Vec::new();
        while let Some(key) = TrailKey::before(
            snapshot,
            customer(number),
            commits.last().copied().unwrap_or(u64::MAX),
        )
        .unwrap()
        {
            commits.push(key.commit);
        }
        commits
    }

    #[test]
    fn a_key_round_trips() {
        let key = TrailKey { period: 7, customer: customer(9), commit: u64::MAX };
        assert_eq!(TrailKey::decode(&key.encode()).unwrap(), key);
        assert_eq!(Partition::of_key(&key.encode()), Some(Partition::of_customer(customer(9))));
        assert!(TrailKey::decode(&key.encode()[1..]).is_err());
        assert!(TrailKey::decode(&[]).is_err());
    }

    #[test]
    fn a_trail_is_followed_through_every_period_of_one_customer() {
        // Customers 1 and 65 share a partition.
        let snapshot = with(&[
            (0, 1, 3),
            (0, 1, 9),
            (0, 65, 4),
            (10, 65, 10),
            (10, 65, 19),
            (20, 1, 20),
            (20, 1, 21),
            (20, 65, 21),
            (20, 2, 22),
            (30, 65, 33),
        ]);
        assert_eq!(way_back(&*snapshot, 1), [21, 20, 9, 3]);
        assert_eq!(way_back(&*snapshot, 65), [33, 21, 19, 10, 4]);
        assert_eq!(way_back(&*snapshot, 2), [22]);
        assert!(way_back(&*snapshot, 3).is_empty());
    }

    #[test]
    fn the_keys_of_a_commit_are_found_in_its_period() {
        let kept = [(0, 1, 9), (10, 1, 10), (10, 1, 19), (20, 1, 20)];
        let snapshot = with(&kept);
        for (period, number, commit) in kept {
            let (partition, customer) =
                (Partition::of_customer(customer(number)), customer(number));
            let found: Vec<_> =
                TrailKey::of_commit(&*snapshot, partition, commit, [customer]).unwrap().collect();
            assert_eq!(found, [TrailKey { period, customer, commit }]);
        }
        let nobodys = Partition::of_customer(customer(2));
        assert_eq!(TrailKey::of_commit(&*snapshot, nobodys, 9, [customer(2)]).unwrap().count(), 0);
    }

    #[test]
    fn a_full_period_ends() {
        let mut period = TrailPeriod::default();
        period.add(KEYS_MAX as usize - 1);
        assert_eq!(period.at_commit(2), 0);
        period.add(7);
        assert_eq!(period.at_commit(3), 3);
        period.add(1);
        assert_eq!(period, TrailPeriod { began: 3, keys: 1 });
    }
}
