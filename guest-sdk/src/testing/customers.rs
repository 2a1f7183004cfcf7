//! The state and the pending timers that a scenario keeps for each customer between calls.

use std::collections::BTreeMap;

use super::json::Json;
use super::outcome::StateChange;
use crate::Timestamp;

/// All customers of the scenario.
#[derive(Debug, Default)]
pub(super) struct Customers {
    /// The stored state of each customer: the version of its shape, and its bytes.
    states: BTreeMap<String, (u32, Vec<u8>)>,
    timers: Vec<Pending>,
    /// The redirects of merged customers: from each to the customer who remains.
    redirects: BTreeMap<String, String>,
    /// The number of timers scheduled so far.
    scheduled: u64,
}

/// A timer that has not fired.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) customer: String,
    /// The number of the timer's handler.
    pub(super) handler: u32,
    pub(super) due: Timestamp,
    /// The order in which timers were scheduled. Timers with the same due time fire in this order.
    order: u64,
}

/// The id of an event's customer; for a merge, of the customer who remains. Empty if the event has
/// no customer.
pub(super) fn customer_of(body: &Json) -> String {
    id_at(
        body,
        &["/customerInfo/customerId", "/toCustomerInfo/customerId", "/customerInfo/customerUid"],
    )
}

/// The id of the customer who is merged away; empty if the event names none.
pub(super) fn merged_away(body: &Json) -> String {
    id_at(body, &["/fromCustomerInfo/customerId"])
}

/// The first id at these paths, as text; ids are numbers or strings.
fn id_at(body: &Json, paths: &[&str]) -> String {
    match paths.iter().find_map(|path| body.at(path).filter(|id| **id != Json::Null)) {
        Some(Json::Text(text) | Json::Number(text)) => text.clone(),
        _ => String::new(),
    }
}

impl Customers {
    pub(super) fn state(&self, customer: &str) -> Option<(u32, &[u8])> {
        self.states.get(customer).map(|(version, bytes)| (*version, &bytes[..]))
    }

    pub(super) fn change_state(&mut self, customer: &str, change: StateChange, version: u32) {
        match change {
            StateChange::Unchanged => {}
            StateChange::Set(bytes) => {
                _ = self.states.insert(customer.to_owned(), (version, bytes))
            }
            StateChange::Remove => _ = self.states.remove(customer),
        }
    }

    pub(super) fn take_state(&mut self, customer: &str) -> Option<(u32, Vec<u8>)> {
        self.states.remove(customer)
    }

    /// Stores a customer's state.
    pub(super) fn put_state(&mut self, customer: &str, state: (u32, Vec<u8>)) {
        self.states.insert(customer.to_owned(), state);
    }

    /// The customer to whom an id refers, after the merges so far.
    pub(super) fn resolve(&self, mut customer: String) -> String {
        while let Some(next) = self.redirects.get(&customer) {
            customer.clone_from(next);
        }
        customer
    }

    /// The customer who remains after a merge of these two: the one to whom the second id is
    /// redirected. If the merge reverses an earlier one, it is the second customer itself.
    pub(super) fn remaining(&self, from: &str, to: String) -> String {
        let resolved = self.resolve(to.clone());
        if resolved == from { to } else { resolved }
    }

    /// Redirects the first id to the second customer, and removes a redirect of the second id.
    pub(super) fn redirect(&mut self, from: &str, to: &str) {
        self.redirects.remove(to);
        self.redirects.insert(from.to_owned(), to.to_owned());
    }

    pub(super) fn schedule(&mut self, customer: &str, handler: u32, due: Timestamp) {
        self.cancel(customer, handler);
        self.scheduled += 1;
        self.timers.push(Pending {
            customer: customer.to_owned(),
            handler,
            due,
            order: self.scheduled,
        });
    }

    pub(super) fn cancel(&mut self, customer: &str, handler: u32) {
        self.timers.retain(|timer| timer.handler != handler || timer.customer != customer);
    }

    pub(super) fn due_of(&self, customer: &str, handler: u32) -> Option<Timestamp> {
        self.timers
            .iter()
            .find(|timer| timer.handler == handler && timer.customer == customer)
            .map(|timer| timer.due)
    }

    /// Removes the timer that is due first; `None` if no timer is due by then.
    pub(super) fn take_due(&mut self, until: Timestamp) -> Option<Pending> {
        let due = self.timers.iter().enumerate().filter(|(_, timer)| timer.due <= until);
        let (at, _) = due.min_by_key(|(_, timer)| (timer.due, timer.order))?;
        Some(self.timers.remove(at))
    }

    pub(super) fn timers(&self, customer: &str) -> impl Iterator<Item = &Pending> {
        self.timers.iter().filter(move |timer| timer.customer == customer)
    }

    /// Removes all timers of a customer.
    pub(super) fn take_timers(&mut self, customer: &str) -> Vec<Pending> {
        self.timers.extract_if(.., |timer| timer.customer == customer).collect()
    }

    /// Moves a timer to another customer, unless that customer already has it pending.
    pub(super) fn inherit_timer(&mut self, customer: &str, timer: Pending) {
        if self.due_of(customer, timer.handler).is_none() {
            self.timers.push(Pending { customer: customer.to_owned(), ..timer });
        }
    }
}
