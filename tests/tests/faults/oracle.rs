//! What must have come of a ledger: each campaign's rule written a second time, in plain Rust, and run over the ledger in its order. No module, no
//! pipeline, no clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::ledger::{Event, LOYAL_EVERY, Message};

/// So many purchases the campaign `third` thanks for.
const THANKED_FOR: usize = 3;
/// Purchases before this one do not fault: until then no failure is kept, and merges wait for nothing but what is durable.
pub(super) const FAULTS_FROM: u32 = 400;
/// Purchases whose number is a multiple of this fault in the campaign `flaky`.
pub(super) const FAULT_EVERY: u32 = 7;

/// Purchases whose number is a multiple of this fault in the campaign `held`, and what comes behind them for their customer waits.
pub(super) const HELD_EVERY: u32 = 2 * LOYAL_EVERY;
/// The campaigns of the rule `tally`.
const TALLIES: [&str; 3] = ["tally", "flaky", "held"];

/// What can be told of a communication without knowing when the engine decided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fact {
    pub(super) campaign: String,
    /// The customer whom the event means, after the merges before it.
    pub(super) recipient: u32,
    pub(super) template: String,
    /// The data, as far as a rule is told on by it.
    pub(super) data: Vec<u64>,
}

/// A state of the rule `tally`, as it lies in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Told {
    count: u32,
    chain: u32,
    waits: bool,
}

/// What is left when everything has been decided.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// How often each must have been sent, under an id of its own each time.
    pub(super) communications: BTreeMap<Fact, usize>,
    pub(super) tally: BTreeMap<u32, Told>,
    pub(super) flaky: BTreeMap<u32, Told>,
    pub(super) held: BTreeMap<u32, Told>,
    /// The purchases that wait in the campaign `held`, the one that faulted first.
    waiting: BTreeMap<u32, Vec<u32>>,
    /// The numbers of the purchases that count, the oldest first.
    pub(super) third: BTreeMap<u32, Vec<u32>>,
    pub(super) redirects: BTreeMap<u32, u32>,
    /// Failures that are kept.
    pub(super) failures: usize,
    /// How many events there are, each counted once.
    pub(super) events: usize,
}

impl Expected {
    pub(super) fn of(messages: &[Message]) -> Expected {
        let mut expected = Expected::default();
        let mut seen = BTreeSet::new();
        for Message { event, id, .. } in messages {
            if id.is_none_or(|id| seen.insert(id)) {
                expected.events += usize::from(*event != Event::Retried);
                expected.decide(*event);
            }
        }
        // Every reminder that nobody called off comes, sooner or later.
        for states in [&mut expected.tally, &mut expected.flaky, &mut expected.held] {
            states.values_mut().for_each(|told| told.waits = false);
            states.retain(|_, told| *told != Told::default());
        }
        expected.third.retain(|_, purchases| !purchases.is_empty());
        expected
    }

    fn decide(&mut self, event: Event) {
        match event {
            Event::Bought { customer, number } => {
                let resolved = self.resolve(customer);
                self.send("basket", resolved, "big-basket", vec![u64::from(number)]);
                self.tell(customer, number);
                self.count(customer, number);
            }
            Event::Refunded { customer, number } => {
                let resolved = self.resolve(customer);
                self.third.entry(resolved).or_default().retain(|bought| *bought != number);
            }
            Event::Started { customer } => self.wait(customer, true),
            Event::Completed { customer } => self.wait(customer, false),
            Event::Merged { from, to } => self.merge(from, to),
            Event::Retried => self.retry(),
        }
    }

    fn tell(&mut self, customer: u32, number: u32) {
        let resolved = self.resolve(customer);
        let faults = |every| number >= FAULTS_FROM && number.is_multiple_of(every);
        let is_held = faults(HELD_EVERY) || self.waiting.contains_key(&resolved);
        if is_held {
            self.waiting.entry(resolved).or_default().push(number);
        }
        for (campaign, faults) in [("tally", false), ("flaky", faults(FAULT_EVERY)), ("held", is_held)] {
            if faults {
                self.failures += 1;
            } else {
                self.answer(campaign, resolved, number);
            }
        }
    }

    fn answer(&mut self, campaign: &str, customer: u32, number: u32) {
        let told = self.states(campaign).entry(customer).or_default();
        told.count += 1;
        told.chain = told.chain.wrapping_mul(31).wrapping_add(number);
        let data = [number, told.count, told.chain].map(u64::from).to_vec();
        self.send(campaign, customer, "told", data);
    }

    /// Each customer's purchases in their order. Those who have some are never merged, so they are who the events name.
    fn retry(&mut self) {
        for (customer, numbers) in std::mem::take(&mut self.waiting) {
            for number in numbers {
                self.failures -= 1;
                self.answer("held", customer, number);
            }
        }
    }

    fn count(&mut self, customer: u32, number: u32) {
        let resolved = self.resolve(customer);
        let purchases = self.third.entry(resolved).or_default();
        if purchases.contains(&number) {
            return;
        }
        insert(purchases, number);
        if purchases.len() >= THANKED_FOR {
            let thanked_for = std::mem::take(purchases).len() as u64;
            self.send("third", resolved, "nth-purchase", vec![thanked_for]);
        }
    }

    /// A registration that is not completed is reminded of. Whose it is then, a merge right behind it may change.
    fn wait(&mut self, customer: u32, waits: bool) {
        for campaign in TALLIES {
            let told = self.states(campaign).entry(customer).or_default();
            let waited = std::mem::replace(&mut told.waits, waits);
            if waited != waits {
                self.remind(campaign, customer, waits);
            }
        }
    }

    fn merge(&mut self, from: u32, to: u32) {
        for campaign in TALLIES {
            // A state that is as good as none is none, and then nothing is united.
            let other = self.states(campaign).remove(&from).filter(|other| *other != Told::default());
            let Some(other) = other else { continue };
            let told = self.states(campaign).entry(to).or_default();
            told.count += other.count;
            told.chain = told.chain.wrapping_mul(37).wrapping_add(other.chain);
            told.waits |= other.waits;
            if other.waits {
                self.remind(campaign, from, false);
                self.remind(campaign, to, true);
            }
        }
        if let Some(other) = self.third.remove(&from) {
            let purchases = self.third.entry(to).or_default();
            other.into_iter().for_each(|number| insert(purchases, number));
        }
        self.redirects.remove(&to);
        self.redirects.insert(from, to);
    }

    fn remind(&mut self, campaign: &str, recipient: u32, comes: bool) {
        let fact = Fact { campaign: campaign.into(), recipient, template: "reminder".into(), data: Vec::new() };
        if comes {
            *self.communications.entry(fact).or_default() += 1;
        } else {
            self.communications.remove(&fact);
        }
    }

    fn send(&mut self, campaign: &str, recipient: u32, template: &str, data: Vec<u64>) {
        let fact = Fact { campaign: campaign.into(), recipient, template: template.into(), data };
        *self.communications.entry(fact).or_default() += 1;
    }

    fn states(&mut self, campaign: &str) -> &mut BTreeMap<u32, Told> {
        match campaign {
            "tally" => &mut self.tally,
            "flaky" => &mut self.flaky,
            _ => &mut self.held,
        }
    }

    /// Whom a customer has become.
    fn resolve(&self, customer: u32) -> u32 {
        let mut now = customer;
        while let Some(next) = self.redirects.get(&now) {
            now = *next;
        }
        now
    }
}

/// Puts a purchase where its time is, which goes with its number; once.
fn insert(purchases: &mut Vec<u32>, number: u32) {
    if let Err(place) = purchases.binary_search(&number) {
        purchases.insert(place, number);
    }
}
