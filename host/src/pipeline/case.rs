//! What is being decided: an event, or a timer that is due.

use std::cell::OnceCell;
use std::sync::Arc;

use super::budget::Held;
use super::rehearse::Heard;
use super::retries::Retry;
use super::rows::{TimerStep, Union};
use super::shard::bytes_of;
use super::{Accepted, What};
use crate::clock::Millis;
use crate::communication::{Cause as SentFor, Communication, Occasion};
use crate::delivery::Receipt;
use crate::event::{Customer, CustomerKey, DedupKey, Event, EventId};
use crate::records::{
    Cause, FailureKey, FailureRow, Outcome, Partition, PendingTimer, SeenRow, StateRow, TimerKey, Work,
};

/// An event, or a timer, and what has come of it so far.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) reason: Reason,
    /// The event's id, or the one of the timer's firing.
    pub(super) id: EventId,
    /// The `now` of everything that it leads to.
    pub(super) now: Millis,
    pub(super) customer: Option<CustomerKey>,
    /// The ids of the customer who remains, if a merge has made them others than the event names.
    pub(super) became: Option<Arc<Customer>>,
    pub(super) partition: Partition,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) communications: Vec<Communication>,
    /// What its communications have in common, from the first on.
    pub(super) occasion: OnceCell<Box<Occasion>>,
    /// Campaigns that failed on it, or in which it waits behind a failure.
    pub(super) failures: Vec<(FailureKey, FailureRow)>,
    /// How many of these the customer's row knows of.
    pub(super) failures_noted: usize,
    pub(super) receipt: Option<Receipt>,
    /// A failure that is tried again: then one campaign alone is asked.
    pub(super) retry: Option<Box<Retry>>,
    pub(super) held: Held,
    /// What the guests said and took, in a rehearsal that has it told.
    pub(super) heard: Option<Box<Heard>>,
}

#[derive(Debug)]
pub(super) enum Reason {
    Event {
        event: Box<Event>,
        /// What is known of its deduplication key once it is decided; `None` if it was decided before, and one campaign failed on it.
        seen: Option<(DedupKey, SeenRow)>,
    },
    Timer {
        timer: TimerKey,
        /// The timer as it was pending; `None` if it was not any more, and nothing came of it.
        fired: Option<PendingTimer>,
        /// What becomes of it when its case is judged; `None` of one that has fired before.
        step: Option<TimerStep>,
    },
    /// Only to be tried again: the first time, a merge comes with its event.
    Merge {
        /// The event's.
        code: Box<str>,
        /// The state of the customer who has gone, and their pending timers.
        other: Option<StateRow>,
        timers: Vec<PendingTimer>,
        /// How the two are united without a call, when the case is judged; `None` if the rule is called.
        step: Option<Union>,
    },
}

/// An event that had been decided before: it is acknowledged once that is durable.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) key: DedupKey,
    pub(super) partition: Partition,
    /// The key's last row of the batch, with one repeat of each key; `None` with the others.
    pub(super) seen: Option<SeenRow>,
    pub(super) receipt: Option<Receipt>,
    pub(super) held: Held,
}

impl Case {
    /// Of which nothing has come yet, and which nobody waits for.
    pub(super) fn new(
        reason: Reason,
        id: EventId,
        now: Millis,
        customer: Option<CustomerKey>,
        partition: Partition,
    ) -> Case {
        Case {
            reason,
            id,
            now,
            customer,
            became: None,
            partition,
            outcomes: Vec::new(),
            communications: Vec::new(),
            occasion: OnceCell::new(),
            failures: Vec::new(),
            failures_noted: 0,
            receipt: None,
            retry: None,
            held: Held::default(),
            heard: None,
        }
    }

    /// To whom its communications go. An application or a device is not a person: without a key there is nobody to send to.
    pub(super) fn recipient(&self) -> Option<&Customer> {
        match &self.reason {
            Reason::Event { event, .. } => self.became.as_deref().or_else(|| self.customer.and(event.customer())),
            Reason::Timer { fired, .. } => fired.as_ref().map(|timer| &timer.recipient),
            Reason::Merge { .. } => self.became.as_deref(),
        }
    }

    /// The customer whom its event names, if a merge has made that another.
    pub(super) fn named(&self) -> Option<CustomerKey> {
        let Reason::Event { event, .. } = &self.reason else { return None };
        event.customer_key().filter(|named| Some(*named) != self.customer)
    }

    /// What is kept of it if a campaign fails.
    pub(super) fn work(&self) -> Option<Work> {
        match &self.reason {
            Reason::Event { event, .. } => {
                let recipient = self.became.as_deref().cloned();
                Some(Work::Event { id: self.id, code: event.code().into(), recipient })
            }
            Reason::Timer { fired, .. } => fired.clone().map(Work::Timer),
            Reason::Merge { code, other, timers, .. } => {
                let recipient = self.became.as_deref().cloned();
                let (code, other, timers) = (code.clone(), other.clone(), timers.clone());
                Some(Work::Merge { id: self.id, code, other, timers, recipient })
            }
        }
    }

    /// What a communication says that it was sent for.
    pub(super) fn sent_for(&self) -> SentFor<'_> {
        match &self.reason {
            Reason::Event { event, .. } => SentFor::Event { code: event.code() },
            Reason::Timer { timer, .. } => SentFor::Timer { name: &timer.timer },
            Reason::Merge { code, .. } => SentFor::Event { code },
        }
    }

    /// What it is called in the log: the event's code, or the timer's name.
    pub(super) fn name(&self) -> &str {
        match &self.reason {
            Reason::Event { event, .. } => event.code(),
            Reason::Timer { timer, .. } => &timer.timer,
            Reason::Merge { code, .. } => code,
        }
    }

    /// The same, for the journal.
    pub(super) fn cause(&self) -> Cause {
        match &self.reason {
            Reason::Event { event, .. } => Cause::Event { code: event.code().into() },
            Reason::Merge { code, .. } => Cause::Event { code: code.clone() },
            Reason::Timer { timer, fired, .. } => Cause::Timer {
                campaign: (&*timer.campaign).into(),
                name: timer.timer.clone(),
                due: fired.as_ref().map_or(timer.due, |fired| fired.due),
            },
        }
    }

    /// What it adds to a commit beside rows of customers, about, in bytes: its communications, and its body if a campaign failed on it.
    pub(super) fn bytes_to_commit(&self) -> usize {
        let body = match &self.reason {
            Reason::Event { event, .. } if !self.failures.is_empty() => event.raw().len(),
            Reason::Event { .. } | Reason::Timer { .. } | Reason::Merge { .. } => 0,
        };
        body + self.communications.iter().map(bytes_of).sum::<usize>()
    }

    /// Whether nothing was decided: a timer that was not pending any more, or a failure that could not be tried.
    pub(super) fn is_void(&self) -> bool {
        matches!(self.reason, Reason::Timer { fired: None, .. }) || self.retry.is_some() && self.outcomes.is_empty()
    }
}

impl Accepted {
    /// The customer whom it is about.
    pub(super) fn customer(&self) -> Option<CustomerKey> {
        match &self.what {
            What::Event { customer, .. } => *customer,
            What::Timer(timer) => Some(timer.customer),
            What::Retry(work) => work.customer,
        }
    }
}
