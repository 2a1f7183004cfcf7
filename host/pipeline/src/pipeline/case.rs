//! A case: one event, due timer or retry that a shard decides.

use std::cell::OnceCell;
use std::sync::Arc;

use super::budget::Held;
use super::retries::Retry;
use super::rows::{TimerStep, Union};
use super::shard::bytes_of;
use crate::records::{
    Cause, DedupEntry, FailureKey, FailureRow, Outcome, Partition, PendingTimer, StateRow,
    TimerKey, Work,
};
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;
use hailer_broker::communication::{Cause as SentFor, Communication, Occasion};
use hailer_broker::delivery::Receipt;
use hailer_engine::RuleSet;
use hailer_event::{Customer, CustomerKey, DedupKey, Event, EventId};

/// An event, timer or retry, and its results so far.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) reason: Reason,
    /// The id of the event, or of the timer's firing.
    pub(super) id: EventId,
    /// The `now` of the decision, in milliseconds.
    pub(super) now: Millis,
    pub(super) customer: Option<CustomerKey>,
    /// The ids of the customer who remains, if a merge has changed them from those in the event.
    pub(super) became: Option<Arc<Customer>>,
    pub(super) partition: Partition,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) communications: Vec<Communication>,
    /// What the rules propose and the policies have not judged yet.
    pub(super) proposals: Vec<Proposal>,
    /// The change to the number of deferred messages.
    pub(super) deferred: i64,
    /// The part that all communications of the case share; set with the first communication.
    pub(super) occasion: OnceCell<Box<Occasion>>,
    /// The failures to keep: campaigns that faulted, or in which the case waits behind a failure.
    pub(super) failures: Vec<(FailureKey, FailureRow)>,
    /// The number of `failures` that the customer's row already counts.
    pub(super) failures_noted: usize,
    pub(super) receipt: Option<Receipt>,
    /// `Some` for a retry of a kept failure; then only one campaign is called.
    pub(super) retry: Option<Box<Retry>>,
    pub(super) held: Held,
}

#[derive(Debug)]
pub(super) enum Reason {
    Event {
        event: Box<Event>,
        /// The dedup key with its entry after this event; `None` for a retry, whose entry exists
        /// already, and in a dry run.
        seen: Option<(DedupKey, DedupEntry)>,
    },
    Timer {
        timer: TimerKey,
        /// The timer as it was pending. `None` before the shard looks it up, and if it is no longer
        /// pending; then the case decides nothing.
        fired: Option<PendingTimer>,
        /// The change to the timer once its case is judged; `None` for a timer that has fired
        /// before.
        step: Option<TimerStep>,
    },
    /// Deferred messages of a customer that are due together.
    Release {
        release: TimerKey,
        /// Whether any message was still due; then the case decides something.
        had_messages: bool,
    },
    /// A merge that is retried; at first, a merge comes with its event.
    Merge {
        /// The code of the merge event.
        code: Box<str>,
        /// The state of the customer who has gone, and that customer's pending timers.
        other: Option<StateRow>,
        timers: Vec<PendingTimer>,
        /// The union without a call, applied when the case is judged; `None` if the rule is called.
        step: Option<Union>,
    },
}

/// A communication that a rule proposed, until the policies judge it.
#[derive(Debug)]
pub(super) struct Proposal {
    /// The campaign's index in the rule set.
    pub(super) campaign: usize,
    /// Where its outcome stands: in which of the case's outcomes, and its place in it. The place
    /// counts every proposal of the campaign.
    pub(super) outcome: usize,
    pub(super) place: u32,
    pub(super) channel: Channel,
    /// The data of the template, as JSON.
    pub(super) data: Box<str>,
}

/// An event that was decided before. It is acknowledged once that decision is durable.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) key: DedupKey,
    pub(super) partition: Partition,
    /// The key's last entry in the batch. Only one repeat of each key has it; it is `None` for the
    /// others.
    pub(super) seen: Option<DedupEntry>,
    pub(super) receipt: Option<Receipt>,
    pub(super) held: Held,
}

impl Case {
    /// A case without results, receipt or retry.
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
            proposals: Vec::new(),
            deferred: 0,
            occasion: OnceCell::new(),
            failures: Vec::new(),
            failures_noted: 0,
            receipt: None,
            retry: None,
            held: Held::default(),
        }
    }

    /// The customer who receives the communications. `None` for a customer without a key: an
    /// application or a device is not a person, so there is no customer to send to.
    pub(super) fn recipient(&self) -> Option<&Customer> {
        match &self.reason {
            Reason::Event { event, .. } => {
                self.became.as_deref().or_else(|| self.customer.and(event.customer()))
            }
            Reason::Timer { fired, .. } => fired.as_ref().map(|timer| &timer.recipient),
            Reason::Merge { .. } => self.became.as_deref(),
            // Each message has a recipient of its own.
            Reason::Release { .. } => None,
        }
    }

    /// The customer that the event names, if a merge has redirected that customer.
    pub(super) fn named(&self) -> Option<CustomerKey> {
        let Reason::Event { event, .. } = &self.reason else { return None };
        event.customer_key().filter(|named| Some(*named) != self.customer)
    }

    /// The work to keep if a campaign fails on the case; `None` for a timer that was not pending.
    pub(super) fn work(&self) -> Option<Work> {
        match &self.reason {
            Reason::Event { event, .. } => {
                let recipient = self.became.as_deref().cloned();
                Some(Work::Event { id: self.id, code: event.code().into(), recipient })
            }
            Reason::Timer { fired, .. } => fired.clone().map(Work::Timer),
            Reason::Release { .. } => None,
            Reason::Merge { code, other, timers, .. } => {
                let recipient = self.became.as_deref().cloned();
                let (code, other, timers) = (code.clone(), other.clone(), timers.clone());
                Some(Work::Merge { id: self.id, code, other, timers, recipient })
            }
        }
    }

    /// The cause that the case's communications carry.
    pub(super) fn sent_for(&self) -> SentFor<'_> {
        match &self.reason {
            Reason::Event { event, .. } => SentFor::Event { code: event.code() },
            Reason::Timer { timer, .. } => SentFor::Timer { name: &timer.timer },
            Reason::Release { release, .. } => SentFor::Timer { name: &release.timer },
            Reason::Merge { code, .. } => SentFor::Event { code },
        }
    }

    /// The name for the log: the event's code or the timer's name.
    pub(super) fn name(&self) -> &str {
        match &self.reason {
            Reason::Event { event, .. } => event.code(),
            Reason::Timer { timer, .. } => &timer.timer,
            Reason::Merge { code, .. } => code,
            Reason::Release { .. } => "release",
        }
    }

    /// The cause for the journal.
    pub(super) fn cause(&self) -> Cause {
        match &self.reason {
            Reason::Event { event, .. } => Cause::Event { code: event.code().into() },
            Reason::Merge { code, .. } => Cause::Event { code: code.clone() },
            Reason::Release { release, .. } => Cause::Release { due: release.due },
            Reason::Timer { timer, fired, .. } => Cause::Timer {
                campaign: (&*timer.campaign).into(),
                name: timer.timer.clone(),
                due: fired.as_ref().map_or(timer.due, |fired| fired.due),
            },
        }
    }

    /// The approximate bytes that the case adds to a commit, without customers' rows: its
    /// communications, and the event's body if a campaign failed.
    pub(super) fn bytes_to_commit(&self) -> usize {
        let body = match &self.reason {
            Reason::Event { event, .. } if !self.failures.is_empty() => event.raw().len(),
            _ => 0,
        };
        body + self.communications.iter().map(bytes_of).sum::<usize>()
    }

    /// Whether the decision reads or changes the customer's row.
    pub(super) fn reads_row(&self, rules: &RuleSet) -> bool {
        self.retry.is_some()
            || matches!(self.reason, Reason::Timer { .. } | Reason::Release { .. })
            || rules.remembers()
    }

    /// Whether nothing was decided: the timer was no longer pending, or the failure could not be
    /// retried.
    pub(super) fn is_void(&self) -> bool {
        matches!(
            self.reason,
            Reason::Timer { fired: None, .. } | Reason::Release { had_messages: false, .. }
        ) || self.retry.is_some() && self.outcomes.is_empty()
    }
}
