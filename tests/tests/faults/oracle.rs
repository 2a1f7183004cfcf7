//! Computes the expected results of a ledger: each campaign's rule is written a second time, in
//! plain Rust, and applied to the ledger in its order. It uses no module, no pipeline and no clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::ledger::{Event, LOYAL_EVERY, Message};

/// The number of purchases for which the campaign `third` sends a message.
const PURCHASES_PER_MESSAGE: usize = 3;
/// Purchases with a smaller number do not fault. Until then no failure is kept, and merges wait
/// only for what is durable.
pub(super) const FAULTS_FROM: u32 = 400;
/// Purchases whose number is a multiple of this fault in the campaign `flaky`.
pub(super) const FAULT_EVERY: u32 = 7;

/// Purchases whose number is a multiple of this fault in the campaign `held`, and later events of
/// their customer are held.
pub(super) const HELD_EVERY: u32 = 2 * LOYAL_EVERY;
/// The campaigns of the rule `tally`.
const TALLIES: [&str; 3] = ["tally", "flaky", "held"];

/// The part of a communication that does not depend on the time of the decision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fact {
    pub(super) campaign: String,
    /// The customer after the merges so far.
    pub(super) recipient: u32,
    pub(super) template: String,
    /// The numbers in `data` that distinguish the messages of one rule.
    pub(super) data: Vec<u64>,
}

/// Why a message must not be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    OverCap,
    WithoutConsent,
}

/// A state of the rule `tally`, as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct TallyState {
    count: u32,
    chain: u32,
    waits: bool,
}

/// The expected result after all decisions.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The number of times each communication must be sent, each time with a different id.
    pub(super) communications: BTreeMap<Fact, usize>,
    /// Messages that a policy suppresses, with the reason.
    pub(super) suppressed: BTreeMap<Fact, Held>,
    pub(super) tally: BTreeMap<u32, TallyState>,
    pub(super) flaky: BTreeMap<u32, TallyState>,
    pub(super) held: BTreeMap<u32, TallyState>,
    /// The purchases that are held in the campaign `held`, in order, with the failed one first.
    waiting: BTreeMap<u32, Vec<u32>>,
    /// The numbers of the counted purchases, the oldest first.
    pub(super) third: BTreeMap<u32, Vec<u32>>,
    pub(super) redirects: BTreeMap<u32, u32>,
    /// The number of kept failures and held events.
    pub(super) failures: usize,
    /// The number of events without copies.
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
        // Every reminder that is not cancelled is sent in the end.
        for states in [&mut expected.tally, &mut expected.flaky, &mut expected.held] {
            states.values_mut().for_each(|state| state.waits = false);
            states.retain(|_, state| *state != TallyState::default());
        }
        expected.third.retain(|_, purchases| !purchases.is_empty());
        expected
    }

    fn decide(&mut self, event: Event) {
        match event {
            Event::Bought { customer, number } => {
                let resolved = self.resolve(customer);
                self.send("basket", resolved, "big-basket", vec![u64::from(number)]);
                self.tally(customer, number);
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

    fn tally(&mut self, customer: u32, number: u32) {
        let resolved = self.resolve(customer);
        let faults = |every| number >= FAULTS_FROM && number.is_multiple_of(every);
        let is_held = faults(HELD_EVERY) || self.waiting.contains_key(&resolved);
        if is_held {
            self.waiting.entry(resolved).or_default().push(number);
        }
        for (campaign, faults) in
            [("tally", false), ("flaky", faults(FAULT_EVERY)), ("held", is_held)]
        {
            if faults {
                self.failures += 1;
            } else {
                self.answer(campaign, resolved, number);
            }
        }
    }

    fn answer(&mut self, campaign: &str, customer: u32, number: u32) {
        let state = self.states(campaign).entry(customer).or_default();
        state.count += 1;
        state.chain = state.chain.wrapping_mul(31).wrapping_add(number);
        let data = [number, state.count, state.chain].map(u64::from).to_vec();
        self.send(campaign, customer, "told", data);
    }

    /// Decides the held purchases of each customer in order. Customers with held purchases are
    /// never merged, so the events name them directly.
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
        if purchases.len() >= PURCHASES_PER_MESSAGE {
            let sent_for = std::mem::take(purchases).len() as u64;
            self.send("third", resolved, "nth-purchase", vec![sent_for]);
        }
    }

    /// An incomplete registration gets a reminder. A merge right behind it may change its customer.
    fn wait(&mut self, customer: u32, waits: bool) {
        for campaign in TALLIES {
            let state = self.states(campaign).entry(customer).or_default();
            let waited = std::mem::replace(&mut state.waits, waits);
            if waited != waits {
                self.remind(campaign, customer, waits);
            }
        }
    }

    fn merge(&mut self, from: u32, to: u32) {
        for campaign in TALLIES {
            // An empty state counts as no state, and is not united.
            let other =
                self.states(campaign).remove(&from).filter(|other| *other != TallyState::default());
            let Some(other) = other else { continue };
            let state = self.states(campaign).entry(to).or_default();
            state.count += other.count;
            state.chain = state.chain.wrapping_mul(37).wrapping_add(other.chain);
            state.waits |= other.waits;
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
        let fact = Fact {
            campaign: campaign.into(),
            recipient,
            template: "reminder".into(),
            data: Vec::new(),
        };
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

    fn states(&mut self, campaign: &str) -> &mut BTreeMap<u32, TallyState> {
        match campaign {
            "tally" => &mut self.tally,
            "flaky" => &mut self.flaky,
            _ => &mut self.held,
        }
    }

    /// The remaining customer after all merges.
    fn resolve(&self, customer: u32) -> u32 {
        let mut now = customer;
        while let Some(next) = self.redirects.get(&now) {
            now = *next;
        }
        now
    }
}

/// Inserts a purchase once, in the order of its time, which is the order of its number.
fn insert(purchases: &mut Vec<u32>, number: u32) {
    if let Err(place) = purchases.binary_search(&number) {
        purchases.insert(place, number);
    }
}
