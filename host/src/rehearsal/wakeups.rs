//! When each customer has a timer to be looked at next. A hint: what counts is in their rows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use foldhash::HashMap;

use crate::clock::Millis;
use crate::event::CustomerKey;

#[derive(Debug, Default)]
pub(super) struct Wakeups {
    queue: BinaryHeap<Reverse<(Millis, CustomerKey)>>,
    /// The earliest moment for which each customer stands in the queue; whatever else stands there of them is stale.
    earliest: HashMap<CustomerKey, Millis>,
}

impl Wakeups {
    /// A customer has to be looked at then, or is already to be looked at before.
    pub(super) fn add(&mut self, customer: CustomerKey, due: Millis) {
        if self.earliest.get(&customer).is_none_or(|earliest| due < *earliest) {
            self.earliest.insert(customer, due);
            self.queue.push(Reverse((due, customer)));
        }
    }

    /// Takes out the next customer who has to be looked at until then.
    pub(super) fn next(&mut self, until: Millis) -> Option<CustomerKey> {
        while self.queue.peek().is_some_and(|Reverse((due, _))| *due <= until) {
            let Reverse((due, customer)) = self.queue.pop()?;
            if self.earliest.get(&customer) == Some(&due) {
                self.earliest.remove(&customer);
                return Some(customer);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_looked_at_once_for_each_time_and_not_for_later_ones_that_are_stale() {
        let customer = |number| CustomerKey::from_bytes([number; 16]);
        let mut wakeups = Wakeups::default();
        for (number, due) in [(1, 30), (2, 20), (1, 10), (1, 50)] {
            wakeups.add(customer(number), due);
        }
        assert_eq!(wakeups.next(9), None);
        assert_eq!(
            [wakeups.next(25), wakeups.next(25), wakeups.next(25)],
            [Some(customer(1)), Some(customer(2)), None]
        );
        // Whoever is looked at is added again with what is pending then.
        wakeups.add(customer(1), 50);
        assert_eq!([wakeups.next(40), wakeups.next(50)], [None, Some(customer(1))]);
    }
}
