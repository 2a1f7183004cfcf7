//! Failures that are tried again, on the shard of their customer, while nothing else is on its way: each through the version that runs now,
//! with the `now` that it was given the first time, and with the same event id, so that what it sends has the id that it would have had.
//! What the retry leads to and the removal of the failure are one commit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::budget::Held;
use super::case::{Case, Reason};
use super::gather::SEED_OF_NOBODY;
use super::judge::outcome;
use super::quota::Taken;
use super::rows::{NEVER, TimerStep};
use super::shard::Shard;
use crate::engine::{NotCalled, RuleSet};
use crate::event::{Customer, CustomerKey, Event, EventId};
use crate::records::{
    Decided, FailureKey, FailureRow, FailureStatus, Outcome, Partition, PendingTimer, TimerKey, Work,
};
use crate::store::{StoreError, Table};

/// The note of a merge that is tried again and needs no call.
const UNITED_WITHOUT_A_CALL: &str = "united as the default says: the rule has no merge handler for this";

/// Failures of one customer and campaign, in their order.
#[derive(Debug)]
pub(super) struct RetryWork {
    pub(super) partition: Partition,
    pub(super) customer: Option<CustomerKey>,
    pub(super) failures: Vec<ToRetry>,
    pub(super) answer: Answer,
}

/// A failure, with its event if it has one.
#[derive(Debug)]
pub(super) struct ToRetry {
    pub(super) key: FailureKey,
    pub(super) row: FailureRow,
    pub(super) event: Option<Box<Event>>,
}

/// To whom is told what became of each, when that is durable; until then nothing else is let in.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) tried: mpsc::UnboundedSender<Tried>,
    pub(super) _barrier: Arc<Held>,
}

/// What became of a failure that was to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    pub number: u64,
    pub campaign: String,
    #[serde(flatten)]
    pub result: TryResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum TryResult {
    /// The rule has decided it.
    Decided,
    /// There is nothing to decide any more: the timer has been cancelled meanwhile, or set anew; or the event does not match the condition that
    /// the rule has now.
    Void,
    FailedAgain {
        error: String,
    },
    /// It was not called.
    NotCalled {
        reason: String,
    },
}

/// A failure in the making of its retry.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) key: FailureKey,
    row: FailureRow,
    /// As soon as it is known.
    pub(super) result: Option<TryResult>,
    /// What it may send in this hour, if the campaign has a maximum.
    pub(super) places: Vec<Taken>,
    answer: Answer,
}

/// What is told once it is durable.
#[derive(Debug)]
pub(super) struct Concluded {
    tried: Tried,
    answer: Answer,
}

impl Concluded {
    pub(super) fn tell(self) {
        // Whoever asked may have gone.
        let _ = self.answer.tried.send(self.tried);
    }
}

impl Retry {
    pub(super) fn into_concluded(self) -> Concluded {
        let waits = || TryResult::NotCalled { reason: "what stands in front of it failed again".to_owned() };
        let result = self.result.unwrap_or_else(waits);
        let campaign = self.key.campaign.to_string();
        Concluded { tried: Tried { number: self.key.number, campaign, result }, answer: self.answer }
    }
}

impl RetryWork {
    /// A case for each.
    pub(super) fn into_cases(self) -> Result<Vec<Case>, StoreError> {
        let RetryWork { partition, customer, failures, answer } = self;
        let case = |ToRetry { key, row, event }: ToRetry| {
            let (id, reason) = reason_of(&key, &row, event)?;
            let now = row.now;
            let became = match &row.work {
                Work::Event { recipient, .. } | Work::Merge { recipient, .. } => recipient.clone().map(Arc::new),
                Work::Timer(_) => None,
            };
            let retry = Some(Box::new(Retry { key, row, result: None, places: Vec::new(), answer: answer.clone() }));
            Ok(Case { retry, became, ..Case::new(reason, id, now, customer, partition) })
        };
        failures.into_iter().map(case).collect()
    }
}

/// Why a failure is not tried again in this hour.
pub(super) fn hour_is_full(campaign: &str) -> String {
    format!("campaign `{campaign}` has sent as many this hour as it may (per_hour_max); try again in the next hour")
}

fn reason_of(key: &FailureKey, row: &FailureRow, event: Option<Box<Event>>) -> Result<(EventId, Reason), StoreError> {
    let unreadable = |reason| StoreError::unreadable(Table::Failures, reason);
    Ok(match &row.work {
        Work::Event { id, .. } => {
            let event = event.ok_or_else(|| unreadable("an event without its body"))?;
            (*id, Reason::Event { event, seen: None })
        }
        Work::Timer(pending) => {
            let customer = key.customer.ok_or_else(|| unreadable("a timer of nobody"))?;
            let mut timer = TimerKey::of(customer, &key.campaign, pending);
            if row.status.is_held() {
                timer.due = NEVER;
            }
            let id = EventId::of_timer(pending.set_by, &key.campaign, &pending.name, pending.due);
            (id, Reason::Timer { timer, fired: Some(pending.clone()), step: None })
        }
        Work::Merge { id, code, other, timers, .. } => {
            let (code, other, timers) = (code.clone(), other.clone(), timers.clone());
            (*id, Reason::Merge { code, other, timers, step: None })
        }
    })
}

impl Shard {
    /// Adds the call of a failure that is tried again, unless something stands in front of it.
    pub(super) fn gather_retry(&mut self, rules: &RuleSet, number: usize, case: &mut Case) -> Result<(), StoreError> {
        let Some(mut retry) = case.retry.take() else { return Ok(()) };
        if let Some(customer) = case.customer {
            self.rows.load(&self.view, customer)?;
        }
        self.address(case)?;
        if !(retry.row.is_queued && self.failures.is_blocked(&retry.key)) {
            retry.result = self.call_again(rules, number, case, &retry);
        }
        case.retry = Some(retry);
        Ok(())
    }

    /// Has what an earlier version kept under an id that a merge has changed addressed to the customer who remains.
    fn address(&self, case: &mut Case) -> Result<(), StoreError> {
        match &mut case.reason {
            Reason::Event { event, .. } if case.became.is_none() && case.customer.is_some() => {
                if let Some(named) = event.customer().filter(|named| named.key() != case.customer) {
                    case.became = self.redirects.addressee(named)?;
                }
            }
            Reason::Timer { timer, fired: Some(fired), .. } => self.address_timer(timer.customer, fired)?,
            _ => {}
        }
        Ok(())
    }

    /// Has a timer that was set under an id that a merge has changed addressed to the customer who remains.
    pub(super) fn address_timer(&self, customer: CustomerKey, timer: &mut PendingTimer) -> Result<(), StoreError> {
        if timer.recipient.key() != Some(customer)
            && let Some(addressee) = self.redirects.addressee(&timer.recipient)?
        {
            timer.recipient = Customer::clone(&addressee);
        }
        Ok(())
    }

    /// `None` if it is called, or has faulted already.
    fn call_again(&mut self, rules: &RuleSet, number: usize, case: &mut Case, retry: &Retry) -> Option<TryResult> {
        let not_called = |reason: String| Some(TryResult::NotCalled { reason });
        let name = &retry.key.campaign;
        let now = self.arrivals.now();
        let runs = |index| self.runs(rules, index, now);
        let found = rules.decider(name, case.customer, runs);
        let Some(index) = found.filter(|index| runs(*index)) else {
            return not_called(format!("campaign `{name}` does not run now; `hailer campaigns` says why"));
        };
        if self.is_full(&rules.campaigns()[index].spec, now) {
            return not_called(hour_is_full(name));
        }
        let campaign = Arc::clone(&rules.campaigns()[index]);
        let spec = &campaign.spec;
        if retry.row.status.is_missed() && self.waits(spec, case.customer) {
            return not_called(format!(
                "a failure of this customer in `{name}` stands in front of it; settle that first"
            ));
        }
        let seed = case.customer.map_or(SEED_OF_NOBODY, CustomerKey::seed);
        let (mut handler, mut fires, mut united) = (0, false, None);
        let allowed = self.suspects.refuse_retry(&retry.key).map_err(NotCalled::Fault);
        let added = match &case.reason {
            Reason::Event { event, .. } => {
                let reading = rules.reading(event.code());
                let taken = reading.subscriptions.iter().find(|subscription| subscription.campaign == index);
                let Some(subscription) = taken else {
                    return not_called(format!("the version of `{name}` that runs does not take such events"));
                };
                reading.plan.project(event, &mut self.projection);
                if !subscription.matches(&self.projection) {
                    return Some(TryResult::Void);
                }
                handler = subscription.handler;
                let state = case.customer.and_then(|customer| self.rows.state(customer, spec, case.now));
                allowed.and_then(|()| self.batch.add(subscription, number, case.now, seed, state, &self.projection))
            }
            Reason::Timer { timer, fired: Some(fired), .. } => {
                let Some(subscription) = rules.timer(index, &timer.timer) else {
                    return not_called(format!("the version of `{name}` that runs has no timer `{}`", timer.timer));
                };
                // One that waits is pending still, unless what was in front of it has cancelled it, or set it anew.
                if retry.row.status.is_held() {
                    if !self.rows.is_held(timer.customer, name, fired) {
                        return Some(TryResult::Void);
                    }
                    fires = true;
                }
                let state = self.rows.state(timer.customer, spec, case.now);
                allowed.and_then(|()| {
                    let added = self.batch.add_timer(&subscription, number, case.now, seed, state);
                    added.map_err(NotCalled::Fault)
                })
            }
            Reason::Timer { fired: None, .. } => return Some(TryResult::Void),
            Reason::Merge { other, timers, .. } => {
                let Some(customer) = case.customer else {
                    return not_called("a merge without a customer; drop it".to_owned());
                };
                allowed.and_then(|()| {
                    let again = self.merge_again(rules, (index, number), case, customer, (other, timers));
                    again.map(|union| united = union).map_err(NotCalled::Fault)
                })
            }
        };
        if let Reason::Timer { step, .. } = &mut case.reason {
            *step = fires.then_some(TimerStep::Fire);
        }
        if let (Reason::Merge { step, .. }, Some(union)) = (&mut case.reason, united) {
            let decided = Decided::Answered {
                communications: Vec::new(),
                notes: vec![UNITED_WITHOUT_A_CALL.into()],
                state_changed: true,
                scheduled: Vec::new(),
                cancelled: Vec::new(),
            };
            case.outcomes.push(outcome(spec, decided));
            *step = Some(union);
        }
        if let Err(not_called) = added {
            let decided = self.not_called(&campaign, index, handler, case, not_called);
            case.outcomes.push(outcome(spec, decided));
        }
        None
    }

    /// What has come of a retry: its failure is settled, or stands where it stood.
    pub(super) fn conclude(&mut self, case: &mut Case, log: Box<str>) -> Result<(), StoreError> {
        let Some(retry) = &mut case.retry else { return Ok(()) };
        let Retry { key, row, result, .. } = &mut **retry;
        let decided = case.outcomes.last();
        if let Some(Outcome { version, decided: Decided::Failed { error }, .. }) = decided {
            let tries = match &row.status {
                FailureStatus::Failed { tries, .. } => tries.saturating_add(1),
                FailureStatus::Held | FailureStatus::Missed { .. } => 1,
            };
            if row.status.is_missed() {
                self.failures.is_failure_now(key, row);
            }
            let (error, version, tried_ms) = (error.clone(), Arc::clone(version), self.arrivals.now());
            *result = Some(TryResult::FailedAgain { error: error.to_string() });
            row.status = FailureStatus::Failed { error, log, version, tried_ms, tries };
            self.failures.failed_again(key, row);
            return Ok(());
        }
        match (&result, decided) {
            (None, Some(_)) => *result = Some(TryResult::Decided),
            (Some(TryResult::Void), _) => {}
            // It stays, and what waits behind it.
            _ => {
                if row.is_queued {
                    self.failures.block(key);
                }
                return Ok(());
            }
        }
        self.failures.settle(&self.view, key, row)?;
        if let (Some(customer), true) = (key.customer, row.is_queued) {
            self.rows.change_held(customer, &key.campaign, -1);
        }
        Ok(())
    }
}
