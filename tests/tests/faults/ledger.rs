//! What was published, in its order: the only thing that the oracle knows.
//!
//! The stories are made so that there is one right answer, whatever the moment of a fault: a reminder is either called off by a message that was
//! published right behind the one that set it, which is in the queue long before it is due, or never. Customers who are reminded buy nothing, so that it does not matter
//! what the reminder comes before. Those whose purchases are held behind a fault become nobody else, as which of two queues is older is not told by the ledger.

use hailer::clock::{Millis, now_ms};

use super::random::Random;

/// The longest run of equal messages that is added at a time.
const EQUAL_MAX: usize = 12;
const CUSTOMERS: u32 = 40;
/// Who registers has a number from here on.
const REGISTERING_FROM: u32 = 100_000;
/// Every so many purchases one is made by one of these, who are never merged; see [`super::oracle::HELD_EVERY`].
pub(super) const LOYAL_EVERY: u32 = 11;
const LOYAL: std::ops::RangeInclusive<u32> = 50_001..=50_003;
/// Purchases lie this far back, in their order, and so none is too old or too new for any rule.
const BOUGHT_AGO_MS: Millis = 3 * 86_400_000;

/// What an event says.
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
    /// No message: somebody had everything tried again that was held, with a rule that does not fault.
    Retried,
}

/// A message as it was published.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) event: Event,
    /// The number of its message id, if there is one.
    pub(super) id: Option<usize>,
    pub(super) body: String,
}

/// Everything that one stand has published.
#[derive(Debug)]
pub(super) struct Ledger {
    messages: Vec<Message>,
    random: Random,
    with_ids: bool,
    /// Most purchases say the same as one before, although nothing but their number tells them apart.
    are_equal: bool,
    since: Millis,
    /// Customers who have not become others.
    present: Vec<u32>,
    /// Those, and those who have: all names that purchases are made under.
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
        Ledger { messages, random, with_ids, are_equal, since, present, names, bought, numbers: 0, registered: 0 }
    }

    /// The same without ids, and with many messages that say the same. Only for faults after which nothing comes again that was decided.
    pub(super) fn of_equal_messages(random: Random) -> Ledger {
        Ledger { are_equal: true, ..Ledger::new(random, false) }
    }

    pub(super) fn with_ids(&self) -> bool {
        self.with_ids
    }

    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Writes down at least so many more, and returns them, to be published in this order.
    pub(super) fn write(&mut self, count: usize) -> Vec<Message> {
        let before = self.messages.len();
        while self.messages.len() < before + count {
            match self.random.below(100) {
                0..14 => self.registration(),
                14..19 => self.refund(),
                19..22 => self.merge(),
                // Without ids these look like what a fault brings twice.
                22..25 if self.with_ids => self.same_again(),
                22..90 if self.are_equal => self.many_times_again(),
                25..28 if self.with_ids => self.copy(),
                _ => self.purchase(),
            }
        }
        self.messages[before..].to_vec()
    }

    /// A merge, and events of both right around it.
    pub(super) fn write_merge(&mut self) -> Vec<Message> {
        let before = self.messages.len();
        self.purchase();
        self.merge();
        self.purchase();
        self.messages[before..].to_vec()
    }

    /// Writes down that what is held so far is tried again.
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
            // Each once: without an id, a second one is told from a copy by nothing.
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
            // Before the reminder is due, so that it is the other's.
            _ => {
                self.registered += 1;
                self.push(Event::Merged { from: customer, to: REGISTERING_FROM + self.registered });
            }
        }
    }

    /// One customer becomes another, and a new one comes. Events go on under all names.
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

    /// Another event that says the same.
    fn same_again(&mut self) {
        let bought = self.messages.iter().rev().take(20).find(|one| matches!(one.event, Event::Bought { .. }));
        if let Some(Message { event, body, .. }) = bought.cloned() {
            self.push_as(self.messages.len(), event, body);
        }
    }

    /// A run of equal events, long enough for a crash to fall within it.
    fn many_times_again(&mut self) {
        (0..=self.random.below(EQUAL_MAX)).for_each(|_| self.same_again());
    }

    /// The same event again, as a sender that was not sure sends it.
    fn copy(&mut self) {
        let recent = self.messages.len().saturating_sub(20);
        if let Some(Message { event, id: Some(id), body }) = self.messages.get(recent + self.random.below(20)).cloned()
        {
            self.push_as(id, event, body);
        }
    }

    fn body(&self, event: Event) -> String {
        let customer = |id: u32| format!(r#"{{"customerId":{id}}}"#);
        match event {
            Event::Bought { customer: id, number } => format!(
                r#"{{"eventCode":"OnPurchaseConfirm","customerInfo":{},"purchaseOperationInfo":{{"dateTime":"{}","purchaseData":{{"purchaseId":{number},"amount":{number}.0000}}}}}}"#,
                customer(id),
                moment(self.since + Millis::from(number) * 1000),
            ),
            Event::Refunded { customer: id, number } => format!(
                r#"{{"eventCode":"OnPurchaseRefund","customerInfo":{},"refundedPurchaseViewModel":{{"refundedPurchaseId":{number}}},"refundOperationInfo":{{"purchaseData":{{"amount":{number}.0000}}}}}}"#,
                customer(id)
            ),
            Event::Started { customer: id } => {
                format!(r#"{{"customerInfo":{},"eventCode":"OnBeginRegistration"}}"#, customer(id))
            }
            Event::Completed { customer: id } => {
                format!(r#"{{"customerInfo":{},"eventCode":"OnEndRegistration"}}"#, customer(id))
            }
            Event::Merged { from, to } => format!(
                r#"{{"eventCode":"MergeCustomersProfiles","fromCustomerInfo":{},"toCustomerInfo":{}}}"#,
                customer(from),
                customer(to)
            ),
            Event::Retried => unreachable!("it is no message"),
        }
    }
}

fn moment(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap().to_string()
}
