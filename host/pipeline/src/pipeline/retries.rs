//! Retries of kept failures. A retry runs on the shard of its customer while nothing else is in
//! flight. It runs in the current version of the rule, with the `now` and the event id of the first
//! try. Its communications therefore have the ids that they would have had. The policies judge them
//! by the time of the retry, so that nobody is written to at night. One commit holds the results of
//! the retry and the removal of the failure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::budget::Held;
use super::case::{Case, Reason};
use super::decide::Decider;
use super::gather::SEED_OF_NOBODY;
use super::judge::outcome;
use super::quota::Taken;
use super::rows::{NEVER, TimerStep};
use crate::records::{
    Decided, FailureKey, FailureRow, FailureStatus, Outcome, Partition, TimerKey, Work,
};
use hailer_engine::{NotCalled, RuleSet};
use hailer_event::{CustomerKey, Event, EventId};
use hailer_store::{StoreError, Table};

/// The note in the journal for a retried merge that needs no call.
const UNITED_WITHOUT_A_CALL: &str = "merged by default: the rule has no merge handler for this";

/// Failures of one customer and campaign to retry, in their order.
#[derive(Debug)]
pub(super) struct RetryWork {
    pub(super) partition: Partition,
    pub(super) customer: Option<CustomerKey>,
    pub(super) failures: Vec<ToRetry>,
    pub(super) answer: Answer,
}

/// A failure to retry, with its event if it has one.
#[derive(Debug)]
pub(super) struct ToRetry {
    pub(super) key: FailureKey,
    pub(super) row: FailureRow,
    pub(super) event: Option<Box<Event>>,
}

/// Receives the result of each retry once the result is durable. The barrier keeps other work out
/// until then.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) tried: mpsc::UnboundedSender<Tried>,
    pub(super) _barrier: Arc<Held>,
}

/// The result of one retry, for the caller.
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
    /// The rule has decided the event or timer.
    Decided,
    /// The failure is void: the timer has been cancelled or set again, or the event does not
    /// match the rule's present condition.
    Void,
    FailedAgain {
        error: String,
    },
    /// The rule was not called.
    NotCalled {
        reason: String,
    },
}

/// A failure while its retry is decided.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) key: FailureKey,
    pub(super) row: FailureRow,
    /// The result; `None` until it is known.
    pub(super) result: Option<TryResult>,
    /// The change to the failure's row.
    pub(super) conclusion: Conclusion,
    /// The communications of the retry that were counted against the campaign's hourly limit.
    pub(super) places: Vec<Taken>,
    answer: Answer,
}

/// The change to a failure's row after its retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// The failure and the events held behind it stay as they are.
    Stays,
    /// The failure is removed.
    Settled,
    /// The failure stays with the new error, and the events behind it stay held. `was_missed`:
    /// until now the row was a missed event.
    FailedAgain { was_missed: bool },
}

/// The result of a retry, for its caller once the retry is durable.
#[derive(Debug)]
pub(super) struct Concluded {
    tried: Tried,
    answer: Answer,
}

impl Concluded {
    pub(super) fn report(self) {
        // The caller may have stopped waiting.
        let _ = self.answer.tried.send(self.tried);
    }
}

impl Retry {
    pub(super) fn into_concluded(self) -> Concluded {
        let waits =
            || TryResult::NotCalled { reason: "a failure ahead of it failed again".to_owned() };
        let result = self.result.unwrap_or_else(waits);
        let campaign = self.key.campaign.to_string();
        Concluded {
            tried: Tried { number: self.key.number, campaign, result },
            answer: self.answer,
        }
    }
}

impl RetryWork {
    /// One case for each failure.
    pub(super) fn into_cases(self) -> Result<Vec<Case>, StoreError> {
        let RetryWork { partition, customer, failures, answer } = self;
        let case = |ToRetry { key, row, event }: ToRetry| {
            let (id, reason) = reason_of(&key, &row, event)?;
            let now = row.now;
            let became = match &row.work {
                Work::Event { recipient, .. } | Work::Merge { recipient, .. } => {
                    recipient.clone().map(Arc::new)
                }
                Work::Timer(_) => None,
            };
            let retry = Some(Box::new(Retry {
                key,
                row,
                result: None,
                conclusion: Conclusion::Stays,
                places: Vec::new(),
                answer: answer.clone(),
            }));
            Ok(Case { retry, became, ..Case::new(reason, id, now, customer, partition) })
        };
        failures.into_iter().map(case).collect()
    }
}

/// The reason for a failure that is not retried within this hour.
pub(super) fn hour_is_full(campaign: &str) -> String {
    format!(
        "campaign `{campaign}` has sent as many this hour as it may (per_hour_max); try again in \
         the next hour"
    )
}

fn reason_of(
    key: &FailureKey,
    row: &FailureRow,
    event: Option<Box<Event>>,
) -> Result<(EventId, Reason), StoreError> {
    let unreadable = |reason| StoreError::unreadable(Table::Failures, reason);
    Ok(match &row.work {
        Work::Event { id, .. } => {
            let event = event.ok_or_else(|| unreadable("an event without its body"))?;
            (*id, Reason::Event { event, seen: None })
        }
        Work::Timer(pending) => {
            let customer = key.customer.ok_or_else(|| unreadable("a timer without a customer"))?;
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

impl Decider {
    /// Adds the call of a retried failure, unless an earlier failure of its queue blocks it.
    pub(super) fn gather_retry(&mut self, rules: &RuleSet, number: usize, case: &mut Case) {
        let Some(mut retry) = case.retry.take() else { return };
        if !(retry.row.is_queued && self.is_blocked(&retry.key)) {
            retry.result = self.call_again(rules, number, case, &retry);
        }
        case.retry = Some(retry);
    }

    fn is_blocked(&self, key: &FailureKey) -> bool {
        self.blocked.contains(&(key.customer, Arc::clone(&key.campaign)))
    }

    /// `None` if the call has been added, or if the case has its outcome already.
    fn call_again(
        &mut self,
        rules: &RuleSet,
        number: usize,
        case: &mut Case,
        retry: &Retry,
    ) -> Option<TryResult> {
        let not_called = |reason: String| Some(TryResult::NotCalled { reason });
        let name = &retry.key.campaign;
        let now = self.now;
        let runs = |index| self.runs(rules, index, now);
        let found = rules.decider(name, case.customer, runs);
        let Some(index) = found.filter(|index| runs(*index)) else {
            return not_called(format!(
                "campaign `{name}` does not run now; `hailer campaigns` says why"
            ));
        };
        if self.is_full(&rules.campaigns()[index].spec, now) {
            return not_called(hour_is_full(name));
        }
        let campaign = Arc::clone(&rules.campaigns()[index]);
        let spec = &campaign.spec;
        if retry.row.status.is_missed() && self.waits(spec, case.customer) {
            return not_called(format!(
                "an earlier failure of this customer in `{name}` is ahead of it; settle that first"
            ));
        }
        let seed = case.customer.map_or(SEED_OF_NOBODY, CustomerKey::seed);
        let (mut handler, mut fires, mut united) = (0, false, None);
        let allowed = self.limits.poison.refuse_retry(&retry.key).map_err(NotCalled::Fault);
        let added = match &case.reason {
            Reason::Event { event, .. } => {
                let reading = rules.reading(event.code());
                let taken = reading
                    .subscriptions
                    .iter()
                    .find(|subscription| subscription.campaign == index);
                let Some(subscription) = taken else {
                    return not_called(format!(
                        "the version of `{name}` that runs does not take such events"
                    ));
                };
                reading.plan.project(event, &mut self.projection);
                if !subscription.matches(&self.projection) {
                    return Some(TryResult::Void);
                }
                handler = subscription.handler;
                let state =
                    case.customer.and_then(|customer| self.rows.state(customer, spec, case.now));
                allowed.and_then(|()| {
                    self.batch.add(subscription, number, case.now, seed, state, &self.projection)
                })
            }
            Reason::Timer { timer, fired: Some(fired), .. } => {
                let Some(subscription) = rules.timer(index, &timer.timer) else {
                    return not_called(format!(
                        "the version of `{name}` that runs has no timer `{}`",
                        timer.timer
                    ));
                };
                // A held timer is still pending, unless an earlier decision has cancelled it or set
                // it again.
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
            Reason::Timer { fired: None, .. } | Reason::Release { .. } => {
                return Some(TryResult::Void);
            }
            Reason::Merge { other, timers, .. } => {
                let Some(customer) = case.customer else {
                    return not_called("a merge without a customer; drop it".to_owned());
                };
                allowed.and_then(|()| {
                    let again =
                        self.merge_again(rules, (index, number), case, customer, (other, timers));
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

    /// Records the result of a retry: its failure is settled, or keeps its place in the queue.
    pub(super) fn conclude(&mut self, case: &mut Case, log: Box<str>) {
        let Some(retry) = &mut case.retry else { return };
        let Retry { key, row, result, conclusion, .. } = &mut **retry;
        let decided = case.outcomes.last();
        if let Some(Outcome { version, decided: Decided::Failed { error }, .. }) = decided {
            let tries = match &row.status {
                FailureStatus::Failed { tries, .. } => tries.saturating_add(1),
                FailureStatus::Held | FailureStatus::Missed { .. } => 1,
            };
            *conclusion = Conclusion::FailedAgain { was_missed: row.status.is_missed() };
            *result = Some(TryResult::FailedAgain { error: error.to_string() });
            let (error, version) = (error.clone(), Arc::clone(version));
            row.status = FailureStatus::Failed { error, log, version, tried_ms: self.now, tries };
        } else if matches!((&result, decided), (None, Some(_)) | (Some(TryResult::Void), _)) {
            result.get_or_insert(TryResult::Decided);
            *conclusion = Conclusion::Settled;
        }
        if !row.is_queued {
            return;
        }
        match *conclusion {
            Conclusion::Settled => {
                if let Some(customer) = key.customer {
                    self.rows.change_held(customer, &key.campaign, -1);
                }
            }
            Conclusion::Stays | Conclusion::FailedAgain { .. } => {
                self.blocked.insert((key.customer, Arc::clone(&key.campaign)));
            }
        }
    }
}
