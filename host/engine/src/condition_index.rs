//! An index of the conditions of many handlers. For an event it names the handlers whose conditions
//! may be true, without a look at the others.
//!
//! A condition is indexed by tests of single fields, of which at least one holds whenever the
//! condition is true ([`Guard::tests`]): texts and truth values by their value, numbers in sorted
//! lists. The index only excludes handlers. **Whether a condition is true is always decided by its
//! guard.** So the index may find too many handlers, and never too few.

use std::cmp::Ordering;

use foldhash::{HashMap, HashMapExt};
use hailer_abi::condition::Comparison;
use hailer_abi::guard::{Test, by_value};
use hailer_abi::value::{Value, digits, text};
use hailer_abi::wire::Digits;

use hailer_event::{Projection, Slot};

/// With fewer indexed conditions, evaluating each is as fast.
const INDEXED_MIN: usize = 8;

/// The index of the handlers that take one event code. Handlers are named by their places among
/// them.
#[derive(Debug, Default)]
pub(super) struct ConditionIndex {
    /// The handlers that every event concerns, as a bit set.
    always: Vec<u64>,
    slots: Vec<SlotIndex>,
    /// The other handlers, in ascending order.
    indexed: Vec<u32>,
}

/// The tests of one field.
#[derive(Debug)]
struct SlotIndex {
    slot: Slot,
    texts: HashMap<Box<[u8]>, Vec<u32>>,
    /// The handlers that ask for false, and those that ask for true.
    bools: [Vec<u32>; 2],
    /// Sorted by number, as are the next two.
    equal: Vec<(Digits, u32)>,
    /// Numbers from which on a test may hold.
    at_least: Vec<(Digits, u32)>,
    /// Numbers up to which a test may hold.
    at_most: Vec<(Digits, u32)>,
}

/// The handlers whose conditions may be true for an event. It is reused for each event.
#[derive(Debug, Default)]
pub struct Candidates(Vec<u64>);

impl ConditionIndex {
    /// Builds the index of handlers. For each, `handlers` has the tests of its condition with the
    /// slots of their fields, or `None` if every event concerns it.
    pub(super) fn new(handlers: Vec<Option<Vec<(Slot, Test)>>>) -> ConditionIndex {
        let mut index = ConditionIndex::default();
        let is_worth_it = handlers.iter().flatten().count() >= INDEXED_MIN;
        index.always.resize(handlers.len().div_ceil(u64::BITS as usize), 0);
        for (place, tests) in (0_u32..).zip(handlers) {
            let Some(tests) = tests.filter(|_| is_worth_it) else {
                set(&mut index.always, place);
                continue;
            };
            index.indexed.push(place);
            for (slot, test) in tests {
                index.slot(slot).add(test, place);
            }
        }
        for slot in &mut index.slots {
            for list in [&mut slot.equal, &mut slot.at_least, &mut slot.at_most] {
                list.sort_by(|(one, _), (other, _)| by_value(*one, *other));
            }
        }
        index
    }

    fn slot(&mut self, slot: Slot) -> &mut SlotIndex {
        let place = self.slots.iter().position(|one| one.slot == slot);
        let place = place.unwrap_or_else(|| {
            self.slots.push(SlotIndex::new(slot));
            self.slots.len() - 1
        });
        &mut self.slots[place]
    }

    /// The places of the handlers that are not concerned by every event.
    pub(super) fn indexed(&self) -> &[u32] {
        &self.indexed
    }

    pub(super) fn is_indexed(&self, place: usize) -> bool {
        let (word, bit) = (place / u64::BITS as usize, place % u64::BITS as usize);
        self.always.get(word).is_some_and(|bits| bits >> bit & 1 == 0)
    }

    /// Finds the handlers whose conditions may be true for these fields.
    pub(super) fn find(&self, projection: &Projection, candidates: &mut Candidates) {
        let Candidates(found) = candidates;
        found.clear();
        found.extend_from_slice(&self.always);
        for slot in &self.slots {
            if let Some(value) = projection.get(slot.slot) {
                slot.find(value, found);
            }
        }
    }
}

impl SlotIndex {
    fn new(slot: Slot) -> SlotIndex {
        SlotIndex {
            slot,
            texts: HashMap::new(),
            bools: [Vec::new(), Vec::new()],
            equal: Vec::new(),
            at_least: Vec::new(),
            at_most: Vec::new(),
        }
    }

    fn add(&mut self, test: Test, place: u32) {
        match test {
            Test::Text { is, .. } => self.texts.entry(is).or_default().push(place),
            Test::Bool { is, .. } => self.bools[usize::from(is)].push(place),
            Test::Number { comparison, number, .. } => {
                let list = match comparison {
                    Comparison::Eq => &mut self.equal,
                    Comparison::Ge | Comparison::Gt => &mut self.at_least,
                    Comparison::Le | Comparison::Lt => &mut self.at_most,
                    Comparison::Ne => unreachable!("no test compares with `!=`"),
                };
                list.push((number, place));
            }
        }
    }

    /// Adds the handlers with a test that holds for the MessagePack of a value.
    fn find(&self, value: &[u8], found: &mut [u64]) {
        if let Some(text) = text(value) {
            self.texts.get(text).into_iter().flatten().for_each(|place| set(found, *place));
        } else if let Some(value) = digits(value) {
            let first = |list: &[(Digits, u32)], is_before: fn(Ordering) -> bool| {
                list.partition_point(|(number, _)| is_before(by_value(*number, value)))
            };
            let (equal, at_least, at_most) = (&self.equal, &self.at_least, &self.at_most);
            let equal = &equal[first(equal, Ordering::is_lt)..first(equal, Ordering::is_le)];
            let at_least = &at_least[..first(at_least, Ordering::is_le)];
            let at_most = &at_most[first(at_most, Ordering::is_lt)..];
            for (_, place) in [equal, at_least, at_most].into_iter().flatten() {
                set(found, *place);
            }
        } else if let Some(Value::Bool(is)) = Value::read(value) {
            self.bools[usize::from(is)].iter().for_each(|place| set(found, *place));
        }
    }
}

impl Candidates {
    /// The places of the handlers, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            let mut left = *bits;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.checked_sub(1)?;
                Some(word * u64::BITS as usize + bit as usize)
            })
        })
    }
}

fn set(bits: &mut [u64], place: u32) {
    bits[(place / u64::BITS) as usize] |= 1 << (place % u64::BITS);
}

#[cfg(test)]
mod tests;
