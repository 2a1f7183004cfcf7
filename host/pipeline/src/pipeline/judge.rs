//! The last step of a decision: judges the guests' answers. Rules propose, the host decides: a
//! communication that passes the policies is encoded once, the rule's state and timers go to the
//! customer's row, and a fault is data.

use std::sync::Arc;

use super::case::{Case, Proposal, Reason};
use super::decide::Decider;
use super::failures::QUEUE_MAX;
use super::notice::{Fault, Notice};
use super::retries::{TryResult, hour_is_full};
use super::rows::{Kept, TimerChange, UnitedTimers};
use crate::records::{self, Decided, FailureRow, FailureStatus, Proposed, Work};
use hailer_base::clock::Millis;
use hailer_engine::{
    Action, CallResult, Campaign, CampaignSpec, GuestFault, Mode, OnFault, Outcome, RuleSet,
    StateChange, Trial,
};
use hailer_event::CustomerKey;

/// The most of a guest's log that is kept with a failure, in bytes.
const FAILURE_LOG_BYTES_MAX: usize = 4 << 10;
pub(super) const NOT_KEPT: &str = "not kept, as the campaign has too many failures already";

impl Decider {
    /// Judges the guests' answers. `first` is the place of the first of these cases among the
    /// gathered ones.
    pub(super) fn judge(&mut self, rules: &RuleSet, first: usize, cases: &mut [Case]) {
        self.reserve_for_retries(rules, first, cases);
        for case in &mut *cases {
            self.begin_judging(rules, case);
        }
        // The vector goes back empty, so that its memory is reused.
        let mut results = std::mem::take(&mut self.answers.results);
        let mut rest = results.drain(..);
        while let Some(CallResult { event, campaign: index, result }) = rest.next() {
            let campaign = &rules.campaigns()[index];
            let case = &mut cases[event - first];
            if case.outcomes.len() == case.outcomes.capacity() {
                let more = rest.as_slice().iter().take_while(|call| call.event == event).count();
                case.outcomes.reserve_exact(1 + more);
            }
            // The retry is refused (its hour is full): the failure stays, and the answer does not
            // count.
            if case.retry.as_ref().is_some_and(|retry| retry.result.is_some()) {
                continue;
            }
            let answered = result.and_then(|outcome| self.answered(rules, index, case, outcome));
            let decided = answered.unwrap_or_else(|fault| {
                let log = self.log_of(event, index);
                self.failed(campaign, index, case, case.work(), &fault, log)
            });
            case.outcomes.push(outcome(&campaign.spec, decided));
        }
        drop(rest);
        self.answers.results = results;
        for (event, case) in (first..).zip(cases) {
            self.dispose(rules, case);
            self.note_held(case);
            if case.retry.is_some() {
                let line = self.answers.lines.iter().find(|line| line.event == event);
                let log = line.map(|line| self.log_of(event, line.campaign)).unwrap_or_default();
                self.conclude(case, log);
            }
        }
    }

    /// Reserves places in the campaign's hour for the communications of retries. A retry that finds
    /// too few stays a failure: otherwise it would be settled without its communications.
    fn reserve_for_retries(&mut self, rules: &RuleSet, first: usize, cases: &mut [Case]) {
        // The hour of the retry counts, not the hour of the event.
        let now = self.now;
        for CallResult { event, campaign: index, result } in &self.answers.results {
            let (spec, case) = (&rules.campaigns()[*index].spec, &mut cases[event - first]);
            let (Some(max), Ok(answer)) = (spec.per_hour_max, result) else { continue };
            let may_go = spec.mode == Mode::Live && case.recipient().is_some();
            let sends = answer
                .actions
                .iter()
                .filter(|action| matches!(action, Action::Send { .. }))
                .count();
            let Some(retry) = case.retry.as_mut().filter(|_| may_go && sends > 0) else { continue };
            match self.limits.quotas.reserve(spec.acts_for(), max, now, self.rule_set, sends) {
                Some(places) => retry.places = places,
                None => {
                    retry.result =
                        Some(TryResult::NotCalled { reason: hour_is_full(&retry.key.campaign) });
                    if let Reason::Timer { step, .. } = &mut case.reason {
                        *step = None;
                    }
                }
            }
        }
    }

    /// Takes the step of a case's timer, and lets shadows take over the state and timers of their
    /// campaigns, before the case changes them.
    fn begin_judging(&mut self, rules: &RuleSet, case: &mut Case) {
        self.take_statements(rules, case);
        self.release(rules, case);
        let timer = match &case.reason {
            Reason::Timer { timer, step: Some(step), .. } => Some((timer, *step)),
            _ => None,
        };
        if let Some(customer) = case.customer.filter(|_| case.reads_row(rules)) {
            // First, because the case may change the rows that the shadow copies.
            for (shadow, trial) in
                rules.shadows().filter(|(shadow, _)| shadow.spec.manifest.remembers())
            {
                self.follow(customer, &shadow.spec.name, trial);
            }
        }
        if let Some((timer, step)) = timer {
            self.rows.step(timer, step);
        }
        if let (Reason::Merge { step: Some(union), timers, .. }, Some(customer)) =
            (&case.reason, case.customer)
        {
            self.rows.unite_kept(customer, union, timers);
        }
    }

    /// Lets a shadow take over the state and timers that its campaign keeps for a customer.
    pub(super) fn follow(&mut self, customer: CustomerKey, shadow: &Arc<str>, trial: &Trial) {
        if !self.rows.follow(customer, shadow, trial) {
            self.notices.push(Notice::ShadowTooLarge { campaign: Arc::clone(shadow) });
        }
    }

    /// Counts the failures of a case that later events have to wait behind in the customer's row.
    pub(super) fn note_held(&mut self, case: &mut Case) {
        let Some(customer) = case.customer else { return };
        for (key, row) in &case.failures[case.failures_noted..] {
            if row.is_queued {
                self.rows.change_held(customer, &key.campaign, 1);
            }
        }
        case.failures_noted = case.failures.len();
    }

    /// The log of a guest for one event, cut to the size that is kept with a failure.
    pub(super) fn log_of(&self, event: usize, campaign: usize) -> Box<str> {
        let mut log = String::new();
        for line in self
            .answers
            .lines
            .iter()
            .filter(|line| (line.event, line.campaign) == (event, campaign))
        {
            if log.len() + line.line.text.len() >= FAILURE_LOG_BYTES_MAX {
                break;
            }
            log.push_str(&line.line.text);
            log.push('\n');
        }
        log.into()
    }

    fn answered(
        &mut self,
        rules: &RuleSet,
        index: usize,
        case: &mut Case,
        answer: Outcome,
    ) -> Result<Decided, GuestFault> {
        let (campaign, is_compared) = (&*rules.campaigns()[index], rules.is_compared(index));
        let spec = &campaign.spec;
        // Checked first: nothing of an answer that is refused counts.
        let timers = timers_of(&answer.actions, spec, case.now)?;
        if let (Some(customer), Some(recipient)) = (case.customer, case.recipient()) {
            self.rows.has_room(customer, recipient, spec, &answer.state, &timers)?;
        }
        let is_judged = case.retry.is_none();
        self.notices.push(Notice::Answered { campaign: index, is_judged });
        let (mut communications, mut notes) = (Vec::new(), Vec::new());
        for action in answer.actions {
            match action {
                Action::Note(text) => notes.push(text),
                Action::Send { channel, template, data } => {
                    let data_hash = if is_compared { hash_of(&data) } else { 0 };
                    let (place, outcome) = (communications.len() as u32, case.outcomes.len());
                    if case.proposals.len() == case.proposals.capacity() {
                        case.proposals.reserve(case.outcomes.capacity() - outcome);
                    }
                    case.proposals.push(Proposal {
                        campaign: index,
                        outcome,
                        place,
                        channel,
                        data,
                    });
                    communications.push(Proposed {
                        id: "".into(),
                        channel: channel as u8,
                        template,
                        // The policies judge once every rule has answered.
                        verdict: records::Verdict::Passed,
                        data_hash,
                        policy: None,
                        detail: None,
                    });
                }
                Action::Schedule { .. } | Action::Cancel { .. } => {}
            }
        }
        if !communications.is_empty() && case.retry.is_none() {
            self.limits.trials.sends(index);
        }
        let state_changed = !matches!(answer.state, StateChange::Unchanged);
        let scheduled =
            timers.iter().filter_map(|(name, due)| Some((name.clone(), (*due)?))).collect();
        let cancelled =
            timers.iter().filter(|(_, due)| due.is_none()).map(|(name, _)| name.clone()).collect();
        let changed: Vec<Box<str>> = timers.iter().map(|(name, _)| name.clone()).collect();
        if state_changed || !timers.is_empty() {
            self.keep(spec, case, Kept { state: answer.state, timers });
        }
        if let (Reason::Merge { timers: theirs, .. }, Some(customer)) =
            (&case.reason, case.customer)
        {
            let how = if spec.manifest.merges_timers() {
                UnitedTimers::Both
            } else {
                UnitedTimers::Earlier
            };
            let untouched = theirs.iter().filter(|timer| !changed.contains(&timer.name));
            self.rows.move_timers(customer, spec.acts_for(), untouched, how);
        }
        Ok(Decided::Answered { communications, notes, state_changed, scheduled, cancelled })
    }

    /// Writes the state and timers of an answer to the customer's row. Without a customer there is
    /// no row, so nothing is kept.
    fn keep(&mut self, spec: &CampaignSpec, case: &Case, kept: Kept) {
        let Some(customer) = case.customer else {
            return;
        };
        self.rows.keep(customer, case.recipient(), spec, (case.id, case.now), kept);
    }

    /// The outcome of a fault. The event is kept as a failure for a retry; a retry is kept already.
    pub(super) fn failed(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &mut Case,
        work: Option<Work>,
        fault: &GuestFault,
        log: Box<str>,
    ) -> Decided {
        let error: Box<str> = fault.to_string().into();
        self.notices.push(Notice::Faulted {
            campaign: index,
            // A retry repeats an earlier failure, so its fault does not count for the breaker.
            is_judged: case.retry.is_none(),
            fault: Box::new(Fault {
                event: case.id,
                code: case.name().into(),
                fault: fault.clone(),
                error: error.clone(),
            }),
        });
        if case.retry.is_none() {
            let (version, tried_ms) = (Arc::clone(&campaign.spec.version), self.now);
            let status =
                FailureStatus::Failed { error: error.clone(), log, version, tried_ms, tries: 1 };
            if !self.keep_failure(campaign, index, case, work, status) {
                return Decided::Failed { error: format!("{error}; {NOT_KEPT}").into() };
            }
        }
        Decided::Failed { error }
    }

    /// Whether an event of the customer has to wait behind a failure of the campaign.
    pub(super) fn waits(&self, spec: &CampaignSpec, customer: Option<CustomerKey>) -> bool {
        let held = || self.rows.campaign(customer?, spec.acts_for()).map(|row| row.held);
        spec.on_fault == OnFault::Hold && held().is_some_and(|held| held > 0)
    }

    /// Keeps a case as a held event behind a failure of the campaign; `None` if there is no room
    /// for it.
    pub(super) fn hold(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &mut Case,
    ) -> Option<Decided> {
        let is_kept = self.keep_failure(campaign, index, case, case.work(), FailureStatus::Held);
        is_kept.then(|| {
            self.notices.push(Notice::Held { campaign: index });
            Decided::Held
        })
    }

    /// Keeps a failure, or a held event, for a campaign; false if the campaign's bound is reached.
    fn keep_failure(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &mut Case,
        work: Option<Work>,
        status: FailureStatus,
    ) -> bool {
        let name = campaign.spec.acts_for();
        let is_queued = campaign.spec.on_fault == OnFault::Hold;
        if work.is_some_and(|work| self.keep_work(name, case, work, status, is_queued)) {
            return true;
        }
        self.notices.push(Notice::FailureNotKept { campaign: index, event: case.id });
        false
    }

    /// The same for a campaign that is not loaded.
    pub(super) fn keep_work(
        &mut self,
        campaign: &Arc<str>,
        case: &mut Case,
        work: Work,
        status: FailureStatus,
        is_queued: bool,
    ) -> bool {
        let held = case
            .customer
            .and_then(|customer| self.rows.campaign(customer, campaign))
            .map_or(0, |row| row.held);
        if held >= QUEUE_MAX {
            return false;
        }
        let Some(key) = self.limits.failures.place(case.partition, case.customer, campaign, false)
        else {
            return false;
        };
        let is_queued = is_queued && case.customer.is_some();
        case.failures.push((key, FailureRow { work, now: case.now, status, is_queued, bytes: 0 }));
        true
    }
}

/// The outcome of a case in a campaign, with the version that made it.
pub(super) fn outcome(spec: &CampaignSpec, decided: Decided) -> records::Outcome {
    records::Outcome {
        campaign: Arc::clone(&spec.name),
        version: Arc::clone(&spec.version),
        decided,
    }
}

/// The hash of a communication's data, to compare a shadow with its campaign. It is never 0.
fn hash_of(data: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(data.as_bytes()).max(1)
}

/// The last action of an answer on each timer: the due time, or `None` if it is cancelled.
pub(super) fn timers_of(
    actions: &[Action],
    spec: &CampaignSpec,
    now: Millis,
) -> Result<Vec<TimerChange>, GuestFault> {
    let mut timers: Vec<TimerChange> = Vec::new();
    for action in actions {
        let (handler, due) = match action {
            Action::Schedule { timer, when } => {
                // The guest's answer was checked when it was read: the moment exists.
                let due = when.resolve(now, &spec.time_zone);
                (
                    *timer,
                    Some(
                        due.map_err(|wrong| GuestFault::BadOutput(format!("a timer for {wrong}")))?,
                    ),
                )
            }
            Action::Cancel { timer } => (*timer, None),
            Action::Send { .. } | Action::Note(_) => continue,
        };
        let handler = spec.manifest.handlers.get(handler as usize);
        let name = handler.and_then(|handler| handler.timer.as_deref());
        // The guest's answer was checked when it was read: the handler is a timer.
        let Some(name) = name else { continue };
        timers.retain(|(known, _)| **known != *name);
        timers.push((name.into(), due));
    }
    Ok(timers)
}
