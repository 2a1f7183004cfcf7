//! Which rehearsal decides what: a customer's events always the same one, and who is merged within a chunk all in one, so that nobody has to wait for anybody.
//!
//! That works because a rehearsal knows of a customer no more than their row: who will be merged is handed over before the chunk begins.

use std::collections::HashMap;

use crate::event::CustomerKey;
use crate::rehearsal::{Arrived, Redirects, Rehearsal};
use crate::store::StoreError;

/// Where customers are that have been handed over.
#[derive(Debug, Default)]
pub(super) struct Routes {
    moved: HashMap<CustomerKey, usize>,
}

/// Customers who have to be together.
#[derive(Default)]
struct Together {
    places: HashMap<CustomerKey, usize>,
    customers: Vec<CustomerKey>,
    /// The place of one who stands for all of a group, or one nearer to it.
    parents: Vec<usize>,
}

impl Routes {
    /// Spreads events over the rehearsals, each a list in their order. Hands customers over where that is needed.
    pub(super) fn spread(
        &mut self,
        events: Vec<Arrived>,
        rehearsals: &mut [Rehearsal],
        redirects: &Redirects,
    ) -> Result<Vec<Vec<Arrived>>, StoreError> {
        let shards = rehearsals.len();
        let mut spread: Vec<Vec<Arrived>> = Vec::new();
        spread.resize_with(shards, || Vec::with_capacity(events.len() / shards + 1));
        if shards == 1 {
            return Ok(vec![events]);
        }
        let mut together = Together::default();
        for (from, to) in events.iter().filter_map(Arrived::merge) {
            // Whoever is named may have become another before.
            together.join(from, to);
            together.join(from, redirects.resolve(from)?);
            together.join(to, redirects.resolve(to)?);
        }
        let mut home_of: HashMap<CustomerKey, usize> = HashMap::new();
        for place in 0..together.customers.len() {
            let customer = together.customers[place];
            let root = together.root(place);
            let home = self.home(together.customers[root], shards);
            let before = self.home(customer, shards);
            if before != home {
                if let Some(handover) = rehearsals[before].hand_over(customer) {
                    rehearsals[home].take_in(handover);
                }
                self.moved.insert(customer, home);
            }
            home_of.insert(customer, home);
        }
        for arrived in events {
            let home = match arrived.customer() {
                // Nothing is kept about nobody.
                None => (arrived.number % shards as u64) as usize,
                Some(customer) => match home_of.get(&customer) {
                    Some(home) => *home,
                    None => {
                        let now = redirects.resolve(customer)?;
                        home_of.get(&now).copied().unwrap_or_else(|| self.home(now, shards))
                    }
                },
            };
            spread[home].push(arrived);
        }
        Ok(spread)
    }

    fn home(&self, customer: CustomerKey, shards: usize) -> usize {
        self.moved.get(&customer).copied().unwrap_or_else(|| customer.shard(shards))
    }
}

impl Together {
    fn join(&mut self, one: CustomerKey, other: CustomerKey) {
        let (one, other) = (self.place(one), self.place(other));
        let (one, other) = (self.root(one), self.root(other));
        self.parents[other] = one;
    }

    fn place(&mut self, customer: CustomerKey) -> usize {
        *self.places.entry(customer).or_insert_with(|| {
            self.customers.push(customer);
            self.parents.push(self.parents.len());
            self.parents.len() - 1
        })
    }

    fn root(&mut self, mut place: usize) -> usize {
        while self.parents[place] != place {
            self.parents[place] = self.parents[self.parents[place]];
            place = self.parents[place];
        }
        place
    }
}
