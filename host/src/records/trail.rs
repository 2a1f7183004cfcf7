//! Where a customer's entries in the journal are: a key for every commit that has some, without a value.
//!
//! Behind the partition a key has the period in which its commit was made, and then the customer. So keys that are written together stand
//! together, and a page that is written takes many of them, however long the trail has become. Whoever looks for a customer looks into one period
//! after another, the last first: into as many as [`KEYS_MAX`] goes into the keys that are kept.

use serde::{Deserialize, Serialize};

use super::keys::{Partition, of};
use crate::event::CustomerKey;
use hailer_store::{Snapshot, StoreError, Table};

/// With so many keys a period is over: few enough for some pages of each partition. Every test of what is committed goes through some periods.
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
        of(partition, &[&self.period.to_be_bytes(), self.customer.as_bytes(), &self.commit.to_be_bytes()])
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub fn decode(key: &[u8]) -> Result<TrailKey, StoreError> {
        let parts = || {
            let (period, rest) = key.get(1..)?.split_first_chunk()?;
            let (customer, commit) = rest.split_first_chunk()?;
            Some((period, customer, commit.try_into().ok()?))
        };
        let (period, customer, commit) = parts().ok_or_else(|| unreadable("a key that is none"))?;
        Ok(TrailKey {
            period: u64::from_be_bytes(*period),
            customer: CustomerKey::from_bytes(*customer),
            commit: u64::from_be_bytes(commit),
        })
    }

    /// A customer's last commit before this one.
    ///
    /// # Errors
    /// When the trail can't be read.
    pub fn before(snapshot: &dyn Snapshot, customer: CustomerKey, commit: u64) -> Result<Option<TrailKey>, StoreError> {
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

    /// The keys of some customers of a commit.
    ///
    /// # Errors
    /// When the trail can't be read.
    pub fn of_commit(
        snapshot: &dyn Snapshot,
        partition: Partition,
        commit: u64,
        customers: impl IntoIterator<Item = CustomerKey>,
    ) -> Result<impl Iterator<Item = TrailKey>, StoreError> {
        let mut customers = customers.into_iter().peekable();
        let period = match customers.peek() {
            // That it began before the next is that it began with this one or before.
            Some(_) => period_before(snapshot, partition, commit.saturating_add(1))?,
            None => None,
        };
        Ok(customers.filter_map(move |customer| Some(TrailKey { period: period?, customer, commit })))
    }
}

/// The last period of a partition that began before a commit.
fn period_before(snapshot: &dyn Snapshot, partition: Partition, commit: u64) -> Result<Option<u64>, StoreError> {
    let last = snapshot.last(Table::Trail, &of(partition, &[]), &of(partition, &[&commit.to_be_bytes()]))?;
    last.map(|(key, _)| TrailKey::decode(&key).map(|key| key.period)).transpose()
}

fn unreadable(reason: &str) -> StoreError {
    StoreError::unreadable(Table::Trail, reason)
}

/// The period of the trail to which commits add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// The commit that began it.
    began: u64,
    /// How many keys were added to it.
    keys: u64,
}

impl Period {
    /// The period to which everything belongs that was kept without one: nothing is added to it.
    pub(super) fn of_before() -> Period {
        Period { began: 0, keys: KEYS_MAX }
    }

    /// The period to which a commit adds: this one, or the next, which the commit begins.
    pub fn at_commit(&mut self, commit: u64) -> u64 {
        if self.keys >= KEYS_MAX {
            *self = Period { began: commit, keys: 0 };
        }
        self.began
    }

    /// So many keys were added to it.
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

    /// A store with these keys: period, customer, commit.
    fn with(keys: &[(u64, u8, u64)]) -> Box<dyn Snapshot> {
        let store = MemoryStore::new("test");
        let mut changes = Changes::new();
        for &(period, number, commit) in keys {
            changes.put(Table::Trail, TrailKey { period, customer: customer(number), commit }.encode(), Vec::new());
        }
        store.commit(changes).unwrap();
        store.snapshot().unwrap()
    }

    fn way_back(snapshot: &dyn Snapshot, number: u8) -> Vec<u64> {
        let mut commits = Vec::new();
        while let Some(key) =
            TrailKey::before(snapshot, customer(number), commits.last().copied().unwrap_or(u64::MAX)).unwrap()
        {
            commits.push(key.commit);
        }
        commits
    }

    #[test]
    fn a_key_comes_back() {
        let key = TrailKey { period: 7, customer: customer(9), commit: u64::MAX };
        assert_eq!(TrailKey::decode(&key.encode()).unwrap(), key);
        assert_eq!(Partition::of_key(&key.encode()), Some(Partition::of_customer(customer(9))));
        assert!(TrailKey::decode(&key.encode()[1..]).is_err());
        assert!(TrailKey::decode(&[]).is_err());
    }

    #[test]
    fn the_way_back_goes_through_every_period_and_meets_nobody_else() {
        // 1 and 65 share a partition.
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
            let (partition, customer) = (Partition::of_customer(customer(number)), customer(number));
            let found: Vec<_> = TrailKey::of_commit(&*snapshot, partition, commit, [customer]).unwrap().collect();
            assert_eq!(found, [TrailKey { period, customer, commit }]);
        }
        let nobodys = Partition::of_customer(customer(2));
        assert_eq!(TrailKey::of_commit(&*snapshot, nobodys, 9, [customer(2)]).unwrap().count(), 0);
    }

    #[test]
    fn a_period_is_over_when_it_has_enough() {
        let mut period = Period::default();
        period.add(KEYS_MAX as usize - 1);
        assert_eq!(period.at_commit(2), 0);
        period.add(7);
        assert_eq!(period.at_commit(3), 3);
        period.add(1);
        assert_eq!(period, Period { began: 3, keys: 1 });
        assert_eq!(Period::of_before().at_commit(5), 5);
    }
}
