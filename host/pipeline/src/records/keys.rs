//! Keys of rows. A key begins with its partition, and numbers in it are big-endian, so that keys
//! sort by partition and then by number.

use super::customer::PendingTimer;
use super::failure::FailureKey;
use hailer_base::clock::Millis;
use hailer_event::{CustomerKey, DedupKey, EventId};

/// One of [`Partition::COUNT`] parts of the store. All rows of a customer are in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u8);

impl Partition {
    /// The number of partitions. It can never change in a store that has rows.
    pub const COUNT: u8 = 64;

    pub fn all() -> impl Iterator<Item = Partition> {
        (0..Self::COUNT).map(Partition)
    }

    #[must_use]
    pub fn of_customer(customer: CustomerKey) -> Partition {
        Partition(customer.partition_byte() % Self::COUNT)
    }

    /// The partition of an event: its customer's or, without a customer, one chosen by its dedup
    /// key.
    #[must_use]
    pub fn of_event(customer: Option<CustomerKey>, key: DedupKey) -> Partition {
        customer.map_or(Partition(key.as_bytes()[0] % Self::COUNT), Partition::of_customer)
    }

    /// The partition in the first byte of a key; `None` if the byte is no partition's.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Option<Partition> {
        key.first().filter(|byte| **byte < Self::COUNT).map(|byte| Partition(*byte))
    }

    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

/// Builds the keys of tables. Each function is named after its table.
#[derive(Debug)]
pub struct Key;

impl Key {
    #[must_use]
    pub fn customer(customer: CustomerKey) -> Vec<u8> {
        of(Partition::of_customer(customer), &[customer.as_bytes()])
    }

    /// A row of a commit, for the journal and the outbox. If one row is too small, the rest goes
    /// into rows with the next `part` numbers.
    #[must_use]
    pub fn commit(partition: Partition, commit: u64, part: u16) -> Vec<u8> {
        of(partition, &[&commit.to_be_bytes(), &part.to_be_bytes()])
    }

    /// The range of all rows of a commit: the first key, and the key at which the range ends.
    #[must_use]
    pub fn parts_of_commit(partition: Partition, commit: u64) -> (Vec<u8>, Vec<u8>) {
        let from = of(partition, &[&commit.to_be_bytes()]);
        let to = [from.as_slice(), &[u8::MAX; 3]].concat();
        (from, to)
    }

    /// The commit's number in a key of [`Self::commit`]; `None` if the key is too short.
    #[must_use]
    pub fn commit_of(key: &[u8]) -> Option<u64> {
        Some(u64::from_be_bytes(*key.get(1..)?.first_chunk()?))
    }

    /// The redirect of a customer who was merged into another.
    #[must_use]
    pub fn redirect(from: CustomerKey) -> Vec<u8> {
        Self::customer(from)
    }

    /// The body of an event that a failure needs.
    #[must_use]
    pub fn body(partition: Partition, event: EventId) -> Vec<u8> {
        of(partition, &[event.as_bytes()])
    }

    /// The range of all failures of a customer: the first key, and the key at which the range ends.
    #[must_use]
    pub fn failures_of(partition: Partition, customer: CustomerKey) -> (Vec<u8>, Vec<u8>) {
        let from = of(partition, &[customer.as_bytes()]);
        let to = [from.as_slice(), &[u8::MAX]].concat();
        (from, to)
    }

    /// The range of a customer's failures in one campaign: the first key, and the key at which the
    /// range ends.
    #[must_use]
    pub fn failures_in(
        partition: Partition,
        customer: Option<CustomerKey>,
        campaign: &str,
    ) -> (Vec<u8>, Vec<u8>) {
        let from = of(partition, &[&customer_or_none(customer), campaign.as_bytes(), &[0]]);
        let to = [from.as_slice(), &[u8::MAX; 9]].concat();
        (from, to)
    }

    /// The range of a whole partition: the first key, and the key at which the range ends.
    #[must_use]
    pub fn whole(partition: Partition) -> (Vec<u8>, Vec<u8>) {
        (vec![partition.0], vec![partition.0 + 1])
    }

    /// The range of a partition's timers that are due by `now`: the first key, and the key at which
    /// the range ends.
    #[must_use]
    pub fn timers_until(partition: Partition, now: Millis) -> (Vec<u8>, Vec<u8>) {
        (vec![partition.0], of(partition, &[&ordered(now.saturating_add(1))]))
    }
}

/// The key of a pending timer in the timers' table, which is sorted by due time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey {
    pub due: Millis,
    pub customer: CustomerKey,
    pub campaign: Box<str>,
    pub timer: Box<str>,
}

impl TimerKey {
    /// The key of a release: the moment at which deferred messages of a customer are judged again.
    /// It stands in the timers' table under a name that no campaign has.
    #[must_use]
    pub fn release(customer: CustomerKey, due: Millis) -> TimerKey {
        TimerKey { due, customer, campaign: "".into(), timer: "".into() }
    }

    /// Whether this is the key of a release.
    #[must_use]
    pub fn is_release(&self) -> bool {
        self.campaign.is_empty() && self.timer.is_empty()
    }

    /// The key of a pending timer.
    #[must_use]
    pub fn of(customer: CustomerKey, campaign: &str, pending: &PendingTimer) -> TimerKey {
        let (due, timer) = (pending.looked_at, pending.name.clone());
        TimerKey { due, customer, campaign: campaign.into(), timer }
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let partition = Partition::of_customer(self.customer);
        let parts: [&[u8]; 5] = [
            &ordered(self.due),
            self.customer.as_bytes(),
            self.campaign.as_bytes(),
            &[0],
            self.timer.as_bytes(),
        ];
        of(partition, &parts)
    }

    /// The due time in an encoded key; `None` if the key is too short.
    #[must_use]
    pub fn due_of(key: &[u8]) -> Option<Millis> {
        let due = key.get(1..)?.first_chunk::<8>()?;
        Some((u64::from_be_bytes(*due) ^ SIGN) as Millis)
    }

    /// Reads the result of [`Self::encode`]; `None` if the bytes are no such key.
    #[must_use]
    pub fn decode(key: &[u8]) -> Option<TimerKey> {
        let due = TimerKey::due_of(key)?;
        let (_, rest) = key.get(1..)?.split_first_chunk::<8>()?;
        let (customer, names) = rest.split_first_chunk::<16>()?;
        let (campaign, timer) = std::str::from_utf8(names).ok()?.split_once('\0')?;
        Some(TimerKey {
            due,
            customer: CustomerKey::from_bytes(*customer),
            campaign: campaign.into(),
            timer: timer.into(),
        })
    }
}

impl FailureKey {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let number = self.number.to_be_bytes();
        of(
            self.partition,
            &[&customer_or_none(self.customer), self.campaign.as_bytes(), &[0], &number],
        )
    }

    /// Reads the result of [`Self::encode`]; `None` if the bytes are no such key.
    #[must_use]
    pub fn decode(key: &[u8]) -> Option<FailureKey> {
        let partition = Partition::of_key(key)?;
        let (customer, rest) = key.get(1..)?.split_first_chunk::<16>()?;
        let (campaign, number) = rest.split_last_chunk::<8>()?;
        Some(FailureKey {
            partition,
            customer: (*customer != NOBODY).then(|| CustomerKey::from_bytes(*customer)),
            campaign: std::str::from_utf8(campaign.strip_suffix(&[0])?).ok()?.into(),
            number: u64::from_be_bytes(*number),
        })
    }
}

/// Means "no customer" in a key. No customer's hash has this value.
const NOBODY: [u8; 16] = [0; 16];

fn customer_or_none(customer: Option<CustomerKey>) -> [u8; 16] {
    customer.map_or(NOBODY, |customer| *customer.as_bytes())
}

const SIGN: u64 = 1 << 63;

/// Encodes a time so that the bytes sort like the times, also before 1970.
fn ordered(time: Millis) -> [u8; 8] {
    (time as u64 ^ SIGN).to_be_bytes()
}

pub(super) fn of(partition: Partition, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(partition.0);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(due: Millis, customer: u8) -> TimerKey {
        let customer = CustomerKey::from_bytes([customer; 16]);
        TimerKey { due, customer, campaign: "win-back".into(), timer: "nudge".into() }
    }

    #[test]
    fn a_timers_key_round_trips() {
        for due in [Millis::MIN, -1, 0, 1_800_000_000_000, Millis::MAX] {
            assert_eq!(TimerKey::decode(&timer(due, 7).encode()), Some(timer(due, 7)), "{due}");
        }
        assert_eq!(TimerKey::decode(&[1, 2, 3]), None);
    }

    #[test]
    fn the_range_of_timers_holds_those_that_are_due() {
        let (from, to) = Key::timers_until(Partition::of_customer(timer(0, 7).customer), 1000);
        let is_in =
            |due| (from.as_slice()..to.as_slice()).contains(&timer(due, 7).encode().as_slice());
        assert!(is_in(-5) && is_in(0) && is_in(1000));
        assert!(!is_in(1001) && !is_in(Millis::MAX));
    }

    #[test]
    fn a_failures_key_round_trips_and_lies_in_its_range() {
        let partition = Partition::of_customer(timer(0, 7).customer);
        for customer in [None, Some(timer(0, 7).customer)] {
            for number in [0, 1, u64::MAX] {
                let key = FailureKey { partition, customer, campaign: "win-back".into(), number };
                assert_eq!(FailureKey::decode(&key.encode()), Some(key.clone()));
                let (from, to) = Key::failures_in(partition, customer, "win-back");
                assert!(
                    (from.as_slice()..to.as_slice()).contains(&key.encode().as_slice()),
                    "{number}"
                );
                let (from, to) = Key::failures_in(partition, customer, "win");
                assert!(
                    !(from.as_slice()..to.as_slice()).contains(&key.encode().as_slice()),
                    "{number}"
                );
            }
        }
        assert_eq!(FailureKey::decode(&[1, 2, 3]), None);
    }

    #[test]
    fn a_commits_number_is_read_from_its_key() {
        let partition = Partition::of_customer(CustomerKey::from_bytes([9; 16]));
        assert_eq!(Key::commit_of(&Key::commit(partition, 77, 3)), Some(77));
    }
}
