//! What the engine keeps between a scenario's calls: each customer's state and pending timers.

use std::collections::BTreeMap;

use super::json::Json;
use super::outcome::StateChange;
use crate::Timestamp;

/// Every customer that the scenario has seen.
#[derive(Debug, Default)]
pub(super) struct Customers {
    /// The version of its shape, and its bytes.
    states: BTreeMap<String, (u32, Vec<u8>)>,
    timers: Vec<Pending>,
    /// The customers who were merged, each with the one who remained.
    merged: BTreeMap<String, String>,
    /// How many timers have been scheduled.
    scheduled: u64,
}

/// A timer that has not fired.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) customer: String,
    /// The number of the handler that it calls.
    pub(super) handler: u32,
    pub(super) due: Timestamp,
    /// Of two that are due together, the one that was scheduled first comes first.
    order: u64,
}

/// Whose event it is: of a merge, the one that remains. Empty for nobody's.
pub(super) fn customer_of(body: &Json) -> String {
    id_at(body, &["/customerInfo/customerId", "/toCustomerInfo/customerId", "/customerInfo/customerUid"])
}

/// Who a merge makes part of another.
pub(super) fn merged_away(body: &Json) -> String {
    id_at(body, &["/fromCustomerInfo/customerId"])
}

/// An id as text, whether it is a number or a text.
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
            StateChange::Set(bytes) => _ = self.states.insert(customer.to_owned(), (version, bytes)),
            StateChange::Remove => _ = self.states.remove(customer),
        }
    }

    pub(super) fn take_state(&mut self, customer: &str) -> Option<(u32, Vec<u8>)> {
        self.states.remove(customer)
    }

    /// Sets a customer's state.
    pub(super) fn put_state(&mut self, customer: &str, state: (u32, Vec<u8>)) {
        self.states.insert(customer.to_owned(), state);
    }

    /// The customer whom an id means, after the merges so far.
    pub(super) fn resolve(&self, mut customer: String) -> String {
        while let Some(next) = self.merged.get(&customer) {
            customer.clone_from(next);
        }
        customer
    }

    /// The customer who stays after a merge that names these two: who the second has become, unless the merge reverses an earlier one.
    pub(super) fn who_stays(&self, from: &str, to: String) -> String {
        let resolved = self.resolve(to.clone());
        if resolved == from { to } else { resolved }
    }

    /// From now on the id of the one means the other. The id of the customer who remains means themselves again.
    pub(super) fn redirect(&mut self, from: &str, to: &str) {
        self.merged.remove(to);
        self.merged.insert(from.to_owned(), to.to_owned());
    }

    pub(super) fn schedule(&mut self, customer: &str, handler: u32, due: Timestamp) {
        self.cancel(customer, handler);
        self.scheduled += 1;
        self.timers.push(Pending { customer: customer.to_owned(), handler, due, order: self.scheduled });
    }

    pub(super) fn cancel(&mut self, customer: &str, handler: u32) {
        self.timers.retain(|timer| timer.handler != handler || timer.customer != customer);
    }

    pub(super) fn due_of(&self, customer: &str, handler: u32) -> Option<Timestamp> {
        self.timers.iter().find(|timer| timer.handler == handler && timer.customer == customer).map(|timer| timer.due)
    }

    /// Takes out the timer that is due first, if it is due until then.
    pub(super) fn take_due(&mut self, until: Timestamp) -> Option<Pending> {
        let due = self.timers.iter().enumerate().filter(|(_, timer)| timer.due <= until);
        let (at, _) = due.min_by_key(|(_, timer)| (timer.due, timer.order))?;
        Some(self.timers.remove(at))
    }

    pub(super) fn timers(&self, customer: &str) -> impl Iterator<Item = &Pending> {
        self.timers.iter().filter(move |timer| timer.customer == customer)
    }

    /// Takes out all timers of a customer.
    pub(super) fn take_timers(&mut self, customer: &str) -> Vec<Pending> {
        self.timers.extract_if(.., |timer| timer.customer == customer).collect()
    }

    /// Gives a customer a timer of another, unless the customer has that timer.
    pub(super) fn leave_timer(&mut self, customer: &str, timer: Pending) {
        if self.due_of(customer, timer.handler).is_none() {
            self.timers.push(Pending { customer: customer.to_owned(), ..timer });
        }
    }
}
