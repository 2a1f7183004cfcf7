//! What is being decided: an event, or a timer that is due.

use super::budget::Held;
use super::{Accepted, What};
use crate::clock::Millis;
use crate::communication::{Cause as SentFor, Communication};
use crate::delivery::Receipt;
use crate::event::{Customer, CustomerKey, DedupKey, Event, EventId};
use crate::store::records::{Cause, Outcome, Partition, PendingTimer, SeenRow, TimerKey};

/// An event, or a timer, and what has come of it so far.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) reason: Reason,
    /// The event's id, or the one of the timer's firing.
    pub(super) id: EventId,
    /// The `now` of everything that it leads to.
    pub(super) now: Millis,
    pub(super) customer: Option<CustomerKey>,
    pub(super) partition: Partition,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) communications: Vec<Communication>,
    pub(super) receipt: Option<Receipt>,
    pub(super) held: Held,
}

#[derive(Debug)]
pub(super) enum Reason {
    Event {
        event: Box<Event>,
        key: DedupKey,
        /// What is known of its deduplication key once it is decided.
        seen: SeenRow,
    },
    Timer {
        timer: TimerKey,
        /// The timer as it was pending; `None` if it was not any more, and nothing came of it.
        fired: Option<PendingTimer>,
    },
}

/// An event that had been decided before: it is acknowledged once that is durable.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) key: DedupKey,
    pub(super) partition: Partition,
    pub(super) seen: SeenRow,
    pub(super) receipt: Option<Receipt>,
    pub(super) held: Held,
}

impl Case {
    /// To whom its communications go. An application or a device is not a person: without a key there is nobody to send to.
    pub(super) fn recipient(&self) -> Option<&Customer> {
        match &self.reason {
            Reason::Event { event, .. } => self.customer.and(event.customer()),
            Reason::Timer { fired, .. } => fired.as_ref().map(|timer| &timer.recipient),
        }
    }

    /// What a communication says that it was sent for.
    pub(super) fn sent_for(&self) -> SentFor<'_> {
        match &self.reason {
            Reason::Event { event, .. } => SentFor::Event { code: event.code() },
            Reason::Timer { timer, .. } => SentFor::Timer { name: &timer.timer },
        }
    }

    /// What it is called in the log: the event's code, or the timer's name.
    pub(super) fn name(&self) -> &str {
        match &self.reason {
            Reason::Event { event, .. } => event.code(),
            Reason::Timer { timer, .. } => &timer.timer,
        }
    }

    /// The same, for the journal.
    pub(super) fn cause(&self) -> Cause {
        match &self.reason {
            Reason::Event { event, .. } => Cause::Event { code: event.code().into() },
            Reason::Timer { timer, fired } => Cause::Timer {
                campaign: (&*timer.campaign).into(),
                name: timer.timer.clone(),
                due: fired.as_ref().map_or(timer.due, |fired| fired.due),
            },
        }
    }

    /// Whether it was a timer that was not pending any more.
    pub(super) fn is_void(&self) -> bool {
        matches!(self.reason, Reason::Timer { fired: None, .. })
    }
}

impl Accepted {
    /// The customer whom it is about.
    pub(super) fn customer(&self) -> Option<CustomerKey> {
        match &self.what {
            What::Event { customer, .. } => *customer,
            What::Timer(timer) => Some(timer.customer),
        }
    }
}
