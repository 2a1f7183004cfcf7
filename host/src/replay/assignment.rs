//! Assigns each customer to a dry run. All events of a customer go to the same one, and customers
//! who are merged within a chunk go to one, so that no thread waits for another.
//!
//! This works because a dry run keeps nothing about a customer but the customer's row: rows of
//! customers who will be merged are handed over before the chunk begins.

use foldhash::HashMap;

use crate::dry_run::{Arrived, DryRun, Redirects};
use crate::event::CustomerKey;
use crate::store::StoreError;

/// The customers who were handed over, with their present dry run.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    moved: HashMap<CustomerKey, usize>,
}

/// Groups of customers who must be in one dry run; a disjoint-set forest.
#[derive(Default)]
struct MergeGroups {
    places: HashMap<CustomerKey, usize>,
    customers: Vec<CustomerKey>,
    /// The parent of each customer in its tree; a root is its own parent.
    parents: Vec<usize>,
}

impl Assignments {
    /// Distributes events over the dry runs, each list in the events' order. Hands customers over
    /// where needed.
    pub(super) fn spread(
        &mut self,
        events: Vec<Arrived>,
        dry_runs: &mut [DryRun],
        redirects: &Redirects,
    ) -> Result<Vec<Vec<Arrived>>, StoreError> {
        let shards = dry_runs.len();
        let mut spread: Vec<Vec<Arrived>> = Vec::new();
        spread.resize_with(shards, || Vec::with_capacity(events.len() / shards + 1));
        if shards == 1 {
            return Ok(vec![events]);
        }
        let mut groups = MergeGroups::default();
        for (from, to) in events.iter().filter_map(Arrived::merge) {
            // Each of the two may have been merged into another customer before.
            groups.join(from, to);
            groups.join(from, redirects.resolve(from)?);
            groups.join(to, redirects.resolve(to)?);
        }
        let mut home_of: HashMap<CustomerKey, usize> = HashMap::default();
        for place in 0..groups.customers.len() {
            let customer = groups.customers[place];
            let root = groups.root(place);
            let home = self.home(groups.customers[root], shards);
            let before = self.home(customer, shards);
            if before != home {
                if let Some(handover) = dry_runs[before].hand_over(customer) {
                    dry_runs[home].take_in(handover);
                }
                self.moved.insert(customer, home);
            }
            home_of.insert(customer, home);
        }
        for arrived in events {
            let home = match arrived.customer() {
                // Events without a customer have no state, so any dry run may decide them.
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

impl MergeGroups {
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
