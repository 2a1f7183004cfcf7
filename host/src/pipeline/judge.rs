//! What a shard makes of its guests' answers: rules propose, the host disposes. What passes becomes bytes, once; what a rule keeps
//! becomes rows; a fault is data.

use std::sync::Arc;
use std::time::Instant;

use hailer_abi::wire;
use tracing::Level;

use super::case::{Case, Reason};
use super::log_allowance::{LINES_AT_ONCE_MAX, LINES_PER_SECOND_MAX};
use super::retries::{TryResult, hour_is_full};
use super::rows::{Kept, TimerChange, UnitedTimers};
use super::shard::Shard;
use crate::clock::Millis;
use crate::communication::{Occasion, Proposal};
use crate::engine::{
    Action, Campaign, CampaignSpec, GuestFault, GuestLine, Mode, OnFault, Outcome, RuleSet, Spent, StateChange, Verdict,
};
use crate::event::CustomerKey;
use crate::policies::{Facts, PolicyVerdict, judge};
use crate::records::{self, Decided, FailureRow, FailureStatus, Proposed, Work};
use crate::reload::Misbehaviour;
use crate::store::StoreError;

/// What is kept with a failure of the guest's log, in bytes, at most.
const FAILURE_LOG_BYTES_MAX: usize = 4 << 10;

/// What may stand in one queue: of one customer and one campaign.
const QUEUE_MAX: u32 = 1000;
pub(super) const NOT_KEPT: &str = "not kept, as the campaign has too many failures already";

impl Shard {
    /// Judges what the guests answered. `first` is the batch's index of the first case that is still here.
    pub(super) fn judge(&mut self, rules: &RuleSet, first: usize, cases: &mut [Case]) -> Result<(), StoreError> {
        self.reserve_for_retries(rules, first, cases);
        for case in &*cases {
            self.begin_judging(rules, case)?;
        }
        // They go back empty, for their room.
        let mut verdicts = std::mem::take(&mut self.decided.verdicts);
        for Verdict { event, campaign: index, result } in verdicts.drain(..) {
            let campaign = &rules.campaigns()[index];
            let case = &mut cases[event - first];
            // It stays where it is kept, and nothing of its answer counts.
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
        self.decided.verdicts = verdicts;
        for (event, case) in (first..).zip(cases) {
            self.note_held(case);
            if case.retry.is_some() {
                let line = self.decided.lines.iter().find(|line| line.event == event);
                let log = line.map(|line| self.log_of(event, line.campaign)).unwrap_or_default();
                self.conclude(case, log)?;
            }
        }
        Ok(())
    }

    /// Takes places in the hour for what retries want to send. A retry that finds too few stays kept: it would be settled, and nothing sent.
    fn reserve_for_retries(&mut self, rules: &RuleSet, first: usize, cases: &mut [Case]) {
        // They are sent now, whenever their events came.
        let now = self.arrivals.now();
        for Verdict { event, campaign: index, result } in &self.decided.verdicts {
            let (spec, case) = (&rules.campaigns()[*index].spec, &mut cases[event - first]);
            let (Some(max), Ok(answer)) = (spec.per_hour_max, result) else { continue };
            let may_go = spec.mode == Mode::Live && case.recipient().is_some();
            let sends = answer.actions.iter().filter(|action| matches!(action, Action::Send { .. })).count();
            let Some(retry) = case.retry.as_mut().filter(|_| may_go && sends > 0) else { continue };
            match self.quotas.reserve(spec.acts_for(), max, now, self.rule_set, sends) {
                Some(places) => retry.places = places,
                None => {
                    retry.result = Some(TryResult::NotCalled { reason: hour_is_full(&retry.key.campaign) });
                    if let Reason::Timer { step, .. } = &mut case.reason {
                        *step = None;
                    }
                }
            }
        }
    }

    /// Makes sure that the row is here that a case may change, and does with its timer what has been decided about it. The rows of an earlier
    /// part may be on their way to be committed already.
    fn begin_judging(&mut self, rules: &RuleSet, case: &Case) -> Result<(), StoreError> {
        let timer = match &case.reason {
            Reason::Timer { timer, step: Some(step), .. } => Some((timer, *step)),
            _ => None,
        };
        let changes_rows = timer.is_some() || case.retry.is_some() || rules.remembers();
        if let Some(customer) = case.customer.filter(|_| changes_rows) {
            self.rows.load(&self.view, customer)?;
            // Before anything of this case changes what there is to take over.
            for (shadow, trial) in rules.shadows().filter(|(shadow, _)| shadow.spec.manifest.remembers()) {
                self.rows.follow(customer, &shadow.spec.name, trial);
            }
        }
        if let Some((timer, step)) = timer {
            self.rows.step(timer, step);
        }
        if let (Reason::Merge { step: Some(union), timers, .. }, Some(customer)) = (&case.reason, case.customer) {
            self.rows.unite_kept(customer, union, timers);
        }
        Ok(())
    }

    /// Lets the customer's row know what waits behind a failure from now on.
    pub(super) fn note_held(&mut self, case: &mut Case) {
        let Some(customer) = case.customer else { return };
        for (key, row) in &case.failures[case.failures_noted..] {
            if row.is_queued {
                self.rows.change_held(customer, &key.campaign, 1);
            }
        }
        case.failures_noted = case.failures.len();
    }

    /// What a guest has logged while it handled an event, as much of it as is kept with a failure.
    pub(super) fn log_of(&self, event: usize, campaign: usize) -> Box<str> {
        let mut log = String::new();
        for line in self.decided.lines.iter().filter(|line| (line.event, line.campaign) == (event, campaign)) {
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
        // Before anything of the answer counts.
        let timers = timers_of(&answer.actions, spec, case.now)?;
        if let (Some(customer), Some(recipient)) = (case.customer, case.recipient()) {
            self.rows.has_room(customer, recipient, spec, &answer.state, &timers)?;
        }
        self.counts.of(index).decided(case.retry.is_none());
        let (mut communications, mut notes) = (Vec::new(), Vec::new());
        for action in answer.actions {
            match action {
                Action::Note(text) => {
                    let (name, note) = (&*spec.name, shown(campaign, &text));
                    tracing::debug!(campaign = name, event = %case.id, note, "note");
                    notes.push(text);
                }
                Action::Send { channel, template, data } => {
                    let place = communications.len() as u32;
                    let proposal = Proposal { index: place, channel, template: &template, data: &data };
                    let (id, verdict) = self.dispose(campaign, index, case, proposal);
                    let data_hash = if is_compared { hash_of(&data) } else { 0 };
                    communications.push(Proposed { id, channel: channel as u8, template, verdict, data_hash });
                }
                Action::Schedule { .. } | Action::Cancel { .. } => {}
            }
        }
        if !communications.is_empty() && case.retry.is_none() {
            self.trials.sends(index);
        }
        let state_changed = !matches!(answer.state, StateChange::Unchanged);
        let scheduled = timers.iter().filter_map(|(name, due)| Some((name.clone(), (*due)?))).collect();
        let cancelled = timers.iter().filter(|(_, due)| due.is_none()).map(|(name, _)| name.clone()).collect();
        let changed: Vec<Box<str>> = timers.iter().map(|(name, _)| name.clone()).collect();
        if state_changed || !timers.is_empty() {
            self.keep(spec, case, Kept { state: answer.state, timers });
        }
        if let (Reason::Merge { timers: theirs, .. }, Some(customer)) = (&case.reason, case.customer) {
            let how = if spec.manifest.merges_timers() { UnitedTimers::Both } else { UnitedTimers::Earlier };
            let untouched = theirs.iter().filter(|timer| !changed.contains(&timer.name));
            self.rows.move_timers(customer, spec.acts_for(), untouched, how);
        }
        Ok(Decided::Answered { communications, notes, state_changed, scheduled, cancelled })
    }

    /// Keeps what a rule wants kept about the customer; of an event without one nothing can be.
    fn keep(&mut self, spec: &CampaignSpec, case: &Case, kept: Kept) {
        let Some(customer) = case.customer else {
            tracing::debug!(campaign = &*spec.name, event = %case.id, "the event has no customer: nothing is kept");
            return;
        };
        self.rows.keep(customer, case.recipient(), spec, (case.id, case.now), kept);
    }

    /// Puts a proposed communication before the policies, and makes it if it passes.
    fn dispose(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &mut Case,
        proposal: Proposal<'_>,
    ) -> (Box<str>, records::Verdict) {
        let spec = &campaign.spec;
        let channel = proposal.channel;
        let reserved = case.retry.as_mut().and_then(|retry| retry.places.pop());
        let recipient = case.recipient();
        let may_go = spec.mode == Mode::Live && recipient.is_some();
        let taken = spec.per_hour_max.filter(|_| may_go);
        let taken = taken
            .map(|max| reserved.unwrap_or_else(|| self.quotas.take(spec.acts_for(), max, case.now, self.rule_set)));
        let hour_is_full = taken.as_ref().is_some_and(|taken| !taken.has_room);
        self.taken.extend(taken.filter(|_| self.exit.is_some()));
        if let (true, Some(max)) = (hour_is_full, spec.per_hour_max) {
            let reason = format!("it sends more than {max} communications an hour (per_hour_max)");
            self.suspend(campaign, Misbehaviour::Excessive(reason));
        }
        let verdict = judge(Facts { mode: spec.mode, has_recipient: recipient.is_some(), hour_is_full });
        let recipient = match (verdict, recipient) {
            (PolicyVerdict::Suppress(why), _) => {
                self.counts.of(index).suppressed(channel, why);
                return ("".into(), records::Verdict::Suppressed(why.name().into()));
            }
            (PolicyVerdict::Publish, recipient) => recipient.expect("only what has a recipient is published"),
        };
        self.counts.of(index).published(channel);
        // A moment that is no date has been refused with its event.
        let occasion = || Occasion::new(case.id, case.sent_for(), recipient, case.now).expect("a date");
        let occasion = case.occasion.get_or_init(|| Box::new(occasion()));
        let sender = self.senders.of(index, spec, &self.environment);
        let communication = sender.send(occasion, proposal);
        let id = communication.id.clone();
        case.communications.push(communication);
        (id, records::Verdict::Passed)
    }

    /// A rule has faulted: counted, told, and kept to be tried again. One that is tried again is kept already.
    pub(super) fn failed(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &mut Case,
        work: Option<Work>,
        fault: &GuestFault,
        log: Box<str>,
    ) -> Decided {
        let error: Box<str> = self.fault(campaign, index, case, fault).into();
        if case.retry.is_none() {
            let (version, tried_ms) = (Arc::clone(&campaign.spec.version), self.arrivals.now());
            let status = FailureStatus::Failed { error: error.clone(), log, version, tried_ms, tries: 1 };
            if !self.keep_failure(campaign, index, case, work, status) {
                return Decided::Failed { error: format!("{error}; {NOT_KEPT}").into() };
            }
        }
        Decided::Failed { error }
    }

    /// Whether an event of the customer waits behind a failure of the campaign.
    pub(super) fn waits(&self, spec: &CampaignSpec, customer: Option<CustomerKey>) -> bool {
        let held = || self.rows.campaign(customer?, spec.acts_for()).map(|row| row.held);
        spec.on_fault == OnFault::Hold && held().is_some_and(|held| held > 0)
    }

    /// Puts what is being decided behind a failure of the campaign; `None` if there is no room for it.
    pub(super) fn hold(&mut self, campaign: &Campaign, index: usize, case: &mut Case) -> Option<Decided> {
        let is_kept = self.keep_failure(campaign, index, case, case.work(), FailureStatus::Held);
        is_kept.then(|| {
            self.counts.of(index).held();
            Decided::Held
        })
    }

    /// Keeps what a campaign owes; false if as much is kept of it as may be.
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
        let count = self.counts.of(index).not_kept();
        if count.is_power_of_two() {
            tracing::error!(
                campaign = &**name,
                event = %case.id,
                count,
                "a failure is not kept, as there are too many (store.failures_bytes_max, or {QUEUE_MAX} of one customer); settle some with `hailer failures`"
            );
        }
        false
    }

    /// The same for a campaign that may not run.
    pub(super) fn keep_work(
        &mut self,
        campaign: &Arc<str>,
        case: &mut Case,
        work: Work,
        status: FailureStatus,
        is_queued: bool,
    ) -> bool {
        let held = case.customer.and_then(|customer| self.rows.campaign(customer, campaign)).map_or(0, |row| row.held);
        if held >= QUEUE_MAX {
            return false;
        }
        let Some(key) = self.failures.place(case.partition, case.customer, campaign, false) else { return false };
        let is_queued = is_queued && case.customer.is_some();
        case.failures.push((key, FailureRow { work, now: case.now, status, is_queued, bytes: 0 }));
        true
    }

    /// Counts a fault, and tells it. Returns what it said.
    fn fault(&mut self, campaign: &Campaign, index: usize, case: &Case, fault: &GuestFault) -> String {
        let counts = self.counts.of(index);
        // While failures are tried again, there is nothing but what failed before.
        let is_judged = case.retry.is_none();
        let (count, suspended_for) = counts.fault(fault, is_judged);
        let said = fault.to_string();
        // A rule that always faults must not flood the log: the first, the second, the fourth …
        if count.is_power_of_two() {
            let (name, version, code) = (&*campaign.spec.name, &*campaign.spec.version, case.name());
            let fault = match fault {
                GuestFault::Panic(_) | GuestFault::Returned(_) => shown(campaign, &said),
                _ => &said,
            };
            tracing::warn!(campaign = name, version, event = %case.id, code, fault, count, "a rule faulted; the event goes on without it, and is kept for it: `hailer failures list`");
        }
        if let Some(reason) = suspended_for {
            self.suspend(campaign, Misbehaviour::Unfit(reason));
        }
        said
    }

    pub(super) fn report_misbehaviour(&mut self, rules: &RuleSet, first: usize, cases: &[Case]) {
        self.counts.log_bytes_cut(self.decided.log_bytes_cut);
        for GuestLine { event, campaign: at, line } in self.decided.lines.drain(..) {
            if !is_logged(line.level) {
                continue;
            }
            let Some(dropped) = self.counts.of(at).log_line(Instant::now()) else { continue };
            let campaign = &rules.campaigns()[at];
            let (name, event, text) = (&*campaign.spec.name, cases[event - first].id, shown(campaign, &line.text));
            if dropped > 0 {
                tracing::warn!(
                    campaign = name,
                    dropped,
                    "lines of the rule were dropped: it logs more than {LINES_AT_ONCE_MAX} at once and {LINES_PER_SECOND_MAX} a second"
                );
            }
            match line.level {
                wire::LOG_PANIC | wire::LOG_ERROR => tracing::error!(campaign = name, %event, "rule: {text}"),
                wire::LOG_WARN => tracing::warn!(campaign = name, %event, "rule: {text}"),
                wire::LOG_INFO => tracing::info!(campaign = name, %event, "rule: {text}"),
                _ => tracing::debug!(campaign = name, %event, "rule: {text}"),
            }
        }
        for &Spent { campaign: at, calls, time } in &self.decided.spent {
            if let Some(reason) = self.counts.of(at).took(calls, time) {
                self.suspend(&rules.campaigns()[at], Misbehaviour::Unfit(reason));
            }
        }
        for canary in rules.canaries() {
            if let Some(reason) = self.trials.drift(rules, canary) {
                self.suspend(&rules.campaigns()[canary], Misbehaviour::Excessive(reason));
            }
        }
        self.counts.rechecked(self.decided.rechecked);
        for campaign in std::mem::take(&mut self.decided.impure) {
            let reason = "it is not a pure function: it gave two answers to one call".to_owned();
            self.suspend(&rules.campaigns()[campaign], Misbehaviour::Unfit(reason));
        }
    }

    /// Has a campaign stopped: this version is not called any more from now on. When its owner is too busy to hear it, the next
    /// misbehaviour tells it again.
    fn suspend(&self, campaign: &Campaign, misbehaviour: Misbehaviour) {
        let spec = &campaign.spec;
        if self.rules.owner.is_stopped(&spec.name, campaign.generation) {
            return;
        }
        tracing::error!(campaign = &*spec.name, reason = misbehaviour.reason(), "stopping a campaign");
        self.rules.owner.suspend(spec.name.to_string(), campaign.generation, misbehaviour);
    }
}

/// What became of a case in a campaign.
pub(super) fn outcome(spec: &CampaignSpec, decided: Decided) -> records::Outcome {
    records::Outcome { campaign: Arc::clone(&spec.name), version: Arc::clone(&spec.version), decided }
}

/// Of a communication's data. It is never 0.
fn hash_of(data: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(data.as_bytes()).max(1)
}

/// The last word about each timer: set to be due, or cancelled.
pub(super) fn timers_of(actions: &[Action], spec: &CampaignSpec, now: Millis) -> Result<Vec<TimerChange>, GuestFault> {
    let mut timers: Vec<TimerChange> = Vec::new();
    for action in actions {
        let (handler, due) = match action {
            Action::Schedule { timer, when } => {
                // That there is such a moment has been checked when the answer was read.
                let due = when.resolve(now, &spec.time_zone);
                (*timer, Some(due.map_err(|wrong| GuestFault::BadOutput(format!("a timer for {wrong}")))?))
            }
            Action::Cancel { timer } => (*timer, None),
            Action::Send { .. } | Action::Note(_) => continue,
        };
        let handler = spec.manifest.handlers.get(handler as usize);
        let name = handler.and_then(|handler| handler.timer.as_deref());
        // What is no timer has been refused when the answer was read.
        let Some(name) = name else { continue };
        timers.retain(|(known, _)| **known != *name);
        timers.push((name.into(), due));
    }
    Ok(timers)
}

/// A guest's words, for the log: withheld when it reads personal data, as they may repeat it.
fn shown<'a>(campaign: &Campaign, text: &'a str) -> &'a str {
    if campaign.spec.reads_personal() { "(withheld: this campaign reads personal fields)" } else { text }
}

/// Whether the log shows lines of this level; those that it doesn't use up no allowance.
fn is_logged(level: i32) -> bool {
    match level {
        wire::LOG_PANIC | wire::LOG_ERROR => tracing::enabled!(Level::ERROR),
        wire::LOG_WARN => tracing::enabled!(Level::WARN),
        wire::LOG_INFO => tracing::enabled!(Level::INFO),
        _ => tracing::enabled!(Level::DEBUG),
    }
}
