//! The first step of a decision: gathers the calls that an event or a timer leads to. A campaign
//! that is not called gets an outcome with the reason.
//!
//! **Gathering changes no row.** Gathered cases may be judged in several parts, and each part is
//! committed on its own. So judging makes all changes of a case, the step of its timer included.

use super::case::{Case, Reason};
use super::decide::Decider;
use super::judge::{NOT_KEPT, outcome};
use super::notice::Notice;
use super::rows::TimerStep;
use crate::records::{self, TimerKey};
use hailer_base::clock::Millis;
use hailer_engine::{
    Campaign, CampaignSpec, CanaryRole, Missing, NotCalled, Reading, RuleSet, Subscription,
};
use hailer_event::{CustomerKey, EventId, Unusable};

/// The seed of a rule's `bucket` for events without a customer: the same for all of them.
pub(super) const SEED_OF_NOBODY: u64 = 0;

impl Decider {
    /// Adds the calls that a case leads to. The row of its customer is loaded if deciding reads it.
    pub(super) fn gather_case(&mut self, rules: &RuleSet, number: usize, case: &mut Case) {
        if case.retry.is_some() {
            return self.gather_retry(rules, number, case);
        }
        match &case.reason {
            Reason::Event { .. } => self.gather_event(rules, number, case),
            Reason::Timer { timer, .. } => {
                let timer = timer.clone();
                self.gather_timer(rules, number, case, &timer);
            }
            // A merge is decided with its event; this reason exists only for retries.
            Reason::Merge { .. } => {}
            // No rule is called.
            Reason::Release { .. } => {}
        }
    }

    /// Reads the fields that the loaded rules declare, and adds a call for each campaign that takes
    /// the event. If the condition of a handler does not match, the campaign is not concerned: the
    /// event waits behind no failure and only a counter grows. If the condition reads a field that
    /// cannot be used, the campaign gets an outcome with the reason.
    ///
    /// Most conditions are not evaluated: an index names those that may be true. An event with a
    /// field that cannot be used is put before every condition, because of those outcomes.
    fn gather_event(&mut self, rules: &RuleSet, number: usize, case: &mut Case) {
        let Reason::Event { event, .. } = &case.reason else { return };
        let now = case.now;
        let reading = rules.reading(event.code());
        let taking = |subscription: &Subscription| {
            self.runs(rules, subscription.campaign, now)
                || self.stop(rules, subscription.campaign, now).is_some()
        };
        if !reading.subscriptions.iter().any(taking) {
            self.notices.push(Notice::Unclaimed);
            return;
        }
        reading.plan.project(event, &mut self.projection);
        let mismatches = self.projection.mismatches();
        self.notices.push(Notice::Taken { mismatches });
        if mismatches > 0 {
            self.count_unusable(rules, reading);
        }
        if mismatches > 0 || !reading.has_index() {
            for subscription in &reading.subscriptions {
                self.gather_campaign(rules, reading, subscription, number, case);
            }
            return;
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        reading.find(&self.projection, &mut candidates);
        self.misses.passed(reading.number);
        for place in candidates.iter() {
            let subscription = &reading.subscriptions[place];
            if reading.is_indexed(place) {
                self.misses.candidate(subscription.campaign);
            }
            self.gather_campaign(rules, reading, subscription, number, case);
        }
        self.candidates = candidates;
    }

    /// Adds the call of one campaign, if it takes the event.
    fn gather_campaign(
        &mut self,
        rules: &RuleSet,
        reading: &Reading,
        subscription: &Subscription,
        number: usize,
        case: &mut Case,
    ) {
        let now = case.now;
        let campaign = &rules.campaigns()[subscription.campaign];
        let spec = &campaign.spec;
        if !self.runs(rules, subscription.campaign, now) {
            let stop =
                self.stop(rules, subscription.campaign, now).filter(|_| spec.is_for(case.customer));
            if let Some(stop) = stop.filter(|_| subscription.matches(&self.projection)) {
                let decided = self.miss(campaign, subscription.campaign, case, stop);
                case.outcomes.push(outcome(spec, decided));
            }
            return;
        }
        let decides = rules
            .decides(subscription.campaign, case.customer, |other| self.runs(rules, other, now));
        self.limits.trials.event(rules, reading, subscription.campaign, decides);
        if !subscription.matches(&self.projection) {
            if decides {
                self.misses.count(subscription.campaign);
                let unusable = (self.projection.mismatches() > 0)
                    .then(|| subscription.unusable_in_condition(&self.projection))
                    .flatten();
                if let Some(missing) = unusable {
                    let (index, handler) = (subscription.campaign, subscription.handler);
                    let decided = self.skipped(campaign, index, handler, missing);
                    case.outcomes.push(outcome(spec, decided));
                }
            }
            return;
        }
        if !decides {
            // The other of campaign and canary decides for this customer.
            if rules.canary_role(subscription.campaign) == CanaryRole::Alone {
                case.outcomes.push(outcome(spec, records::Decided::OutsideRollout));
            }
            return;
        }
        if self.waits(spec, case.customer) {
            let held = self.hold(campaign, subscription.campaign, case);
            let lost =
                || format!("an earlier failure of the customer is ahead of it; {NOT_KEPT}").into();
            let decided = held.unwrap_or_else(|| records::Decided::Failed { error: lost() });
            case.outcomes.push(outcome(spec, decided));
            return;
        }
        let state = case.customer.and_then(|customer| self.rows.state(customer, spec, now));
        let seed = case.customer.map_or(SEED_OF_NOBODY, CustomerKey::seed);
        if let Err(not_called) =
            self.batch.add(subscription, number, now, seed, state, &self.projection)
        {
            let decided = self.not_called(
                campaign,
                subscription.campaign,
                subscription.handler,
                case,
                not_called,
            );
            case.outcomes.push(outcome(spec, decided));
        }
    }

    /// The outcome of a call that could not be made.
    pub(super) fn not_called(
        &mut self,
        campaign: &Campaign,
        index: usize,
        handler: u32,
        case: &mut Case,
        why: NotCalled,
    ) -> records::Decided {
        match why {
            NotCalled::Missing(missing) => self.skipped(campaign, index, handler, missing),
            NotCalled::Fault(fault) => {
                self.failed(campaign, index, case, case.work(), &fault, "".into())
            }
        }
    }

    /// The outcome of a campaign that is not called, as a required field is absent or cannot be
    /// used.
    fn skipped(
        &mut self,
        campaign: &Campaign,
        index: usize,
        handler: u32,
        missing: Missing,
    ) -> records::Decided {
        let spec = &campaign.spec;
        let field = missing.name(&spec.manifest.handlers[handler as usize]);
        let why = missing.unusable.map(Unusable::text);
        self.notices.push(Notice::Skipped { campaign: index });
        records::Decided::Skipped { field: field.into(), why: why.map(Into::into) }
    }

    /// Notices fields that are present and cannot be used, by the names that rules give them.
    fn count_unusable(&mut self, rules: &RuleSet, reading: &Reading) {
        let mut counted = Vec::new();
        for subscription in &reading.subscriptions {
            let handlers = &rules.campaigns()[subscription.campaign].spec.manifest.handlers;
            let fields = &handlers[subscription.handler as usize].fields;
            for (slot, field) in subscription.slots().zip(fields) {
                let mismatches = self.projection.mismatches_of(slot);
                if mismatches > 0 && !counted.contains(&slot) {
                    counted.push(slot);
                    let field = field.name.clone().into();
                    self.notices.push(Notice::Unusable { field, mismatches });
                }
            }
        }
    }

    /// Adds the call of a timer, if the timer is still pending: the index of due timers is only a
    /// hint. If the campaign does not run, or its version lacks the timer, the timer is parked
    /// until both are back.
    fn gather_timer(&mut self, rules: &RuleSet, number: usize, case: &mut Case, timer: &TimerKey) {
        let runs = |index| self.runs(rules, index, case.now);
        let found = rules.decider(&timer.campaign, case.customer, runs);
        let taken =
            found.filter(|index| runs(*index) && rules.decides(*index, case.customer, runs));
        let mut step = |step, fired| {
            case.reason = Reason::Timer { timer: timer.clone(), fired, step: Some(step) }
        };
        let Some(subscription) = taken.and_then(|index| rules.timer(index, &timer.timer)) else {
            step(TimerStep::Park { now: case.now }, None);
            return;
        };
        let Some(pending) = self.rows.pending(timer).cloned() else {
            step(TimerStep::Leave, None);
            return;
        };
        let campaign = &rules.campaigns()[subscription.campaign];
        let id = EventId::of_timer(pending.set_by, &timer.campaign, &timer.timer, pending.due);
        if self.waits(&campaign.spec, case.customer) {
            step(TimerStep::Hold, Some(pending));
            case.id = id;
            match self.hold(campaign, subscription.campaign, case) {
                Some(held) => case.outcomes.push(outcome(&campaign.spec, held)),
                // There is no room to keep it as a held event, so the timer stays where it is.
                None => {
                    let (timer, now) = (timer.clone(), case.now);
                    case.reason =
                        Reason::Timer { timer, fired: None, step: Some(TimerStep::Park { now }) };
                }
            }
            return;
        }
        step(TimerStep::Fire, Some(pending));
        case.id = id;
        self.notices.push(Notice::TimerFired);
        let state = self.rows.state(timer.customer, &campaign.spec, case.now);
        let added = self.limits.poison.refuse_timer(timer);
        let added = added.and_then(|()| {
            self.batch.add_timer(&subscription, number, case.now, timer.customer.seed(), state)
        });
        if let Err(fault) = added {
            let failed =
                self.failed(campaign, subscription.campaign, case, case.work(), &fault, "".into());
            case.outcomes.push(outcome(&campaign.spec, failed));
        }
    }

    /// Whether a campaign has sent as many communications in this hour as it may.
    pub(super) fn is_full(&self, spec: &CampaignSpec, now: Millis) -> bool {
        spec.per_hour_max.is_some_and(|max| {
            !self.limits.quotas.has_room(spec.acts_for(), max, now, self.rule_set)
        })
    }

    /// Whether a campaign takes anything at `now`. For canaries the answer is fixed for the whole
    /// batch: campaign and canary must agree on which of them decides for a customer.
    pub(super) fn runs(&self, rules: &RuleSet, index: usize, now: Millis) -> bool {
        let Campaign { spec, generation, .. } = &*rules.campaigns()[index];
        let is_stopped = || match spec.canary_of() {
            Some(_) => self.limits.trials.is_stopped(index),
            None => self.limits.owner.is_stopped(&spec.name, *generation),
        };
        spec.is_active(now) && rules.stop(index).is_none() && !is_stopped()
    }
}
