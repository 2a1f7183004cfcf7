//! The next time at which each customer has a timer to look at. These times are hints: the
//! customers' rows are authoritative.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use foldhash::HashMap;

use hailer_base::clock::Millis;
use hailer_event::CustomerKey;

#[derive(Debug, Default)]
pub(super) struct Wakeups {
    queue: BinaryHeap<Reverse<(Millis, CustomerKey)>>,
    /// The earliest queued time for each customer; every other queue entry of the customer is
    /// stale.
    earliest: HashMap<CustomerKey, Millis>,
}

impl Wakeups {
    /// Queues a customer for `due`, unless the customer is already queued for `due` or earlier.
    pub(super) fn add(&mut self, customer: CustomerKey, due: Millis) {
        if self.earliest.get(&customer).is_none_or(|earliest| due < *earliest) {
            self.earliest.insert(customer, due);
            self.queue.push(Reverse((due, customer)));
        }
    }

    /// Takes out the next customer with a wakeup at `until` or earlier; `None` if there is none.
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
        // The dry run adds a customer again, with the timers that are pending then.
        wakeups.add(customer(1), 50);
        assert_eq!([wakeups.next(40), wakeups.next(50)], [None, Some(customer(1))]);
    }
}
