//! The published messages in order: the oracle's only input.
//!
//! The events are chosen so that there is one right result, whatever the moment of a fault. A
//! reminder is either cancelled by a message right behind the one that set it, which is in the
//! queue long before the reminder is due, or never. Customers with reminders buy nothing, so the
//! order of a reminder and a purchase does not matter. Customers with held purchases are never
//! merged, because the ledger does not determine which of two queues is older.

use hailer::clock::{Millis, now_ms};

use super::random::Random;

/// The largest number of equal messages that is added at a time.
const EQUAL_MAX: usize = 12;
const CUSTOMERS: u32 = 40;
/// The ids of registering customers start here.
const REGISTERING_FROM: u32 = 100_000;
/// Every `LOYAL_EVERY`-th purchase is made by one of the loyal customers, who are never merged; see
/// [`super::oracle::HELD_EVERY`].
pub(super) const LOYAL_EVERY: u32 = 11;
const LOYAL: std::ops::RangeInclusive<u32> = 50_001..=50_003;
/// The age of the first purchase. All purchases are recent enough for every rule, and not in the
/// future.
const BOUGHT_AGO_MS: Millis = 3 * 86_400_000;

/// The content of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Bought {
        customer: u32,
        number: u32,
    },
    Refunded {
        customer: u32,
        number: u32,
    },
    Started {
        customer: u32,
    },
    Completed {
        customer: u32,
    },
    Merged {
        from: u32,
        to: u32,
    },
    /// An operator retried everything that was held, with a rule that does not fault. This is no
    /// message.
    Retried,
}

/// A published message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) event: Event,
    /// The number of the message id; `None` without a message id.
    pub(super) id: Option<usize>,
    pub(super) body: String,
}

/// Everything that one test bed has published.
#[derive(Debug)]
pub(super) struct Ledger {
    messages: Vec<Message>,
    random: Random,
    with_ids: bool,
    /// Most purchases are equal to an earlier one, although only their number distinguishes them.
    are_equal: bool,
    since: Millis,
    /// The customers that were not merged.
    present: Vec<u32>,
    /// All customer ids that purchases use, those of merged customers included.
    names: Vec<u32>,
    bought: Vec<(u32, u32)>,
    numbers: u32,
    registered: u32,
}

impl Ledger {
    pub(super) fn new(random: Random, with_ids: bool) -> Ledger {
        let present: Vec<u32> = (1..=CUSTOMERS).collect();
        let (names, since) = (present.clone(), now_ms() - BOUGHT_AGO_MS);
        let (messages, bought) = (Vec::new(), Vec::new());
        let are_equal = false;
        Ledger {
            messages,
            random,
            with_ids,
            are_equal,
            since,
            present,
            names,
            bought,
            numbers: 0,
            registered: 0,
        }
    }

    /// A ledger without ids and with many equal messages. It is only for faults after which no
    /// decided message is delivered again.
    pub(super) fn of_equal_messages(random: Random) -> Ledger {
        Ledger { are_equal: true, ..Ledger::new(random, false) }
    }

    pub(super) fn with_ids(&self) -> bool {
        self.with_ids
    }

    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Adds at least `count` messages, and returns them for publishing in this order.
    pub(super) fn write(&mut self, count: usize) -> Vec<Message> {
        let before = self.messages.len();
        while self.messages.len() < before + count {
            match self.random.below(100) {
                0..14 => self.registration(),
                14..19 => self.refund(),
                19..22 => self.merge(),
                // Without ids these would look like repeats after a fault.
                22..25 if self.with_ids => self.same_again(),
                22..90 if self.are_equal => self.many_times_again(),
                25..28 if self.with_ids => self.copy(),
                _ => self.purchase(),
            }
        }
        self.messages[before..].to_vec()
    }

    /// Adds a merge with purchases directly before and after it.
    pub(super) fn write_merge(&mut self) -> Vec<Message> {
        let before = self.messages.len();
        self.purchase();
        self.merge();
        self.purchase();
        self.messages[before..].to_vec()
    }

    /// Records that everything held so far is retried.
    pub(super) fn retry(&mut self) {
        self.messages.push(Message { event: Event::Retried, id: None, body: String::new() });
    }

    fn push(&mut self, event: Event) {
        let body = self.body(event);
        self.push_as(self.messages.len(), event, body);
    }

    fn push_as(&mut self, id: usize, event: Event, body: String) {
        let id = self.with_ids.then_some(id);
        self.messages.push(Message { event, id, body });
    }

    fn purchase(&mut self) {
        self.numbers += 1;
        let customer = if self.numbers.is_multiple_of(LOYAL_EVERY) {
            self.random.pick(&LOYAL.collect::<Vec<_>>())
        } else {
            self.random.pick(&self.names)
        };
        self.bought.push((customer, self.numbers));
        self.push(Event::Bought { customer, number: self.numbers });
    }

    fn refund(&mut self) {
        let recent = self.bought.len().saturating_sub(50);
        if let Some((customer, number)) = self.bought.get(recent + self.random.below(50)).copied() {
            // Each purchase is refunded once: without an id, a second refund looks like a copy.
            self.bought.retain(|bought| *bought != (customer, number));
            self.push(Event::Refunded { customer, number });
        }
    }

    fn registration(&mut self) {
        self.registered += 1;
        let customer = REGISTERING_FROM + self.registered;
        self.push(Event::Started { customer });
        match self.random.below(3) {
            0 => {}
            1 => self.push(Event::Completed { customer }),
            // The merge comes before the reminder is due, so the reminder goes to the remaining
            // customer.
            _ => {
                self.registered += 1;
                self.push(Event::Merged { from: customer, to: REGISTERING_FROM + self.registered });
            }
        }
    }

    /// Merges a customer into another, and adds a new one when there are few. Events continue under
    /// all ids.
    fn merge(&mut self) {
        let from = self.present.remove(self.random.below(self.present.len()));
        let to = self.random.pick(&self.present);
        self.push(Event::Merged { from, to });
        if self.present.len() < CUSTOMERS as usize / 2 {
            let customer = self.names.len() as u32 + 1;
            self.present.push(customer);
            self.names.push(customer);
        }
    }

    /// Adds an event equal to a recent one.
    fn same_again(&mut self) {
        let bought = self
            .messages
            .iter()
            .rev()
            .take(20)
            .find(|one| matches!(one.event, Event::Bought { .. }));
        if let Some(Message { event, body, .. }) = bought.cloned() {
            self.push_as(self.messages.len(), event, body);
        }
    }

    /// Adds a run of equal events, long enough that a kill can fall into it.
    fn many_times_again(&mut self) {
        (0..=self.random.below(EQUAL_MAX)).for_each(|_| self.same_again());
    }

    /// Adds a copy with the same id, as a producer that got no confirm sends it.
    fn copy(&mut self) {
        let recent = self.messages.len().saturating_sub(20);
        if let Some(Message { event, id: Some(id), body }) =
            self.messages.get(recent + self.random.below(20)).cloned()
        {
            self.push_as(id, event, body);
        }
    }

    fn body(&self, event: Event) -> String {
        let customer = |id: u32| format!(r#"{{"customerId":{id}}}"#);
        match event {
            Event::Bought { customer: id, number } => format!(
                "{{\"eventCode\":\"OnPurchaseConfirm\",\"customerInfo\":{},\
                 \"purchaseOperationInfo\":{{\"dateTime\":\"{}\",\
                 \"purchaseData\":{{\"purchaseId\":{number},\"amount\":{number}.0000}}}}}}",
                customer(id),
                moment(self.since + Millis::from(number) * 1000),
            ),
            Event::Refunded { customer: id, number } => format!(
                "{{\"eventCode\":\"OnPurchaseRefund\",\"customerInfo\":{},\
                 \"refundedPurchaseViewModel\":{{\"refundedPurchaseId\":{number}}},\
                 \"refundOperationInfo\":{{\"purchaseData\":{{\"amount\":{number}.0000}}}}}}",
                customer(id)
            ),
            Event::Started { customer: id } => {
                format!(r#"{{"customerInfo":{},"eventCode":"OnBeginRegistration"}}"#, customer(id))
            }
            Event::Completed { customer: id } => {
                format!(r#"{{"customerInfo":{},"eventCode":"OnEndRegistration"}}"#, customer(id))
            }
            Event::Merged { from, to } => format!(
                "{{\"eventCode\":\"MergeCustomersProfiles\",\"fromCustomerInfo\":{},\
                 \"toCustomerInfo\":{}}}",
                customer(from),
                customer(to)
            ),
            Event::Retried => unreachable!("it is not a message"),
        }
    }
}

fn moment(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap().to_string()
}
