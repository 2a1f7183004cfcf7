//! What a shard asks its guests: the calls that an event or a timer leads to. Whoever is not asked is noted, with the reason.
//!
//! **Gathering changes no row.** What has been gathered may be judged in several parts, each of which is committed on its own; so what a case
//! changes, its timer included, is changed when it is judged.

use super::case::{Case, Reason};
use super::judge::{NOT_KEPT, outcome};
use super::rows::TimerStep;
use super::shard::Shard;
use crate::clock::Millis;
use crate::engine::{Campaign, CampaignSpec, Missing, NotCalled, Place, Reading, RuleSet, Subscription};
use crate::event::{CustomerKey, EventId, Unusable};
use crate::records::{self, TimerKey};
use crate::store::StoreError;

/// Events without a customer all look the same to a rule's `bucket`.
pub(super) const SEED_OF_NOBODY: u64 = 0;

impl Shard {
    /// Adds the calls that a case leads to.
    pub(super) fn gather(&mut self, rules: &RuleSet, number: usize, case: &mut Case) -> Result<(), StoreError> {
        if case.retry.is_some() {
            return self.gather_retry(rules, number, case);
        }
        let is_timer = matches!(case.reason, Reason::Timer { .. });
        if let Some(customer) = case.customer.filter(|_| is_timer || rules.remembers()) {
            self.rows.load(&self.view, customer)?;
        }
        match &case.reason {
            Reason::Event { .. } => self.gather_event(rules, number, case),
            Reason::Timer { timer, .. } => {
                let timer = timer.clone();
                self.gather_timer(rules, number, case, &timer)?;
            }
            // Comes with its event, and later only as a retry.
            Reason::Merge { .. } => {}
        }
        Ok(())
    }

    /// Reads what the loaded rules want of an event, and adds a call for each campaign that takes it. An event that a handler's condition does
    /// not match is not the campaign's: it waits behind no failure, and leaves nothing but a count; or a note, if a field that the condition asks for can't
    /// be used.
    fn gather_event(&mut self, rules: &RuleSet, number: usize, case: &mut Case) {
        let Reason::Event { event, .. } = &case.reason else { return };
        let now = case.now;
        let reading = rules.reading(event.code());
        let taking = |subscription: &Subscription| {
            self.runs(rules, subscription.campaign, now) || self.stop(rules, subscription.campaign, now).is_some()
        };
        if !reading.subscriptions.iter().any(taking) {
            self.counts.unclaimed();
            return;
        }
        reading.plan.project(event, &mut self.projection);
        let mismatches = self.projection.mismatches();
        self.counts.event(mismatches);
        if mismatches > 0 {
            self.count_unusable(rules, reading);
        }
        for subscription in &reading.subscriptions {
            let campaign = &rules.campaigns()[subscription.campaign];
            let spec = &campaign.spec;
            if !self.runs(rules, subscription.campaign, now) {
                let stop = self.stop(rules, subscription.campaign, now).filter(|_| spec.is_for(case.customer));
                if let Some(stop) = stop.filter(|_| subscription.matches(&self.projection)) {
                    let decided = self.miss(campaign, subscription.campaign, case, stop);
                    case.outcomes.push(outcome(spec, decided));
                }
                continue;
            }
            let decides = rules.decides(subscription.campaign, case.customer, |other| self.runs(rules, other, now));
            self.trials.event(rules, reading, subscription.campaign, decides);
            if !subscription.matches(&self.projection) {
                if decides {
                    self.counts.missed(subscription.campaign);
                    let unusable =
                        (mismatches > 0).then(|| subscription.unusable_in_condition(&self.projection)).flatten();
                    if let Some(missing) = unusable {
                        let (index, handler) = (subscription.campaign, subscription.handler);
                        let decided = self.skipped(campaign, index, handler, case, missing);
                        case.outcomes.push(outcome(spec, decided));
                    }
                }
                continue;
            }
            if !decides {
                // Of a campaign and its canary it is the other's to decide.
                if rules.place(subscription.campaign) == Place::Alone {
                    case.outcomes.push(outcome(spec, records::Decided::OutsideRollout));
                }
                continue;
            }
            if self.waits(spec, case.customer) {
                let held = self.hold(campaign, subscription.campaign, case);
                let lost = || format!("an earlier failure is in front of it; {NOT_KEPT}").into();
                let decided = held.unwrap_or_else(|| records::Decided::Failed { error: lost() });
                case.outcomes.push(outcome(spec, decided));
                continue;
            }
            let state = case.customer.and_then(|customer| self.rows.state(customer, spec, now));
            let seed = case.customer.map_or(SEED_OF_NOBODY, CustomerKey::seed);
            if let Err(not_called) = self.batch.add(subscription, number, now, seed, state, &self.projection) {
                let decided = self.not_called(campaign, subscription.campaign, subscription.handler, case, not_called);
                case.outcomes.push(outcome(spec, decided));
            }
        }
    }

    /// What to make of a call that could not be made.
    pub(super) fn not_called(
        &mut self,
        campaign: &Campaign,
        index: usize,
        handler: u32,
        case: &mut Case,
        why: NotCalled,
    ) -> records::Decided {
        match why {
            NotCalled::Missing(missing) => self.skipped(campaign, index, handler, case, missing),
            NotCalled::Fault(fault) => self.failed(campaign, index, case, case.work(), &fault, "".into()),
        }
    }

    /// A campaign that is not called for want of a field that can be used.
    fn skipped(
        &mut self,
        campaign: &Campaign,
        index: usize,
        handler: u32,
        case: &Case,
        missing: Missing,
    ) -> records::Decided {
        let spec = &campaign.spec;
        let field = missing.name(&spec.manifest.handlers[handler as usize]);
        let why = missing.unusable.map(Unusable::text);
        tracing::debug!(campaign = &*spec.name, event = %case.id, field = field.as_str(), why, "not called: a field is absent, or can't be used");
        self.counts.of(index).skipped();
        records::Decided::Skipped { field: field.into(), why: why.map(Into::into) }
    }

    /// Counts fields that are there and can't be used, by the names that rules have for them.
    fn count_unusable(&self, rules: &RuleSet, reading: &Reading) {
        let mut counted = Vec::new();
        for subscription in &reading.subscriptions {
            let handlers = &rules.campaigns()[subscription.campaign].spec.manifest.handlers;
            let fields = &handlers[subscription.handler as usize].fields;
            for (slot, field) in subscription.slots().zip(fields) {
                let mismatches = self.projection.mismatches_of(slot);
                if mismatches > 0 && !counted.contains(&slot) {
                    counted.push(slot);
                    self.counts.unusable(&field.name, mismatches);
                }
            }
        }
    }

    /// Adds the call of a timer, if it is still pending: what stood among the timers that are due was a hint. One that nobody can take now is
    /// put off until its campaign is back, and its version has it.
    fn gather_timer(
        &mut self,
        rules: &RuleSet,
        number: usize,
        case: &mut Case,
        timer: &TimerKey,
    ) -> Result<(), StoreError> {
        let runs = |index| self.runs(rules, index, case.now);
        let found = rules.decider(&timer.campaign, case.customer, runs);
        let taken = found.filter(|index| runs(*index) && rules.decides(*index, case.customer, runs));
        let mut step = |step, fired| case.reason = Reason::Timer { timer: timer.clone(), fired, step: Some(step) };
        let Some(subscription) = taken.and_then(|index| rules.timer(index, &timer.timer)) else {
            step(TimerStep::Park { now: case.now }, None);
            return Ok(());
        };
        let Some(mut pending) = self.rows.pending(timer).cloned() else {
            step(TimerStep::Leave, None);
            return Ok(());
        };
        self.address_timer(timer.customer, &mut pending)?;
        let campaign = &rules.campaigns()[subscription.campaign];
        let id = EventId::of_timer(pending.set_by, &timer.campaign, &timer.timer, pending.due);
        if self.waits(&campaign.spec, case.customer) {
            step(TimerStep::Hold, Some(pending));
            case.id = id;
            match self.hold(campaign, subscription.campaign, case) {
                Some(held) => case.outcomes.push(outcome(&campaign.spec, held)),
                // It takes no more room where it is.
                None => {
                    let (timer, now) = (timer.clone(), case.now);
                    case.reason = Reason::Timer { timer, fired: None, step: Some(TimerStep::Park { now }) };
                }
            }
            return Ok(());
        }
        step(TimerStep::Fire, Some(pending));
        case.id = id;
        self.counts.timer();
        let state = self.rows.state(timer.customer, &campaign.spec, case.now);
        let added = self.suspects.refuse_timer(timer);
        let added =
            added.and_then(|()| self.batch.add_timer(&subscription, number, case.now, timer.customer.seed(), state));
        if let Err(fault) = added {
            let failed = self.failed(campaign, subscription.campaign, case, case.work(), &fault, "".into());
            case.outcomes.push(outcome(&campaign.spec, failed));
        }
        Ok(())
    }

    /// Whether a campaign has sent as many in this hour as it may.
    pub(super) fn is_full(&self, spec: &CampaignSpec, now: Millis) -> bool {
        spec.per_hour_max.is_some_and(|max| !self.quotas.has_room(spec.acts_for(), max, now, self.rule_set))
    }

    /// Whether a campaign takes anything at `now`. Of a canary it is settled for the whole batch: who decides for a customer must not change
    /// between asking the one and asking the other.
    pub(super) fn runs(&self, rules: &RuleSet, index: usize, now: Millis) -> bool {
        let Campaign { spec, generation, .. } = &*rules.campaigns()[index];
        let is_stopped = || match spec.canary_of() {
            Some(_) => self.trials.is_stopped(index),
            None => self.rules.owner.is_stopped(&spec.name, *generation),
        };
        spec.is_active(now) && rules.stop(index).is_none() && !is_stopped()
    }
}
